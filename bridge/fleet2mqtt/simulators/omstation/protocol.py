"""The protocol of the omstation document and its public pages: codes, texts, the form of each request field."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time
from enum import IntEnum, StrEnum
from typing import Any

Tree = dict[str, Any]

DEVICE_TYPES = (701, 705, 709)
LANGUAGES = ("zh", "en")
STATION_TYPES = ("A", "B", "C")
DEVICE_TYPE_NAMES: Mapping[str, str] = {"701": "JT701", "705": "JT705C", "709": "JT709A"}
AUTH_TYPES = (0, 1, 2)  # single, period, permanent
PERIOD = 1
ALL = -2  # the status filter that filters nothing
UNUSED, EXPIRED = 0, 4
COLLECTION_STATUSES = (-1, 0, 1, 2, 3, 4)  # cancelled, unused, in use, used, stopped, expired
TRANSFER_STATUSES = (-1, 0, 1)

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,9})?Z?", re.ASCII)
_WHOLE = re.compile(r"[1-9][0-9]{0,8}")


class Code(IntEnum):
    """Status codes. 200 is the document's; the others are a sibling product's, 105 also addDeviceInfo's."""

    SUCCESS = 200
    PARAMETER = 102
    BAD_LOGIN = 103
    TOKEN = 104
    EXCEPTION = 105
    ACCOUNT_EXPIRED = 106
    COMMAND_FAILED = 108


SUCCESS = "Operation succeeded"
TEXTS: Mapping[int, str] = {
    Code.SUCCESS: SUCCESS,
    Code.PARAMETER: "Parameter error",
    Code.BAD_LOGIN: "Wrong user name or password",
    Code.TOKEN: "Token error or expired",
    Code.EXCEPTION: "System exception",
    Code.ACCOUNT_EXPIRED: "Account expired",
    Code.COMMAND_FAILED: "Command failed",
}


class TokenAnswer(StrEnum):
    """The response to a call without a valid token; which one the vendor gives is not published."""

    CODE = "code"  # 104
    UNAUTHORIZED = "401"  # the HTTP status
    FORBIDDEN = "403"  # the HTTP status
    MESSAGE = "message"  # code 1, and only the message says why


class RefusalError(Exception):
    """A refusal with a status code."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text or TEXTS[code])
        self.code = code


def refuse_unless(given: object, text: str) -> None:
    """Raise the refusal for a wrong parameter."""
    if not given:
        raise RefusalError(Code.PARAMETER, f"{TEXTS[Code.PARAMETER]}: {text}")


def md5_hex(text: str) -> str:
    """Return the form of a password on the wire (document: 32 digits, lower case in its sample)."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def parse_time(text: str) -> datetime:
    """Return a time in UTC, with or without its Z. Raises ValueError for another zone or form."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, clock, fraction = match.groups(default="")
    return datetime.fromisoformat(f"{day}T{clock}{(fraction or '.0')[:7].ljust(7, '0')}").replace(tzinfo=UTC)


def is_text(value: Any) -> bool:
    """Return True for any text, the empty one included."""
    return isinstance(value, str)


def is_filled(value: Any) -> bool:
    """Return True for a text that is not blank."""
    return isinstance(value, str) and value.strip() != ""


def parse_date(text: str) -> date:
    """Return a date such as 2024-03-07, the form of all samples. Raises ValueError for any other form."""
    if _DATE.fullmatch(text) is None:
        raise ValueError(text)
    return date.fromisoformat(text)


def is_date(value: Any) -> bool:
    """Return True for a text that is a date."""
    try:
        parse_date(value)
    except (TypeError, ValueError):
        return False
    return True


def parse_period(text: str, *, end: bool) -> datetime:
    """Return a limit of an authorisation's period: a time, or a date that counts whole. Raises ValueError.

    The page does not say in which form they are.
    """
    if _DATE.fullmatch(text) is None:
        return parse_time(text)
    return datetime.combine(parse_date(text), time.max if end else time.min, UTC)


def is_text_or_null(value: Any) -> bool:
    """Return True for any text and for null."""
    return value is None or isinstance(value, str)


def is_json_text(value: Any) -> bool:
    """Return True for a text that contains JSON."""
    try:
        json.loads(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)


def is_whole_text(value: Any) -> bool:
    """Return True for a whole number from 1, as text: `totalCount`."""
    return isinstance(value, str) and _WHOLE.fullmatch(value) is not None


def is_whole(value: Any) -> bool:
    """Return True for a whole number from 1, as number or as text: `pageNum`."""
    return (type(value) is int and value >= 1) or is_whole_text(value)


def one_of(allowed: Iterable[int]) -> Callable[[Any], bool]:
    """Return a check for one of these numbers; true and 1.0 are none."""
    numbers = frozenset(allowed)
    return lambda value: type(value) is int and value in numbers


def one_of_or_text(allowed: Iterable[int]) -> Callable[[Any], bool]:
    """Return a check for one of these numbers, or a text of one: `type` is both on its page."""
    numbers = frozenset(allowed)
    texts = frozenset(map(str, numbers))
    return lambda value: value in texts if isinstance(value, str) else type(value) is int and value in numbers


def is_slots(value: Any) -> bool:
    """Return True for a `latticeAssetList`: objects of `typeId`, `stationType` and `index`, no place twice."""
    if not isinstance(value, list) or not all(isinstance(slot, dict) for slot in value):
        return False
    if not all(slot.keys() == {"typeId", "stationType", "index"} for slot in value):
        return False
    places = [(slot["stationType"], str(slot["index"])) for slot in value]
    kinds = all(type(slot["typeId"]) is int and slot["typeId"] in DEVICE_TYPES for slot in value)
    return (
        kinds
        and all(slot["stationType"] in STATION_TYPES and type(slot["index"]) is int for slot in value)
        and all(slot["index"] >= 1 for slot in value)
        and len(set(places)) == len(places)
    )


def device_type(value: Any) -> int:
    """Return 701, 705 or 709, given as number or as text; anything else is refused."""
    number = next((known for known in DEVICE_TYPES if value == str(known) or value == known), None)
    refuse_unless(number is not None and type(value) in (int, str), f"deviceType {value!r}")
    return int(number or 0)


def list_in_text(body: Tree, name: str) -> list[Any]:
    """Return a field that is a JSON list inside a text, and not an empty one; anything else is refused."""
    inner = _inside_text(body[name])
    refuse_unless(isinstance(inner, list) and inner, f"{name} must be a JSON list as text")
    return list(inner)


def object_in_text(body: Tree, name: str) -> Tree:
    """Return a field that is a JSON object inside a text, and not an empty one; anything else is refused."""
    inner = _inside_text(body[name])
    refuse_unless(isinstance(inner, dict) and inner, f"{name} must be a JSON object as text")
    return dict(inner)


def _inside_text(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return None


def check_fields(
    body: Tree, required: Mapping[str, Callable[[Any], bool]], optional: Mapping[str, Callable[[Any], bool]]
) -> None:
    """Refuse a body that lacks a required field, has one of another form, or one that no page names."""
    for name in required:
        refuse_unless(name in body, f"{name} is missing")
    checks = {**required, **optional}
    for name, value in body.items():
        refuse_unless(name in checks, f"{name} is unknown")
        refuse_unless(checks[name](value), name)
