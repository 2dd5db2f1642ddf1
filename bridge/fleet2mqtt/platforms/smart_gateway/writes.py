"""Writing settings: how a value is encoded, and the body of the set call.

Document 1.2 marks what can be set with `**`; 1.4 says that the body is a query's response and gives no path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from fleet2mqtt.devices.model import Device, Value
from fleet2mqtt.platforms.smart_gateway.models import ChannelRecord, GatewayRecord, Writer
from fleet2mqtt.sdk import vendor_json

Encode = Callable[[Any, Any], Any]
"""`encode(value as last read, value to be written)`: the value to send."""

NET = ("auto", "sa", "nsa")
SLOT = ("auto", "main", "secondary")
USB_TYPE = ("usb", "wifi")
_NET_TEXTS = MappingProxyType({"sa": "SA", "nsa": "NSA"})

BASE = ("alias", "remark", "mapping")
LAN = ("ip", "mask", "start", "end")
HOTSPOT = ("enable", "name", "passwd", "encrymode", "ap", "chain", "bandwidth", "hidden")
CHANNEL = (
    *("name", "enable", "net", "slot", "apn", "initFlow", "todayUsedFlow", "remainFlow"),
    *("ssid", "wifiKey", "is_dhcp", "ip", "mask", "gateway"),
)
PARAMETERS = ("top", "lock")

_SECRET = frozenset(("passwd", "wifiKey"))
_COUNTERS = frozenset(("todayUsedFlow", "remainFlow"))
_IDENTITY = ("sn", "type", "version", "qos")


class SetBody(StrEnum):
    """The content of the set call: the serial number and the changed field, or all known settings with the change."""

    MINIMAL = "minimal"
    FULL = "full"


def choice(options: tuple[str, ...], raw: Any) -> str | None:
    """Return the option for the vendor's number, `1` or "1", or text, "SA"; None if there is none."""
    number = vendor_json.number(raw)
    if number is not None:
        return options[int(number)] if number in range(len(options)) else None
    text = str(raw).strip().lower()
    return text if text in options else None


def raw_if_unknown(options: tuple[str, ...], read: Callable[[Any], Any]) -> Callable[[Any], Mapping[str, Value] | None]:
    """Return an attributes function with the vendor's own value where it is none of the options."""

    def attributes(record: Any) -> Mapping[str, Value] | None:
        raw = read(record)
        return {"raw": raw} if raw is not None and choice(options, raw) is None else None

    return attributes


def as_text(_: Any, value: Any) -> str:
    """Return a text unchanged."""
    return str(value)


def as_flag(current: Any, value: Any) -> bool | int | str:
    """Return a boolean as the vendor sends this one: true, 1, "true" or "1"; 1 where that is not known."""
    if isinstance(current, bool):
        return bool(value)
    if isinstance(current, str) and vendor_json.number(current) is None and current.strip():
        return "true" if value else "false"
    return str(int(value)) if isinstance(current, str) else int(value)


def as_boolean(current: Any, value: Any) -> bool | int | str:
    """Return a boolean as `as_flag` does; true where the vendor's form is not known."""
    return as_flag(value if current is None else current, value)


def as_number(current: Any, value: Any) -> int | float | str:
    """Return a number, as an integer where it is one, as text where the vendor sends text."""
    number = int(value) if float(value).is_integer() else float(value)
    return str(number) if isinstance(current, str) else number


def as_choice(options: tuple[str, ...]) -> Encode:
    """Return an encoder of options in the vendor's form: 1, "1" or "SA"; a number where that is not known."""

    def encode(current: Any, value: Any) -> int | str:
        index = options.index(value)
        if not isinstance(current, str):
            return index
        return str(index) if vendor_json.number(current) is not None else _NET_TEXTS.get(value, value)

    return encode


@dataclass(frozen=True, slots=True)
class SettingWrite:
    """The write function of a setting: the field at `path` of the gateway, or of the channel whose entity it is.

    `path` begins at the gateway's object; "channel" stands for the entity's own channel.
    """

    path: tuple[str, ...]
    encode: Encode

    async def __call__(self, client: Writer, device: Device, value: Any) -> None:
        """Send the setting. Raises BackendError."""
        await client.write_settings(device.record.sn, self.change(device.record, value))

    def change(self, record: GatewayRecord | ChannelRecord, value: Any) -> dict[str, Any]:
        """Return what to set, shaped as a query returns it."""
        *branches, field = self.path
        if isinstance(record, ChannelRecord):
            current, branches = record.raw, ["channel", record.key]
        else:
            current = record.raw.get(branches[-1], {})
        change: dict[str, Any] = {field: self.encode(current.get(field), value)}
        for name in reversed(branches):
            change = {name: change}
        return change


async def write_settings(client: Writer, device: Device, values: Mapping[str, Any]) -> None:
    """Send several settings of one device, by key, in one call. Raises BackendError."""
    change: dict[str, Any] = {}
    for key, value in values.items():
        description = device.entity(key)
        if description is not None and isinstance(description.write, SettingWrite):
            change = merged(change, description.write.change(device.record, value))
    await client.write_settings(device.record.sn, change)


def configuration(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a gateway's cached data, shaped as a query returns them.

    Telemetry, counters and passwords are never among them.
    """
    base = _only(raw["base"], (*_IDENTITY, *BASE))
    network = {"lan": _only(raw["lan"], LAN), "hotspot": _only(raw["hotspot"], HOTSPOT)}
    channels = {key: _only(leaves, (*CHANNEL, "usb_type")) for key, leaves in raw["channel"].items() if leaves}
    found = {"base": base, "network": network, "channel": channels, "parameters": _only(raw["parameters"], PARAMETERS)}
    return {name: leaves for name, leaves in found.items() if leaves}


def _only(leaves: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    left_out = _SECRET | _COUNTERS
    return {name: leaves[name] for name in names if leaves.get(name) is not None and name not in left_out}


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return `old` with the leaves of `new`, at any depth."""
    both = dict(old)
    for key, value in new.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both
