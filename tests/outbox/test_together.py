"""Callers at once, whose jobs may share a transaction: each finds what those before it have added."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.sample_alarms import alarm, nameless

if TYPE_CHECKING:
    from tests.outbox.engines import Store


async def test_removed_device_takes_the_alarm_that_is_being_stored_with_it(store: Store) -> None:
    raised = alarm(1, active=True, alarm_key="door")
    async with store.open() as outbox:
        stored, ended = await asyncio.gather(outbox.add([raised], nameless), outbox.forget([raised.device]))
        assert ended == list(stored.new)
        assert await outbox.active_alarms() == []


async def test_alarm_that_is_being_stored_is_completed(store: Store) -> None:
    """A poll and the push of the same alarm, which tells more, at once."""
    async with store.open() as outbox:
        polled, pushed = await asyncio.gather(
            outbox.add([alarm(1, active=True, alarm_key="door", line=None)], nameless),
            outbox.add([alarm(1, active=True, alarm_key="door", line="4")], nameless),
        )
        assert [event.body["line"] for event in (*polled.new, *pushed.completed)] == [None, "4"]
        [event] = await outbox.active_alarms()
        assert event.body["line"] == "4"
