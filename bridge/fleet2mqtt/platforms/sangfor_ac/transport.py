"""Signing, sending and classifying one AC call: what all calls have in common."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from fleet2mqtt.errors import (
    Ambiguous,
    AuthenticationError,
    BackendError,
    InvalidResponse,
    RateLimited,
    Rejected,
)
from fleet2mqtt.platforms.sangfor_ac.models import Item
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import Envelope, HttpClient

BUSY_WAITS = (1, 2, 4)
"""Pauses of a reading after each 系统繁忙 before it is repeated, in spacings."""

LISTS = frozenset(
    ("bind_cfg", "ipmac", "ou", "aduser", "adgroup", "exc_aduser", "attribute", "user_attr_grp", "sourceip")
) | {"location", "terminal", "target_area", "value", "users", "children", "childrens", "policy"}
"""Fields that are lists, and that devices send as {} when they are empty."""

REDIRECTS = frozenset((301, 302, 303, 307, 308))
_NO_PATH = frozenset((404, 405, 501))
_DENIED = re.compile(
    r"white ?list|白名单|service isn.t enabled|服务未启用|permission|权限校验|from local|本地请求",
    re.IGNORECASE,
)
_BUSY = re.compile(r"繁忙|\bbusy\b", re.IGNORECASE)
_FORMAT = re.compile(r"数据格式不正确|\bformat\b", re.IGNORECASE)
_NOT_FOUND = re.compile(r"不存在|没有数据|\bno data\b|not exist|n.t exist|not found", re.IGNORECASE)


class Verb(StrEnum):
    """Method of a call. HTTP has GET and POST; `_method` in the URL makes a POST one of the others."""

    GET = "GET"
    QUERY = "POST GET"
    CREATE = "POST"
    MODIFY = "POST PUT"
    DELETE = "POST DELETE"


def classify(_: Any, text: str) -> type[BackendError] | None:
    """Return the error class of a refusal: there is no table of codes, only texts in two languages (document, 四)."""
    return AuthenticationError if _DENIED.search(text) else RateLimited if _BUSY.search(text) else None


ENVELOPE = Envelope(member="code", success=(0, "0"), texts=("message",), classify=classify)


def is_missing(error: BackendError) -> bool:
    """Return True if this system has no such call, in the ways a BBC centre or old firmware says so."""
    if error.code in _NO_PATH or error.code in REDIRECTS:
        return True
    return _FORMAT.search(_refusal(error)) is not None


def is_not_found(error: BackendError) -> bool:
    """Return True if the AC does not have what was asked for; it says so as an error."""
    return _NOT_FOUND.search(_refusal(error)) is not None


def _refusal(error: BackendError) -> str:
    """Return the AC's own text; "" where HTTP failed, whose page may contain 404 Not Found."""
    refused = isinstance(error, Rejected) and not str(error).startswith(f"{error.endpoint}: HTTP ")
    return str(error) if refused else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Endpoint of the AC, such as `online-users` with `_method=DELETE`."""

    verb: Verb
    path: str

    @property
    def name(self) -> str:
        """Name in health, metrics and errors: `DELETE online-users`."""
        return f"{self.verb.split()[-1]} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A signed request, which is sent once."""

    method: str
    path: str
    params: Mapping[str, str] | None
    json: Mapping[str, Any] | None


def sign(key: str, call: Call, fields: Mapping[str, Any], prefix: str = "/v1") -> Request:
    """Return the request of one attempt; `fields` are the query of a GET, the body of a POST.

    `random` works once an hour, so that each attempt, a repeated one too, needs one of its own. `_method` is in the
    URL and nowhere else: without it a query for online users would be a login.
    """
    transport, _, override = call.verb.partition(" ")
    random = secrets.token_hex(16)
    md5 = hashlib.md5(f"{key}{random}".encode(), usedforsecurity=False).hexdigest()
    fields = {**fields, "random": random, "md5": md5}
    path = f"{prefix}/{call.path}" + (f"?_method={override}" if override else "")
    sound = path.count("?") == bool(override) and path.endswith(f"_method={override}" if override else call.path)
    if "_method" in fields or not sound:
        raise AssertionError(f"{call.name}: _method belongs into the URL, once")
    get = transport == "GET"
    return Request(method=transport, path=path, params=fields if get else None, json=None if get else fields)


def parse(data: bytes) -> Any:
    """Parse a response, with the lists that were sent as {} as lists. Raises InvalidResponse."""
    return _restore_lists(vendor_json.parse(data))


