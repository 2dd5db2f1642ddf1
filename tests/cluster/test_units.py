"""A unit for each backend: spread over the nodes by weight, moved two at a time, and taken over one by one."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.bridge_under_test import CHANNEL, GATEWAY, MAC, SN
from tests.cluster.site import BRIDGE_STATE, Cluster, open_cluster, ready
from tests.cluster.test_failover import all_published, pushing, results, switch
from tests.commandline import fleet2mqtt
from tests.postgres import Servers
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.recording import Message

MORE = ("north", "south", "west")
"""Backends besides those of every test, which read the gateways of `branch`, too."""


@asynccontextmanager
async def open_fleet(folder: Path, servers: Servers) -> AsyncIterator[Cluster]:
    """A cluster with five backends."""
    async with open_cluster(folder, servers, measured=True) as cluster:
        branch = cluster.site.options({})["backends"]["branch"]
        cluster.more_backends |= {name: dict(branch) for name in MORE}
        yield cluster


@asynccontextmanager
async def watching(cluster: Cluster) -> AsyncIterator[list[dict[str, tuple[Any, ...]]]]:
    """Look at the units all the time; yield owner, wanted owner and epoch of each, by name."""
    looks: list[dict[str, tuple[Any, ...]]] = []
    ended = asyncio.Event()

    async def look() -> None:
        while not ended.is_set():
            rows = await cluster.query("SELECT name, owner, wanted, epoch FROM unit")
            looks.append({name: tuple(rest) for name, *rest in rows})
            await asyncio.sleep(0.02)

    task = asyncio.create_task(look())
    try:
        yield looks
    finally:
        ended.set()
        await task


def moves(looks: Sequence[dict[str, tuple[Any, ...]]]) -> int:
    """The largest number of units that were being handed over at a time."""
    return max(
        sum(owner is not None and wanted not in {None, owner} for owner, wanted, _ in look.values()) for look in looks
    )


def offline(messages: Sequence[Message]) -> set[str]:
    """The topics of bridge and backends that were offline."""
    found = {each.topic for each in messages if each.payload == b"offline"}
    return {topic for topic in found if topic == BRIDGE_STATE or topic.startswith("fleet2mqtt/backend/")}


def spread(owners: dict[str, str | None]) -> Counter[str | None]:
    return Counter(owners.values())


async def test_units_are_spread_and_a_killed_node_moves_only_its_own(tmp_path: Path, servers: Servers) -> None:
    async with open_fleet(tmp_path, servers) as cluster:
        nodes = {name: await cluster.start_node(name) for name in "abc"}
        await ready(cluster, *nodes)
        before = await balanced(cluster, *nodes)
        lost = before["branch"]
        assert lost is not None
        kept = {name: owner for name, owner in before.items() if owner != lost}
        epochs = dict(await cluster.query("SELECT name, epoch FROM unit"))
        rest = [node for name, node in nodes.items() if name != lost]
        async with pushing(cluster, *rest) as acknowledged:
            shown = len(cluster.seen.messages)
            nodes.pop(lost).kill()
            for number in range(3):
                await switch(cluster, f"gap{number}", "OFF" if number % 2 else "ON")
            await ready(cluster, *nodes)
            statuses = await results(cluster, 3)
        after = await cluster.owners()
        assert {name: after[name] for name in kept} == kept
        found = dict(await cluster.query("SELECT name, epoch FROM unit"))
        assert {name: found[name] for name in kept} == {name: epochs[name] for name in kept}
        assert offline(cluster.seen.messages[shown:]) == set()
        assert set(statuses.values()) <= {"confirmed", "superseded"}
        assert len(cluster.results(CHANNEL)) == 3
        await all_published(cluster, acknowledged)


async def balanced(cluster: Cluster, *names: str) -> dict[str, str | None]:
    """Wait until every node owns something, and nothing moves; return the owners."""

    async def ask() -> dict[str, str | None] | None:
        owners = await cluster.settled(*names)
        return owners if set(owners.values()) == set(names) else None

    return await wait_for_answer(ask, f"units at each of {names}", PATIENCE)


async def test_node_that_joins_gets_units_two_at_a_time(tmp_path: Path, servers: Servers) -> None:
    async with open_fleet(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        assert spread(await cluster.owners()) == {"a": 6}
        shown = len(cluster.seen.messages)
        async with watching(cluster) as looks, pushing(cluster, a) as acknowledged:
            await cluster.start_node("b")
            await balanced(cluster, "a", "b")
        assert moves(looks) <= 2
        assert offline(cluster.seen.messages[shown:]) == set()
        await all_published(cluster, acknowledged)
        weights = dict(await cluster.query("SELECT owner, sum(weight) FROM unit GROUP BY owner"))
        assert max(weights.values()) <= 0.75 * sum(weights.values())
        await switch(cluster, "after", "OFF")
        assert (await results(cluster, 1))["after"] == "confirmed"


async def test_drained_node_hands_its_units_over_two_at_a_time(tmp_path: Path, servers: Servers) -> None:
    async with open_fleet(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        b = await cluster.start_node("b")
        await balanced(cluster, "a", "b")
        shown = len(cluster.seen.messages)
        async with watching(cluster) as looks, pushing(cluster, a, b) as acknowledged:
            ended = await fleet2mqtt("cluster", "drain", "a", "-c", a.file)
            assert ended.code == 0, ended.errors
            for number in range(3):
                await switch(cluster, f"drain{number}", "OFF" if number % 2 else "ON")
            await cluster.settled("b")
            statuses = await results(cluster, 3)
        assert moves(looks) <= 2
        assert offline(cluster.seen.messages[shown:]) == set()
        assert set(statuses.values()) <= {"confirmed", "superseded"}
        await all_published(cluster, acknowledged)


async def test_units_of_a_stopped_node_show_nothing_that_it_read_before(tmp_path: Path, servers: Servers) -> None:
    async with open_fleet(tmp_path, servers) as cluster:
        nodes = {name: await cluster.start_node(name) for name in "ab"}
        await ready(cluster, *nodes)
        owner = (await balanced(cluster, *nodes))["branch"]
        assert owner is not None
        (other,) = nodes.keys() - {owner}
        async with pushing(cluster, nodes[other]) as acknowledged:
            nodes[owner].freeze()
            cluster.site.gateways.set_base(SN, alias="renamed")
            await ready(cluster, other)
            shown = len(cluster.seen.messages)
            nodes[owner].thaw()
            await nodes[owner].process.says("the lease is lost")
            await balanced(cluster, *nodes)
            await switch(cluster, "after", "OFF")
            statuses = await results(cluster, 1)
        await all_published(cluster, acknowledged)
        assert statuses["after"] == "confirmed"
        topic = f"homeassistant/device/fleet2mqtt_{GATEWAY}/config"
        names = {each.json["device"]["name"] for each in cluster.seen.messages[shown:] if each.topic == topic}
        assert names <= {"renamed"}


async def test_requests_are_answered_once_for_the_devices_of_all_nodes(tmp_path: Path, servers: Servers) -> None:
    async with open_fleet(tmp_path, servers) as cluster:
        nodes = {name: await cluster.start_node(name) for name in "abc"}
        await ready(cluster, *nodes)
        await balanced(cluster, *nodes)
        found: list[str] = []
        page = {"more": True, "after": ""}
        while page["more"]:
            page = (await cluster.request("devices", after=page["after"], limit=7))["data"]
            found += [device["id"] for device in page["devices"]]
        assert found == sorted(set(found))
        assert {device.partition("_")[0] for device in found} == {"branch", "bridge", "hq", *MORE}
        assert set((await cluster.request("health"))["data"]["backends"]) == {"branch", "hq_voip", *MORE}
        alarm = cluster.site.ums.raise_alarm(MAC, push=False)
        assert (await next(iter(nodes.values())).push(alarm))[0] == 200
        await wait_until(cluster.events, "the alarm")
        listed = (await cluster.request("alarms", limit=1_000))["data"]["alarms"]
        changed = await cluster.request("alarm_acknowledge", id=listed[-1]["id"], operator="tester")
        assert changed["data"]["changed"]
        shown = (await cluster.request("alarm", id=listed[-1]["id"]))["data"]["alarm"]
        assert shown["acknowledged_by"] == "tester"
        gone = [f"{name}_{device.partition('_')[2]}" for name in MORE for device in (GATEWAY,)]
        assert (await cluster.request("forget", devices=gone))["data"]["forgotten"]
        assert (await cluster.request("forget", devices=["nobody", gone[0]]))["status"] == "error"
        window = (await cluster.request("maintenance_add", selector={"backend": "north"}))["data"]
        assert [each["id"] for each in (await cluster.request("maintenance_list"))["data"]["windows"]] == [window["id"]]
        assert (await cluster.request("maintenance_remove", id=window["id"]))["status"] == "ok"
        responses = Counter(
            each.json["transaction"] for each in cluster.seen.all("fleet2mqtt/bridge/response/#") if each.payload
        )
        assert set(responses.values()) == {1}


async def test_announce_button_and_dropped_messages_of_the_bridge_are_of_all_units(
    tmp_path: Path, servers: Servers
) -> None:
    async with open_cluster(tmp_path, servers, measured=True) as cluster:
        await cluster.start_node("a")
        await ready(cluster, "a")
        topic = f"fleet2mqtt/device/{CHANNEL}/set/enable"
        await cluster.site.broker.publish(topic, "OFF", retain=True)
        await wait_until(lambda: cluster.results(CHANNEL), "the result of the retained command")
        assert (await cluster.request("health"))["data"]["bridge"]["dropped"] == {"retained_command": 1}
        await cluster.seen.wait(
            lambda each: each.topic == "fleet2mqtt/bridge/health" and each.json["dropped"] == {"retained_command": 1}
        )
        before = cluster.seen.latest(f"fleet2mqtt/device/{CHANNEL}/availability")
        await cluster.site.broker.publish("fleet2mqtt/device/bridge/set/announce", "PRESS")
        await wait_until(
            lambda: cluster.seen.latest(f"fleet2mqtt/device/{CHANNEL}/availability") is not before, "it again"
        )
        result = await cluster.seen.wait(lambda each: each.topic == "fleet2mqtt/device/bridge/result")
        assert result.json["status"] == "confirmed"
