"""Decisions of a notification target: what is told, once, held back, or gathered."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from fleet2mqtt.alarms.records import AlarmRecord, AlarmState
from fleet2mqtt.config.models import NotifyConfig, QuietHours, Secret
from fleet2mqtt.devices.model import Severity
from fleet2mqtt.notify.state import TargetState
from fleet2mqtt.outbox import AlarmEvent
from fleet2mqtt.outbox.models import draft
from tests.sample_alarms import alarm

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
Key = tuple[str, str]


class Events:
    """Numbered events of alarms, and the records that alarm management has of them."""

    def __init__(self, **options: Any) -> None:
        self.records: dict[Key, AlarmRecord] = {}
        self.config = NotifyConfig(name="duty", url=Secret("json://127.0.0.1"), **options)
        self.state = TargetState(self.config, lambda _: True, self.records.get)
        self.seq = 0

    def event(self, number: int, type_: str = "raised", **changes: Any) -> AlarmEvent:
        self.seq += 1
        sample = alarm(number, active=True, alarm_key=f"a{number}", cleared=type_ == "cleared", **changes)
        event = draft(sample, datetime.fromtimestamp(NOON, UTC), "Gate").event(self.seq)
        event.body["type"] = type_
        return event

    def take(self, number: int, type_: str = "raised", now: float = NOON, **changes: Any) -> None:
        event = self.event(number, type_, **changes)
        if type_ == "raised":
            self.records[event.device, event.alarm_key] = AlarmRecord(event=event)
        self.state.take(event, now)

    def record(self, number: int) -> AlarmRecord:
        return self.records["hq_voip_1", f"a{number}"]

    def told(self) -> list[tuple[str, str]]:
        return [(message["kind"], message.get("alarm", {}).get("id", "")) for message in self.state.queue]


def test_end_is_told_where_the_raise_was() -> None:
    events = Events(severities=frozenset((Severity.CRITICAL,)))
    events.take(1)
    events.take(2, severity=Severity.MINOR)
    events.take(1, "cleared")
    events.take(2, "cleared")
    assert events.told() == [("raised", "hq:1"), ("cleared", "hq:1")]


def test_suppressed_and_flapping_raises_are_not_told() -> None:
    events = Events()
    events.take(1, suppressed=True)
    flapping = events.event(2)
    events.records[flapping.device, flapping.alarm_key] = AlarmRecord(event=flapping, flapping=True)
    events.state.take(flapping, NOON)
    events.take(1, "cleared")
    events.take(2, "cleared")
    assert events.told() == []


def test_end_of_suppression_tells_an_alarm_that_is_still_active_once() -> None:
    events = Events()
    events.take(1, suppressed=True)
    events.take(1, "unsuppressed")
    events.take(1, "unsuppressed")
    assert events.told() == [("raised", "hq:1")]


def test_unacknowledged_alarm_escalates_until_it_is_acknowledged() -> None:
    events = Events(escalate_after=60.0, escalate_repeat=5)
    events.take(1)
    events.state.advance(NOON + 59)
    assert len(events.told()) == 1
    events.state.advance(NOON + 61)
    assert events.told()[1:] == [("reminder", "hq:1")]
    events.take(1, "acknowledged")
    events.state.advance(NOON + 1000)
    assert len(events.told()) == 2


def test_escalation_has_an_end_and_waits_for_a_shelf() -> None:
    events = Events(escalate_after=60.0, escalate_repeat=1)
    events.take(1)
    events.record(1).shelved_until = datetime.now(UTC)
    events.state.advance(NOON + 61)
    assert len(events.told()) == 1
    events.record(1).shelved_until = None
    events.state.advance(NOON + 200)
    events.state.advance(NOON + 2000)
    assert events.told()[1:] == [("reminder", "hq:1")]


def test_delayed_target_hears_nothing_of_what_ended_or_was_acknowledged_before() -> None:
    events = Events(delay=900.0)
    for number in (1, 2, 3):
        events.take(number)
    events.take(1, "cleared")
    events.take(2, "acknowledged")
    events.state.advance(NOON + 901)
    assert events.told() == [("raised", "hq:3")]


def test_quiet_hours_hold_all_but_critical_alarms_for_a_digest() -> None:
    hours = QuietHours(start=time(22), end=time(7), zone=ZoneInfo("Asia/Shanghai"))
    night = datetime(2026, 6, 1, 23, tzinfo=hours.zone).timestamp()
    events = Events(quiet_hours=hours)
    events.take(1, now=night, severity=Severity.MAJOR)
    events.take(2, now=night)
    events.state.advance(night + 3600)
    assert events.told() == [("raised", "hq:2")]
    events.state.advance(night + 8 * 3600)
    assert events.told()[1:] == [("digest", "")]
    assert events.state.queue[-1]["digest"]["raised"] == {"major": 1}


def test_storm_becomes_one_digest_that_counts_every_raise_and_clear() -> None:
    events = Events(storm_count=3)
    for number in range(25_000):
        moment = NOON + number * 60 / 25_000
        events.take(number, now=moment)
        events.take(number, "cleared", now=moment)
        events.state.advance(moment)
    events.state.advance(NOON + 121)
    kinds = [kind for kind, _ in events.told()]
    assert (len(kinds), kinds.count("digest")) == (4, 1)
    digest = events.state.queue[-1]["digest"]
    assert sum(digest["raised"].values()) + digest["cleared"] + 3 == 50_000


def test_state_is_the_same_after_a_restart() -> None:
    events = Events(storm_count=1, escalate_after=60.0)
    events.take(1)
    events.take(2)
    again = TargetState(events.config, lambda _: True, events.records.get)
    again.load(events.state.dump())
    assert again.dump() == events.state.dump()
    for state in (events.state, again):
        state.take(events.event(1, "cleared"), NOON + 1)
        state.advance(NOON + 100)
    assert [message["kind"] for message in again.queue] == [message["kind"] for message in events.state.queue]
    assert events.record(1).state is AlarmState.ACTIVE
