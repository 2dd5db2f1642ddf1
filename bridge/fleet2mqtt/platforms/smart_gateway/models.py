"""Wire models with the vendor's names, and the records that entities are read from. Document 1.1, 1.2, 2.1."""

# ruff: noqa: N815 - the vendor's names

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator

from fleet2mqtt.devices.model import Update
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.vendor_json import Boolean, Number, Text, WireModel

IPV4 = r"^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)$"
UNASSIGNED = "unassigned"


def branch(value: Any) -> dict[str, Any]:
    """Return an object; {} for the "", [], null or "（0，0）" that the vendor sends where there is none."""
    return value if isinstance(value, dict) else {}


def serial_number(item: Any) -> str | None:
    """Return the serial number in the `base` of a device that the vendor sent, None if there is none."""
    return vendor_json.text(branch(branch(item).get("base")).get("sn"))


def _objects(value: Any) -> list[Any] | None:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else None


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _verbatim(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict | list) else str(value)


def _scalar(value: Any) -> int | float | str | None:
    return value if isinstance(value, int | float) else vendor_json.text(value)


Branch = BeforeValidator(branch)
Verbatim = Annotated[str | None, BeforeValidator(_verbatim)]
"""A text that can be written: blanks are not stripped, so that a read-back equals the written value; "" is a value."""
Scalar = Annotated[int | float | str | None, BeforeValidator(_scalar)]
"""A value whose type the document leaves open."""


class Speed(WireModel):
    """`base.record.speed`; kbit/s assumed, the document gives no unit."""

    up: Number = None
    down: Number = None


class Record(WireModel):
    """`base.record`, the last speed test."""

    time: Any = None
    speed: Annotated[Speed, Branch] = Speed()


class Gps(WireModel):
    """`base.gps`, degrees; 0, 0 means that there is no fix."""

    lat: Number = None
    lon: Number = None


class AssignedRule(WireModel):
    """An item of `base.mapping`: a rule assigned to this gateway. `ip` is the address in the gateway's LAN."""

    uuid: Text = None
    name: Text = None
    ip: Text = None


class Base(WireModel):
    """`base`; rates in kbit/s, runtime in s."""

    alias: Verbatim = None
    state: Text = None
    type: Text = None
    version: Text = None
    runtime: Number = None
    remark: Verbatim = None
    rateup: Number = None
    ratedown: Number = None
    qos: Text = None
    mapping: Annotated[tuple[AssignedRule, ...] | None, BeforeValidator(_objects)] = None
    record: Annotated[Record, Branch] = Record()
    gps: Annotated[Gps, Branch] = Gps()


class Lan(WireModel):
    """`network.lan`."""

    ip: Text = None
    mask: Text = None
    start: Text = None
    end: Text = None


class Hotspot(WireModel):
    """`network.hotspot`; `passwd` is a secret digest."""

    enable: Boolean = None
    name: Verbatim = None
    passwd: Text = None
    encrymode: Scalar = None
    ap: Scalar = None
    chain: Scalar = None
    bandwidth: Scalar = None
    hidden: Boolean = None


class Parameters(WireModel):
    """`parameters`."""

    top: Boolean = None
    lock: Boolean = None


class Channel(WireModel):
    """An uplink, an item of `channel`. Rates in kbit/s, `rtt` in ms, `initFlow` in GB; `wifiKey` is a secret digest."""

    name: Verbatim = None
    enable: Boolean = None
    state: Scalar = None
    signal: Number = None
    operator: Text = None
    type: Text = None
    rateup: Number = None
    ratedown: Number = None
    rtt: Number = None
    used: Number = None
    remain: Number = None
    total: Number = None
    innerip: Text = None
    outerip: Text = None
    net: Scalar = None
    slot: Scalar = None
    apn: Verbatim = None
    initFlow: Number = None
    ICCID: Text = None
    frequency: Scalar = None
    frequencyRange: Scalar = None
    rssi: Number = None
    rssp: Number = None
    rssq: Number = None
    sinru: Number = None
    todayUsedFlow: Number = None
    remainFlow: Number = None
    usb_type: Scalar = None
    ssid: Verbatim = None
    ssidList: Annotated[tuple[Any, ...], BeforeValidator(_items)] = ()
    wifiKey: Text = None
    wifiEncryMode: Scalar = None
    wifiMode: Scalar = None
    wifiSignal: Scalar = None
    wifiFrequencyRange: Scalar = None
    is_dhcp: Boolean = None
    ip: Text = None
    mask: Text = None
    gateway: Text = None


class Rule(WireModel):
    """An item of mapping/list: a port mapping rule. `ip` is its external address."""

    uuid: Text = None
    name: Text = None
    ip: Text = None
    port: Text = None
    protocol: Scalar = None
    devName: Text = None
    sn: Text = None
    devType: Text = None
    mark: Verbatim = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bonding:
    """The enabled channels of a gateway: how many, how many are up, how many carry data; None for what is unknown.

    `rtt` is the worst one in ms, rates are sums in kbit/s.
    """

    total: int | None = None
    up: int | None = None
    active: int | None = None
    rtt: float | None = None
    rateup: float | None = None
    ratedown: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The usage of a SIM card today and in the billing month, what it will be at its end, and what is left.

    None is unknown. `since` and `until` are ISO 8601: the start of counting in this month, and the month's end.
    """

    today: float | None = None
    month: float | None = None
    forecast: float | None = None
    remaining: float | None = None
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRecord:
    """A gateway, merged from list and query; `raw` as the vendor sent it, by branch.

    `running` is None where the vendor sends no state, `bonding` where no channel is known.
    """

    sn: str
    running: bool | None
    base: Base
    lan: Lan
    hotspot: Hotspot
    parameters: Parameters
    raw: Mapping[str, Mapping[str, Any]]
    bonding: Bonding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRecord:
    """A channel of a gateway. `up` is None where the vendor sends no state, `usage` where no counter was ever sent."""

    sn: str
    key: str
    channel: Channel
    up: bool | None
    raw: Mapping[str, Any]
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRecord:
    """A rule, its address in its gateway's LAN, and the option of its gateway."""

    rule: Rule
    subnet_ip: str | None
    gateway: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRecord:
    """The figures of the vendor system as a whole."""

    count: int | None
    rules: tuple[Rule, ...] | None


class Writer(Protocol):
    """Protocol of the coordinator that write functions of entities call."""

    async def write_settings(self, sn: str, change: Mapping[str, Any]) -> None:
        """Send changed settings of one gateway, shaped as a query returns them."""
        ...

    async def set_subnet_ip(self, uuid: str, address: str) -> Update | None:
        """Set a rule's address in the LAN of its gateway, or of the gateway that it is assigned to next."""
        ...

    async def set_gateway(self, uuid: str, option: str, *, address: str | None = None) -> Update | None:
        """Assign a rule to a gateway, move it to another one, or unassign it; `address` is the one in its LAN."""
        ...
