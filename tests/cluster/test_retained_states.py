"""The fence of retained states: session takeover. Without it a former owner publishes over what the next one did."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import GATEWAY, SN, state_topic
from tests.broker import HOST
from tests.cluster.site import Cluster, open_cluster, ready
from tests.mqtt.proxy import Proxy
from tests.postgres import USER, Servers
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from pathlib import Path

KEY = "rateup"
BEFORE, HELD, NEXT = 1_001, 1_002, 1_003


def rates(cluster: Cluster) -> list[int]:
    """The gateway's rates in the order in which they were published."""
    return [each.json[KEY] for each in cluster.seen.all(state_topic(GATEWAY)) if each.payload]


@pytest.mark.parametrize("fenced", [True, False])
async def test_state_that_was_read_before_the_takeover_is_not_published_after_it(
    tmp_path: Path, servers: Servers, *, fenced: bool
) -> None:
    """The negative control: with a client id of its own the next owner does not end the former one's connection."""
    polled = {"scan_interval": {"devices": 1, "details": 3600, "mappings": 3600}}
    async with open_cluster(tmp_path, servers, branch=polled) as cluster, AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(Proxy(server.port)) for server in servers.all]
        url = cluster.site.urls["branch"]
        vendor = await stack.enter_async_context(Proxy(int(url.rpartition(":")[2])))
        cluster.relays["a", url] = f"http://{HOST}:{vendor.port}"
        ports = ",".join(str(proxy.port) for proxy in databases)
        name = cluster.dsn.rpartition("dbname=")[2]
        hosts = ",".join([HOST] * len(databases))
        a = await cluster.start_node("a", dsn=f"host={hosts} port={ports} user={USER} dbname={name} connect_timeout=1")
        await ready(cluster, "a")
        cluster.site.gateways.set_base(SN, rateup=BEFORE)
        await wait_until(lambda: BEFORE in rates(cluster), "the first rate", PATIENCE)
        if not fenced:
            cluster.options["mqtt"] = {"client_id": "another"}
            await cluster.query("UPDATE setting SET text = 'another' WHERE key = 'client_id'")

        cluster.site.gateways.set_base(SN, rateup=HELD)
        vendor.released.clear()
        await wait_until(lambda: vendor.held, "a read whose answer is held back", PATIENCE)
        for proxy in databases:
            proxy.swallowing = True
        cluster.site.gateways.set_base(SN, rateup=NEXT)
        await cluster.start_node("b")
        await cluster.owner("b")
        await wait_until(lambda: NEXT in rates(cluster), "the next owner's rate", PATIENCE)
        vendor.released.set()
        if not fenced:
            await wait_until(lambda: HELD in after(rates(cluster)), "the former owner's rate after it", PATIENCE)
            a.kill()  # it cannot leave in order without the database
            return
        for proxy in databases:
            proxy.swallowing = False
            proxy.drop()
        await a.process.says("the lease is lost")
        assert set(after(rates(cluster))) == {NEXT}


def after(shown: list[int]) -> list[int]:
    """The rates from the next owner's first on."""
    return shown[shown.index(NEXT) :]
