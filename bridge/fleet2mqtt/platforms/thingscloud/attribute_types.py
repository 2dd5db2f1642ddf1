"""The spellings that ThingsCloud may use for types, write modes and options.

The document leaves them open, so each is matched in every spelling that is likely.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Any

from fleet2mqtt.platforms.thingscloud.models import JsonObject
from fleet2mqtt.sdk import vendor_json


class AttributeType(StrEnum):
    """The type of an attribute's values."""

    NUMBER = "number"
    SWITCH = "switch"
    ENUM = "enum"
    TEXT = "text"
    JSON = "json"
    POINT = "point"


class WriteMode(StrEnum):
    """The treatment of a write: refused, not documented, sent to the device, or kept in the cloud's copy."""

    READ = "read"
    UNKNOWN = "unknown"
    DEVICE = "device"
    CLOUD = "cloud"


_TYPE_WORDS = {
    AttributeType.NUMBER: "number numeric float double decimal real int int32 int64 integer long 数值 数字 整数",
    AttributeType.SWITCH: "switch bool boolean 开关 布尔",
    AttributeType.ENUM: "enum enumeration select 枚举",
    AttributeType.TEXT: "text string str 文本 字符串",
    AttributeType.JSON: "json object struct list array mapcircle mappolygon dailytimer 对象 列表 数组",
    AttributeType.POINT: "mappoint point location geo gps 地图点 坐标",
}
_MODE_WORDS = {
    WriteMode.READ: "report reported devicereport up upload uplink readonly read r ro 设备上报 上报",
    WriteMode.DEVICE: (
        "push cloudpush issue down download downlink set w wo write writeonly "
        "both share shared cloudshare deviceshare sync rw readwrite 云端下发 下发 设备云端共享 共享"
    ),
    WriteMode.CLOUD: "cloud cloudonly cloudprivate private 云端私有 私有",
}
_TYPE_BY_WORD = MappingProxyType({word: type_ for type_, words in _TYPE_WORDS.items() for word in words.split()})
_MODE_BY_WORD = MappingProxyType({word: mode for mode, words in _MODE_WORDS.items() for word in words.split()})


def _normalize(text: str | None) -> str:
    return "".join(character for character in (text or "").lower() if character not in " _-")


def parse_type(text: str | None) -> AttributeType | None:
    """Return the type that a `data_type` names, in any spelling."""
    return _TYPE_BY_WORD.get(_normalize(text))


def infer_type(value: Any) -> AttributeType | None:
    """Return the type of a value without a definition; None for null."""
    if isinstance(value, bool):
        return AttributeType.SWITCH
    if isinstance(value, int | float):
        return AttributeType.NUMBER
    if isinstance(value, dict | list):
        return AttributeType.POINT if _is_point(value) else AttributeType.JSON
    return None if value is None else AttributeType.TEXT


def _is_point(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"lat", "lng"}


def parse_write_mode(text: str | None) -> WriteMode:
    """Return the write mode that an `attr_type` names, in any spelling."""
    return _MODE_BY_WORD.get(_normalize(text), WriteMode.UNKNOWN)


def first_option(options: JsonObject, *names: str) -> Any:
    """Return the first of these members that `data_options` has."""
    return next((options[name] for name in names if options.get(name) is not None), None)


def parse_choices(options: JsonObject) -> tuple[tuple[str, str], ...]:
    """Return the values of an enumeration with their labels, from a list or an object of either."""
    items = first_option(options, "options", "enum", "items", "values")
    if isinstance(items, dict):
        items = [{"value": value, "label": label} for value, label in items.items()]
    choices: dict[str, str] = {}
    for item in items if isinstance(items, list) else ():
        fields = item if isinstance(item, dict) else {"value": item}
        value = vendor_json.text(first_option(fields, "value", "key", "id", "name"))
        if value is not None:
            choices.setdefault(value, vendor_json.text(first_option(fields, "label", "text", "title", "name")) or value)
    return tuple(choices.items())
