"""Rolling updates: nodes of this release and of the next one side by side, on one database."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fleet2mqtt import __version__
from fleet2mqtt.outbox.postgres.migrations import MIGRATIONS
from tests.bridge_under_test import CHANNEL
from tests.cluster import next_release
from tests.cluster.site import BRIDGE_STATE, open_cluster, ready
from tests.cluster.test_failover import all_published, pushing, results, switch
from tests.commandline import fleet2mqtt
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.postgres import Servers

NEXT = (sys.executable, str(Path(next_release.__file__)))


async def test_nodes_of_two_releases_work_side_by_side(tmp_path: Path, servers: Servers) -> None:
    """One node is updated and the other is not: either owns units, stores pushes, and carries commands out."""
    async with open_cluster(tmp_path, servers) as cluster:
        cluster.dsn = servers.create_database()  # the one that tests share stays as this release has it
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        before = len(cluster.seen.messages)
        async with pushing(cluster, a) as by_this:
            b = await cluster.start_node("b", program=NEXT)
            assert await cluster.query("SELECT version FROM schema_version") == [(len(MIGRATIONS) + 1,)]
            count = len(by_this)
            await wait_until(lambda: len(by_this) > count + 5, "pushes at this release, with the schema of the next")
            await switch(cluster, "this", "ON")
            await results(cluster, 1)
            assert (await fleet2mqtt("cluster", "drain", "a", "-c", a.file)).code == 0
            await ready(cluster, "b")
        async with pushing(cluster, b) as by_the_next:
            await switch(cluster, "next", "OFF")
            await results(cluster, 2)
            await a.stop()
            a = await cluster.start_node("a")
            status = (await fleet2mqtt("cluster", "status", "-c", a.file)).output
            assert re.search(rf"^a  alive; owns .+; version {__version__},", status, re.MULTILINE)
            assert re.search(rf"^b  alive; owns .+; version {next_release.VERSION},", status, re.MULTILINE)
            assert (await fleet2mqtt("cluster", "drain", "b", "-c", a.file)).code == 0
            await ready(cluster, "a")
            count = len(by_the_next)
            await wait_until(lambda: len(by_the_next) > count + 5, "pushes at the next release, for this one")
        await switch(cluster, "back", "ON")
        assert await results(cluster, 3) == dict.fromkeys(("this", "next", "back"), "confirmed")
        await all_published(cluster, by_this | by_the_next)
        assert len(cluster.results(CHANNEL)) == 3
        after = cluster.seen.messages[before:]
        assert not [each for each in after if each.topic == BRIDGE_STATE and each.payload == b"offline"]