def parse_reading(data: bytes) -> Any:
    """Parse the response to a reading, where some devices leave out the code beside the data."""
    reply = parse(data)
    return {"code": 0, **reply} if isinstance(reply, dict) and "data" in reply else reply


def _restore_lists(value: Any, name: str = "") -> Any:
    if isinstance(value, list):
        return [_restore_lists(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not value and name in LISTS:
        return []
    return {key: _restore_lists(item, key) for key, item in value.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """The calls to one AC. Every method raises BackendError; a response without data is InvalidResponse."""

    http: HttpClient
    key: str = field(repr=False)
    spacing: float
    headers: Mapping[str, str] = field(default_factory=dict)
    prefix: str = "/v1"

    async def number(self, path: str) -> float:
        """Read a number."""
        number = vendor_json.number(await self.data(Verb.GET, path))
        if number is None:
            raise no_data(path)
        return number

    async def text(self, path: str) -> str:
        """Read a text."""
        text = vendor_json.text(await self.data(Verb.GET, path))
        if text is None:
            raise no_data(path)
        return text

    async def object(self, verb: Verb, path: str, fields: Mapping[str, Any] | None = None) -> Item:
        """Read an object that is not empty."""
        data = await self.data(verb, path, fields)
        if not isinstance(data, dict) or not data:
            raise no_data(path)
        return data

    async def items(self, verb: Verb, path: str, fields: Mapping[str, Any] | None = None) -> tuple[Item, ...]:
        """Read a list of objects, which may be empty."""
        items = object_items(await self.data(verb, path, fields))
        if items is None:
            raise no_data(path)
        return items

    async def values(self, path: str, fields: Mapping[str, Any]) -> list[Any]:
        """Read a list of any values, which may be empty."""
        data = await self.data(Verb.GET, path, fields)
        if not isinstance(data, list) and data != {}:
            raise no_data(path)
        return list(data)

    async def search(self, path: str, fields: Mapping[str, Any]) -> tuple[Item, ...]:
        """Read what a search finds; "not found", which is an error to the AC, is an empty result."""
        try:
            return await self.items(Verb.GET, path, fields)
        except BackendError as error:
            if is_not_found(error):
                return ()
            raise

    async def data(self, verb: Verb, path: str, fields: Mapping[str, Any] | None = None) -> Any:
        """Read the data of a response. A busy AC is asked again, with a signature of its own each time."""
        http, call = replace(self.http, parse=parse_reading), Call(verb=verb, path=path)
        for wait in BUSY_WAITS:
            try:
                return (await self._send(http, call, fields or {})).get("data")
            except RateLimited as error:
                if error.code in (429, 503):  # by HTTP: the whole system asks for a pause, which its Retry-After has
                    raise
                await asyncio.sleep(wait * self.spacing)
        return (await self._send(http, call, fields or {})).get("data")

    async def write(self, verb: Verb, path: str, fields: Mapping[str, Any]) -> Item:
        """Send a write, never twice, and return the response; Ambiguous if that says nothing."""
        try:
            return await self._send(self.http, Call(verb=verb, path=path), fields)
        except InvalidResponse as error:
            message = f"{error}; whether it was carried out is not known"
            raise Ambiguous(message, endpoint=error.endpoint, code=error.code) from error

    async def _send(self, http: HttpClient, call: Call, fields: Mapping[str, Any]) -> Item:
        request = sign(self.key, call, fields, self.prefix)
        try:
            return await http.call(
                request.method,
                request.path,
                endpoint=call.name,
                params=request.params,
                headers=self.headers,
                json=request.json,
                writes=True,  # also of a reading: the HTTP client must not repeat a request, whose random is used then
            )
        except InvalidResponse as error:
            if error.code not in REDIRECTS:
                raise
            message = f"{call.name}: HTTP {error.code}, a redirection: the url has the wrong port, or https for http"
            raise AuthenticationError(message, endpoint=call.name, code=error.code) from error


def object_items(data: Any) -> tuple[Item, ...] | None:
    """Return the objects of a list; a single object is a list of one, {} an empty list; None for other data."""
    if isinstance(data, dict):
        return (data,) if data else ()
    return tuple(item for item in data if isinstance(item, dict)) if isinstance(data, list) else None


def no_data(path: str) -> InvalidResponse:
    """Return the error of a response that says success and has no data."""
    return InvalidResponse(f"{path}: the answer has no data", endpoint=path, code="no_data")
