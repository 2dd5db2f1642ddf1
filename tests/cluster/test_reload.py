"""Reload of a node's configuration: what belongs to the cluster stays, and what was loaded outlives the lease."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.bridge_under_test import retained
from tests.broker import Broker
from tests.cluster import failing_reload
from tests.cluster.site import BRIDGE_STATE, Cluster, ClusterNode, open_cluster, ready
from tests.commandline import fleet2mqtt
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postgres import Servers


def edit(node: ClusterNode, change: Callable[[dict[str, Any]], object]) -> str:
    """Change the configuration file of a node; return what it was."""
    file = Path(node.file)
    before = file.read_text("utf-8")
    options = yaml.safe_load(before)
    change(options)
    file.write_text(yaml.safe_dump(options), "utf-8")
    return before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda options: options.update(base_topic="other"),
            "base_topic: other, and the cluster was started with flee",
        ),
        (
            lambda options: options["mqtt"].update(client_id="x"),
            "mqtt.client_id: x, and the cluster was started with n",
        ),
        (lambda options: options.pop("cluster"), "cluster: is no longer there"),
    ],
    ids=["base_topic", "client_id", "cluster"],
)
async def test_reload_of_what_belongs_to_the_cluster_is_refused(
    tmp_path: Path, servers: Servers, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    async with open_cluster(tmp_path, servers, measured=True) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        before = edit(a, change)
        refused = await cluster.request("reload")
        assert (refused["status"], refused["error"]["code"]) == ("error", "invalid_configuration")
        assert words in refused["error"]["message"]
        await lose_the_units(cluster)
        await ready(cluster, "a")
        b = await cluster.start_node("b")
        good = edit(b, change)
        b.process.process.send_signal(signal.SIGHUP)
        assert words in await b.process.says("and the cluster was started" if "started" in words else "no longer there")
        assert not [topic for topic in await retained(cluster.site.broker) if topic.startswith("other/")]
        await asyncio.to_thread(Path(a.file).write_text, before)
        refused = await cluster.request("reload")
        assert (refused["status"], refused["error"]["code"]) == ("error", "invalid_configuration")
        assert "node b: " in refused["error"]["message"]
        assert words in refused["error"]["message"]
        await asyncio.to_thread(Path(b.file).write_text, good)
        assert (await cluster.request("reload"))["data"]["options"] == []
        assert cluster.latest(BRIDGE_STATE) == b"online"


async def lose_the_units(cluster: Cluster) -> None:
    """Take all units from their owner, as a node does that takes it for dead; the owner ends and claims them again."""
    taken = "UPDATE unit SET owner = NULL, epoch = epoch + 1, left_at = clock_timestamp() RETURNING name, epoch"
    epochs = dict(await cluster.query(taken))

    async def claimed() -> bool:
        rows = await cluster.query("SELECT name, owner, epoch FROM unit")
        return all(owner is not None and epoch > epochs[name] for name, owner, epoch in rows)

    await wait_for_answer(claimed, "the units to be owned again")


async def test_configuration_that_was_reloaded_is_that_of_the_next_lease(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers, measured=True) as cluster, Broker(directory=tmp_path / "other") as other:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        edit(a, lambda options: options["backends"].pop("branch"))
        assert (await cluster.request("reload"))["data"]["removed"] == ["branch"]
        await a.process.says("is reloaded: backends removed: branch")
        assert a.process.output.count(" is reloaded: ") == 1, "not once more by each unit"
        await lose_the_units(cluster)
        await ready(cluster, "a")
        assert list((await cluster.request("health"))["data"]["backends"]) == ["hq_voip"]
        digests = await cluster.query("SELECT config_digest FROM node")
        async with other.record("#") as seen:
            edit(a, lambda options: options["mqtt"].update(port=other.port))
            assert (await cluster.request("reload"))["data"]["options"] == ["mqtt"]
            await seen.wait(lambda each: (each.topic, each.text) == (BRIDGE_STATE, "online"))
            await seen.wait(lambda each: (each.topic, each.text) == ("fleet2mqtt/bridge/node/a/state", "online"))
            count = len(seen.all(BRIDGE_STATE))
            await lose_the_units(cluster)
            await seen.wait(lambda _: len(seen.all(BRIDGE_STATE)) > count)
        assert await cluster.query("SELECT config_digest FROM node") == digests
        assert "another configuration" not in a.process.output


async def test_reloaded_configuration_is_compared_with_that_of_other_nodes(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers, measured=True) as cluster:
        nodes = [await cluster.start_node(name) for name in "ab"]
        await ready(cluster, "a", "b")
        ((first,),) = set(await cluster.query("SELECT config_digest FROM node"))
        for node in nodes:
            edit(node, lambda options: options["commands"].update(confirm_timeout=0.2))
            node.process.process.send_signal(signal.SIGHUP)

        async def are_one() -> bool:
            found = set(await cluster.query("SELECT config_digest FROM node"))
            return len(found) == 1 and found != {(first,)}

        await wait_for_answer(are_one, "both nodes to have the hash of the new configuration")


async def test_node_that_owns_nothing_loads_its_file_so_that_a_removed_backend_stays_away(
    tmp_path: Path, servers: Servers
) -> None:
    async with open_cluster(tmp_path, servers, measured=True) as cluster:
        nodes = [await cluster.start_node(name) for name in "ab"]
        await ready(cluster, "a", "b")
        ended = await fleet2mqtt("cluster", "drain", "b", "-c", nodes[0].file)
        assert ended.code == 0, ended.errors
        await cluster.settled("a")
        for node in nodes:
            edit(node, lambda options: options["backends"].pop("branch"))
        assert (await cluster.request("reload"))["data"]["removed"] == ["branch"]
        known = [json.loads(health)["backends"] for (health,) in await cluster.query("SELECT health FROM node")]
        assert known == [["hq_voip"], ["hq_voip"]]
        assert (await cluster.request("forget", backend="branch"))["status"] == "ok"

        async def is_gone() -> bool:
            return set(await cluster.owners()) == {"bridge", "hq_voip"}

        await wait_for_answer(is_gone, "the unit of branch to be removed")
        assert (await cluster.request("refresh"))["data"]["backends"].keys() == {"hq_voip"}
        assert (await cluster.request("reload"))["data"]["options"] == []
        assert await is_gone()


async def test_reload_while_units_are_handed_over_ends(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers, measured=True) as cluster:
        branch = cluster.site.options({})["backends"]["branch"]
        cluster.more_backends |= {name: dict(branch) for name in ("north", "south", "west")}
        nodes = [await cluster.start_node("a")]
        await ready(cluster, "a")
        nodes.append(await cluster.start_node("b"))
        timeout = 0.2
        while len(set((await cluster.owners()).values())) < 2:
            timeout += 0.1
            for node in nodes:
                edit(node, lambda options: options["commands"].update(confirm_timeout=timeout))  # noqa: B023 - called now
            assert (await cluster.request("reload"))["status"] == "ok"
        for node in nodes:
            await node.stop()


async def test_reload_that_one_node_refuses_changes_no_node(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers, measured=True) as cluster:
        nodes = [await cluster.start_node(name) for name in "ab"]
        await ready(cluster, "a", "b")
        fails = (sys.executable, str(Path(failing_reload.__file__)))
        nodes.append(await cluster.start_node("c", program=fails))
        await wait_for_answer(partial(_nodes_are, cluster, 3), "three nodes")
        files = [edit(node, lambda options: options["commands"].update(confirm_timeout=8.0)) for node in nodes]
        edit(nodes[2], lambda options: options.update(base_topic="other"))
        before = await cluster.query("SELECT name, config_digest FROM node ORDER BY name")
        refused = await cluster.request("reload")
        assert refused["error"]["code"] == "invalid_configuration"
        assert "node c: " in refused["error"]["message"]
        assert [node for node in nodes if "is reloaded" in node.process.output] == []
        for node, text in zip(nodes, files, strict=True):
            await asyncio.to_thread(Path(node.file).write_text, text)
            edit(node, lambda options: options["commands"].update(confirm_timeout=failing_reload.CONFIRM_TIMEOUT))
        refused = await cluster.request("reload")
        assert refused["error"] == {"code": "out_of_order", "message": "node c: this node applies no such file"}
        await nodes[1].process.says("is not reloaded after all")
        assert await cluster.query("SELECT name, config_digest FROM node ORDER BY name") == before
        for node in nodes:
            edit(node, lambda options: options["commands"].update(confirm_timeout=8.0))
        assert (await cluster.request("reload"))["data"]["options"] == ["commands"]
        after = await cluster.query("SELECT name, config_digest FROM node ORDER BY name")
        assert len({digest for _, digest in after}) == 1
        assert after != before


async def _nodes_are(cluster: Cluster, count: int) -> bool:
    return len(await cluster.query("SELECT name FROM node WHERE state = 'alive'")) == count
