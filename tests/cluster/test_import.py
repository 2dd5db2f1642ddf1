"""A bridge becomes a cluster: what it had stored is there, and nothing is announced again."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from tests.bridge_under_test import MAC, VOIP
from tests.cluster.site import open_cluster
from tests.commandline import fleet2mqtt
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import Servers


async def test_imported_bridge_goes_on_where_it_ended(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        async with cluster.site.bridge() as bridge:
            await bridge.refresh()
            before = [cluster.site.ums.raise_alarm(MAC, push=False) for _ in range(3)]
            for alarm in before:
                assert (await cluster.site.push(alarm))[0] == 200
            await bridge.event_count(3)
            stored = (await bridge.ask("alarms", after=0))["data"]["alarms"]
            known = set(await bridge.devices())
        file = await cluster.write("a")
        await asyncio.to_thread(shutil.copytree, tmp_path / "data", tmp_path / "a" / "data")
        ended = await fleet2mqtt("cluster", "import", "-c", file)
        assert (ended.code, ended.errors) == (0, ""), ended.errors
        assert f"imported {len(stored)} events up to number {stored[-1]['seq']}, 0 of them" in ended.output
        again = await fleet2mqtt("cluster", "import", "-c", file)
        assert (again.code, again.output) == (1, "")
        assert "is in use" in again.errors

        node = await cluster.start_node("b")  # on another machine, with nothing but its configuration
        await cluster.owner("b")
        await wait_until(lambda: cluster.latest("fleet2mqtt/bridge/state") == b"online", "the bridge to be online")
        assert {VOIP} <= known <= {each["id"] for each in (await cluster.request("devices"))["data"]["devices"]}
        assert (await cluster.request("refresh"))["status"] == "ok"
        assert (await cluster.request("alarms", after=0))["data"]["alarms"] == stored
        for alarm in (*before, cluster.site.ums.raise_alarm(MAC, push=False)):
            assert (await node.push(alarm))[0] == 200
        await wait_until(lambda: len(cluster.events()) == 4, "the new alarm")
        published = [each.json["seq"] for each in cluster.seen.all("fleet2mqtt/alarm/event/#")]
        assert len(published) == 4, "none of them again"
        assert published[-1] == stored[-1]["seq"] + 1
