"""The set call: which settings there are, in what types they go out, and the body around them.

Document 1.2 marks what can be set with `**`; 1.4 says that the body is a query's answer and leaves out the path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fleet2mqtt.devices.model import Device, Value, Write
from fleet2mqtt.platforms.smart_gateway.models import ChannelRecord, GatewayRecord
from fleet2mqtt.sdk import vendor_json

if TYPE_CHECKING:
    from fleet2mqtt.platforms.smart_gateway.coordinator import Site

Encode = Callable[[Any, Any], Any]
"""`encode(the value read, the value wanted)`: the value to send."""

NET = ("auto", "sa", "nsa")
SLOT = ("auto", "main", "secondary")
USB_TYPE = ("usb", "wifi")
_NET_WORDS = MappingProxyType({"sa": "SA", "nsa": "NSA"})

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
    """What the set call sends: the serial number and the changed leaf, or all settings known with the change."""

    MINIMAL = "minimal"
    FULL = "full"


def choice(options: tuple[str, ...], raw: Any) -> str | None:
    """The option for the vendor's number, `1` or "1", or word, "SA"."""
    number = vendor_json.number(raw)
    if number is not None:
        return options[int(number)] if number in range(len(options)) else None
    word = str(raw).strip().lower()
    return word if word in options else None


def unknown(options: tuple[str, ...], read: Callable[[Any], Any]) -> Callable[[Any], Mapping[str, Value] | None]:
    """The vendor's own value where the document has no name for it."""

    def attributes(record: Any) -> Mapping[str, Value] | None:
        raw = read(record)
        return {"raw": raw} if raw is not None and choice(options, raw) is None else None

    return attributes


def as_text(_: Any, value: Any) -> str:
    """A text goes out as it is."""
    return str(value)


def as_flag(old: Any, value: Any) -> bool | int | str:
    """A truth as the vendor writes this one: true, 1, "true" or "1"; 1 where that is unknown."""
    if isinstance(old, bool):
        return bool(value)
    if isinstance(old, str) and vendor_json.number(old) is None and old.strip():
        return "true" if value else "false"
    return str(int(value)) if isinstance(old, str) else int(value)


def as_boolean(old: Any, value: Any) -> bool | int | str:
    """As `as_flag`; true where the vendor's way is unknown."""
    return as_flag(value if old is None else old, value)


def as_number(old: Any, value: Any) -> int | float | str:
    """A number, whole where it is; a text where the vendor writes one."""
    number = int(value) if float(value).is_integer() else float(value)
    return str(number) if isinstance(old, str) else number


def as_choice(options: tuple[str, ...]) -> Encode:
    """One of the options as the vendor writes this one: 1, "1" or "SA"; a number where that is unknown."""

    def encode(old: Any, value: Any) -> int | str:
        index = options.index(value)
        if not isinstance(old, str):
            return index
        return str(index) if vendor_json.number(old) is not None else _NET_WORDS.get(value, value)

    return encode


def setting(encode: Encode, field: str, *branch: str) -> Write:
    """A row's write: `field` of the gateway's `branch`, or of the channel that the row is on."""

    async def write(site: Site, device: Device, value: Any) -> None:
        record: GatewayRecord | ChannelRecord = device.record
        of_channel = isinstance(record, ChannelRecord)
        known: Mapping[str, Any] = record.raw if of_channel else record.raw.get(branch[-1], {})
        path = ("channel", record.key) if isinstance(record, ChannelRecord) else branch
        change: dict[str, Any] = {field: encode(known.get(field), value)}
        for name in reversed(path):
            change = {name: change}
        await send(site, record.sn, change)

    return write


async def send(site: Site, sn: str, change: Mapping[str, Any]) -> dict[str, Any]:
    """Set what `change` holds on one gateway, with all its other settings around it if the option `set_body` says so.

    Those are read afresh just before; telemetry, counters and passwords are never among them.
    """
    body: dict[str, Any] = {"base": {"sn": sn}}
    if site.set_body is SetBody.FULL:
        await site.query_devices([sn])
        body = merged(body, configuration(site.gateways.raw(sn)))
    return await site.client.set_devices({sn: merged(body, change)})


def configuration(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in what is known of a gateway, shaped as a query answers them."""
    base = _only(raw["base"], (*_IDENTITY, *BASE))
    network = {"lan": _only(raw["lan"], LAN), "hotspot": _only(raw["hotspot"], HOTSPOT)}
    channels = {key: _only(leaves, (*CHANNEL, "usb_type")) for key, leaves in raw["channel"].items() if leaves}
    found = {"base": base, "network": network, "channel": channels, "parameters": _only(raw["parameters"], PARAMETERS)}
    return {name: leaves for name, leaves in found.items() if leaves}


def _only(leaves: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    kept = (name for name in names if name not in _SECRET and name not in _COUNTERS)
    return {name: leaves[name] for name in kept if name in leaves}


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with the leaves of `new`, at any depth."""
    both = dict(old)
    for key, value in new.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both
