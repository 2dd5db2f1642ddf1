"""Wire models of the UMS document, with the vendor's own names, and the records that entities are read from.

Times without a zone get the backend's: validate with `zone_context`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, tzinfo
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


class Gateway(WireModel):
    """A device of the UMS document 3.1, as far as it has a meaning; all of it is optional but the MAC.

    `model_fields_set` has the members that the UMS sent, blank or not.
    """

    agent_version: Text = None
    contact: Text = None
    device_cic: Text = None
    device_id: Text = None
    http_port: Number = None
    https_port: Number = None
    origin: Text = None
    series: Text = None
    versions: Text = None
    device_mac: Text = None
    device_name: Text = None
    connection_status: Text = None
    device_status: Text = None
    connection_time: Timestamp = None
    connection_ip: Text = None
    device_ip: Text = None
    event: Text = None
    first_online: Timestamp = None
    group_id: Text = None
    group_info: Text = None
    kernel_version: Text = None
    last_offline: Timestamp = None
    last_online: Timestamp = None
    location: Text = None
    locked_time: Timestamp = None
    product_type: Text = None
    product_version: Text = None
    proxy_url: Text = None
    tag1: Text = None
    tag2: Text = None
    tag3: Text = None

    @property
    def online(self) -> bool | None:
        """True if it is connected to the UMS; None where the UMS does not report it."""
        status = _lowered(self.connection_status)
        return status == "online" if status in _STATUSES else None


@dataclass(slots=True, kw_only=True)  # made for each alarm: a pydantic model takes three times as long
class MetricHistory:
    """An alarm of the UMS document 2.1, 3.2 and 3.3; only the push has `line_id` and the tags."""

    event_id: int | str | None
    event_type: str | None
    id: str | None
    metric_history_desc: str | None
    metric_history_desc_en: str | None
    metric_history_level: str | None
    metric_history_name: str | None
    metric_history_producer: str | None
    metric_history_time: datetime | None
    line_id: str | None
    tag1: str | None
    tag2: str | None
    tag3: str | None

    @classmethod
    def parse(cls, item: dict[str, Any], zone: tzinfo) -> MetricHistory:
        """Return the alarm in a list item or push; what is missing, blank or of another type is None."""
        get, text = item.get, vendor_json.text
        return cls(
            event_id=_code(get("event_id")),
            event_type=text(get("event_type")),
            id=text(get("id")),
            metric_history_desc=text(get("metric_history_desc")),
            metric_history_desc_en=text(get("metric_history_desc_en")),
            metric_history_level=text(get("metric_history_level")),
            metric_history_name=text(get("metric_history_name")),
            metric_history_producer=text(get("metric_history_producer")),
            metric_history_time=vendor_json.timestamp(get("metric_history_time"), zone),
            line_id=text(get("line_id")),
            tag1=text(get("tag1")),
            tag2=text(get("tag2")),
            tag3=text(get("tag3")),
        )


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
