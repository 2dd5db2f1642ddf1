"""What outlives a restart of a login: the token, or that the vendor would not let us in."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.storage import atomic_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a login gave. `time_diff` in seconds is the organisation's offset to UTC."""

    token: str = field(repr=False)
    org_id: str | None = None
    org_name: str | None = None
    time_diff: int | float | None = None
    login_time: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """A login that was refused: by the vendor's code and text, `at` epoch seconds, for the `count`th time in a row."""

    code: int | str | None
    text: str
    at: float
    count: int


@dataclass(frozen=True, slots=True)
class TokenFile:
    """One JSON file of mode 0600, good for one account: that of the URL, the user and the password it was made with."""

    path: Path

    def load(self, account: str) -> Login | Denial | None:
        """What was kept for this account; a file that cannot be read is set aside. Raises OSError."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            kept = orjson.loads(data)
            if kept["account"] != _fingerprint(account, kept["salt"]):
                return None
            return _login(**kept["login"]) if "login" in kept else _denial(**kept["denial"])
        except (ValueError, TypeError, KeyError) as error:
            atomic_file.set_aside(self.path, f"not a token file: {type(error).__name__}")
            return None

    def save(self, account: str, kept: Login | Denial) -> None:
        """Keep this and nothing else. Raises OSError."""
        salt = secrets.token_hex(16)
        name = "login" if isinstance(kept, Login) else "denial"
        content = {"account": _fingerprint(account, salt), "salt": salt, name: asdict(kept)}
        atomic_file.replace(self.path, orjson.dumps(content))


def _fingerprint(account: str, salt: str) -> str:
    """Slow on purpose: a password must not be found by trying."""
    return hashlib.scrypt(account.encode(), salt=salt.encode(), n=2**12, r=8, p=1).hex()


def _login(*, token: Any, **facts: Any) -> Login:
    if not isinstance(token, str) or not token:
        raise ValueError("no token")
    texts = {name: vendor_json.text(facts[name]) for name in ("org_id", "org_name", "login_time")}
    if texts["login_time"] is not None:
        datetime.fromisoformat(texts["login_time"])
    return Login(token=token, time_diff=vendor_json.number(facts["time_diff"]), **texts)


def _denial(*, code: Any, text: Any, at: Any, count: Any) -> Denial:
    code = code if isinstance(code, int | str) else None
    return Denial(code=code, text=str(text), at=float(at), count=max(int(count), 1))
