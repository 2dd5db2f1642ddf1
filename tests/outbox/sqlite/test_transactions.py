"""Which jobs share a transaction, and when the event loop has time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.outbox.sqlite import outbox as sqlite
from fleet2mqtt.outbox.sqlite.outbox import SQLiteOutbox, open_outbox
from tests.sample_alarms import alarm, nameless

if TYPE_CHECKING:
    from pathlib import Path

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
