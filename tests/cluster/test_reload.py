"""Reload of a node's configuration: what belongs to the cluster stays, and what was loaded outlives the lease."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.bridge_under_test import retained
from tests.broker import Broker
from tests.cluster.site import BRIDGE_STATE, Cluster, ClusterNode, open_cluster, ready
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
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        before = edit(a, change)
        refused = await cluster.request("reload")
        assert (refused["status"], refused["error"]["code"]) == ("error", "invalid_configuration")
        assert words in refused["error"]["message"]
        await lose_the_unit(cluster)
        await ready(cluster, "a")
        b = await cluster.start_node("b")
        edit(b, change)
        b.process.process.send_signal(signal.SIGHUP)
        assert words in await b.process.says("and the cluster was started" if "started" in words else "no longer there")
        assert not [topic for topic in await retained(cluster.site.broker) if topic.startswith("other/")]
        await asyncio.to_thread(Path(a.file).write_text, before)
        assert (await cluster.request("reload"))["data"]["options"] == []
        assert cluster.latest(BRIDGE_STATE) == b"online"


async def lose_the_unit(cluster: Cluster) -> None:
    """Take the unit from its owner, as a node does that takes it for dead; the owner ends and claims it again."""
    taken = "UPDATE unit SET owner = NULL, epoch = epoch + 1, left_at = clock_timestamp() RETURNING epoch"
    ((epoch,),) = await cluster.query(taken)

    async def claimed() -> bool:
        return await cluster.query(f"SELECT owner IS NOT NULL AND epoch > {epoch} FROM unit") == [(True,)]  # noqa: S608

    await wait_for_answer(claimed, "the unit to be owned again")


async def test_configuration_that_was_reloaded_is_that_of_the_next_lease(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster, Broker(directory=tmp_path / "other") as other:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        edit(a, lambda options: options["backends"].pop("branch"))
        assert (await cluster.request("reload"))["data"]["removed"] == ["branch"]
        await lose_the_unit(cluster)
        await ready(cluster, "a")
        assert list((await cluster.request("health"))["data"]["backends"]) == ["hq_voip"]
        digests = await cluster.query("SELECT config_digest FROM node")
        async with other.record("#") as seen:
            edit(a, lambda options: options["mqtt"].update(port=other.port))
            assert (await cluster.request("reload"))["data"]["options"] == ["mqtt"]
            await seen.wait(lambda each: (each.topic, each.text) == (BRIDGE_STATE, "online"))
            await seen.wait(lambda each: (each.topic, each.text) == ("fleet2mqtt/bridge/node/a/state", "online"))
            count = len(seen.all(BRIDGE_STATE))
            await lose_the_unit(cluster)
            await seen.wait(lambda _: len(seen.all(BRIDGE_STATE)) > count)
        assert await cluster.query("SELECT config_digest FROM node") == digests
        assert "another configuration" not in a.process.output


async def test_reloaded_configuration_is_compared_with_that_of_other_nodes(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        nodes = [await cluster.start_node(name) for name in "ab"]
        await ready(cluster, await cluster.owner("a", "b"))
        ((first,),) = set(await cluster.query("SELECT config_digest FROM node"))
        for node in nodes:
            edit(node, lambda options: options["commands"].update(confirm_timeout=0.2))
            node.process.process.send_signal(signal.SIGHUP)

        async def are_one() -> bool:
            found = set(await cluster.query("SELECT config_digest FROM node"))
            return len(found) == 1 and found != {(first,)}

        await wait_for_answer(are_one, "both nodes to have the hash of the new configuration")
