"""Leases: who owns the unit, and who takes whom for dead, by two nodes in one process and a real database."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.cluster.membership import BRIDGE_UNIT, Membership
from fleet2mqtt.errors import ConfigError, LeaseLost
from fleet2mqtt.outbox.postgres.migrations import migrate
from fleet2mqtt.outbox.postgres.session import Session
from tests.waiting import PATIENCE, wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from psycopg import AsyncConnection

    from tests.postgres import Servers

TTL = 1.0


@dataclass(slots=True)
class Clock:
    """A node's own clock."""

    seconds: float = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass(slots=True, kw_only=True)
class Nodes:
    """Nodes of one database."""

    session: Session
    clocks: dict[str, Clock] = field(default_factory=dict)

    def node(self, name: str, ttl: float = TTL) -> Membership:
        clock = self.clocks.setdefault(name, Clock())
        return Membership(self.session, self.session, node=name, ttl=ttl, version="1", config_digest="d", clock=clock)

    async def execute(self, statement: str) -> None:
        """Carry a statement out."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement.encode())

        await self.session.run(work)

    async def expire(self, name: str) -> None:
        """Wait until the lease of a node has expired, by the database's clock."""

        async def expired() -> bool:
            async def work(connection: object) -> bool:
                query = "SELECT expires < clock_timestamp() FROM node WHERE name = %s"
                row = await (await connection.execute(query, (name,))).fetchone()  # type: ignore[attr-defined]
                return bool(row[0])

            return await self.session.run(work)

        await wait_for_answer(expired, f"the lease of {name} to expire", PATIENCE)


@asynccontextmanager
async def open_nodes(servers: Servers) -> AsyncIterator[Nodes]:
    dsn = await asyncio.to_thread(servers.empty_database)
    async with AsyncExitStack() as stack:
        session = Session(dsn, "test", parameters={"synchronous_commit": "on"}, prepare=migrate)
        stack.push_async_callback(session.close)
        nodes = Nodes(session=session)
        await nodes.node("made").add_units((BRIDGE_UNIT,))
        yield nodes


async def test_unit_belongs_to_one_node(servers: Servers) -> None:
    async with open_nodes(servers) as nodes:
        a, b = nodes.node("a"), nodes.node("b")
        await a.join()
        await b.join()
        lease = await a.claim(BRIDGE_UNIT)
        assert lease is not None
        assert lease.gap is None
        assert await b.claim(BRIDGE_UNIT) is None
        await a.release(lease)
        taken = await b.claim(BRIDGE_UNIT)
        assert taken is not None
        assert taken.epoch > lease.epoch
        assert taken.gap is not None


async def test_claim_whose_answer_was_lost_is_repeated(servers: Servers) -> None:
    async with open_nodes(servers) as nodes:
        a = nodes.node("a")
        await a.join()
        first = await a.claim(BRIDGE_UNIT)
        again = await a.claim(BRIDGE_UNIT)
        assert first is not None
        assert again is not None
        assert again.epoch > first.epoch


async def test_node_whose_lease_expired_loses_the_unit(servers: Servers) -> None:
    async with open_nodes(servers) as nodes:
        a, b = nodes.node("a"), nodes.node("b", ttl=60)
        await a.join()
        await b.join()
        assert await a.claim(BRIDGE_UNIT)
        await nodes.expire("a")
        nodes.clocks["b"].seconds += 61
        await b.renew()
        nodes.clocks["b"].seconds += 1
        await b.mark_dead()
        assert await b.claim(BRIDGE_UNIT) is None, "its own lease is renewed since less than a lease"
        nodes.clocks["b"].seconds += 59
        await b.renew()
        await b.mark_dead()
        assert await b.claim(BRIDGE_UNIT)
        with pytest.raises(LeaseLost):
            await a.renew()
        assert a.lost.is_set()
        assert not a.is_valid


async def test_node_whose_own_lease_has_expired_takes_no_other_for_dead(servers: Servers) -> None:
    """After a time in which no node reached the database, whoever does first would take the others for dead."""
    async with open_nodes(servers) as nodes:
        a, b = nodes.node("a"), nodes.node("b", ttl=60)
        await a.join()
        await b.join()
        nodes.clocks["b"].seconds += 59
        await b.renew()
        await nodes.expire("a")
        nodes.clocks["b"].seconds += 61
        await b.mark_dead()
        await a.renew()
        assert not a.lost.is_set()


async def test_lease_is_not_valid_after_a_sleep_of_the_machine(servers: Servers) -> None:
    async with open_nodes(servers) as nodes:
        a = nodes.node("a", ttl=30)
        await a.join()
        assert a.is_valid
        nodes.clocks["a"].seconds += 31
        assert not a.is_valid
        await a.renew()
        assert a.is_valid


async def test_second_node_of_a_name_is_refused_while_the_first_goes_on(servers: Servers) -> None:
    async with open_nodes(servers) as nodes:
        a = nodes.node("a", ttl=30)
        await a.join()
        twin = nodes.node("a", ttl=30)
        joining = asyncio.create_task(twin.join())
        await asyncio.sleep(0)
        nodes.clocks["a"].seconds += 91
        with pytest.raises(ConfigError, match="another node is called a"):
            await joining


async def test_drained_node_owns_the_unit_only_if_there_is_no_other(servers: Servers) -> None:
    async with open_nodes(servers) as nodes:
        a, b = nodes.node("a", ttl=30), nodes.node("b", ttl=30)
        await a.join()
        await b.join()
        assert await a.drain("a")
        assert not await a.drain("nobody")
        assert await a.claim(BRIDGE_UNIT) is None
        await b.leave()
        assert await a.claim(BRIDGE_UNIT)
        await a.renew()
        assert a.draining
        assert [(each.name, each.state, each.units) for each in await a.nodes()] == [
            ("a", "alive", (BRIDGE_UNIT,)),
            ("b", "left", ()),
        ]
