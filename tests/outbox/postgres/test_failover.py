"""The primary fails and a standby takes its place: nothing that was acknowledged is lost, no number is given twice."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.postgres import PostgresOutbox, open_database
from tests.postgres import Server, Servers
from tests.sample_alarms import add
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def fleet() -> Iterator[Servers]:
    """Servers of the test's own: a primary and two standbys, of which one has to confirm each commit."""
    with Servers() as servers:
        yield servers


async def push(outbox: PostgresOutbox, numbers: Iterator[int], acknowledged: dict[str, int | None]) -> None:
    """Add alarms as a vendor pushes them: each again until it is acknowledged. Record the number that was told."""
    while True:
        number = next(numbers)
        while True:
            try:
                events = await add(outbox, number)
            except OutboxError:
                await asyncio.sleep(0)
                continue
            break
        acknowledged[f"hq:{number}"] = events[0].seq if events else None


@pytest.mark.parametrize("end", [Server.crash, Server.kill])
async def test_acknowledged_alarms_survive_the_loss_of_the_primary(
    fleet: Servers, end: Callable[[Server], None]
) -> None:
    acknowledged: dict[str, int | None] = {}
    async with open_database(fleet.create_database(), deadline=60) as database:
        outbox = await database.outbox()
        numbers = count()
        pushers = [asyncio.create_task(push(outbox, numbers, acknowledged), name=f"pusher {n}") for n in range(16)]
        await wait_until(lambda: len(acknowledged) > 200, "alarms")
        await asyncio.to_thread(end, fleet.primary)
        await asyncio.to_thread(lambda: fleet.promote(fleet.most_advanced()))
        before = len(acknowledged)
        await wait_until(lambda: len(acknowledged) > before + 200, "alarms at the new primary")
        for pusher in pushers:
            pusher.cancel()
        await asyncio.wait(pushers)
        events, _ = await outbox.history(0, 1_000_000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    stored = {event.id: event.seq for event in events}
    # Each was told as new, under its number: also those whose answer was lost with the primary.
    assert acknowledged.items() <= stored.items()


@pytest.mark.parametrize("required", [1, 0])
async def test_standby_that_hangs_is_waited_for_or_loses_alarms(required: int) -> None:
    """The negative control: a primary that does not wait for its standby loses acknowledged alarms with itself."""
    with Servers(count=2, required=required) as servers:
        async with open_database(servers.create_database(), deadline=1, require_replication=required > 0) as database:
            outbox = await database.outbox()
            acknowledged = {event.id for event in await add(outbox, *range(10))}
            servers.standbys[0].freeze()
            for number in range(10, 14):
                try:
                    acknowledged |= {event.id for event in await add(outbox, number)}
                except OutboxError:
                    break
            primary, standby = servers.all
            await asyncio.to_thread(primary.kill)
            await asyncio.to_thread(standby.kill)
            await asyncio.to_thread(standby.start)
            await asyncio.to_thread(servers.promote, standby)
        stored = servers.primary.execute("SELECT id FROM fleet2mqtt.event", database="test_1")
        lost = acknowledged - {id_ for (id_,) in stored}
        if required:
            assert lost == set()
        else:
            assert lost >= {f"hq:{number}" for number in range(10, 14)}
