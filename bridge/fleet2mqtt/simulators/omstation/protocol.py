"""What the omstation document and its public pages say about the wire: codes, texts, the form of each request field."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

Tree = dict[str, Any]

DEVICE_TYPES = (701, 705, 709)
LANGUAGES = ("zh", "en")
STATION_TYPES = ("A", "B", "C")
AUTH_TYPES = (0, 1, 2)  # single, period, permanent
PERIOD = 1
ALL = -2  # the status filter that filters nothing
COLLECTION_STATUSES = (-1, 0, 1, 2, 3, 4)  # cancelled, unused, in use, used, stopped, expired
TRANSFER_STATUSES = (-1, 0, 1)

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,9})?Z?", re.ASCII)
_WHOLE = re.compile(r"[1-9][0-9]{0,8}")


class Code(IntEnum):
    """200 is the document's; the others are published for a sibling product only, and 105 for addDeviceInfo."""

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
    """How a call without a token that holds is answered; which one the vendor does is not published."""

    CODE = "code"  # 104
    UNAUTHORIZED = "401"  # the HTTP status
    FORBIDDEN = "403"  # the HTTP status
    MESSAGE = "message"  # code 1, and only the message says why


class RefusalError(Exception):
    """The vendor says no, with this code."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text or TEXTS[code])
        self.code = code


def refuse_unless(given: object, text: str) -> None:
    """Raise the refusal for a wrong parameter."""
    if not given:
        raise RefusalError(Code.PARAMETER, f"{TEXTS[Code.PARAMETER]}: {text}")


def md5_hex(text: str) -> str:
    """The form of a password on the wire (document: 32 digits, lower case in its sample)."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def parse_time(text: str) -> datetime:
    """A time in UTC, with or without the Z that says so. Raises ValueError for another zone or form."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, clock, fraction = match.groups(default="")
    return datetime.fromisoformat(f"{day}T{clock}{(fraction or '.0')[:7].ljust(7, '0')}").replace(tzinfo=UTC)


def is_text(value: Any) -> bool:
    """Any text, the empty one included."""
    return isinstance(value, str)


def is_filled(value: Any) -> bool:
    """A text with something in it."""
    return isinstance(value, str) and value.strip() != ""


def is_time(value: Any) -> bool:
    """A text that is a time in UTC."""
    try:
        parse_time(value)
    except (TypeError, ValueError):
        return False
    return True


def is_time_or_blank(value: Any) -> bool:
    """As is_time, or the empty text."""
    return value == "" or is_time(value)


def is_whole_text(value: Any) -> bool:
    """A whole number from 1, as text: `totalCount`."""
    return isinstance(value, str) and _WHOLE.fullmatch(value) is not None


def is_whole(value: Any) -> bool:
    """A whole number from 1, as number or as text: `pageNum`."""
    return (type(value) is int and value >= 1) or is_whole_text(value)


def one_of(allowed: Iterable[int]) -> Callable[[Any], bool]:
    """A check for a number among these; true and 1.0 are none."""
    numbers = frozenset(allowed)
    return lambda value: type(value) is int and value in numbers


def is_slots(value: Any) -> bool:
    """`latticeAssetList`: objects of exactly `typeId`, `stationType` and `index`, no place twice."""
    if not isinstance(value, list) or not all(isinstance(slot, dict) for slot in value):
        return False
    if not all(slot.keys() == {"typeId", "stationType", "index"} for slot in value):
        return False
    places = [(slot["stationType"], str(slot["index"])) for slot in value]
    kinds = all(type(slot["typeId"]) is int or is_filled(slot["typeId"]) for slot in value)
    return (
        kinds
        and all(slot["stationType"] in STATION_TYPES and is_whole(slot["index"]) for slot in value)
        and len(set(places)) == len(places)
    )


def device_type(value: Any) -> int:
    """701, 705 or 709, as number or as text. Raises the refusal for anything else."""
    number = next((known for known in DEVICE_TYPES if value == str(known) or value == known), None)
    refuse_unless(number is not None and type(value) in (int, str), f"deviceType {value!r}")
    return int(number or 0)


def list_in_text(body: Tree, name: str) -> list[Any]:
    """A field that is a JSON list inside a text, and not an empty one; anything else is refused."""
    try:
        inner = json.loads(body[name])
    except (TypeError, ValueError):
        inner = None
    refuse_unless(isinstance(inner, list) and inner, f"{name} has to be a JSON list as text")
    return list(inner or ())


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
