"""What every call to an AC has in common: its address, its signature, and what its answers mean."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet2mqtt.errors import AuthenticationError, BackendError, RateLimited, Rejected
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import Envelope


class Verb(StrEnum):
    """What a call does. On the wire there are GET and POST; `_method` in the URL makes a POST one of the others."""

    GET = "GET"
    QUERY = "POST GET"
    CREATE = "POST"
    MODIFY = "POST PUT"
    DELETE = "POST DELETE"


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


def classify(_: Any, text: str) -> type[BackendError] | None:
    """The error that a refusal means: there is no table of codes, only texts, in two languages (document, part 4)."""
    return AuthenticationError if _DENIED.search(text) else RateLimited if _BUSY.search(text) else None


ENVELOPE = Envelope(member="code", success=(0, "0"), texts=("message",), classify=classify)


def is_missing(error: BackendError) -> bool:
    """Whether this system has no such call, as a BBC centre or old firmware says it."""
    if error.code in _NO_PATH or error.code in REDIRECTS:
        return True
    return _FORMAT.search(_said(error)) is not None


def is_not_found(error: BackendError) -> bool:
    """Whether what was asked for is not there; the AC says so as an error."""
    return _NOT_FOUND.search(_said(error)) is not None


def _said(error: BackendError) -> str:
    """The AC's own words; none where HTTP failed, whose page may say 404 Not Found."""
    refused = isinstance(error, Rejected) and not str(error).startswith(f"{error.endpoint}: HTTP ")
    return str(error) if refused else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One of the AC's calls, such as `online-users` with `_method=DELETE`."""

    verb: Verb
    path: str

    @property
    def name(self) -> str:
        """For health, metrics and errors: `DELETE online-users`."""
        return f"{self.verb.split()[-1]} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call ready to be sent: once."""

    method: str
    path: str
    params: Mapping[str, str] | None
    json: Mapping[str, Any] | None


def sign(key: str, call: Call, fields: Mapping[str, Any], prefix: str = "/v1") -> Request:
    """The request of one attempt; `fields` are the query of a GET, the body of a POST.

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
    """Read a reply, with the lists that were sent as {} as lists. Raises InvalidResponse."""
    return _lists(vendor_json.parse(data))


def parse_reading(data: bytes) -> Any:
    """The same for an answer to a question, where some devices leave out the code beside the data."""
    reply = parse(data)
    return {"code": 0, **reply} if isinstance(reply, dict) and "data" in reply else reply


def _lists(value: Any, name: str = "") -> Any:
    if isinstance(value, list):
        return [_lists(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not value and name in LISTS:
        return []
    return {key: _lists(item, key) for key, item in value.items()}
