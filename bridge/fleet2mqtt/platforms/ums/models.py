"""What the UMS sends: the vendor's own names, values made safe. Times without a zone get the backend's."""

from __future__ import annotations

import hashlib
import re
from datetime import tzinfo
from typing import Annotated, Any

from pydantic import BeforeValidator

from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.vendor_json import Moment, Number, Pairs, Text, WireModel

_SEPARATORS = str.maketrans("", "", ":-. \t")
_LINE = re.compile(r"\s*([A-Za-z]+)\s*-\s*(\d+)\s*\Z")
_STATUSES = ("online", "offline")


def mac_of(value: Any) -> str | None:
    """A MAC as the UMS document writes it: `000EA93D022E`, upper case without separators."""
    if isinstance(value, str) and value.isascii() and value.isalnum() and value.isupper():
        return value
    text = vendor_json.text(value)
    return None if text is None else text.translate(_SEPARATORS).upper() or None


def parse(data: bytes) -> Any:
    """Vendor JSON in which `connection_status` may stand twice, as in the samples of the UMS document 2.2 and 3.1.

    Raises InvalidResponse.
    """
    odd = data.count(b'"connection_status"') != data.count(b'"device_mac"')
    return vendor_json.parse(data, pairs=_once if odd else None)


def _once(pairs: Pairs) -> dict[str, Any]:
    """The members by name; of two `connection_status` the one that is a status, the other as `connection_time`."""
    members = {key.strip(): value for key, value in pairs}
    said = [value for key, value in pairs if key.strip() == "connection_status"]
    if len(said) > 1:
        statuses = [value for value in said if _word(value) in _STATUSES]
        others = [value for value in said if _word(value) not in _STATUSES]
        members["connection_status"] = (statuses or said)[-1]
        if others:
            members.setdefault("connection_time", others[-1])
    return members


def _word(value: Any) -> str:
    return (vendor_json.text(value) or "").lower()


def _code(value: Any) -> int | str | None:
    number = vendor_json.number(value)
    return int(number) if number is not None and number == int(number) else vendor_json.text(value)


Code = Annotated[int | str | None, BeforeValidator(_code)]


class Gateway(WireModel):
    """A device of the UMS document 3.1, as far as it has a meaning; all of it is optional but the MAC."""

    device_mac: Text = None
    device_name: Text = None
    connection_status: Text = None
    device_status: Text = None
    connection_time: Moment = None
    connection_ip: Text = None
    device_ip: Text = None
    event: Text = None
    first_online: Moment = None
    group_info: Text = None
    kernel_version: Text = None
    last_offline: Moment = None
    last_online: Moment = None
    location: Text = None
    locked_time: Moment = None
    product_type: Text = None
    product_version: Text = None
    proxy_url: Text = None
    tag1: Text = None
    tag2: Text = None
    tag3: Text = None

    @property
    def online(self) -> bool | None:
        """Whether it is connected; None where the UMS does not say."""
        word = _word(self.connection_status)
        return word == "online" if word in _STATUSES else None


class MetricHistory(WireModel):
    """An alarm of the UMS document 2.1, 3.2 and 3.3; only the push has `line_id` and the tags."""

    event_id: Code = None
    event_type: Text = None
    id: Text = None
    metric_history_desc: Text = None
    metric_history_desc_en: Text = None
    metric_history_level: Text = None
    metric_history_name: Text = None
    metric_history_producer: Text = None
    metric_history_time: Moment = None
    line_id: Text = None
    tag1: Text = None
    tag2: Text = None
    tag3: Text = None


class Counts(WireModel):
    """Alarms of one device by level, the UMS document 3.4; numbers come as texts."""

    all: Number = None
    normal: Number = None
    serious: Number = None
    unknown: Number = None
    warning: Number = None


class EventCount(WireModel):
    """How often one kind of event happened, the UMS document 3.5."""

    event_id: Code = None
    metric_history_desc: Text = None
    metric_history_desc_en: Text = None
    metric_history_name: Text = None
    total: Number = None


class Status(WireModel):
    """How many devices were online at one moment, the UMS document 3.6; rates are percents."""

    offline_number: Number = None
    offline_rate: Number = None
    online_number: Number = None
    online_rate: Number = None
    statistics_time: Moment = None
    total: Number = None


class Detect(WireModel):
    """An FXO line, the UMS document 3.7; `voltage` is `<V>/<threshold V>`."""

    line: Text = None
    number: Text = None
    reg_state: Text = None
    con_state: Text = None
    voltage: Text = None

    @property
    def volts(self) -> int | float | None:
        """What is measured, V."""
        return vendor_json.number((self.voltage or "").partition("/")[0])

    @property
    def threshold(self) -> int | float | None:
        """What it should be at least, V."""
        return vendor_json.number((self.voltage or "").partition("/")[2])


def line_parts(line: str) -> tuple[str, ...]:
    """The parts of a line's id: `("fxo", "7")` from `FXO-7`, else the text itself."""
    match = _LINE.match(line)
    return (line,) if match is None else (match[1].lower(), match[2])


def alarm_id(raw: dict[str, Any]) -> str:
    """The vendor's id of an alarm, or, where it is empty, a hash of what tells one alarm from another."""
    given = vendor_json.text(raw.get("id"))
    if given is not None:
        return given
    fields = ("event_id", "metric_history_producer", "metric_history_time", "line_id", "metric_history_name")
    said = "\x1f".join(vendor_json.text(raw.get(key)) or "" for key in fields)
    return "hash-" + hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def in_zone(zone: tzinfo) -> dict[str, Any]:
    """The context to validate these models with."""
    return {"zone": zone}
