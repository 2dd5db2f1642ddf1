"""Decisions of a notification target: events to send once, to hold back, or to put into a digest."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fleet2mqtt.alarms.records import AlarmRecord, AlarmState
from fleet2mqtt.config.models import NotifyConfig, QuietHours, Secret
from fleet2mqtt.devices.model import Severity
from fleet2mqtt.notify.state import TargetState, is_quiet
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


def test_flapping_alarm_is_told_once_it_stays() -> None:
    events = Events()
    for number in (1, 2):
        flapping = events.event(number)
        events.records[flapping.device, flapping.alarm_key] = AlarmRecord(event=flapping, flapping=True)
        events.state.take(flapping, NOON)
    events.take(2, "cleared")
    events.state.advance(NOON + 601)
    assert events.told() == []
    events.record(1).flapping = False
    events.state.advance(NOON + 700)
    assert events.told() == [("raised", "hq:1")]
    events.take(1, "cleared")
    assert events.told()[1:] == [("cleared", "hq:1")]


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
    again.load(events.state.dump(), events.state.dump_open())
    assert (again.dump(), again.dump_open()) == (events.state.dump(), events.state.dump_open())
    for state in (events.state, again):
        state.take(events.event(1, "cleared"), NOON + 1)
        state.advance(NOON + 100)
    assert [message["kind"] for message in again.queue] == [message["kind"] for message in events.state.queue]
    assert events.record(1).state is AlarmState.ACTIVE


SHANGHAI = QuietHours(start=time(22), end=time(7), zone=ZoneInfo("Asia/Shanghai"))
NIGHT = datetime(2026, 6, 1, 23, tzinfo=SHANGHAI.zone).timestamp()


def test_digest_names_alarms_that_have_not_ended_once() -> None:
    events = Events(quiet_hours=SHANGHAI, escalate_after=60.0, escalate_repeat=9)
    for number in (1, 2):
        events.take(number, now=NIGHT, severity=Severity.MAJOR)
    for minute in range(1, 9):
        events.state.advance(NIGHT + minute * 61)
    events.take(2, "cleared", now=NIGHT + 999, severity=Severity.MAJOR)
    events.state.advance(NIGHT + 9 * 3600)
    digest = next(message["digest"] for message in events.state.queue if message["kind"] == "digest")
    assert [each["id"] for each in digest["examples"]] == ["hq:1"]
    assert (digest["raised"], digest["cleared"]) == ({"major": 2}, 1)
    assert digest["reminders"] >= 16


def test_nothing_is_due_while_a_digest_waits_for_the_end_of_quiet_hours_or_for_room() -> None:
    events = Events(quiet_hours=SHANGHAI)
    events.take(1, now=NIGHT, severity=Severity.MAJOR)
    assert events.state.next_due(NIGHT + 5) is None
    assert events.state.next_due(NIGHT + 9 * 3600) == NIGHT
    full = Events(storm_count=1000)
    for number in range(201):
        full.take(number)
    assert len(full.state.queue) == 200
    assert full.state.next_due(NOON + 100) is None
    full.state.queue.popleft()
    assert full.state.next_due(NOON + 100) == NOON + 60


def quiet(zone: str, start: tuple[int, int], end: tuple[int, int], day: tuple[int, int, int]) -> list[float]:
    """Hours of UTC from noon before a day on, in half hours, that are quiet."""
    hours = QuietHours(start=time(*start), end=time(*end), zone=ZoneInfo(zone))
    begin = datetime(*day, tzinfo=UTC).timestamp() - 12 * 3600
    return [step / 2 - 12 for step in range(72) if is_quiet(hours, begin + step * 1800)]


def test_quiet_hours_are_by_the_clock_on_the_wall_when_it_changes() -> None:
    hours = ("Europe/Berlin", (22, 0), (7, 0))
    usual = quiet(*hours, (2026, 3, 28))
    spring, autumn = quiet(*hours, (2026, 3, 29)), quiet(*hours, (2026, 10, 25))
    assert (min(usual), usual[17] + 0.5) == (-3, 6)  # 22:00 to 07:00, UTC+1
    assert spring[:16] == [step / 2 - 3 for step in range(16)]  # one hour less: until 07:00, UTC+2
    assert spring[16] > 12
    assert autumn[:20] == [step / 2 - 4 for step in range(20)]  # one hour more
    assert quiet("Europe/Berlin", (2, 15), (2, 45), (2026, 3, 29)) == []  # that half hour does not exist then
    assert quiet("Asia/Kathmandu", (0, 0), (1, 0), (2026, 6, 1)) == [-5.5, -5, 18.5, 19]


def test_alarm_of_a_removed_device_is_followed_no_longer() -> None:
    events = Events(escalate_after=60.0, escalate_repeat=5)
    events.take(1)
    del events.records["hq_voip_1", "a1"]
    events.state.advance(NOON + 1)
    assert events.state.open
    events.state.advance(NOON + 2, all_read=True)
    assert not events.state.open
    events.state.advance(NOON + 1000)
    assert events.told() == [("raised", "hq:1")]


def test_clock_that_is_set_back_delays_nothing_for_long() -> None:
    events = Events(storm_count=1, escalate_after=60.0)
    events.take(1)
    events.take(2)
    before = NOON - 1e6
    events.state.advance(before)
    events.take(3, now=before + 1)
    events.state.advance(before + 700)
    events.state.advance(before + 1400)
    kinds = [kind for kind, _ in events.told()]
    assert kinds[:2] == ["raised", "digest"]
    assert sum(events.state.queue[1]["digest"]["raised"].values()) == 2


def test_long_text_of_a_vendor_is_not_kept_whole() -> None:
    events = Events()
    events.take(1, description="x" * 100_000)
    assert len(events.state.dump() + events.state.dump_open()) < 5000


def test_state_of_another_version_is_read_as_far_as_it_is_known() -> None:
    events = Events(escalate_after=60.0)
    events.take(1)
    stored, stored_open = events.state.dump(), events.state.dump_open()
    with_another_member = stored_open.replace('"count":1', '"count":1,"later":true')
    assert with_another_member != stored_open
    in_one = f'{stored[:-1]},"open":{with_another_member}}}'  # as earlier versions stored it
    for text, open_text in ((stored, with_another_member), (in_one, None)):
        again = TargetState(events.config, lambda _: True, events.records.get)
        again.load(text, open_text)
        assert (again.dump(), again.dump_open()) == (stored, stored_open)
        assert again.open_changed == (open_text is None)
        with pytest.raises(ValueError, match="KeyError"):
            again.load("{}", None)
        with pytest.raises(ValueError, match="Error"):
            again.load("[1", None)
        with pytest.raises(ValueError, match="Error"):
            again.load(stored, "[1")


def test_change_of_an_open_alarm_is_told_from_one_of_the_queue() -> None:
    """Only then are the open alarms stored again, which take up to a megabyte."""
    events = Events(escalate_after=60.0, escalate_repeat=1, storm_count=1)
    for change, changes in (
        (lambda: events.take(1), True),  # followed, and told
        (events.state.queue.clear, False),
        (lambda: events.state.advance(NOON + 30), False),  # nothing is due
        (lambda: events.state.advance(NOON + 61), True),  # its reminder
        (lambda: events.state.take(events.event(1, "acknowledged"), NOON + 70), True),
        (lambda: events.state.take(events.event(1, "cleared"), NOON + 80), True),
        (lambda: events.state.take(events.event(1, "cleared"), NOON + 90), False),  # is not followed any more
    ):
        events.state.open_changed = False
        change()
        assert events.state.open_changed == changes
