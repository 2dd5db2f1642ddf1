"""Partitions: a node in a network namespace, whose links to the database or to everything lose each packet."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.bridge_under_test import CHANNEL, GATEWAY, SN
from tests.cluster.network import Link, Namespace
from tests.cluster.site import Cluster, open_cluster, ready
from tests.cluster.test_failover import all_published, pushing, results, switch
from tests.postgres import USER, Servers
from tests.process import BRIDGE, Process, running
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def node_behind(
    cluster: Cluster, servers: Servers, inside: Namespace, database: Link, rest: Link
) -> AsyncIterator[Process]:
    """Run node `a` in the namespace: it reaches the database by one link, broker and vendors by another."""
    ports = [str(await inside.relay(database, server.port)) for server in servers.all]
    hosts = ",".join([database.address] * len(ports))
    name = cluster.dsn.rpartition("dbname=")[2]
    file = await cluster.write("a", dsn=f"host={hosts} port={','.join(ports)} user={USER} dbname={name}")
    options = yaml.safe_load((cluster.folder / "a" / "fleet2mqtt.yaml").read_text())
    options["mqtt"] |= {"host": rest.address, "port": await inside.relay(rest, cluster.site.broker.port)}
    for backend in options["backends"].values():
        port = await inside.relay(rest, int(backend["url"].rpartition(":")[2]))
        backend["url"] = f"http://{rest.address}:{port}"
    (cluster.folder / "a" / "fleet2mqtt.yaml").write_text(yaml.safe_dump(options))
    async with running(*inside.command, *BRIDGE, "run", "-c", file, measured=False) as process:
        try:
            yield process
        finally:
            await inside.end_processes()
            await process.ends()


@pytest.mark.parametrize("lost", ["database", "everything"])
async def test_node_that_is_cut_off_publishes_nothing_after_the_next_owner(
    tmp_path: Path, servers: Servers, lost: str
) -> None:
    async with open_cluster(tmp_path, servers) as cluster, Namespace() as inside:
        database, rest = await inside.add_link(), await inside.add_link()
        async with node_behind(cluster, servers, inside, database, rest) as a:
            await a.says("push listens on")
            await ready(cluster, "a")
            b = await cluster.start_node("b")
            async with pushing(cluster, b) as acknowledged:
                links = [database] if lost == "database" else [database, rest]
                for link in links:
                    await link.down()
                await switch(cluster, "gap", "ON")
                await cluster.owner("b")
                cluster.site.gateways.set_base(SN, alias="renamed")  # what the one that was cut off does not know
                await ready(cluster, "b")
                await wait_until(lambda: "renamed" in names(cluster), "the new name", PATIENCE)
                for link in links:
                    await link.up()
                await a.says("the lease is lost")
                await switch(cluster, "after", "OFF")
                statuses = await results(cluster, 2)
            await all_published(cluster, acknowledged)
            assert statuses["after"] == "confirmed"
            assert len(cluster.results(CHANNEL)) == 2
            shown = names(cluster)
            assert set(shown[shown.index("renamed") :]) == {"renamed"}
            assert (await cluster.owners())["bridge"] == "b"


def names(cluster: Cluster) -> list[str]:
    """The names of the gateway in the order in which they were published."""
    topic = f"homeassistant/device/fleet2mqtt_{GATEWAY}/config"
    return [json.loads(each.payload)["device"]["name"] for each in cluster.seen.all(topic)]
