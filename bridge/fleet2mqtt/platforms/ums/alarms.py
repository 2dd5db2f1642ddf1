"""Alarms of the UMS: from list items and pushes to alarms of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from fleet2mqtt.devices.model import Alarm, Severity, UpdateOrigin
from fleet2mqtt.platforms.ums.models import MetricHistory, alarm_id, normalize_mac
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.pagination import Item

_SEVERITY = {
    "serious": Severity.CRITICAL,
    "warning": Severity.MAJOR,
    "normal": Severity.MINOR,
    "unknown": Severity.INDETERMINATE,
}


@dataclass(slots=True, kw_only=True)  # made for each alarm: frozen takes three times as long
class AlarmRecord:
    """An alarm of the vendor: its id, the MAC that raised it, its time (None if it cannot be read), and all members."""

    id: str
    mac: str | None
    at: datetime | None
    item: MetricHistory


def parse_alarm(item: Item, zone: tzinfo, mac: str | None = None) -> AlarmRecord:
    """Return the alarm in a list item or push; `mac` is used where it does not name its producer."""
    alarm = MetricHistory.parse(item, zone)
    at = alarm.metric_history_time
    return AlarmRecord(
        id=alarm.id or alarm_id(item),
        mac=normalize_mac(alarm.metric_history_producer) or mac,
        at=at if at is None or at.tzinfo is zone else at.astimezone(zone),
        item=alarm,
    )


def build_alarm(context: Context, record: AlarmRecord, origin: UpdateOrigin, *, backlog: bool = False) -> Alarm:
    """Return the alarm of the contract; without a readable time it counts as raised now."""
    item = record.item
    level = item.metric_history_level or ""
    code = item.event_id
    name = item.metric_history_name or item.metric_history_desc_en or item.metric_history_desc
    return Alarm(
        id=f"{context.name}:{record.id}",
        backend=context.name,
        device=context.name if record.mac is None else context.ids(context.name, record.mac),
        severity=_SEVERITY.get(level.lower(), Severity.INDETERMINATE),
        level=level,
        name=name or ("unknown" if code is None else str(code)),
        raised_at=record.at or datetime.now(context.zone),
        source=origin,
        line=item.line_id,
        code=code,
        category=item.event_type,
        description=item.metric_history_desc,
        description_en=item.metric_history_desc_en,
        tags=(item.tag1 or "", item.tag2 or "", item.tag3 or ""),
        backlog=backlog,
    )
