"""The login: made when first needed, once more when the vendor refuses its token, and not again and again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from fleet2mqtt.errors import Ambiguous, AuthenticationError, BackendError, InvalidResponse
from fleet2mqtt.platforms.omstation.envelope import UNKNOWN_OUTCOME, is_token_error, parse_login
from fleet2mqtt.platforms.omstation.models import LoginData
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import HttpClient
from fleet2mqtt.sdk.token_store import TokenStore

_LOG = logging.getLogger(__name__)

LOGIN = "login/userLogin"
FIRST_RETRY = 300.0
LONGEST_RETRY = 3600.0
"""Seconds after a refused login before the next one, doubled each time: more often would lock the account."""
TOKEN_ERROR_PAUSE = 900.0
"""Seconds in which an endpoint that refused a new token costs no further login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """The result of a login. `time_diff` in seconds is the organisation's offset to UTC, `login_time` ISO 8601."""

    token: str = field(repr=False)
    org_id: str | None = None
    org_name: str | None = None
    time_diff: int | float | None = None
    login_time: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLogin:
    """A login that the vendor refused: its code and text, `at` epoch seconds, the `count`th in a row."""

    code: int | str | None
    text: str
    at: float
    count: int

    @property
    def retry_at(self) -> float:
        """Epoch seconds before which no further login is made."""
        return self.at + min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(self.count - 1, 10))


def path_prefix(url: str, prefix: str) -> str:
    """Return what precedes every path below a URL: "" where the URL ends with the prefix already."""
    return "" if prefix and urlsplit(url).path.rstrip("/").endswith(prefix) else prefix


@dataclass(slots=True, kw_only=True)
class Session:
    """One account's session at one omstation. `options` are the backend's."""

    api: HttpClient
    options: Mapping[str, Any] = field(repr=False)
    store: TokenStore
    current: Login | None = None
    """The login in use; None before the first and after one that failed."""
    _refused: RefusedLogin | None = None
    _loaded: bool = False
    _paused: dict[str, float] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def call(
        self, endpoint: str, body: Mapping[str, Any], *, of_org: bool = False, writes: bool = False
    ) -> dict[str, Any]:
        """POST `body` to an endpoint and return the response; with `of_org` add the organisation's `orgId`.

        `writes` is True if the call changes something at the vendor, so that it is never sent twice by itself.
        A refused token means that nothing was carried out, so that the call is made once more after a new login.
        Raises BackendError: Ambiguous with code 105 where the vendor leaves open what it did, AuthenticationError where
        it does not let us in.
        """
        login = await self._get_login()
        try:
            return await self._send(endpoint, body, login, of_org=of_org, writes=writes)
        except AuthenticationError as error:
            if not is_token_error(error) or time.monotonic() < self._paused.get(endpoint, 0):
                raise
        login = await self._renew(login)
        try:
            response = await self._send(endpoint, body, login, of_org=of_org, writes=writes)
        except AuthenticationError:
            self._paused[endpoint] = time.monotonic() + TOKEN_ERROR_PAUSE
            raise
        self._paused.pop(endpoint, None)
        return response

    async def _send(
        self, endpoint: str, body: Mapping[str, Any], login: Login, *, of_org: bool, writes: bool
    ) -> dict[str, Any]:
        org = {"orgId": self._org_id(body, login)} if of_org else {}
        try:
            return await self._post(self.api, endpoint, {**body, **org}, {"token": login.token}, writes=writes)
        except BackendError as error:
            raise _without_secret(error, login.token) from None

    async def _post(
        self, api: HttpClient, endpoint: str, body: Any, headers: Mapping[str, str], *, writes: bool
    ) -> dict[str, Any]:
        headers = {**headers, "lang": self.options["language"]}
        prefix = path_prefix(api.base, self.options["path_prefix"])
        path = f"{prefix}/{endpoint}"
        return await api.call("POST", path, endpoint=endpoint, headers=headers, json=body, writes=writes)

    @property
    def org_id(self) -> str | None:
        """The organisation that calls are about, None before a login that names it."""
        configured: str | None = self.options["org_id"]
        return configured or (None if self.current is None else self.current.org_id)

    def _org_id(self, body: Mapping[str, Any], login: Login) -> str:
        org_id: str | None = body.get("orgId") or self.options["org_id"] or login.org_id
        if org_id is None:
            raise InvalidResponse("the login returns no orgId: set the option org_id", endpoint=LOGIN, code="no_org_id")
        return org_id

    async def _get_login(self) -> Login:
        async with self._lock:
            if not self._loaded:
                await self._load()
            if self.current is None:
                self.current = await self._log_in()
            return self.current

    async def _renew(self, refused: Login) -> Login:
        """Return a login that is not the refused one: another call's, made meanwhile, or a new one."""
        async with self._lock:
            if self.current is refused:
                self.current = None
            if self.current is None:
                self.current = await self._log_in()
            return self.current

    async def _log_in(self) -> Login:
        """Log in (omstation document), unless that was refused recently."""
        if self._refused is not None and self._refused.at <= time.time() < self._refused.retry_at:
            raise _refusal(self._refused)
        body = {"userName": self.options["username"], "password": _md5(self.options["password"])}
        try:
            response = await self._post(replace(self.api, parse=parse_login), LOGIN, body, {}, writes=True)
        except AuthenticationError as error:
            cleaned = _without_secret(error, body["password"])
            count = 1 + (self._refused.count if self._refused else 0)
            self._refused = RefusedLogin(code=cleaned.code, text=str(cleaned), at=time.time(), count=count)
            await self._save({"denial": asdict(self._refused)})
            raise _refusal(self._refused) from None
        except BackendError as error:
            raise _without_secret(error, body["password"]) from None
        login = _parse_login_data(response)
        self._refused = None
        await self._save({"login": asdict(login)})
        return login

    @property
    def _account(self) -> str:
        return "\n".join((self.api.base, self.options["username"], self.options["password"]))

    async def _load(self) -> None:
        """Restore the login of the last run, or its refusal."""
        self._loaded = True
        try:
            content = await asyncio.to_thread(self.store.load, self._account)
        except OSError as error:
            _LOG.warning("%s cannot be read: %s", self.store.path, error.strerror)
            return
        if content is None:
            return
        try:
            if "login" in content:
                self.current = _restore_login(**content["login"])
            else:
                self._refused = _restore_refusal(**content["denial"])
        except (ValueError, TypeError, KeyError) as error:
            await asyncio.to_thread(self.store.set_aside, error)

    async def _save(self, content: dict[str, Any]) -> None:
        try:
            await asyncio.to_thread(self.store.save, self._account, content)
        except OSError as error:
            _LOG.warning("%s cannot be written, a restart will log in again: %s", self.store.path, error.strerror)


