"""The token store: the result of a login, on disk, so that a restart does not log in again."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from fleet2mqtt.storage import atomic_file


@dataclass(frozen=True, slots=True)
class TokenStore:
    """One JSON file of mode 0600, valid for one account: URL, user and password that it was made with."""

    path: Path
    convert: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None
    """Converts a file in a platform's earlier form, without `account`; returns None for one of another account."""

    def load(self, account: str) -> dict[str, Any] | None:
        """Return the content saved for this account, None if there is none.

        A file that cannot be used is set aside. Raises OSError.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            content = orjson.loads(data)
            if self.convert is not None and "account" not in content:
                return self.convert(content)
            if content["account"] != _fingerprint(account, content["salt"]):
                return None
            return {key: value for key, value in content.items() if key not in ("account", "salt")}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.set_aside(error)
            return None

    def save(self, account: str, content: dict[str, Any]) -> None:
        """Replace the file by this content for this account. Raises OSError."""
        salt = secrets.token_hex(16)
        whole = {"account": _fingerprint(account, salt), "salt": salt, **content}
        atomic_file.replace(self.path, orjson.dumps(whole))

    def set_aside(self, error: Exception) -> None:
        """Move a file that cannot be used out of the way, and log it."""
        atomic_file.set_aside(self.path, f"not a token file: {type(error).__name__}")


def _fingerprint(account: str, salt: str) -> str:
    """Return a hash of an account that is slow on purpose: a password must not be found by trying."""
    return hashlib.scrypt(account.encode(), salt=salt.encode(), n=2**12, r=8, p=1).hex()
