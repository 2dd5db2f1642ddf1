"""The protocol of the IG200 document: codes, field names, writable fields, value checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from ipaddress import AddressValueError, IPv4Address
from typing import Any

Tree = dict[str, Any]


class Code(IntEnum):
    """Error codes that a documented call can return. IG200 document, table of error codes."""

    SUCCESS = 0
    NOT_JSON = 1
    ILLEGAL_DATA = 7001
    RULE_NAME_EXISTS = 7002
    PORT_TAKEN = 7003
    UUID_NOT_FOUND = 7004
    SERIAL_ERROR = 7005
    OFFLINE = 7006
    SERIAL_EXISTS = 7007
    ALIAS_EXISTS = 7008
    ALIAS_ILLEGAL = 7009
    PARAMETER_ERROR = 7010
    OVER_LIMIT = 7011


TEXTS: Mapping[int, str] = {
    Code.SUCCESS: "success",
    Code.NOT_JSON: "json格式解析错误",
    Code.ILLEGAL_DATA: "数据非法",
    Code.RULE_NAME_EXISTS: "规则名已存在",
    Code.PORT_TAKEN: "端口已被占用",
    Code.UUID_NOT_FOUND: "UUID未找到",
    Code.SERIAL_ERROR: "序列号出错",
    Code.OFFLINE: "设备已下线",
    Code.SERIAL_EXISTS: "序列号已存在",
    Code.ALIAS_EXISTS: "设备别名已存在",
    Code.ALIAS_ILLEGAL: "设备别名非法",
    Code.PARAMETER_ERROR: "参数错误",
    Code.OVER_LIMIT: "注册设备超出最大限制",
}


class RefusalError(Exception):
    """A refusal with one of the vendor's codes."""

    def __init__(self, code: int) -> None:
        super().__init__(TEXTS[code])
        self.code = code


BASE = (
    "sn",
    "alias",
    "state",
    "type",
    "version",
    "runtime",
    "remark",
    "rateup",
    "ratedown",
    "qos",
    "mapping",
    "record",
    "gps",
)
NETWORK = ("lan", "hotspot")
PARAMETERS = ("top", "lock")
RATES = ("rateup", "ratedown")

CHANNEL_IN_BOTH = ("name", "enable", "state", "signal", "operator", "type", *RATES, "rtt")
CHANNEL_IN_LIST = (*CHANNEL_IN_BOTH, "used", "remain", "total", "innerip", "outerip")
CHANNEL_IN_QUERY = (
    *CHANNEL_IN_BOTH,
    *("net", "slot"),
    *("apn", "initFlow", "ICCID", "frequency", "frequencyRange", "rssi", "rssp", "rssq", "sinru"),
    *("todayUsedFlow", "remainFlow"),
    *("usb_type", "ssid", "ssidList", "wifiKey", "wifiEncryMode", "wifiMode", "wifiSignal", "wifiFrequencyRange"),
    *("is_dhcp", "ip", "mask", "gateway"),
)

FLAGS = frozenset({"enable", "hidden", "top", "lock"})
FLOWS = frozenset({"initFlow", "todayUsedFlow", "remainFlow"})
NETS = ("auto", "SA", "NSA")  # the index is the number in the document's comment


def is_ipv4(value: Any) -> bool:
    """Return True for an IPv4 address: four decimal numbers with dots, as text."""
    try:
        IPv4Address(value if isinstance(value, str) else "")
    except AddressValueError:
        return False
    return True


def _is_flag(value: Any) -> bool:
    return value in (0, 1)


def _is_slot(value: Any) -> bool:
    return value in (0, 1, 2)


def _is_net(value: Any) -> bool:
    return value in NETS or value in range(len(NETS))


def _is_flow(value: Any) -> bool:
    return bool(value >= 0)


def _is_any(_: Any) -> bool:
    return True


# IG200 document 1.2: the lines marked `**`; "lan" and "hotspot" are marked as a whole.
WRITABLE: Mapping[str, Callable[[Any], bool]] = {
    "base.alias": _is_any,
    "base.remark": _is_any,
    "base.mapping": _is_any,
    **{f"network.lan.{name}": is_ipv4 for name in ("ip", "mask", "start", "end")},
    **{f"network.hotspot.{name}": _is_flag for name in ("enable", "hidden")},
    **{f"network.hotspot.{name}": _is_any for name in ("name", "passwd", "encrymode", "ap", "chain", "bandwidth")},
    **{f"channel.*.{name}": _is_any for name in ("name", "apn", "ssid", "wifiKey")},
    **{f"channel.*.{name}": _is_flag for name in ("enable", "is_dhcp")},
    **{f"channel.*.{name}": _is_flow for name in FLOWS},
    **{f"channel.*.{name}": is_ipv4 for name in ("ip", "mask", "gateway")},
    "channel.*.net": _is_net,
    "channel.*.slot": _is_slot,
    **{f"parameters.{name}": _is_flag for name in PARAMETERS},
}


def check_fields(body: Tree, fields: tuple[tuple[str, type], ...]) -> None:
    """Check required fields. Raises RefusalError where one is missing or of another JSON type (true is no number)."""
    for name, kind in fields:
        if type(body.get(name)) is not kind:
            raise RefusalError(Code.PARAMETER_ERROR)


def check_names(value: Any, allowed: tuple[str, ...] | None = None) -> list[str]:
    """Return a list of texts, each of them in `allowed`. Raises RefusalError."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise RefusalError(Code.PARAMETER_ERROR)
    if allowed is not None and not set(value) <= set(allowed):
        raise RefusalError(Code.PARAMETER_ERROR)
    return value


def check_ipv4(value: Any) -> str:
    """Return an IPv4 address. Raises RefusalError for a wrong type or another text."""
    if not isinstance(value, str):
        raise RefusalError(Code.PARAMETER_ERROR)
    if not is_ipv4(value):
        raise RefusalError(Code.ILLEGAL_DATA)
    return value