def _parse_login_data(response: Mapping[str, Any]) -> Login:
    data = LoginData.model_validate(response.get("data") if isinstance(response.get("data"), dict) else {})
    if data.login_token is None:
        raise InvalidResponse(f"{LOGIN}: the response has no tokenId", endpoint=LOGIN, code="no_token")
    return Login(
        token=data.login_token,
        org_id=data.orgId,
        org_name=data.orgName,
        time_diff=data.timeDiff,
        login_time=vendor_json.iso(data.loginTime or data.loginTimestamp),
    )


def _restore_login(*, token: Any, **values: Any) -> Login:
    if not isinstance(token, str) or not token:
        raise ValueError("no token")
    texts = {name: vendor_json.text(values[name]) for name in ("org_id", "org_name", "login_time")}
    if texts["login_time"] is not None:
        datetime.fromisoformat(texts["login_time"])
    return Login(token=token, time_diff=vendor_json.number(values["time_diff"]), **texts)


def _restore_refusal(*, code: Any, text: Any, at: Any, count: Any) -> RefusedLogin:
    code = code if isinstance(code, int | str) else None
    return RefusedLogin(code=code, text=str(text), at=float(at), count=max(int(count), 1))


def _refusal(refused: RefusedLogin) -> AuthenticationError:
    until = vendor_json.iso(datetime.fromtimestamp(int(refused.retry_at), UTC))
    message = f"the login is refused: {refused.text}; not tried again before {until}"
    return AuthenticationError(message, endpoint=LOGIN, code=refused.code)


def _without_secret(error: BackendError, secret: str) -> BackendError:
    """Return the error without the secret in the vendor's text; for 105 with a text that does not say "succeeded"."""
    text = str(error).replace(secret, "***")
    if isinstance(error, Ambiguous) and vendor_json.number(error.code) == UNKNOWN_OUTCOME:
        text = f"{error.endpoint}: the vendor answered 105 ({text}): the outcome is unknown, nothing was tried again"
        return Ambiguous(text, endpoint=error.endpoint, code=UNKNOWN_OUTCOME)
    return type(error)(text, endpoint=error.endpoint, code=error.code)


def _md5(password: str) -> str:
    return hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()
