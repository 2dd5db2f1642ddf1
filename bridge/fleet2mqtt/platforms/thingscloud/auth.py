"""The project's access token: fetched by either login, kept on disk, renewed in time and when it is refused.

Wrong credentials are a state. When a login was last refused is kept beside the token, so that neither polls nor
restarts turn it into a series of logins, which would lock the account.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson
import voluptuous as vol

from fleet2mqtt.errors import AuthenticationError, BackendError, InvalidResponse, RateLimited, Rejected
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import Envelope, HttpClient
from fleet2mqtt.storage import atomic_file

_LOG = logging.getLogger(__name__)

RENEW_AT = 0.9
"""The part of a token's life after which it is renewed."""
FIRST_WAIT, LONGEST_WAIT = 300.0, 3600.0
"""Seconds before a login that was refused is tried again: doubled each time."""
_RETRY = 60.0
_NO_SUCH_PATH = (404, 405)


class Way(StrEnum):
    """The two logins of the document."""

    SERVER = "server_login"
    ADMIN = "admin_login"


_PATHS = {Way.SERVER: "/api/v1/access_token", Way.ADMIN: "/api/v1/admin_login"}
_FIELDS = {Way.SERVER: ("access_key", "secret_key"), Way.ADMIN: ("account", "password")}
_EITHER = ", or ".join(" and ".join(fields) for fields in _FIELDS.values())
_LIFE = {Way.SERVER: 86_400.0, Way.ADMIN: 7 * 86_400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What one login needs."""

    way: Way
    app_id: str
    user: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def body(self) -> dict[str, str]:
        """What the login's endpoint wants."""
        user, secret = _FIELDS[self.way]
        return {"app_id": self.app_id, user: self.user, secret: self.secret}


def check(options: Mapping[str, Any]) -> Iterator[vol.Invalid]:
    """Whether the options, as the file has them, describe one login and one only."""
    given = {way: [field for field in fields if options.get(field) is not None] for way, fields in _FIELDS.items()}
    if not any(given.values()):
        yield vol.Invalid(f"missing; expected {_EITHER}")
    for way, found in given.items():
        for other in set(_FIELDS[way]).difference(found) if found else ():
            yield vol.Invalid(f"needs {other} beside it", [found[0]])
    if all(given.values()):
        yield vol.Invalid(f"there is another login; expected either {_EITHER}", [given[Way.ADMIN][0]])


def credentials_of(options: Mapping[str, Any]) -> Credentials:
    """The login that options without such faults describe."""
    way = Way.SERVER if options["access_key"] is not None else Way.ADMIN
    user, secret = _FIELDS[way]
    return Credentials(way=way, app_id=options["app_id"], user=options[user], secret=options[secret])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What the file holds: times are epoch seconds, `whose` and `tried` tell logins apart and no secret."""

    whose: str
    salt: str
    token: str = field(default="", repr=False)
    renew_at: float = 0.0
    expires_at: float = 0.0
    tried: str = ""
    refused_at: float = 0.0
    refusals: int = 0
    words: str = ""


class Tokens:
    """Gives the token for a call. At most one login is under way."""

    def __init__(self, api: HttpClient, credentials: Credentials, path: Path) -> None:
        self._api = replace(api, envelope=_LOGIN, parse=_parse_login)
        self._credentials = credentials
        self._path = path
        self._lock = asyncio.Lock()
        self._state: _Kept | None = None
        self._not_before = 0.0
        self._futile: dict[str, tuple[float, int]] = {}

    @property
    def is_admin(self) -> bool:
        """Whether the token is an administrator's."""
        return self._credentials.way is Way.ADMIN

    async def current(self) -> str:
        """Return the token to use now.

        Raises BackendError; AuthenticationError while the credentials are known to be wrong.
        """
        async with self._lock:
            kept = await self._known()
            if not kept.token or time.time() >= kept.expires_at:
                return await self._login(kept)
            if time.time() < max(kept.renew_at, self._not_before):
                return kept.token
            try:
                return await self._login(kept)
            except BackendError as error:  # what is left of its life bridges a fault
                self._not_before = time.time() + _RETRY
                _LOG.debug("the token is not renewed yet: %s", error)
                return kept.token

    async def renewed(self, token: str, endpoint: str, refusal: AuthenticationError) -> str:
        """Another token than this one, which `endpoint` refused.

        Raises `refusal` itself while a new token has lately not helped there: it is not the token that is refused.
        """
        async with self._lock:
            kept = await self._known()
            if kept.token and kept.token != token:
                return kept.token
            until, count = self._futile.get(endpoint, (0.0, 0))
            if time.monotonic() < until:
                raise refusal
            wait = min(FIRST_WAIT * 2.0 ** min(count, 10), LONGEST_WAIT)
            self._futile[endpoint] = time.monotonic() + wait, count + 1
            self._state = replace(kept, token="")
            return await self._login(self._state)

    def helped(self, endpoint: str) -> None:
        """The token that `renewed` gave was taken."""
        self._futile.pop(endpoint, None)

    async def _login(self, kept: _Kept) -> str:
        tried = _fingerprint(self._credentials.secret, kept.salt)
        if kept.tried == tried:
            self._refuse_again(kept)
        try:
            info = await self._ask()
        except AuthenticationError as error:
            refusals = kept.refusals + 1 if kept.tried == tried else 1
            await self._keep(replace(kept, tried=tried, refused_at=time.time(), refusals=refusals, words=str(error)))
            raise
        life = vendor_json.number(info.get("expires_in"))
        life = _LIFE[self._credentials.way] if life is None or life <= 0 else life
        fresh = _Kept(
            whose=kept.whose,
            salt=kept.salt,
            token=info["access_token"],
            renew_at=time.time() + life * RENEW_AT,
            expires_at=time.time() + life,
        )
        await self._keep(fresh)
        return fresh.token

    async def _ask(self) -> dict[str, Any]:
        """The document's "获取 AccessToken". Raises AuthenticationError for whatever refuses these credentials."""
        name = self._credentials.way.value
        try:
            reply = await self._api.call(
                "POST", _PATHS[self._credentials.way], endpoint=name, json=self._credentials.body
            )
        except RateLimited:
            raise
        except (Rejected, AuthenticationError) as error:
            if error.code in _NO_SUCH_PATH and str(error).startswith(f"{name}: HTTP"):
                raise
            words = str(error).replace(self._credentials.secret, "***").replace(self._credentials.user, "***")
            raise AuthenticationError(f"the login was refused: {words}", endpoint=name, code=error.code) from None
        info = reply.get("info")
        if not isinstance(info, dict) or not isinstance(info.get("access_token"), str) or not info["access_token"]:
            raise InvalidResponse(f"{name}: the answer has no access_token", endpoint=name, code="no_token")
        return info

    def _refuse_again(self, kept: _Kept) -> None:
        wait = min(FIRST_WAIT * 2.0 ** min(kept.refusals - 1, 10), LONGEST_WAIT)
        if kept.refused_at <= time.time() < kept.refused_at + wait:
            until = vendor_json.iso(datetime.fromtimestamp(round(kept.refused_at + wait), UTC))
            words = f"{kept.words}; not tried again before {until} or with other credentials"
            raise AuthenticationError(words, endpoint=self._credentials.way.value, code="login_refused")

    async def _known(self) -> _Kept:
        if self._state is None:
            whose = _fingerprint(
                self._api.base, self._credentials.way, self._credentials.app_id, self._credentials.user
            )
            kept = await asyncio.to_thread(_load, self._path)
            same = kept is not None and kept.whose == whose
            self._state = kept if kept is not None and same else _Kept(whose=whose, salt=secrets.token_hex(8))
        return self._state

    async def _keep(self, kept: _Kept) -> None:
        self._state = kept
        try:
            await asyncio.to_thread(atomic_file.replace, self._path, orjson.dumps(asdict(kept)))
        except OSError as error:
            _LOG.warning("%s cannot be written (%s): the next start logs in again", self._path.name, error.strerror)


def _load(path: Path) -> _Kept | None:
    try:
        kept = _Kept(**orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _LOG.warning("%s cannot be used (%s): logging in again", path.name, type(error).__name__)
        return None
    texts = (kept.whose, kept.salt, kept.token, kept.tried, kept.words)
    numbers = (kept.renew_at, kept.expires_at, kept.refused_at, kept.refusals)
    sound = all(isinstance(text, str) for text in texts) and all(vendor_json.number(one) is one for one in numbers)
    return kept if sound else None


def _fingerprint(*parts: str) -> str:
    """Tells one set of texts from another; slow on purpose and cut short, so that it tells no more."""
    said = "\x1f".join(parts[:1]).encode()
    salt = "\x1f".join(parts[1:]).encode()
    return hashlib.pbkdf2_hmac("sha256", said, salt, 20_000, 8).hex()


def _parse_login(data: bytes) -> Any:
    """Parse a login's response with the token in it, which the common parser would drop.

    Raises InvalidResponse, which quotes no token.
    """
    try:
        reply = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise InvalidResponse("not JSON", code="malformed_json") from None
    return refusal_code(reply)


def refusal_code(reply: Any) -> Any:
    """A refusal with its `errcode` in the place of `result`, where the envelope takes the code from."""
    if isinstance(reply, dict) and reply.get("result") is False:
        return reply | {"result": reply.get("errcode")}
    return reply


_LOGIN = Envelope(member="result", success=(True,), texts=("message",))
