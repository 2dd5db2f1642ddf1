"""Which jobs share a transaction, what it leaves in the derived tables, and when the event loop has time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.model import Severity
from fleet2mqtt.outbox import OutboxLimits
from fleet2mqtt.outbox.sqlite import outbox as sqlite
from fleet2mqtt.outbox.sqlite.outbox import SQLiteOutbox, open_outbox
from tests.sample_alarms import RAISED, alarm, nameless

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.outbox import AlarmEvent

NEVER = 3600.0
TURNS = 3 * sqlite.JOINED_TURNS


async def add(outbox: SQLiteOutbox, number: int) -> int:
    """Add an alarm; return its number."""
    [event] = (await outbox.add([alarm(number)], nameless)).new
    return event.seq


@pytest.mark.parametrize("during_a_transaction", [False, True])
async def test_acknowledgement_is_recorded_with_the_next_new_alarms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, during_a_transaction: bool
) -> None:
    monkeypatch.setattr(sqlite, "LONGEST_WAIT", NEVER)
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        seq = await add(outbox, 1)
        adding = [asyncio.create_task(add(outbox, 2))] if during_a_transaction else []
        if adding:
            await outbox.transaction_began(NEVER)
        recording = asyncio.create_task(outbox.published([seq]))
        await asyncio.gather(*adding)
        before = outbox.commits
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert (outbox.commits, recording.done()) == (before, False)
        await add(outbox, 3)
        await recording
        assert (outbox.commits, outbox.depth) == (before + 1, 1 + len(adding))


async def test_acknowledgement_is_recorded_without_new_alarms(tmp_path: Path) -> None:
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        await outbox.published([await add(outbox, 1)])
        assert outbox.depth == 0


async def test_acknowledgement_that_waits_is_recorded_at_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LONGEST_WAIT", NEVER)
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        seq = await add(outbox, 1)
        recording = asyncio.create_task(outbox.published([seq]))
        await asyncio.sleep(0)
    await recording
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        assert outbox.depth == 0


async def test_event_loop_has_time_while_the_disk_works_and_else_after_a_while(tmp_path: Path) -> None:
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        waiting = asyncio.create_task(outbox.transaction_began(NEVER))
        await asyncio.sleep(0)
        await add(outbox, 1)
        await waiting
        await outbox.transaction_began(0.001)


@pytest.mark.parametrize("together", [False, True])
async def test_event_that_is_completed_before_it_is_derived_leaves_no_bytes_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, together: bool
) -> None:
    monkeypatch.setattr(sqlite, "LONGEST_WAIT", NEVER if together else 0.0)
    monkeypatch.setattr(sqlite, "SETTLE_INTERVAL", NEVER)
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        seq = await add(outbox, 1)
        recording = asyncio.create_task(outbox.published([seq])) if together else None
        await asyncio.sleep(0)
        completed = (await outbox.add([alarm(1, line="4", description="IP 分机离线")], nameless)).completed
        assert [event.body["line"] for event in completed] == ["4"]
        await (recording or outbox.published([seq]))
        assert (outbox.depth, outbox.size) == (0, 0)


@pytest.mark.parametrize("derived", [0, 2, 6])
@pytest.mark.parametrize(
    "acknowledged", [(1, 2), (1, 2, 3, 4), (2, 1, 4), (3, 4), (6, 2), (1, 4, 6), (6, 4, 3, 1), (1, 1, 9)]
)
async def test_acknowledgements_in_any_order_leave_the_other_events(
    tmp_path: Path, acknowledged: tuple[int, ...], derived: int
) -> None:
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        events: list[AlarmEvent] = []
        for number in range(1, 7):
            events += (await outbox.add([alarm(number, name="x" * number, backlog=number == 5)], nameless)).new
            if number == derived:
                await outbox.last()
        await outbox.published(acknowledged)
        left = [event for event in events if event.seq not in {*acknowledged, 5}]
        assert [event.seq for event in await outbox.unpublished(0)] == [event.seq for event in left]
        assert (outbox.depth, outbox.size) == (len(left), sum(len(event.data) for event in left))
        assert outbox.oldest == left[0].received_at
        await outbox.published(event.seq for event in events)
        assert (outbox.depth, outbox.size) == (0, 0)
        assert outbox.oldest is None


@pytest.mark.parametrize("rows", [0, 1, 3])
async def test_history_stays_at_its_bound(tmp_path: Path, rows: int) -> None:
    async with open_outbox(tmp_path / "o.sqlite", OutboxLimits(history_rows=rows)) as outbox:
        for number in range(1, 9):
            await outbox.published([await add(outbox, number)])
            events, _ = await outbox.history(0, 10)
            assert [event.seq for event in events] == list(range(max(1, number + 1 - rows), number + 1))
            assert outbox.first_seq == max(1, number + 1 - rows)


async def test_lower_bounds_hold_from_the_first_transaction_on(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    async with open_outbox(path) as outbox:
        await outbox.published([await add(outbox, number) for number in range(1, 6)])
    async with open_outbox(path, OutboxLimits(history_rows=2)) as outbox:
        await outbox.save_checkpoint("hq", "hq_voip_1", "1")
        assert [event.seq for event in (await outbox.history(0, 10))[0]] == [4, 5]
    async with open_outbox(path, OutboxLimits(history_rows=2, seen_rows=3)) as outbox:
        await outbox.save_checkpoint("hq", "hq_voip_1", "2")
        assert [(await outbox.add([alarm(number)], nameless)).new != () for number in (3, 2)] == [False, True]


async def test_ended_alarms_and_summary_are_bounded(tmp_path: Path) -> None:
    async with open_outbox(tmp_path / "o.sqlite", OutboxLimits(history_rows=2)) as outbox:
        raised = alarm(1, active=True, alarm_key="door")
        cleared = replace(raised, cleared=True, severity=Severity.CLEARED)
        await outbox.add([raised, cleared], nameless)
        await outbox.published([1, 2])
        assert [ended.id for ended in await outbox.ended_alarms()] == ["hq:1"]
        assert (await outbox.summary(RAISED))["last_day"]["critical"] == 1
        later = [alarm(number, raised_at=RAISED + timedelta(hours=26)) for number in (2, 3)]
        await outbox.add(later, nameless)
        await outbox.published([3, 4])
        assert await outbox.ended_alarms() == []
        assert (await outbox.summary(RAISED))["last_day"]["critical"] == 2


@pytest.mark.parametrize("together", [False, True])
async def test_alarm_that_has_ended_is_among_the_past_ones_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, together: bool
) -> None:
    monkeypatch.setattr(sqlite, "LONGEST_WAIT", NEVER)
    raised = alarm(1, active=True, alarm_key="door")
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        await outbox.add([raised], nameless)
        assert await outbox.active_alarms()
        recording = asyncio.create_task(outbox.published([1])) if together else None
        await asyncio.sleep(0)
        ended = replace(raised, cleared=True, severity=Severity.CLEARED)
        await outbox.add([ended], nameless, managed={"door": "cleared"})
        events, ends = await outbox.raised_before(10, 10)
        assert ([event.seq for event in events], list(ends)) == ([1], [1])
        if recording is not None:
            await recording
