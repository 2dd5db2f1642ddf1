"""Errands: each has an end, whatever happens to the unit or node that is to do it, over a real database."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.cluster import errands as module
from fleet2mqtt.cluster.errands import Errands
from fleet2mqtt.errors import CommandError
from tests.cluster.test_membership import open_nodes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from fleet2mqtt.cluster.membership import Lease, Membership
    from tests.postgres import Servers

WORK = {"kind": "work"}
REPEATABLE = WORK | {"repeatable": True}


@dataclass(slots=True, kw_only=True)
class Pair:
    """The errands of two nodes, `here` and `there`, and what is known of the nodes."""

    here: Errands
    there: Errands
    members: Mapping[str, Membership]

    async def lease(self, node: str, unit: str) -> Lease:
        """Have a node own a unit that it is to own."""
        members = self.members[node]
        await members.add_units((unit,))
        bridge = members.leases.get("bridge") or await members.claim("bridge")
        assert bridge is not None
        await members.assign(bridge, {unit: node})
        lease = await members.claim(unit)
        assert lease is not None
        return lease


@asynccontextmanager
async def open_pair(servers: Servers) -> AsyncIterator[Pair]:
    async with open_nodes(servers) as nodes:
        members = {name: nodes.node(name, ttl=60.0) for name in ("here", "there")}
        for each in members.values():
            await each.join()
        pair = Pair(here=Errands(nodes.session), there=Errands(nodes.session), members=members)
        tasks = [asyncio.create_task(each.run()) for each in (pair.here, pair.there)]
        try:
            yield pair
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def respond(work: Mapping[str, Any]) -> Any:
    return work["kind"]


@dataclass(slots=True)
class Stuck:
    """Work that begins and does not end."""

    begun: asyncio.Event

    async def __call__(self, _: Mapping[str, Any]) -> None:
        self.begun.set()
        await asyncio.Event().wait()


async def code_of(asking: Any) -> str:
    with pytest.raises(CommandError) as raised:
        await asking
    return raised.value.code


async def test_errand_is_done_by_the_owner_of_its_unit(servers: Servers) -> None:
    async with open_pair(servers) as pair:
        pair.there.serve(await pair.lease("there", "hq"), respond)
        assert await pair.here.ask("hq", WORK) == "work"
        assert await pair.there.ask_all({"hq": WORK}) == {"hq": "work"}


@pytest.mark.parametrize("work", [WORK, REPEATABLE], ids=["once", "repeatable"])
async def test_errand_of_a_unit_without_an_owner_ends_in_timeout(
    servers: Servers, work: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pair(servers) as pair:
        await pair.members["here"].add_units(("hq",))
        assert await code_of(pair.here.ask("hq", work, patience=0.1)) == "timeout"
        monkeypatch.setattr(module, "TIMEOUT", 0.1)
        assert await code_of(pair.here.ask("hq", work, patience=None)) == "timeout"


async def test_unit_that_was_removed_has_no_result(servers: Servers) -> None:
    async with open_pair(servers) as pair:
        pair.there.serve(await pair.lease("there", "hq"), respond)
        assert await pair.here.ask_all({"gone": REPEATABLE, "hq": WORK}) == {"hq": "work"}
        assert await code_of(pair.here.ask("gone", WORK)) == "interrupted"


@pytest.mark.parametrize("asker", ["here", "there"])
async def test_errand_of_a_unit_that_ends_is_interrupted_or_done_by_the_next(servers: Servers, asker: str) -> None:
    """Work of a unit ends with it, also where who asks is on the same node, or the unit is only started again."""
    async with open_pair(servers) as pair:
        lease, asking = await pair.lease("there", "hq"), getattr(pair, asker)
        for work in (WORK, REPEATABLE):
            stuck = Stuck(asyncio.Event())
            pair.there.serve(lease, stuck)
            task = asyncio.create_task(asking.ask("hq", work))
            await stuck.begun.wait()
            await pair.there.finish(lease, 0.0)
            if work is WORK:
                assert await code_of(task) == "interrupted"
            else:
                pair.there.serve(lease, respond)
                assert await task == "work"


async def test_errand_begun_by_an_owner_that_lost_its_unit_is_interrupted(servers: Servers) -> None:
    async with open_pair(servers) as pair:
        lease, stuck = await pair.lease("there", "hq"), Stuck(asyncio.Event())
        pair.there.serve(lease, stuck)
        task = asyncio.create_task(pair.here.ask("hq", WORK))
        await stuck.begun.wait()
        await pair.members["there"].release(lease)
        assert await code_of(task) == "interrupted"


async def test_nodes_do_errands_and_one_that_has_left_does_not_have_to(servers: Servers) -> None:
    done: list[str] = []
    stuck = Stuck(asyncio.Event())

    async def do(work: Mapping[str, Any]) -> None:
        done.append(work["kind"])

    async with open_pair(servers) as pair:
        pair.here.serve_node("here", do)
        pair.there.serve_node("there", stuck)
        task = asyncio.create_task(pair.here.ask_nodes(["here", "there"], REPEATABLE, 60.0))
        await stuck.begun.wait()
        await pair.members["there"].leave()
        await task
        assert done == ["work"]
