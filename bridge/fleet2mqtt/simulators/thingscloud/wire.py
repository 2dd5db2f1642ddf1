"""How a simulated ThingsCloud speaks: what a call asks, what is refused, and oddities that a real server may have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fleet2mqtt.simulators.thingscloud.data import IDENTIFIER, Attribute, Definition

Effect = Callable[[], object]
Written = tuple[Any, Effect]
WRONG_ARGUMENT, NO_TOKEN, NOT_ALLOWED, NOT_FOUND = 400, 401, 403, 404
_TYPES = {
    "number": "float",
    "switch": "bool",
    "text": "string",
    "enum": "Enum",
    "object": "Object",
    "list": "array",
    "mappoint": "MapPoint",
    "mapcircle": "MapCircle",
    "mappolygon": "MapPolygon",
    "dailytimer": "DailyTimer",
}
_SHAPES = {"object": dict, "list": list, "mappolygon": list, "dailytimer": list}
_CLASSES = {"report": "设备上报", "push": "云端下发", "both": "设备云端共享", "cloud": "云端私有"}
_OPTIONS = {"precision": "decimal", "options": "items"}


class RefusalError(Exception):
    """The server's "no": `result` false with `errcode` and `message`; `bare` leaves `errors` out."""

    def __init__(self, message: str, code: int = WRONG_ARGUMENT, *, status: int = 200, bare: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.bare = bare


class Push(NamedTuple):
    """One push; `status` is None and `reply` the error where nobody answered."""

    kind: str
    body: Any
    status: int | None
    reply: Any


class Token(NamedTuple):
    """A token that was given out, until `ends` on the monotonic clock; `account` where an administrator logged in."""

    account: str | None
    ends: float


class Sent(NamedTuple):
    """What was sent to a device; `reached` says whether the device was there to take it."""

    kind: str  # attributes, command or data
    device: str
    body: Any
    reached: bool
    at: int


@dataclass(slots=True, kw_only=True)
class Quirks:
    """Where the document is silent, or its copies differ; all off by default."""

    empty_as_list: bool = False  # {} arrives as []
    customers_without_role: bool = False
    data_type_aliases: bool = False  # "float", "bool", "array", "Enum" …
    option_aliases: bool = False  # `decimal` for `precision`, `items` for `options`
    chinese_attr_types: bool = False
    series_timestamp: bool = False  # `timestamp` for `ts` in series
    drifting_pages: bool = False  # a device moves to the page that was just read, another one is missed
    no_expires_in: bool = False
    create_time_ms: bool = False  # milliseconds; off: seconds
    token_401: bool = False  # HTTP 401 for a token that is missing, unknown or expired; off: 200 with result false
    ignores_page_records: bool = False  # of the device lists, where it is undocumented
    clamps_page_records: bool = False  # of series: 500 gives 100; off: refused

    def encode(self, payload: Any) -> bytes:
        """The bytes of an answer or a push."""
        return json.dumps(_listed(payload) if self.empty_as_list else payload, ensure_ascii=False).encode()

    def created(self, milliseconds: int) -> int:
        """A `create_time` or `update_time`."""
        return milliseconds if self.create_time_ms else milliseconds // 1000

    def data_type(self, definition: Definition) -> str:
        """The wire's word for a data type."""
        return _TYPES.get(definition.data_type, "") if self.data_type_aliases else definition.data_type

    def attribute(self, attribute: Attribute) -> dict[str, Any]:
        """A row of the attribute list."""
        definition = attribute.definition
        kinds = {
            "attr_type": _CLASSES[definition.attr_type] if self.chinese_attr_types else definition.attr_type,
            "data_type": self.data_type(definition),
        }
        row = {"identifier": definition.identifier, "value": attribute.value, **kinds, "ts": attribute.ts}
        if definition.modelled:
            names = _OPTIONS if self.option_aliases else {}
            options = {names.get(name, name): value for name, value in definition.options.items()}
            row["model"] = {"name": definition.name, **kinds, "data_options": options}
        return row

    def customer(self, customer: dict[str, Any], *, role: bool = True) -> dict[str, Any]:
        """A customer as it is shown: no password, and a count of the devices."""
        hidden = {"password", "devices"} | (set() if role and not self.customers_without_role else {"role_id"})
        row = {name: value for name, value in customer.items() if name not in hidden}
        count = {"device_count": len(customer["devices"])}
        return row | {"create_time": self.created(customer["create_time"]), "count": count}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call with its parts; the methods raise `RefusalError` for what the document does not allow."""

    path: str
    match: Mapping[str, str]
    query: Mapping[str, str]
    body: dict[str, Any]
    account: str | None = None  # whose admin token it is

    def text(self, name: str, *, required: bool = True) -> str:
        """A text of the body; one that is not required may be missing, and is empty then."""
        value = self.body.get(name, None if required else "")
        require(isinstance(value, str) and (value or not required), f"参数错误: {name}")
        return str(value)

    def texts(self, name: str) -> dict[str, str]:
        """An object of texts, such as tags."""
        value = self.body.get(name)
        require(isinstance(value, dict) and all(isinstance(text, str) for text in value.values()), f"参数错误: {name}")
        return dict(value or {})

    def keys(self, name: str = "keys", *, least: int = 1) -> list[str]:
        """An array of texts."""
        value = self.body.get(name)
        require(isinstance(value, list) and all(isinstance(text, str) for text in value), f"参数错误: {name}")
        require(len(value or ()) >= least, f"参数错误: {name}")
        return list(value or ())

    def some(self, *names: str) -> dict[str, str]:
        """Those of the texts `names` that are there, at least one, and nothing else."""
        require(self.body and self.body.keys() <= set(names), "参数错误: " + ", ".join(names))
        return {name: self.text(name, required=name == "name") for name in self.body}

    def whole(self, name: str, default: int | None = None) -> int | None:
        """A whole number of the query."""
        text = self.query.get(name)
        if text is None:
            return default
        require(text.isascii() and text.isdigit(), f"参数错误: {name}")
        return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of the document: its path, what it does, and of what kind it is.

    `run` answers with the `info`; of one that `writes`, with the `info` and what then has to be done.
    """

    method: str
    path: str
    run: Callable[[Any, Ask], Any]
    writes: bool = False
    lists: bool = False
    is_open: bool = False  # needs no token


def require(given: object, message: str, code: int = WRONG_ARGUMENT) -> None:
    """Refuse unless `given`."""
    if not given:
        raise RefusalError(message, code)


def is_number(value: Any) -> bool:
    """Whether JSON has a finite number here, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def fits(definition: Definition, spelling: tuple[Any, Any], value: Any) -> bool:
    """Whether an attribute of this kind can have this value; a switch only as its device spells it."""
    options = definition.options
    match definition.data_type:
        case "number":
            right = is_number(value) and options.get("min", value) <= value <= options.get("max", value)
        case "switch":
            right = any(type(value) is type(one) and value == one for one in spelling)
        case "enum":
            right = value in [option["value"] for option in options.get("options", ())]
        case "mappoint" | "mapcircle":
            right = isinstance(value, dict) and is_number(value.get("lat")) and is_number(value.get("lng"))
        case kind:
            right = isinstance(value, _SHAPES.get(kind, str))
    return right


def kind_of(value: Any) -> str:
    """The data type of a value that came without a definition."""
    kinds = ((bool, "switch"), (int | float, "number"), (dict, "object"), (list, "list"))
    return next((kind for types, kind in kinds if isinstance(value, types)), "text")


def check_values(values: dict[str, Any]) -> None:
    """Refuse what can be no set of attributes. Raises `RefusalError`."""
    require(values, "属性不能为空")
    for identifier, value in values.items():
        require(IDENTIFIER.fullmatch(identifier) and value is not None, f"参数错误: {identifier}")


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(part) for key, part in value.items()} if value else []
    return [_listed(part) for part in value] if isinstance(value, list) else value
