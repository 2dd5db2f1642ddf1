"""Commits whose answer does not come: what is stored is told once, and what is told is replicated."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox import OutboxLimits
from fleet2mqtt.outbox.postgres import alarm_writer, open_database, queries
from fleet2mqtt.outbox.postgres import outbox as postgres_outbox
from fleet2mqtt.outbox.postgres.session import Session, shut_down
from tests.postgres import Servers
from tests.sample_alarms import add, alarm, ids, nameless
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def lose_answers(monkeypatch: pytest.MonkeyPatch, count: int) -> list[int]:
    """Let the connection break after the commit of a batch, before its answer is read: `count` times."""
    lost: list[int] = []
    carry_out = alarm_writer.Batch.__call__

    async def carry_out_and_break(batch: alarm_writer.Batch, connection: psycopg.AsyncConnection) -> Any:
        results = await carry_out(batch, connection)
        if len(lost) < count:
            lost.append(batch.last_seq)
            shut_down(connection)
            await connection.execute("SELECT 1")
        return results

    monkeypatch.setattr(alarm_writer.Batch, "__call__", carry_out_and_break)
    return lost


async def test_batch_whose_answer_was_lost_is_told_as_new(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn, deadline=60) as database:
        outbox = await database.outbox()
        await add(outbox, 1)
        lost = lose_answers(monkeypatch, 2)
        calls = (outbox.add([alarm(n)], nameless, {("hq", "d"): str(n)}, {"a": str(n)}) for n in (1, 2, 3, 2))
        answers = await asyncio.gather(*calls)
        assert [ids(stored.new) for stored in answers] == [[], ["hq:2"], ["hq:3"], []]
        assert len(lost) == 2
        assert [event.seq for event in (await outbox.history(0, 10))[0]] == [1, 2, 3]
        assert (outbox.depth, outbox.last_seq, outbox.checkpoint("hq", "d")) == (3, 3, "2")
        assert await outbox.managed() == {"a": "3"}


async def test_without_the_batch_id_a_lost_answer_says_nothing_new(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: the retry finds its own event as if another had stored it."""
    monkeypatch.setattr(
        alarm_writer,
        "_ADD",
        alarm_writer._ADD.replace("CASE WHEN batch = %(batch)s::uuid THEN 1 END", "NULL::bigint"),  # noqa: SLF001
    )
    async with open_database(dsn, deadline=60) as database:
        outbox = await database.outbox()
        lose_answers(monkeypatch, 1)
        assert await add(outbox, 1) == ()
        assert ids((await outbox.history(0, 10))[0]) == ["hq:1"]


async def test_same_alarm_of_two_nodes_is_one_event(dsn: str) -> None:
    async with open_database(dsn, deadline=60) as one, open_database(dsn, deadline=60) as two:
        boxes = [await one.outbox(), await two.outbox()]
        answers = await asyncio.gather(
            *(add(boxes[(number + again) % 2], number) for number in range(100) for again in range(2))
        )
        assert sorted(ids(event for events in answers for event in events)) == sorted(f"hq:{n}" for n in range(100))
        events, _ = await boxes[0].history(0, 1_000)
        assert [event.seq for event in events] == list(range(1, 101))
        assert len(await boxes[0].unpublished(0, 1_000)) == len(await boxes[1].unpublished(0, 1_000)) == 100


async def test_other_node_is_woken(dsn: str) -> None:
    async with open_database(dsn, deadline=60) as one, open_database(dsn, deadline=60) as two:
        adding, publishing = await one.outbox(), await two.outbox()
        (event,) = await add(adding, 1)
        await publishing.changed()
        assert await publishing.unpublished(0) == [event]
        await publishing.published([event.seq])
        await wait_until(lambda: adding.depth == 0, "the other node's figures")
        assert await adding.unpublished(0) == []


async def test_dead_letter_of_another_node_is_counted_where_it_is_listed(dsn: str) -> None:
    async with open_database(dsn, deadline=60) as database, open_database(dsn, deadline=60) as other:
        outbox, others = await database.outbox(), await other.outbox()
        for number in range(1, 4):
            await others.add_dead_letter("hq", "event", "no id", b"{%d}" % number)
            assert len(await outbox.dead_letters(0, 10)) == outbox.dead == number


