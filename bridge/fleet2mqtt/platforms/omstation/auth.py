"""Calls with a token: logged in when first needed, once more when the vendor refuses it, and not again and again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from fleet2mqtt.errors import Ambiguous, AuthenticationError, BackendError, InvalidResponse
from fleet2mqtt.platforms.omstation.models import LoginData
from fleet2mqtt.platforms.omstation.parsing import UNKNOWN_OUTCOME, parse_login, refuses_token
from fleet2mqtt.platforms.omstation.token_store import Denial, Login, TokenFile
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import HttpClient

_LOG = logging.getLogger(__name__)

LOGIN = "login/userLogin"
FIRST_WAIT = 300.0
LONGEST_WAIT = 3600.0
"""Seconds after a refused login before the next one, doubled each time: more often would lock the account."""
FORBIDDEN = 900.0
"""Seconds in which an endpoint that refused a token just given costs no further login."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One account's way into one omstation. `options` are the backend's."""

    api: HttpClient
    options: Mapping[str, Any] = field(repr=False)
    file: TokenFile
    current: Login | None = None
    """The login in use; None before the first and after one that failed."""
    _denial: Denial | None = None
    _recalled: bool = False
    _forbidden: dict[str, float] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def call(self, endpoint: str, body: Mapping[str, Any], *, of_org: bool = False) -> dict[str, Any]:
        """POST `body` to an endpoint, with the organisation's `orgId` in it where it belongs to one and names none.

        A refused token means that nothing was carried out, so that the call is made once more after a new login.
        Raises BackendError: Ambiguous with code 105 where the vendor leaves open what it did, AuthenticationError where
        it does not let us in.
        """
        login = await self._logged_in()
        try:
            return await self._send(endpoint, body, login, of_org=of_org)
        except AuthenticationError as error:
            if not refuses_token(error) or time.monotonic() < self._forbidden.get(endpoint, 0):
                raise
        login = await self._renewed(login)
        try:
            reply = await self._send(endpoint, body, login, of_org=of_org)
        except AuthenticationError:
            self._forbidden[endpoint] = time.monotonic() + FORBIDDEN
            raise
        self._forbidden.pop(endpoint, None)
        return reply

    async def _send(self, endpoint: str, body: Mapping[str, Any], login: Login, *, of_org: bool) -> dict[str, Any]:
        org = {"orgId": self._org_id(body, login)} if of_org else {}
        try:
            return await self._post(self.api, endpoint, {**body, **org}, {"token": login.token})
        except BackendError as error:
            raise _told(error, login.token) from None

    async def _post(self, api: HttpClient, endpoint: str, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        path = f"{self.options['path_prefix']}/{endpoint}"
        headers = {**headers, "lang": self.options["language"]}
        return await api.call("POST", path, endpoint=endpoint, headers=headers, json=body)

    def _org_id(self, body: Mapping[str, Any], login: Login) -> str:
        org_id: str | None = body.get("orgId") or self.options["org_id"] or login.org_id
        if org_id is None:
            raise InvalidResponse("the login names no orgId: set the option org_id", endpoint=LOGIN, code="no_org_id")
        return org_id

    async def _logged_in(self) -> Login:
        async with self._lock:
            if not self._recalled:
                await self._recall()
            if self.current is None:
                self.current = await self._log_in()
            return self.current

    async def _renewed(self, refused: Login) -> Login:
        """A login that is not the refused one: another call's, made meanwhile, or a new one."""
        async with self._lock:
            if self.current is refused:
                self.current = None
            if self.current is None:
                self.current = await self._log_in()
            return self.current

    async def _log_in(self) -> Login:
        """Log in, the omstation document, unless that was refused only just now."""
        self._refuse_while_denied()
        body = {"userName": self.options["username"], "password": _md5(self.options["password"])}
        try:
            reply = await self._post(replace(self.api, parse=parse_login), LOGIN, body, {})
        except AuthenticationError as error:
            told, count = _told(error, body["password"]), 1 + (self._denial.count if self._denial else 0)
            self._denial = Denial(code=told.code, text=str(told), at=time.time(), count=count)
            await self._keep(self._denial)
            raise self._denied(self._denial) from None
        except BackendError as error:
            raise _told(error, body["password"]) from None
        login = _login(reply)
        self._denial = None
        await self._keep(login)
        return login

    def _refuse_while_denied(self) -> None:
        if self._denial is not None and 0 <= time.time() - self._denial.at < _wait(self._denial):
            raise self._denied(self._denial)

    def _denied(self, denial: Denial) -> AuthenticationError:
        until = vendor_json.iso(datetime.fromtimestamp(int(denial.at + _wait(denial)), UTC))
        message = f"the login is refused: {denial.text}; not tried again before {until}"
        return AuthenticationError(message, endpoint=LOGIN, code=denial.code)

    @property
    def _account(self) -> str:
        return "\n".join((self.api.base, self.options["username"], self.options["password"]))

    async def _recall(self) -> None:
        """Take up what the last run kept."""
        self._recalled = True
        try:
            kept = await asyncio.to_thread(self.file.load, self._account)
        except OSError as error:
            _LOG.warning("%s cannot be read: %s", self.file.path, error.strerror)
            return
        if isinstance(kept, Denial):
            self._denial = kept
        else:
            self.current = kept

    async def _keep(self, kept: Login | Denial) -> None:
        try:
            await asyncio.to_thread(self.file.save, self._account, kept)
        except OSError as error:
            _LOG.warning("%s cannot be written, so a restart will log in again: %s", self.file.path, error.strerror)


def _login(reply: Mapping[str, Any]) -> Login:
    said = LoginData.model_validate(reply.get("data") if isinstance(reply.get("data"), dict) else {})
    if said.given_token is None:
        raise InvalidResponse(f"{LOGIN}: the answer has no tokenId", endpoint=LOGIN, code="no_token")
    return Login(
        token=said.given_token,
        org_id=said.orgId,
        org_name=said.orgName,
        time_diff=said.timeDiff,
        login_time=vendor_json.iso(said.loginTime or said.loginTimestamp),
    )


def _told(error: BackendError, secret: str) -> BackendError:
    """The same error without what is secret in the vendor's words; what 105 means is said, not "succeeded"."""
    words = str(error).replace(secret, "***")
    if isinstance(error, Ambiguous) and vendor_json.number(error.code) == UNKNOWN_OUTCOME:
        words = f"{error.endpoint}: the vendor answered 105 ({words}): the outcome is unknown, nothing was tried again"
        return Ambiguous(words, endpoint=error.endpoint, code=UNKNOWN_OUTCOME)
    return type(error)(words, endpoint=error.endpoint, code=error.code)


def _wait(denial: Denial) -> float:
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(denial.count - 1, 10))


def _md5(password: str) -> str:
    return hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()
