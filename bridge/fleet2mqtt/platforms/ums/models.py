"""Wire models of the UMS document, with the vendor's own names, and the records that entities are read from.

Times without a zone get the backend's: validate with `zone_context`.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator

from fleet2mqtt.devices.model import Device, Update
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.vendor_json import Number, Pairs, Text, Timestamp, WireModel

_SEPARATORS = str.maketrans("", "", ":-. \t")
_LINE = re.compile(r"\s*([A-Za-z]+)\s*-\s*(\d+)\s*\Z")
_STATUSES = ("online", "offline")


def normalize_mac(value: Any) -> str | None:
    """Return a MAC as the UMS document writes it: `000EA93D022E`, upper case without separators. None from a blank."""
    if isinstance(value, str) and value.isascii() and value.isalnum() and value.isupper():
        return value
    text = vendor_json.text(value)
    return None if text is None else text.translate(_SEPARATORS).upper() or None


def read_mac(item: Mapping[str, Any]) -> str | None:
    """Return the MAC of an item of the device list, None if it has none."""
    return normalize_mac(item.get("device_mac"))


def parse(data: bytes) -> Any:
    """Parse vendor JSON in which `connection_status` may stand twice, as in the samples of the UMS document 2.2, 3.1.

    Raises InvalidResponse.
    """
    statuses = data.count(b'"connection_status"')
    has_duplicates = statuses > 1 and statuses != data.count(b'"device_mac"')
    return vendor_json.parse(data, pairs=_merge_duplicates if has_duplicates else None)


def _merge_duplicates(pairs: Pairs) -> dict[str, Any]:
    """Return the members by name; of two `connection_status` the status, and the other one as `connection_time`."""
    members = {key.strip(): value for key, value in pairs}
    values = [value for key, value in pairs if key.strip() == "connection_status"]
    if len(values) > 1:
        statuses = [value for value in values if _lowered(value) in _STATUSES]
        others = [value for value in values if _lowered(value) not in _STATUSES]
        members["connection_status"] = (statuses or values)[-1]
        if others:
            members.setdefault("connection_time", others[-1])
    return members


def _lowered(value: Any) -> str:
    return (vendor_json.text(value) or "").lower()


def _code(value: Any) -> int | str | None:
    number = vendor_json.number(value)
    return int(number) if number is not None and number == int(number) else vendor_json.text(value)


Code = Annotated[int | str | None, BeforeValidator(_code)]


@dataclass(frozen=True, slots=True, kw_only=True)  # a pydantic model takes four times the memory
class Gateway:
    """A device of the UMS document 3.1, as far as it has a meaning; all of it is optional but the MAC.

    `sent` has the members that the UMS sent, blank or not.
    """

    agent_version: str | None = None
    contact: str | None = None
    device_cic: str | None = None
    device_id: str | None = None
    http_port: int | float | None = None
    https_port: int | float | None = None
    origin: str | None = None
    series: str | None = None
    versions: str | None = None
    device_mac: str | None = None
    device_name: str | None = None
    connection_status: str | None = None
    device_status: str | None = None
    connection_time: datetime | None = None
    connection_ip: str | None = None
    device_ip: str | None = None
    event: str | None = None
    first_online: datetime | None = None
    group_id: str | None = None
    group_info: str | None = None
    kernel_version: str | None = None
    last_offline: datetime | None = None
    last_online: datetime | None = None
    location: str | None = None
    locked_time: datetime | None = None
    product_type: str | None = None
    product_version: str | None = None
    proxy_url: str | None = None
    tag1: str | None = None
    tag2: str | None = None
    tag3: str | None = None
    sent: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, item: Mapping[str, Any], zone: tzinfo) -> Gateway:
        """Return the gateway of a list item; what is blank or of another type is None."""
        values = {name: _read_member(name, item[name], zone) for name in _GATEWAY_MEMBERS if name in item}
        return cls(**values, sent=_shared(frozenset(values)))

    @property
    def online(self) -> bool | None:
        """True if it is connected to the UMS; None where the UMS does not report it."""
        status = _lowered(self.connection_status)
        return status == "online" if status in _STATUSES else None


_GATEWAY_MEMBERS = tuple(each.name for each in fields(Gateway) if each.name != "sent")
_GATEWAY_NUMBERS = frozenset(("http_port", "https_port"))
_GATEWAY_TIMES = frozenset(("connection_time", "first_online", "last_offline", "last_online", "locked_time"))
_GATEWAY_IDENTITIES = frozenset(
    ("contact", "device_cic", "device_id", "device_mac", "device_name", "connection_ip", "device_ip", "proxy_url")
)
"""Texts that differ from gateway to gateway; gateways with equal ones of the others share them."""
_shared = lru_cache(maxsize=1_000)(frozenset[str])
"""Return the one set of these names: most gateways send the same members."""


def _read_member(name: str, value: Any, zone: tzinfo) -> Any:
    if name in _GATEWAY_TIMES:
        return vendor_json.timestamp(value, zone)
    if name in _GATEWAY_NUMBERS:
        return vendor_json.number(value)
    text = vendor_json.text(value)
    return text if text is None or name in _GATEWAY_IDENTITIES else sys.intern(text)


@dataclass(slots=True)  # made for each alarm: a pydantic model takes three times as long
class MetricHistory:
    """An alarm of the UMS document 2.1, 3.2 and 3.3; only the push has `line_id` and the tags."""

    event_id: int | str | None
    metric_history_time: datetime | None
    event_type: str | None
    id: str | None
    metric_history_desc: str | None
    metric_history_desc_en: str | None
    metric_history_level: str | None
    metric_history_name: str | None
    metric_history_producer: str | None
    line_id: str | None
    tag1: str | None
    tag2: str | None
    tag3: str | None

    @classmethod
    def parse(cls, item: Mapping[str, Any], zone: tzinfo) -> MetricHistory:
        """Return the alarm in a list item or push; what is missing, blank or of another type is None."""
        return cls(
            _code(item.get("event_id")),
            vendor_json.timestamp(item.get("metric_history_time"), zone),
            *vendor_json.texts(item, _ALARM_TEXTS),
        )


_ALARM_TEXTS = tuple(each.name for each in fields(MetricHistory))[2:]


class AlarmCounts(WireModel):
    """Alarms of one device by level, the UMS document 3.4; numbers come as texts."""

    all: Number = None
    normal: Number = None
    serious: Number = None
    unknown: Number = None
    warning: Number = None


class EventCount(WireModel):
    """Number of events of one kind, the UMS document 3.5."""

    event_id: Code = None
    metric_history_desc: Text = None
    metric_history_desc_en: Text = None
    metric_history_name: Text = None
    total: Number = None


class OnlineCount(WireModel):
    """Number of devices online at one moment, the UMS document 3.6; rates are percents."""

    offline_number: Number = None
    offline_rate: Number = None
    online_number: Number = None
    online_rate: Number = None
    statistics_time: Timestamp = None
    total: Number = None


class Line(WireModel):
    """An FXO line, the UMS document 3.7; `voltage` is `<V>/<threshold V>`."""

    line: Text = None
    number: Text = None
    reg_state: Text = None
    con_state: Text = None
    voltage: Text = None

    @property
    def volts(self) -> int | float | None:
        """Measured loop voltage, V."""
        return vendor_json.number((self.voltage or "").partition("/")[0])

    @property
    def threshold(self) -> int | float | None:
        """Voltage threshold, V."""
        return vendor_json.number((self.voltage or "").partition("/")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRecord:
    """A gateway: its item of the device list, its alarm counts with their interval, and True if it has FXO lines.

    What no response has contained yet is None. With `counts_missed` the counts are too old to be shown.
    """

    gateway: Gateway
    counts: AlarmCounts | None = None
    interval: str | None = None
    counts_missed: bool = False
    has_lines: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRecord:
    """Figures of all devices of a UMS: the newest online count, and the events of the last hour."""

    status: OnlineCount | None = None
    events: tuple[EventCount, ...] | None = None


class LineTester(Protocol):
    """The part of the coordinator that an entity's write function uses."""

    async def test_lines(self, gateway: Device) -> Update:
        """Test the lines of a gateway now. Raises BackendError."""
        ...


def line_vendor_ids(line: str) -> tuple[str, ...]:
    """Return the vendor ids of a line within its gateway: `("fxo", "7")` for `FXO-7`, else the text itself."""
    match = _LINE.match(line)
    return (line,) if match is None else (match[1].lower(), match[2])


def alarm_id(item: dict[str, Any]) -> str:
    """Return the vendor's id of an alarm, or, where it is blank, a hash of the fields that identify the alarm."""
    id_ = vendor_json.text(item.get("id"))
    if id_ is not None:
        return id_
    fields = ("event_id", "metric_history_producer", "metric_history_time", "line_id", "metric_history_name")
    joined = "\x1f".join(vendor_json.text(item.get(key)) or "" for key in fields)
    return "hash-" + hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def zone_context(zone: tzinfo) -> dict[str, Any]:
    """Return the context to validate these models with."""
    return {"zone": zone}
