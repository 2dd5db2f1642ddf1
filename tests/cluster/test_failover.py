"""Failover with real parts: PostgreSQL with standbys, mosquitto, simulators, nodes that are killed or stopped."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientError

from tests.bridge_under_test import CHANNEL, GATEWAY, MAC, NEVER, SN, VOIP, state_topic
from tests.broker import free_port
from tests.cluster.haproxy import behind_haproxy
from tests.cluster.site import BRIDGE_STATE, Cluster, ClusterNode, open_cluster, ready
from tests.commandline import fleet2mqtt
from tests.faults.test_clock import SHIFT
from tests.mqtt.proxy import Proxy
from tests.postgres import Servers
from tests.process import BRIDGE, ran
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def pushing(cluster: Cluster, *nodes: ClusterNode) -> AsyncIterator[set[str]]:
    """Push alarms to nodes in turn all the time; yield the ids of those that were acknowledged."""
    acknowledged: set[str] = set()
    ended = asyncio.Event()

    async def push() -> None:
        while not ended.is_set():
            for node in nodes:
                alarm = cluster.site.ums.raise_alarm(MAC, push=False)
                try:
                    async with asyncio.timeout(5):
                        status, _ = await node.push(alarm)
                except (ClientError, OSError, TimeoutError):
                    continue
                if status == 200:
                    acknowledged.add(f"hq_voip:{alarm['id']}")
                await asyncio.sleep(0.02)

    task = asyncio.create_task(push())
    try:
        yield acknowledged
    finally:
        ended.set()
        await task


async def all_published(cluster: Cluster, acknowledged: set[str]) -> None:
    """Wait until each acknowledged alarm is published, under one number each, without a gap."""
    await wait_until(
        lambda: acknowledged <= {event["id"] for event in cluster.events()},
        lambda: f"{len(acknowledged - {event['id'] for event in cluster.events()})} alarms to be published",
        PATIENCE,
    )
    events = cluster.events()
    first = events[0]["seq"]
    assert [event["seq"] for event in events] == list(range(first, first + len(events)))
    assert len({event["id"] for event in events}) == len(events)


async def switch(cluster: Cluster, transaction: str, value: str) -> None:
    await cluster.site.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", {"enable": value, "transaction": transaction})


async def results(cluster: Cluster, count: int) -> dict[str, str]:
    """Wait for the results of so many commands; return their status by transaction."""
    await wait_until(
        lambda: len({each["transaction"] for each in cluster.results(CHANNEL)}) >= count,
        lambda: f"{count} results: {cluster.results(CHANNEL)}",
        PATIENCE,
    )
    return {each["transaction"]: each["status"] for each in cluster.results(CHANNEL)}


async def test_node_that_is_alone_owns_the_unit_and_answers(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        response = await cluster.request("health")
        bridge = response["data"]["bridge"]
        assert bridge["storage"].items() >= {"engine": "postgresql", "durability": "replicated"}.items()
        assert bridge["nodes"]["a"]["owner"]
        state = await cluster.seen.wait(lambda each: each.topic == f"fleet2mqtt/device/{VOIP}/state")
        assert state.json
        assert await a.healthz() == 200
        await a.stop()
        assert cluster.latest(BRIDGE_STATE) == b"offline"
        assert cluster.latest("fleet2mqtt/bridge/node/a/state") == b"offline"


async def test_killed_owner_loses_no_alarm_and_no_command(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        b = await cluster.start_node("b")
        async with pushing(cluster, a, b) as acknowledged:
            for number in range(3):
                await switch(cluster, f"before{number}", "OFF" if number % 2 else "ON")
            await results(cluster, 3)
            await wait_for_answer(lambda: all_answered(cluster), "the acknowledgements of the results to be stored")
            before = len(cluster.seen.messages)
            a.kill()
            for number in range(5):
                await switch(cluster, f"gap{number}", "OFF" if number % 2 else "ON")
                await asyncio.sleep(0.2)
            await cluster.owner("b")
            await ready(cluster, "b")
            statuses = await results(cluster, 8)
        await all_published(cluster, acknowledged)
        transactions = [each["transaction"] for each in cluster.results(CHANNEL)]
        assert len(transactions) == len(set(transactions))
        assert statuses["gap4"] == "confirmed", statuses
        assert set(statuses.values()) <= {"confirmed", "superseded", "unconfirmed"}
        after = cluster.seen.messages[before:]
        assert not [each for each in after if each.topic == BRIDGE_STATE and each.payload == b"offline"]
        assert not [
            each for each in after if each.topic.startswith("fleet2mqtt/backend/") and each.payload == b"offline"
        ]


async def all_answered(cluster: Cluster) -> bool:
    """True if no result would be published again by the next owner, for want of its acknowledgement."""
    return await cluster.query("SELECT count(*) FROM command_reply WHERE progress <> 'answered'") == [(0,)]


async def test_stopped_owner_that_goes_on_publishes_and_writes_nothing(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        b = await cluster.start_node("b")
        gateways = cluster.site.gateways
        async with pushing(cluster, b) as acknowledged:
            a.freeze()
            gateways.set_base(SN, alias="renamed")  # what the stopped one does not know
            await switch(cluster, "gap", "ON")
            await ready(cluster, "b")
            await results(cluster, 1)
            before = len(cluster.seen.messages)
            a.thaw()
            await a.process.says("the lease is lost")
            await switch(cluster, "after", "OFF")
            statuses = await results(cluster, 2)
        await all_published(cluster, acknowledged)
        assert statuses["after"] == "confirmed"
        assert len(cluster.results(CHANNEL)) == 2
        configs = [
            each.json["device"]["name"]
            for each in cluster.seen.messages[before:]
            if each.topic == f"homeassistant/device/fleet2mqtt_{GATEWAY}/config"
        ]
        assert set(configs) <= {"renamed"}
        assert (await cluster.owners())["bridge"] == "b"


async def test_primary_that_crashes_costs_nothing_acknowledged(tmp_path: Path) -> None:
    polled = {"scan_interval": {"devices": 1, "details": NEVER, "mappings": NEVER}}
    with Servers() as servers:
        async with open_cluster(tmp_path, servers, branch=polled) as cluster:
            a = await cluster.start_node("a", ttl=5)
            await ready(cluster, "a")
            b = await cluster.start_node("b", ttl=5)
            async with pushing(cluster, a, b) as acknowledged:
                await wait_until(lambda: len(acknowledged) > 20, "pushes before the crash")
                servers.primary.kill()
                crashed = len(cluster.seen.messages)
                await wait_for_answer(lambda: has_status(a, 503), "503 of /healthz")
                assert (await a.push(cluster.site.ums.raise_alarm(MAC, push=False)))[0] == 503
                cluster.site.gateways.set_base(SN, rateup=4_711)
                await cluster.seen.wait(
                    lambda each: each.topic == state_topic(GATEWAY) and each.json.get("rateup") == 4_711
                )
                await asyncio.to_thread(lambda: servers.promote(servers.most_advanced()))
                await asyncio.to_thread(servers.require, 1)
                await wait_for_answer(lambda: has_status(a, 200), "200 of /healthz")
                count = len(acknowledged)
                await wait_until(lambda: len(acknowledged) > count + 20, "pushes after the promotion")
            await all_published(cluster, acknowledged)
            await ready(cluster, "a", "b")
            after = cluster.seen.messages[crashed:]
            assert not [each for each in after if each.topic == BRIDGE_STATE and each.payload == b"offline"]


async def has_status(node: ClusterNode, status: int) -> bool:
    try:
        return await node.healthz() == status
    except (ClientError, OSError):
        return False


async def test_broker_that_restarts_gets_everything_again(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        b = await cluster.start_node("b")
        async with pushing(cluster, a, b) as acknowledged:
            await cluster.site.broker.kill()
            await asyncio.sleep(0.5)
            await cluster.site.broker.start()
            async with cluster.site.broker.record("#") as seen:
                await seen.wait(lambda each: each.topic == f"fleet2mqtt/device/{VOIP}/state")
                count = len(acknowledged)
                await wait_until(lambda: len(acknowledged) > count + 10, "pushes after the restart")
                await wait_until(
                    lambda: max(acknowledged) in {each.json["id"] for each in seen.all("fleet2mqtt/alarm/event/#")},
                    "the last alarm",
                )
        assert (await cluster.owners())["bridge"] == "a"


async def test_handover_in_order_shows_nothing_offline(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        b = await cluster.start_node("b")
        async with pushing(cluster, b) as acknowledged:
            before = len(cluster.seen.messages)
            await a.stop()
            await switch(cluster, "gap", "ON")
            await ready(cluster, "b")
            statuses = await results(cluster, 1)
        await all_published(cluster, acknowledged)
        assert statuses == {"gap": "confirmed"}
        offline = {each.topic for each in cluster.seen.messages[before:] if each.payload == b"offline"}
        assert {topic for topic in offline if "/device/" not in topic} == {"fleet2mqtt/bridge/node/a/state"}
        await b.stop()
        assert cluster.latest(BRIDGE_STATE) == b"offline"


async def test_drained_node_hands_over_and_takes_nothing(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        await cluster.start_node("b")
        ended = await fleet2mqtt("cluster", "drain", "a", "-c", a.file)
        assert ended.code == 0, ended.errors
        await cluster.settled("b")
        ended = await fleet2mqtt("cluster", "status", "-c", a.file)
        assert "a  alive, draining; owns nothing" in ended.output
        assert "b  alive; owns branch, bridge, hq_voip" in ended.output
        ended = await fleet2mqtt("check", "-c", a.file)
        for tried in ("session takeover", "database durability", "clocks"):
            assert f"cluster, {tried}: ok" in ended.output


async def test_standby_answers_pushes_as_the_owner_does(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        b = await cluster.start_node("b")
        alarm = cluster.site.ums.raise_alarm(MAC, push=False)
        assert await b.push(alarm) == await a.push(alarm)
        assert (await b.push(alarm, secret="wrong-secret"))[0] == 404
        assert (await b.push(alarm, kind="no_such_kind"))[0] == 404
        assert (await b.push("no object"))[0] == 400
        assert (await b.push({"id": 1}))[0] == 200  # only the owner parses it
        await wait_for_answer(lambda: dead_letters(cluster, 2), "two dead letters")
        assert len(cluster.events()) == 1


async def dead_letters(cluster: Cluster, count: int) -> bool:
    response = await cluster.request("dead_letters")
    return bool(response["data"]["total"] == count)


async def test_second_node_of_a_name_is_refused(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        await cluster.start_node("a")
        await ready(cluster, "a")
        twin = await cluster.write("twin", node="a")
        ended = await fleet2mqtt("run", "-c", twin)
        assert ended.code == 2
        assert "another node is called a and is running" in ended.errors


async def test_database_of_another_cluster_is_refused(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        await ready(cluster, (await cluster.start_node("a")).name)
        cluster.options["base_topic"] = "elsewhere"
        ended = await fleet2mqtt("run", "-c", await cluster.write("b"))
        assert ended.code == 2
        assert "belongs to the cluster with base_topic fleet2mqtt" in ended.errors


async def test_node_without_the_broker_leaves_the_unit_to_one_that_has_it(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster, Proxy(target=cluster.site.broker.port) as proxy:
        await cluster.start_node("a", mqtt_port=proxy.port)
        await ready(cluster, "a")
        await cluster.start_node("b")
        proxy.closed = True
        proxy.drop()
        await ready(cluster, "b")
        await switch(cluster, "after", "ON")
        assert await results(cluster, 1) == {"after": "confirmed"}


async def test_three_nodes_behind_haproxy_answer_every_push(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        nodes = {name: await cluster.start_node(name) for name in "abc"}
        await ready(cluster, *nodes)
        first = await cluster.owner(*nodes)
        port = free_port()
        async with behind_haproxy(tmp_path, port, [node.push_port for node in nodes.values()]):
            proxied = replace(nodes["a"], push_port=port)
            async with pushing(cluster, proxied) as acknowledged:
                nodes.pop(first).kill()
                await ready(cluster, *nodes)
                second = await cluster.owner(*nodes)
                nodes.pop(second).kill()
                (third,) = nodes
                await ready(cluster, third)
                count = len(acknowledged)
                await wait_until(lambda: len(acknowledged) > count + 10, "pushes to the last node")
            await all_published(cluster, acknowledged)


async def test_database_without_standby_refuses_pushes_and_shows_states(tmp_path: Path) -> None:
    with Servers(count=2) as servers:
        async with open_cluster(tmp_path, servers) as cluster:
            a = await cluster.start_node("a")
            await ready(cluster, "a")
            epoch = await cluster.query("SELECT name, epoch FROM unit ORDER BY name")
            await asyncio.to_thread(servers.require, 0)
            await wait_for_answer(lambda: has_durability(cluster, "local"), "health to say that nothing is replicated")
            alarm = cluster.site.ums.raise_alarm(MAC, push=False)
            assert (await a.push(alarm))[0] == 503
            ended = await fleet2mqtt("check", "-c", a.file)
            assert "cluster, database durability: synchronous_standby_names is empty" in ended.output
            await asyncio.to_thread(servers.require, 1)
            await wait_for_answer(lambda: has_durability(cluster, "replicated"), "health to say that all is replicated")
            assert (await a.push(alarm))[0] == 200
            assert await cluster.query("SELECT name, epoch FROM unit ORDER BY name") == epoch
            servers.standbys[0].freeze()
            checked = await check_an_hour_ahead(tmp_path, a.file)
            servers.standbys[0].thaw()
            assert re.search(
                r"cluster, database durability: no standby of synchronous_standby_names \(ANY 1 \(\*\)\) confirms a"
                r" commit, so nothing can be stored: is one connected\? \(database: .+\)",
                checked,
            )
            assert re.search(r"cluster, clocks: this machine's clock and the database's differ by 3[56]\d\d s", checked)


async def check_an_hour_ahead(folder: Path, config: str) -> str:
    """Run `fleet2mqtt check` on a machine whose clock is an hour ahead; return its output."""
    shift = folder / "shift"
    await asyncio.to_thread(shift.mkdir)
    (shift / "sitecustomize.py").write_text(SHIFT)
    (shift / "seconds").write_text("3600")
    ahead = ("env", f"PYTHONPATH={shift}:{Path(__file__).parents[2]}", f"CLOCK_SHIFT={shift / 'seconds'}")
    return (await ran(*ahead, *BRIDGE, "check", "-c", config)).output


async def has_durability(cluster: Cluster, durability: str) -> bool:
    response = await cluster.request("health")
    return bool(response["data"]["bridge"]["storage"]["durability"] == durability)


async def test_last_node_says_offline_though_others_died_before(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        b = await cluster.start_node("b")
        b.kill()
        await wait_for_answer(lambda: has_node_state(cluster, "b", "dead"), "the owner to take b for dead")
        await a.stop()
        assert cluster.latest(BRIDGE_STATE) == b"offline"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_cluster_is_offline_though_its_last_node_owns_nothing(
    tmp_path: Path, servers: Servers, end: signal.Signals
) -> None:
    """The one that ends in order says so; of one that dies the former owner's will does, as nobody went on with it."""
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        b = await cluster.start_node("b")
        b.freeze()  # so that it learns of its end before it can own the unit
        await a.stop()
        assert cluster.latest(BRIDGE_STATE) == b"online"
        b.process.process.send_signal(end)
        b.thaw()
        await wait_until(lambda: cluster.latest(BRIDGE_STATE) == b"offline", "the cluster to be offline", PATIENCE)


async def has_node_state(cluster: Cluster, name: str, state: str) -> bool:
    return (name, state) in await cluster.query("SELECT name, state FROM node")
