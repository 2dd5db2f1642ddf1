"""Encoding of a simulated UMS: its refusals, and the quirks of its document, each switched on by a test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from fleet2mqtt.simulators.ums.data import WIRE_NAMES, Device, Line

SUCCESS = "成功"
PUSHED_DEVICE = (
    "connection_status",
    "device_mac",
    "device_name",
    "device_status",
    "connection_time",
    "last_offline",
    "last_online",
    "product_type",
    "tag1",
    "tag2",
    "tag3",
)
PUSHED_ALARM_ONLY = ("line_id", "tag1", "tag2", "tag3")
LEFT_OUT_OF_ALARMS = ("event_type", "metric_history_desc_en", "metric_history_level", "status", "line_id", "tag3")
TRAILING = {"reserved": "", "ext": {"build": 7, "flags": [1, None]}}


class RefusalError(Exception):
    """A refusal: a code that is not 0 and a text."""

    def __init__(self, status: str, code: int = 1) -> None:
        super().__init__(status)
        self.status = status
        self.code = code


class Push(NamedTuple):
    """One push; without a response `status` is None and `reply` the error."""

    kind: str
    body: Any
    status: int | None
    reply: Any


@dataclass(slots=True, kw_only=True)
class Quirks:
    """Deviations that the document's samples show and its tables do not; a real server might have them."""

    duplicate_status: bool = False  # `connection_time` is a second `connection_status`
    blank_keys: bool = False  # " offset", and "reg_state ", "con_state " in every second line
    epoch_first_online: bool = False  # `first_online` as int, seconds
    trailing_fields: bool = False  # fields that no table has, behind the others
    sparse_alarms: bool = False  # alarms without some of their required fields
    gbk: bool = False  # GBK that does not say so

    def encode(self, payload: Any) -> bytes:
        """Return the bytes of a response or a push."""
        text = json.dumps(payload, ensure_ascii=False)
        if self.duplicate_status:
            text = text.replace('"connection_time":', '"connection_status":')
        if self.blank_keys:
            text = text.replace('"offset":', '" offset":')
        return text.encode("gbk" if self.gbk else "utf-8")

    def device(self, device: Device, *, logged_in: bool, group_info: bool) -> dict[str, Any]:
        """Return an item of 3.1: the password only after a login, the group's name only on request."""
        item = {wire: getattr(device, name) for name, wire in WIRE_NAMES.items()}
        if not logged_in:
            del item["pass"]
        if not group_info:
            del item["group_info"]
        if self.epoch_first_online:
            item["first_online"] = int(datetime.fromisoformat(device.first_online).timestamp())
        return self._with_trailing_fields(item)

    def device_push(self, device: Device) -> dict[str, Any]:
        """Return the body of 2.2."""
        return self._with_trailing_fields({name: getattr(device, name) for name in PUSHED_DEVICE})

    def alarm(self, alarm: dict[str, Any]) -> dict[str, Any]:
        """Return an item of 3.2 and 3.3, without the members that only the push has."""
        return self.alarm_push({key: value for key, value in alarm.items() if key not in PUSHED_ALARM_ONLY})

    def alarm_push(self, alarm: dict[str, Any]) -> dict[str, Any]:
        """Return the body of 2.1."""
        left_out = LEFT_OUT_OF_ALARMS if self.sparse_alarms else ()
        return self._with_trailing_fields({key: value for key, value in alarm.items() if key not in left_out})

    def lines(self, lines: list[Line]) -> list[dict[str, str]]:
        """Return the items of 3.7, without a registration state where the model has none."""
        items = []
        for index, line in enumerate(lines):
            blank = " " if self.blank_keys and index % 2 else ""
            item = {"line": line.line, "number": line.number}
            if line.reg_state is not None:
                item[f"reg_state{blank}"] = line.reg_state
            items.append(item | {f"con_state{blank}": line.con_state, "voltage": line.voltage})
        return items

    def _with_trailing_fields(self, item: dict[str, Any]) -> dict[str, Any]:
        return item | TRAILING if self.trailing_fields else item
