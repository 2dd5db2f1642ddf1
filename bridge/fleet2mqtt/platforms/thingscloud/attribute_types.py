"""The words a ThingsCloud may use where its document names none: kinds of data, who may write, options, units.

The document leaves the wire strings open (findings 3.2), so each is matched in every spelling that is likely.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Any

from fleet2mqtt.platforms.thingscloud.models import Row
from fleet2mqtt.sdk import vendor_json


class Kind(StrEnum):
    """What a value is."""

    NUMBER = "number"
    SWITCH = "switch"
    ENUM = "enum"
    TEXT = "text"
    JSON = "json"
    POINT = "point"


class Way(StrEnum):
    """What becomes of a write: none, sent to the device, or kept in the cloud."""

    READ = "read"
    UNKNOWN = "unknown"
    DEVICE = "device"
    CLOUD = "cloud"


_KINDS = {
    Kind.NUMBER: "number numeric float double decimal real int int32 int64 integer long 数值 数字 整数",
    Kind.SWITCH: "switch bool boolean 开关 布尔",
    Kind.ENUM: "enum enumeration select 枚举",
    Kind.TEXT: "text string str 文本 字符串",
    Kind.JSON: "json object struct list array mapcircle mappolygon dailytimer 对象 列表 数组",
    Kind.POINT: "mappoint point location geo gps 地图点 坐标",
}
_WAYS = {
    Way.READ: "report reported devicereport up upload uplink readonly read r ro 设备上报 上报",
    Way.DEVICE: (
        "push cloudpush issue down download downlink set w wo write writeonly "
        "both share shared cloudshare deviceshare sync rw readwrite 云端下发 下发 设备云端共享 共享"
    ),
    Way.CLOUD: "cloud cloudonly cloudprivate private 云端私有 私有",
}
_KIND_OF = MappingProxyType({word: kind for kind, words in _KINDS.items() for word in words.split()})
_WAY_OF = MappingProxyType({word: way for way, words in _WAYS.items() for word in words.split()})
_UNIT_OF = MappingProxyType({"℃": "°C", "℉": "°F", "lux": "lx", "Lux": "lx", "％": "%", "dbm": "dBm", "KWh": "kWh"})
_CLASS_OF = MappingProxyType(
    {
        **dict.fromkeys(("°C", "°F", "K"), "temperature"),
        **dict.fromkeys(("V", "mV", "kV"), "voltage"),
        **dict.fromkeys(("A", "mA"), "current"),
        **dict.fromkeys(("W", "kW", "MW"), "power"),
        **dict.fromkeys(("Wh", "kWh", "MWh"), "energy"),
        **dict.fromkeys(("Pa", "hPa", "kPa", "mbar", "bar"), "pressure"),
        **dict.fromkeys(("dBm", "dB"), "signal_strength"),
        **dict.fromkeys(("Hz", "kHz", "MHz"), "frequency"),
        **dict.fromkeys(("g", "kg"), "weight"),
        **dict.fromkeys(("mm", "cm", "m", "km"), "distance"),
        **dict.fromkeys(("m/s", "km/h"), "speed"),
        **dict.fromkeys(("ms", "s", "min", "h"), "duration"),
        "lx": "illuminance",
        "VA": "apparent_power",
    }
)
"""Home Assistant's device class where the unit alone tells it."""
_PERCENTS = (("humidity", ("humi", "湿度")), ("battery", ("batt", "电量")))
_PPM = (("carbon_dioxide", ("co2", "二氧化碳")), ("carbon_monoxide", ("carbon_monoxide", "一氧化碳")))


def _word(text: str | None) -> str:
    return "".join(character for character in (text or "").lower() if character not in " _-")


def kind_of(text: str | None) -> Kind | None:
    """The kind that a `data_type` names, in any spelling."""
    return _KIND_OF.get(_word(text))


def kind_of_value(value: Any) -> Kind | None:
    """The kind of a value that nothing is known of; None for null."""
    if isinstance(value, bool):
        return Kind.SWITCH
    if isinstance(value, int | float):
        return Kind.NUMBER
    if isinstance(value, dict | list):
        return Kind.POINT if _is_point(value) else Kind.JSON
    return None if value is None else Kind.TEXT


def _is_point(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"lat", "lng"}


def way_of(text: str | None) -> Way:
    """What becomes of a write to an attribute of this `attr_type`."""
    return _WAY_OF.get(_word(text), Way.UNKNOWN)


def unit_of(text: Any) -> str | None:
    """A unit as Home Assistant spells it, as far as it knows it."""
    unit = vendor_json.text(text)
    return None if unit is None else _UNIT_OF.get(unit, unit)


def class_of(unit: str | None, *about: str | None) -> str | None:
    """The device class that a unit tells, with what the attribute is called where the unit alone does not."""
    named = {"%": _PERCENTS, "ppm": _PPM}.get(unit or "")
    if named is None:
        return _CLASS_OF.get(unit or "")
    words = " ".join(filter(None, about)).lower()
    return next((found for found, marks in named if any(mark in words for mark in marks)), None)


def option(options: Row, *names: str) -> Any:
    """The first of these that `data_options` has."""
    return next((options[name] for name in names if options.get(name) is not None), None)


def choices(options: Row) -> tuple[tuple[str, str], ...]:
    """The values of an enumeration with their labels, from a list of either or an object of both."""
    listed = option(options, "options", "enum", "items", "values")
    if isinstance(listed, dict):
        listed = [{"value": value, "label": label} for value, label in listed.items()]
    found: dict[str, str] = {}
    for item in listed if isinstance(listed, list) else ():
        fields = item if isinstance(item, dict) else {"value": item}
        value = vendor_json.text(option(fields, "value", "key", "id", "name"))
        if value is not None:
            found.setdefault(value, vendor_json.text(option(fields, "label", "text", "title", "name")) or value)
    return tuple(found.items())