@asynccontextmanager
async def listening(dsn: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection that is notified as other nodes are."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("SET synchronous_commit = local")
        await connection.execute(f"LISTEN {alarm_writer.CHANNEL}")
        yield connection


async def test_other_nodes_are_notified_of_many_batches_at_once(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_outbox, "MIN_NOTIFY_INTERVAL", 3_600)
    async with open_database(dsn, deadline=60) as database, listening(dsn) as listener:
        outbox = await database.outbox()
        for number in range(5):
            await add(outbox, number)
        await listener.execute(f"NOTIFY {alarm_writer.CHANNEL}, 'last'")
        payloads = []
        async for notification in listener.notifies(timeout=PATIENCE):
            payloads.append(notification.payload)
            if notification.payload == "last":
                break
        assert payloads == ["", "last"]


async def test_other_nodes_are_notified_of_the_last_batch(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that adds nothing more sends the notification that it has withheld."""
    async with open_database(dsn, deadline=60) as database, listening(dsn) as listener:
        outbox = await database.outbox()
        await add(outbox, 1)
        assert [each async for each in listener.notifies(timeout=PATIENCE, stop_after=1)]
        monkeypatch.setattr(postgres_outbox, "MIN_NOTIFY_INTERVAL", 1)
        await add(outbox, 2)
        assert database.figures.seq == 2
        assert [each async for each in listener.notifies(timeout=PATIENCE, stop_after=1)]


async def test_events_of_other_units_of_the_node_are_not_read_back(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_database(dsn, deadline=60) as one, open_database(dsn, deadline=60) as two:
        publishing, adding, elsewhere = await one.outbox(), await one.outbox(), await two.outbox()
        (first,) = await add(adding, 1)
        with monkeypatch.context() as patch:
            patch.setattr(queries, "unpublished", None)
            assert await publishing.unpublished(0) == [first]
        (second,) = await add(elsewhere, 2)
        (third,) = await add(adding, 3)
        assert [each.seq for each in await publishing.unpublished(0)] == [first.seq, second.seq, third.seq]
        await elsewhere.published([first.seq, second.seq])
        await wait_until(lambda: publishing.depth == 1, "the other node's figures")
        assert await publishing.unpublished(0) == [third]


async def test_derived_tables_follow_without_being_read(dsn: str, servers: Servers) -> None:
    name = dsn.rpartition("=")[2]
    async with open_database(dsn, OutboxLimits(history_rows=2), deadline=60) as database:
        outbox = await database.outbox()
        await add(outbox, *range(5), backlog=True)
        counted = "SELECT count(body) FROM fleet2mqtt.event HAVING (SELECT seq FROM fleet2mqtt.derivation) = 5"
        assert await wait_until(lambda: servers.primary.execute(counted, database=name), "derived tables") == [(2,)]
        await wait_until(lambda: outbox.first_seq == 4, "the figures")


@pytest.fixture
def frozen_standbys(servers: Servers) -> Iterator[Servers]:
    """Servers whose standbys stand still until the test, or `thaw`, lets them go on."""
    try:
        yield servers
    finally:
        for standby in servers.standbys:
            standby.thaw()


async def test_alarm_is_not_acknowledged_without_a_standby(dsn: str, frozen_standbys: Servers) -> None:
    async with open_database(dsn, deadline=2) as database:
        outbox = await database.outbox()
        await add(outbox, 1)
        for standby in frozen_standbys.standbys:
            standby.freeze()
        with pytest.raises(OutboxError):
            await add(outbox, 2)
        with pytest.raises(OutboxError):
            await add(outbox, 2)
        assert ids((await outbox.history(0, 10))[0]) == ["hq:1"], "reading goes on"
        assert outbox.refused["disk"] == 2
        for standby in frozen_standbys.standbys:
            standby.thaw()

        async def stored() -> bool:
            with suppress(OutboxError):
                await add(outbox, 2)
                return True
            return False

        await wait_for_answer(stored, "the standbys")
        assert ids((await outbox.history(0, 10))[0]) == ["hq:1", "hq:2"]


async def test_commit_that_stopped_waiting_is_carried_out_again(dsn: str, frozen_standbys: Servers) -> None:
    """A cancelled wait leaves the alarm visible and not replicated: notice 01000 is a failure."""
    database_name = dsn.rpartition("=")[2]
    waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    async with open_database(dsn, deadline=60) as database:
        outbox = await database.outbox()
        await add(outbox, 1)
        for standby in frozen_standbys.standbys:
            standby.freeze()
        adding = asyncio.create_task(add(outbox, 2), name="adding")
        primary = frozen_standbys.primary
        (first,) = await wait_until(lambda: primary.execute(waits), "the commit to wait")
        primary.execute(f"SELECT pg_cancel_backend({first[0]})")
        await wait_until(
            lambda: [row for row in primary.execute(waits) if row != first], "the connection's successor to wait"
        )
        visible = primary.execute("SELECT count(*) FROM fleet2mqtt.event", database=database_name)
        assert (visible, adding.done()) == ([(2,)], False)
        for standby in frozen_standbys.standbys:
            standby.thaw()
        assert [event.seq for event in await adding] == [2]


async def test_caller_that_is_cancelled_does_not_end_the_commit(dsn: str, frozen_standbys: Servers) -> None:
    async with open_database(dsn, deadline=60) as database:
        outbox = await database.outbox()
        await add(outbox, 1)
        for standby in frozen_standbys.standbys:
            standby.freeze()
        adding = asyncio.create_task(add(outbox, 2), name="adding")
        waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        await wait_until(lambda: frozen_standbys.primary.execute(waits), "the commit to wait")
        adding.cancel()
        with suppress(asyncio.CancelledError):
            await adding
        assert ids((await outbox.history(0, 10))[0]) == ["hq:1"], "not visible before it is replicated"
        for standby in frozen_standbys.standbys:
            standby.thaw()
        assert await add(outbox, 2) == ()
        assert ids((await outbox.history(0, 10))[0]) == ["hq:1", "hq:2"]


async def test_call_to_a_server_that_stands_still_ends_by_the_deadline(dsn: str, servers: Servers) -> None:
    session = Session(dsn, "test", parameters={}, timeout=1)
    try:
        assert await session.run(_one) == 1
        servers.primary.freeze()
        with pytest.raises(OutboxError):
            await session.run(_one)
        with pytest.raises(OutboxError):  # and while there is no connection
            await session.run(_one)
    finally:
        servers.primary.thaw()

    async def answered() -> bool:
        with suppress(OutboxError):
            return await session.run(_one) is not None
        return False

    await wait_for_answer(answered, "a new connection")
    await session.close()


async def _one(connection: psycopg.AsyncConnection) -> Any:
    row = await (await connection.execute("SELECT 1")).fetchone()
    return row and row[0]
