"""The project's access token: obtained by either login, saved to disk, renewed in time and after a refusal.

Wrong credentials are a state. The time of a refused login is saved with the token, so that neither polls nor restarts
turn it into a series of logins, which would lock the account.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
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
from fleet2mqtt.sdk.token_store import TokenStore

_LOG = logging.getLogger(__name__)

RENEW_AT = 0.9
"""The part of a token's lifetime after which it is renewed."""
FIRST_PAUSE, LONGEST_PAUSE = 300.0, 3600.0
"""Seconds before a refused login is tried again: doubled each time."""
_RENEWAL_PAUSE = 60.0
_NO_SUCH_PATH = (404, 405)


class LoginMethod(StrEnum):
    """The two logins of the document."""

    SERVER = "server_login"
    ADMIN = "admin_login"


_PATHS = {LoginMethod.SERVER: "/api/v1/access_token", LoginMethod.ADMIN: "/api/v1/admin_login"}
_FIELDS = {LoginMethod.SERVER: ("access_key", "secret_key"), LoginMethod.ADMIN: ("account", "password")}
_EITHER = ", or ".join(" and ".join(fields) for fields in _FIELDS.values())
_LIFETIME = {LoginMethod.SERVER: 86_400.0, LoginMethod.ADMIN: 7 * 86_400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The credentials of one login."""

    method: LoginMethod
    app_id: str
    user: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def body(self) -> dict[str, str]:
        """Return the body of the login's request."""
        user, secret = _FIELDS[self.method]
        return {"app_id": self.app_id, user: self.user, secret: self.secret}


def check_login(options: Mapping[str, Any]) -> Iterator[vol.Invalid]:
    """Yield a problem for each option, as the file has it, that is missing for one login or belongs to a second."""
    given = {
        method: [field for field in fields if options.get(field) is not None] for method, fields in _FIELDS.items()
    }
    if not any(given.values()):
        yield vol.Invalid(f"missing; expected {_EITHER}")
    for method, found in given.items():
        for other in set(_FIELDS[method]).difference(found) if found else ():
            yield vol.Invalid(f"needs {other} beside it", [found[0]])
    if all(given.values()):
        yield vol.Invalid(f"there is another login; expected either {_EITHER}", [given[LoginMethod.ADMIN][0]])


def credentials_from(options: Mapping[str, Any]) -> Credentials:
    """Return the credentials of options in which `check_login` finds no problem."""
    method = LoginMethod.SERVER if options["access_key"] is not None else LoginMethod.ADMIN
    user, secret = _FIELDS[method]
    return Credentials(method=method, app_id=options["app_id"], user=options[user], secret=options[secret])


@dataclass(frozen=True, slots=True, kw_only=True)
class _TokenState:
    """The content of the token file: a token, or the refusal of the last login. Times are epoch seconds."""

    token: str = field(default="", repr=False)
    renew_at: float = 0.0
    expires_at: float = 0.0
    refused_at: float = 0.0
    refusals: int = 0
    refusal: str = ""


class TokenProvider:
    """Provides the token for calls. At most one login runs at a time."""

    def __init__(self, api: HttpClient, credentials: Credentials, path: Path) -> None:
        self._api = replace(api, envelope=_LOGIN, parse=_parse_login)
        self._credentials = credentials
        self._store = TokenStore(path, self._convert)
        self._account = "\x1f".join((api.base, credentials.method, *credentials.body.values()))
        self._lock = asyncio.Lock()
        self._state: _TokenState | None = None
        self._not_before = 0.0
        self._useless_renewals: dict[str, tuple[float, int]] = {}

    @property
    def is_admin(self) -> bool:
        """Return whether the token is an administrator's."""
        return self._credentials.method is LoginMethod.ADMIN

    async def get(self) -> str:
        """Return the token to use now.

        Raises BackendError; AuthenticationError while the credentials are known to be wrong.
        """
        async with self._lock:
            state = await self._get_state()
            if not state.token or time.time() >= state.expires_at:
                return await self._login(state)
            if time.time() < max(state.renew_at, self._not_before):
                return state.token
            try:
                return await self._login(state)
            except BackendError as error:  # the token stays valid for the rest of its lifetime
                self._not_before = time.time() + _RENEWAL_PAUSE
                _LOG.debug("the token is not renewed yet: %s", error)
                return state.token

    async def renew(self, token: str, endpoint: str, refusal: AuthenticationError) -> str:
        """Return another token than this one, which `endpoint` refused.

        Raises `refusal` itself while a new token has lately not helped there: it is not the token that is refused.
        """
        async with self._lock:
            state = await self._get_state()
            if state.token and state.token != token:
                return state.token
            until, count = self._useless_renewals.get(endpoint, (0.0, 0))
            if time.monotonic() < until:
                raise refusal
            self._useless_renewals[endpoint] = time.monotonic() + _pause(count + 1), count + 1
            self._state = replace(state, token="")
            return await self._login(self._state)

    def confirm(self, endpoint: str) -> None:
        """Record that the endpoint accepted a renewed token."""
        self._useless_renewals.pop(endpoint, None)

    async def _login(self, state: _TokenState) -> str:
        if state.refusals:
            self._raise_while_refused(state)
        try:
            info = await self._request_token()
        except AuthenticationError as error:
            refused = replace(state, refused_at=time.time(), refusals=state.refusals + 1, refusal=str(error))
            await self._save(refused)
            raise
        lifetime = vendor_json.number(info.get("expires_in"))
        lifetime = _LIFETIME[self._credentials.method] if lifetime is None or lifetime <= 0 else lifetime
        fresh = _TokenState(
            token=info["access_token"],
            renew_at=time.time() + lifetime * RENEW_AT,
            expires_at=time.time() + lifetime,
        )
        await self._save(fresh)
        return fresh.token

    async def _request_token(self) -> dict[str, Any]:
        """Log in, "获取 AccessToken" in the document. Raises AuthenticationError if the credentials are refused."""
        method = self._credentials.method
        name = method.value
        try:
            response = await self._api.call("POST", _PATHS[method], endpoint=name, json=self._credentials.body)
        except RateLimited:
            raise
        except (Rejected, AuthenticationError) as error:
            if error.code in _NO_SUCH_PATH and str(error).startswith(f"{name}: HTTP"):
                raise
            text = str(error).replace(self._credentials.secret, "***").replace(self._credentials.user, "***")
            raise AuthenticationError(f"the login was refused: {text}", endpoint=name, code=error.code) from None
        info = response.get("info")
        if not isinstance(info, dict) or not isinstance(info.get("access_token"), str) or not info["access_token"]:
            raise InvalidResponse(f"{name}: the response has no access_token", endpoint=name, code="no_token")
        return info

    def _raise_while_refused(self, state: _TokenState) -> None:
        """Raise AuthenticationError until the pause after a refused login is over."""
        until = state.refused_at + _pause(state.refusals)
        if state.refused_at <= time.time() < until:
            retry_at = vendor_json.iso(datetime.fromtimestamp(round(until), UTC))
            text = f"{state.refusal}; not tried again before {retry_at} or with other credentials"
            raise AuthenticationError(text, endpoint=self._credentials.method.value, code="login_refused")

    async def _get_state(self) -> _TokenState:
        if self._state is None:
            self._state = await asyncio.to_thread(self._load)
        return self._state

    def _load(self) -> _TokenState:
        try:
            content = self._store.load(self._account)
        except OSError as error:
            _LOG.warning("%s cannot be read (%s): logging in again", self._store.path.name, error.strerror)
            return _TokenState()
        if content is None:
            return _TokenState()
        try:
            return _validated(_TokenState(**content))
        except TypeError as error:
            self._store.set_aside(error)
            return _TokenState()

    def _convert(self, content: dict[str, Any]) -> dict[str, Any] | None:
        """Convert the token file of version 0.1.0, None if it belongs to another login. Raises TypeError, KeyError."""
        credentials = self._credentials
        if content["whose"] != _fingerprint(self._api.base, credentials.method, credentials.app_id, credentials.user):
            return None
        state = {name: content[name] for name in ("token", "renew_at", "expires_at")}
        if content["tried"] == _fingerprint(credentials.secret, content["salt"]):
            state |= {name: content[name] for name in ("refused_at", "refusals")} | {"refusal": content["words"]}
        return state

    async def _save(self, state: _TokenState) -> None:
        self._state = state
        try:
            await asyncio.to_thread(self._store.save, self._account, asdict(state))
        except OSError as error:
            name = self._store.path.name
            _LOG.warning("%s cannot be written (%s): the next start logs in again", name, error.strerror)


def _pause(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row."""
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)


def _fingerprint(text: str, *salt: str) -> str:
    """Return the hash by which version 0.1.0 recognized a login or a secret in its token file."""
    return hashlib.pbkdf2_hmac("sha256", text.encode(), "\x1f".join(salt).encode(), 20_000, 8).hex()


def _validated(state: _TokenState) -> _TokenState:
    """Return the state of a token file. Raises TypeError for a wrong type."""
    texts = (state.token, state.refusal)
    numbers = (state.renew_at, state.expires_at, state.refused_at, state.refusals)
    if not all(isinstance(text, str) for text in texts) or any(vendor_json.number(one) is not one for one in numbers):
        raise TypeError("wrong types")
    return state


def _parse_login(data: bytes) -> Any:
    """Parse a login's response with the token in it, which the common parser would drop.

    Raises InvalidResponse, which quotes no token.
    """
    try:
        response = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise InvalidResponse("not JSON", code="malformed_json") from None
    return with_refusal_code(response)


def with_refusal_code(response: Any) -> Any:
    """Return a refusal with its `errcode` in the place of `result`, where the envelope reads the code."""
    if isinstance(response, dict) and response.get("result") is False:
        return response | {"result": response.get("errcode")}
    return response


_LOGIN = Envelope(member="result", success=(True,), texts=("message",))
