"""The protocol of a simulated AC: refusals in two languages, permission check, and checks of requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from hashlib import md5
from ipaddress import AddressValueError, IPv4Address
from typing import Any

Tree = dict[str, Any]

MAC = re.compile(r"([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}")
GROUP = re.compile(r"/|(/[^/]+){1,15}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


class Problem(StrEnum):
    """Reasons for which the AC refuses."""

    LOCAL_ONLY = "local_only"
    DISABLED = "disabled"
    NOT_WHITELISTED = "not_whitelisted"
    PERMISSION = "permission"
    UNKNOWN = "unknown"
    NO_RANDOM = "no_random"
    FORMAT = "format"
    BUSY = "busy"
    NOT_FOUND = "not_found"
    EXISTS = "exists"
    PROTECTED = "protected"


class Chapter(StrEnum):
    """The chapters of the Sangfor document; firmware and a BBC centre lack some."""

    STATUS = "status"
    USERS = "users"
    POLICIES = "policies"
    BINDINGS = "bindings"
    ONLINE = "online-users"


# Chinese, English: Sangfor document, part 四, then texts of devices, in the one language they were seen in.
# No source has the last three.
_NO_RANDOM = "The random string and MD5 value of permission check can't be empty!"
_FORMAT = "请求的接口数据格式不正确!"
_BUSY = "系统繁忙,请稍后再试!"
TEXTS: Mapping[Problem, tuple[str, str]] = {
    Problem.LOCAL_ONLY: ("只支持本地请求!", "Need request from local!"),
    Problem.DISABLED: ("Restful服务未启用!", "Restful service isn't enabled!"),
    Problem.NOT_WHITELISTED: ("请求的IP不在白名单!", "IP of request isn't in white list!"),
    Problem.PERMISSION: ("权限校验失败!", "Permission check failed!"),
    Problem.UNKNOWN: ("未知错误,获取数据失败!", "Unknow error, fail to acquire data!"),
    Problem.NO_RANDOM: (_NO_RANDOM, _NO_RANDOM),
    Problem.FORMAT: (_FORMAT, _FORMAT),
    Problem.BUSY: (_BUSY, _BUSY),
    Problem.NOT_FOUND: ("数据不存在!", "There is no data!"),
    Problem.EXISTS: ("数据已存在!", "The data exists already!"),
    Problem.PROTECTED: ("不允许的操作!", "The operation isn't allowed!"),
}


class RefusalError(Exception):
    """A refusal of the AC: HTTP 200, code 1 and a text."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    def text(self, *, chinese: bool) -> str:
        """Return the text in the language that was requested."""
        return TEXTS[self.problem][0 if chinese else 1]


def digest(key: str, random: str) -> str:
    """Return the value of `md5` that goes with `random`."""
    return md5(f"{key}{random}".encode()).hexdigest()  # noqa: S324 - the vendor's choice


def check_fields(body: Tree, fields: Iterable[tuple[str, type | tuple[type, ...]]]) -> None:
    """Refuse a body in which a required field is missing or of another JSON type (true is no number)."""
    for name, kind in fields:
        require(type(body.get(name)) in (kind if isinstance(kind, tuple) else (kind,)))


def require(given: object, problem: Problem = Problem.FORMAT) -> None:
    """Refuse, unless `given` is true."""
    if not given:
        raise RefusalError(problem)


def optional(body: Tree, name: str, default: Any) -> Any:
    """Return a field that need not be there, and has the default's type if it is."""
    value = body.get(name, default)
    require(type(value) is type(default))
    return value


def check_texts(value: Any) -> list[str]:
    """Return a list of texts, or refuse it."""
    require(isinstance(value, list) and all(isinstance(text, str) for text in value))
    texts: list[str] = value
    return texts


def check_ip(text: Any) -> int:
    """Return an IPv4 address as a number, or refuse it."""
    require(isinstance(text, str))
    try:
        return int(IPv4Address(text))
    except AddressValueError as error:
        raise RefusalError(Problem.FORMAT) from error


def check_range(text: str) -> tuple[int, int]:
    """Return the first and the last of an address or of a range "a-b", or refuse it."""
    first, _, last = text.partition("-")
    ends = check_ip(first), check_ip(last if "-" in text else first)
    require(ends[0] <= ends[1])
    return ends


def check_mac(text: Any) -> str:
    """Return a MAC address in capitals, or refuse it."""
    require(isinstance(text, str) and MAC.fullmatch(text))
    return str(text).upper()


def check_group(path: Any) -> str:
    """Return a group's path, or refuse it: no leading slash, or more than 15 levels."""
    require(isinstance(path, str) and GROUP.fullmatch(path))
    return str(path)


def check_time(text: Any) -> str:
    """Return "YYYY-MM-DD hh:mm:ss" or "", or refuse it."""
    require(isinstance(text, str) and (text == "" or TIME.fullmatch(text)))
    return str(text)


def braces_for_empty(value: Any) -> Any:
    """Return the value with `{}` in the place of every empty array."""
    if isinstance(value, dict):
        return {name: braces_for_empty(part) for name, part in value.items()}
    if isinstance(value, list):
        return [braces_for_empty(part) for part in value] or {}
    return value


def number_texts(value: Any) -> Any:
    """Return a number, or the numbers right in an object, as texts."""
    if isinstance(value, dict):
        return {name: number_texts(part) if _is_number(part) else part for name, part in value.items()}
    return str(value) if _is_number(value) else value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
