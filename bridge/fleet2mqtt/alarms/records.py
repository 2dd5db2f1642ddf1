"""Records of active alarms: the raise event, and what operators and the bridge made of it since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from fleet2mqtt.contract.payloads import stamp
from fleet2mqtt.outbox import AlarmEvent
from fleet2mqtt.outbox.models import restore as restore_event

AlarmId = tuple[str, str]
"""Device id, and the alarm's key or else its event id."""

FLAPPING_RAISES = 5
FLAPPING_WINDOW = 600.0
"""An alarm flaps when it was raised so often within so many seconds, until it was quiet for that long."""


class AlarmState(StrEnum):
    """State of an alarm, RFC 8632."""

    ACTIVE = "active"
    CLEARED = "cleared"


class EventType(StrEnum):
    """Types of alarm events: changes by the vendor or a condition, by an operator, and ends of suppression."""

    RAISED = "raised"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    SHELVED = "shelved"
    UNSHELVED = "unshelved"
    UNSUPPRESSED = "unsuppressed"
    CLOSED = "closed"


def alarm_id(event: AlarmEvent) -> AlarmId:
    """Return the device and key that identify an event's active alarm."""
    return event.device, event.alarm_key or event.id


@dataclass(slots=True, kw_only=True)
class AlarmRecord:
    """One active alarm. `event` is its raise event; `announced` the last state published on `alarm/event`."""

    event: AlarmEvent
    state: AlarmState | None = AlarmState.ACTIVE
    """None for an alarm whose vendor reports no end, and which no rule ends."""
    cleared_at: str | None = None
    acknowledged: bool = False
    acknowledged_by: str | None = None
    acknowledged_at: str | None = None
    shelved_until: datetime | None = None
    shelved_by: str | None = None
    suppressed_by: str | None = None
    announced: AlarmState | None = AlarmState.ACTIVE
    flapping: bool = False
    stateless: bool = False
    """True if the alarm is never active: its vendor reports no end, and nothing is retained of it."""

    @property
    def id(self) -> AlarmId:
        """Device and key."""
        return alarm_id(self.event)

    @property
    def active(self) -> bool:
        """True until the alarm is cleared or closed."""
        return self.state is AlarmState.ACTIVE

    @property
    def withheld(self) -> bool:
        """True while its events go to `alarm/suppressed`."""
        return self.shelved_until is not None or self.suppressed_by is not None

    def members(self) -> dict[str, Any]:
        """Return the members that management adds to the alarm's payload."""
        return {
            "state": None if self.state is None else self.state.value,
            "acknowledged": self.acknowledged,
            "acknowledged_by": self.acknowledged_by,
            "acknowledged_at": self.acknowledged_at,
            "shelved_until": stamp(self.shelved_until) if self.shelved_until else None,
            "shelved_by": self.shelved_by,
            "suppressed_by": self.suppressed_by,
            "flapping": self.flapping,
        }

    def body(self) -> dict[str, Any]:
        """Return the alarm as its active topic and requests show it."""
        return {key: value for key, value in self.event.body.items() if key != "suppressed"} | self.members()

    def text(self) -> str | None:
        """Return what has to be stored beside the raise event, as JSON; None if nothing has."""
        if self.active:
            changed = self.acknowledged or self.shelved_until or self.announced is not announced_by(self.event)
            return self.dump() if changed else None
        waits = self.shelved_until is not None or (self.withheld and self.announced is AlarmState.ACTIVE)
        return self.dump() if waits else None

    def dump(self) -> str:
        """Return what is stored beside the raise event, as JSON; the event itself once the alarm has ended."""
        stored: dict[str, Any] = {
            "id": self.event.id,
            "acknowledged_by": self.acknowledged_by,
            "acknowledged_at": self.acknowledged_at if self.acknowledged else None,
            "shelved_until": self.shelved_until.isoformat() if self.shelved_until else None,
            "shelved_by": self.shelved_by,
            "announced": self.announced,
        }
        if not self.active:
            stored |= {"cleared_at": self.cleared_at, "alarm_key": self.event.alarm_key, "event": self.event.body}
        return orjson.dumps(stored).decode()

    def load(self, text: str) -> None:
        """Take over what `dump` gave; the management of an earlier occurrence does not apply, except its shelf."""
        stored = orjson.loads(text)
        if stored["shelved_until"]:
            self.shelved_until = datetime.fromisoformat(stored["shelved_until"])
            self.shelved_by = stored["shelved_by"]
        if stored["id"] != self.event.id:
            return
        self.acknowledged = stored["acknowledged_at"] is not None
        self.acknowledged_by, self.acknowledged_at = stored["acknowledged_by"], stored["acknowledged_at"]
        self.announced = AlarmState(stored["announced"]) if stored["announced"] else None


def restore_ended(text: str) -> AlarmRecord | None:
    """Return the record of an alarm that has ended while it was withheld; None where the text is of another one."""
    stored = orjson.loads(text)
    if "event" not in stored:
        return None
    body = stored["event"]
    event = restore_event(body["seq"], 1, stored["alarm_key"], orjson.dumps(body))
    record = AlarmRecord(event=event, state=AlarmState.CLEARED, cleared_at=stored["cleared_at"])
    record.load(text)
    return record


def announced_by(event: AlarmEvent) -> AlarmState | None:
    """Return the state that a raise event has announced on `alarm/event`, None if it was withheld."""
    return None if event.suppressed else AlarmState.ACTIVE


def state_to_announce(record: AlarmRecord) -> AlarmState | None:
    """Return the state that `alarm/event` should have shown last: None for an alarm that came and went withheld."""
    if record.active:
        return AlarmState.ACTIVE
    return AlarmState.CLEARED if record.announced is not None else None
