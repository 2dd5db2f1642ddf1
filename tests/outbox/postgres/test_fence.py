"""The fence: once another node has taken a unit over, nothing of the former owner is written any more."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from fleet2mqtt.errors import OutboxError, OutboxFenced
from fleet2mqtt.outbox.postgres import Fence, PostgresOutbox, alarm_writer, open_database
from tests.sample_alarms import add, alarm, ids, nameless
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TAKE_OVER = "UPDATE fleet2mqtt.unit SET epoch = epoch + 1 WHERE name = 'x'"


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection of another node, which waits for no standby."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("SET synchronous_commit = local")
        yield connection


@pytest.fixture
async def other(dsn: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with connected(dsn) as connection:
        yield connection


@pytest.fixture
async def owner(dsn: str, other: psycopg.AsyncConnection) -> AsyncIterator[PostgresOutbox]:
    """The outbox of unit x in epoch 1."""
    async with open_database(dsn, deadline=60) as database:
        await other.execute("INSERT INTO fleet2mqtt.unit (name, epoch) VALUES ('x', 1)")
        yield await database.outbox(Fence(unit="x", epoch=1))


async def test_writes_after_the_takeover_are_refused(owner: PostgresOutbox, other: psycopg.AsyncConnection) -> None:
    (event,) = await add(owner, 1)
    letter = await owner.add_dead_letter("hq", "event", "no id", b"{}")
    await other.execute(TAKE_OVER)
    for write in (
        owner.add([alarm(2)], nameless, {("hq", "hq_voip_1"): "late"}),
        owner.change([], {"alarm/a": "late"}),
        owner.save_checkpoint("hq", "hq_voip_1", "late"),
        owner.add_dead_letter("hq", "event", "late", b"[]"),
        owner.forget(["hq_voip_1"]),
        owner.setting("instance", lambda: "late"),
    ):
        with pytest.raises(OutboxFenced, match="unit x"):
            await write
    with pytest.raises(OutboxFenced):
        await owner.discard(letter)
    assert (await owner.history(0, 10))[0] == [event]
    assert await owner.managed() == {}
    assert [each.id for each in await owner.dead_letters(0, 10)] == [letter]
    assert await owner.last() == {"hq_voip_1": event}
    rows = await (await other.execute("SELECT count(*) FROM fleet2mqtt.checkpoint")).fetchone()
    assert rows == (0,)


async def test_late_owner_fails_alone_in_a_shared_batch(dsn: str, other: psycopg.AsyncConnection) -> None:
    async with open_database(dsn, deadline=60) as database:
        await other.execute("INSERT INTO fleet2mqtt.unit (name, epoch) VALUES ('x', 2), ('y', 5)")
        boxes = [
            await database.outbox(fence)
            for fence in (Fence(unit="x", epoch=1), Fence(unit="x", epoch=2), Fence(unit="y", epoch=5), None)
        ]
        commits = database.commits
        results = await asyncio.gather(*(add(box, number) for number, box in enumerate(boxes)), return_exceptions=True)
        assert isinstance(results[0], OutboxFenced)
        assert [ids(each) for each in results[1:] if isinstance(each, tuple)] == [["hq:1"], ["hq:2"], ["hq:3"]]
        assert database.commits == commits + 1
        assert database.figures.seq == 3


async def waits_for_lock(other: psycopg.AsyncConnection, count: int) -> None:
    """Wait until so many statements of other connections wait for a lock."""

    async def waiting() -> bool:
        found = await other.execute(
            "SELECT count(*) >= %s FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'",
            (count,),
        )
        return await found.fetchone() == (True,)

    await wait_for_answer(waiting, f"{count} statements to wait for a lock")


@pytest.mark.parametrize("shared", [True, False])
async def test_write_begun_before_the_takeover_ends_before_it(
    dsn: str, other: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch, *, shared: bool
) -> None:
    """The negative control: without FOR SHARE the former owner's alarm is written after the takeover."""
    if not shared:
        monkeypatch.setattr(alarm_writer, "_ADD", alarm_writer._ADD.replace("FOR SHARE OF unit", ""))  # noqa: SLF001
    async with open_database(dsn, deadline=60) as database, connected(dsn) as holder, connected(dsn) as taker:
        await other.execute("INSERT INTO fleet2mqtt.unit (name, epoch) VALUES ('x', 1)")
        owner = await database.outbox(Fence(unit="x", epoch=1))
        await add(owner, 1)
        await holder.execute("BEGIN")
        await holder.execute("SELECT * FROM fleet2mqtt.level FOR UPDATE")
        writing = asyncio.create_task(add(owner, 2), name="writing")
        await waits_for_lock(other, 1)
        taking: asyncio.Task[Any] = asyncio.create_task(taker.execute(TAKE_OVER), name="taking")
        if shared:
            await waits_for_lock(other, 2)
            assert not taking.done()
        else:
            await taking
        await holder.execute("ROLLBACK")
        assert ids(await writing) == ["hq:2"], "it was written" if shared else "it was written after the takeover"
        await taking
        with pytest.raises(OutboxError):
            await add(owner, 3)
