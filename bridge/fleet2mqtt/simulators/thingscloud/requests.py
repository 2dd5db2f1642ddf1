"""Requests to a simulated ThingsCloud: their arguments, refusals, and the table of operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fleet2mqtt.simulators.thingscloud.data import IDENTIFIER, Definition

Effect = Callable[[], object]
WriteResult = tuple[Any, Effect]
WRONG_ARGUMENT, NO_TOKEN, NOT_ALLOWED, NOT_FOUND = 400, 401, 403, 404
_SHAPES = {"object": dict, "list": list, "mappolygon": list, "dailytimer": list}


class RefusalError(Exception):
    """A refusal: `result` false with `errcode` and `message`; `bare` leaves `errors` out."""

    def __init__(self, message: str, code: int = WRONG_ARGUMENT, *, status: int = 200, bare: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.bare = bare


class Push(NamedTuple):
    """One push; without a response `status` is None and `reply` the error."""

    kind: str
    body: Any
    status: int | None
    reply: Any


class Token(NamedTuple):
    """A token, valid until `ends` on the monotonic clock; `account` if an administrator logged in."""

    account: str | None
    ends: float


class Sent(NamedTuple):
    """A message to a device; `reached` is true if the device was online to receive it."""

    kind: str  # attributes, command or data
    device: str
    body: Any
    reached: bool
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request; the methods raise `RefusalError` for what the document does not allow."""

    path: str
    match: Mapping[str, str]
    query: Mapping[str, str]
    body: dict[str, Any]
    account: str | None = None  # of the admin token

    def text(self, name: str, *, required: bool = True) -> str:
        """Return a text of the body; one that is not required may be missing, and is empty then."""
        value = self.body.get(name, None if required else "")
        require(isinstance(value, str) and (value or not required), f"参数错误: {name}")
        return str(value)

    def texts(self, name: str) -> dict[str, str]:
        """Return an object of texts, such as tags."""
        value = self.body.get(name)
        require(isinstance(value, dict) and all(isinstance(text, str) for text in value.values()), f"参数错误: {name}")
        return dict(value or {})

    def keys(self, name: str = "keys", *, least: int = 1) -> list[str]:
        """Return an array of texts."""
        value = self.body.get(name)
        require(isinstance(value, list) and all(isinstance(text, str) for text in value), f"参数错误: {name}")
        require(len(value or ()) >= least, f"参数错误: {name}")
        return list(value or ())

    def changes(self, *names: str) -> dict[str, str]:
        """Return the texts of the body; at least one, and no others than `names`."""
        require(self.body and self.body.keys() <= set(names), "参数错误: " + ", ".join(names))
        return {name: self.text(name, required=name == "name") for name in self.body}

    def whole(self, name: str, default: int | None = None) -> int | None:
        """Return a whole number of the query."""
        text = self.query.get(name)
        if text is None:
            return default
        require(text.isascii() and text.isdigit(), f"参数错误: {name}")
        return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of the document with its path.

    `run` returns the `info`; of an operation that `writes`, the `info` and the effect to apply.
    """

    method: str
    path: str
    run: Callable[[Any, ApiRequest], Any]
    writes: bool = False
    lists: bool = False
    is_open: bool = False  # needs no token


def require(condition: object, message: str, code: int = WRONG_ARGUMENT) -> None:
    """Raise RefusalError unless `condition` is true."""
    if not condition:
        raise RefusalError(message, code)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def fits(definition: Definition, spelling: tuple[Any, Any], value: Any) -> bool:
    """Return whether an attribute can have this value; a switch only in its device's spelling."""
    options = definition.options
    match definition.data_type:
        case "number":
            fitting = is_number(value) and options.get("min", value) <= value <= options.get("max", value)
        case "switch":
            fitting = any(type(value) is type(one) and value == one for one in spelling)
        case "enum":
            fitting = value in [option["value"] for option in options.get("options", ())]
        case "mappoint" | "mapcircle":
            fitting = isinstance(value, dict) and is_number(value.get("lat")) and is_number(value.get("lng"))
        case data_type:
            fitting = isinstance(value, _SHAPES.get(data_type, str))
    return fitting


def data_type_of(value: Any) -> str:
    """Return the data type of a value without a definition."""
    types = ((bool, "switch"), (int | float, "number"), (dict, "object"), (list, "list"))
    return next((name for classes, name in types if isinstance(value, classes)), "text")


def check_values(values: dict[str, Any]) -> None:
    """Raise RefusalError for values that are no set of attributes."""
    require(values, "属性不能为空")
    for identifier, value in values.items():
        require(IDENTIFIER.fullmatch(identifier) and value is not None, f"参数错误: {identifier}")
