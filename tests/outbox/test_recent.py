"""Events in memory: they are read from there if it has all that was asked for, else from disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet2mqtt.outbox import OutboxLimits, open_outbox
from fleet2mqtt.outbox.models import draft
from fleet2mqtt.outbox.recent import READ_ROWS, ROWS, RecentEvents
from tests.sample_alarms import RAISED, add, add_and_disconnect, alarm
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.outbox import AlarmEvent
    from tests.outbox.engines import Store


def events(*seqs: int) -> list[AlarmEvent]:
    """Return events with these numbers."""
    return [draft(alarm(seq), RAISED, None).event(seq) for seq in seqs]


async def test_events_beyond_memory_come_from_disk(store: Store) -> None:
    count = ROWS + 100
    async with store.open() as outbox:
        await add(outbox, *range(count))
        assert [event.seq for event in await outbox.unpublished(0, 2 * count)] == list(range(1, count + 1))
        assert [event.seq for event in await outbox.unpublished(count - 2)] == [count - 1, count]


async def test_memory_and_disk_give_the_same(store: Store) -> None:
    async with store.open() as outbox:
        await add(outbox, *range(10))
        await outbox.published([1, 2, 5])
        from_memory = await outbox.unpublished(0)
    async with store.open() as outbox:
        assert await outbox.unpublished(0) == from_memory
    assert [event.seq for event in from_memory] == [3, 4, 6, 7, 8, 9, 10]


async def test_event_of_disconnected_sender_is_found(store: Store) -> None:
    async with store.open() as outbox:
        await add(outbox, 1)
        await add_and_disconnect(outbox, 2)
        await add(outbox, 3)
        assert [event.seq for event in await outbox.unpublished(0)] == [1, 2, 3]
        assert [event.seq for event in await outbox.unpublished(1)] == [2, 3]


async def test_history_in_memory_is_that_on_disk(tmp_path: Path) -> None:
    count = ROWS + 100
    async with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        assert outbox.history_in_memory(0, 1) == []  # from now on there is a reader
        await add(outbox, *range(count))
        await outbox.published(range(1, count))
        asked = [(after, limit) for after in (0, 50, 99, 100, 600, count - 1, count, 2**70) for limit in (1, 7, count)]
        from_memory = [outbox.history_in_memory(after, limit) for after, limit in asked]
    async with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        on_disk = [(await outbox.history(after, limit))[0] for after, limit in asked]
    beyond_memory = [(after, limit) for after, limit in asked if after < count - ROWS]
    assert from_memory == [[]] * len(beyond_memory) + on_disk[len(beyond_memory) :]
    assert [event.seq for event in on_disk[-7]] == [count]


async def test_history_in_memory_has_no_gap_and_what_was_completed(tmp_path: Path) -> None:
    async with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        outbox.history_in_memory(0, 1)
        await add(outbox, 1)
        await add_and_disconnect(outbox, 2)
        await add(outbox, 3)
        assert outbox.history_in_memory(1, 10) == []
        (completed,) = (await outbox.add([alarm(3, line="4")], lambda _: None)).completed
        assert outbox.history_in_memory(2, 10) == [completed]


def test_history_keeps_what_one_of_its_readers_has_not_read() -> None:
    recent = RecentEvents(history_rows=READ_ROWS + 10)
    recent.add(events(1, 2), announce_backlog=True)
    assert recent.history(0, 10) == []  # nobody had read until then
    last = READ_ROWS + 5
    recent.add(events(*range(3, last + 1)), announce_backlog=True)
    assert [event.seq for event in recent.history(2, 2)] == [3, 4]
    assert [event.seq for event in recent.history(last - 1, 2)] == [last]
    assert [event.seq for event in recent.history(4, 2)] == [5, 6]  # of a reader that is behind
    assert recent.history(2, 2) == []  # read long before: it is on disk only
    assert recent.history(last, 2) == []
    recent.add(events(last + 1), announce_backlog=True)
    assert [event.seq for event in recent.history(last, 2)] == [last + 1]


async def test_history_has_no_more_than_its_bound(store: Store) -> None:
    async with store.open(OutboxLimits(history_rows=5)) as outbox:
        await add(outbox, *range(20))
        await outbox.published(range(1, 19))
        await add(outbox, 20)
        found, more = await outbox.history(0, 100)
        assert ([event.seq for event in found], more) == ([*range(14, 22)], False)


async def test_history_has_the_event_of_a_disconnected_sender(store: Store) -> None:
    async with store.open() as outbox:
        await add(outbox, 1)
        await add_and_disconnect(outbox, 2)
        await wait_until(lambda: outbox.last_seq == 2, "the commit")
        events, more = await outbox.history(0, 100)
        while more:
            page, more = await outbox.history(events[-1].seq, 100)
            events += page
        assert [event.seq for event in events] == [1, 2]
