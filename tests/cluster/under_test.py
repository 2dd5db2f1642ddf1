"""The bridge under test as a cluster: PostgreSQL with a standby, nodes in this process, HAProxy before them.

`scripts/test --cluster-nodes 3 tests/end_to_end` has each bridge of these tests be three nodes, which start and end
together; the first owns the unit.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from fleet2mqtt import app, node
from fleet2mqtt.cli.cluster import import_data
from fleet2mqtt.cli.process import OK
from fleet2mqtt.config import loader
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.outbox.postgres import open_database
from fleet2mqtt.redaction import Redaction
from tests.broker import HOST, free_port
from tests.cluster.haproxy import behind_haproxy
from tests.postgres import Servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from fleet2mqtt.config.models import Config
    from fleet2mqtt.outbox import Outbox

TTL = 2
MAX_DATABASES = 3
"""Databases that are kept: those of a test that is running."""


class Hangup(asyncio.Event):
    """An event for SIGHUP that is set at all nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[asyncio.Event] = []

    def set(self) -> None:
        super().set()
        for each in self.others:
            each.set()


@dataclass(slots=True)
class ClusterUnderTest:
    """The servers of all tests, and a database for each folder that a bridge has."""

    count: int
    servers: Servers
    _dsns: dict[Path, str] = field(default_factory=dict)
    _imported: set[str] = field(default_factory=set)

    @property
    def names(self) -> str:
        """The names of the nodes, a letter each; the first owns the unit."""
        return "abcdefg"[: self.count]

    def options(self, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a bridge as those of the first node."""
        options |= {"cluster": {"dsn": self._dsn(folder), "node": self.names[0], "ttl": TTL}}
        if self.count > 1:
            options["push"] = options.get("push", {}) | {"host": HOST, "port": free_port()}
            options["push"]["trusted_proxies"] = [f"{HOST}/32"]
        return options

    def _dsn(self, folder: Path) -> str:
        dsn = self._dsns.get(folder)
        if dsn is None:
            while len(self._dsns) >= MAX_DATABASES:
                self.servers.drop_database(self._dsns.pop(next(iter(self._dsns))))
            dsn = self._dsns[folder] = self.servers.create_database()
        return dsn

    @asynccontextmanager
    async def outbox(self, folder: Path) -> AsyncIterator[Outbox]:
        """The outbox of the bridge in a folder."""
        dsn = await asyncio.to_thread(self._dsn, folder)
        async with open_database(dsn) as database:
            yield await database.outbox()

    def hangup(self) -> Hangup:
        """Return what SIGHUP sets."""
        return Hangup()

    async def run(  # noqa: PLR0913, PLR0917 - as app.run, and what is before it
        self,
        config: Config,
        log: MqttLog,
        stop: asyncio.Event,
        hangup: Hangup,
        push_port: int,
        on_started: Callable[[], None],
    ) -> None:
        """Run the nodes until `stop`; those behind the first have its options."""
        await self._import(config)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            first = asyncio.Event()
            running = node.run(config, log, stop, reload=hangup, on_started=first.set)
            group.create_task(running, name=f"node {self.names[0]}")
            await first.wait()
            others = [await self._start(group, config, name, stop, hangup) for name in self.names[1:]]
            if self.count > 1 and push_port:
                await stack.enter_async_context(
                    behind_haproxy(config.path.parent, push_port, [config.push.port, *others])
                )
            on_started()
            await stop.wait()

    async def _import(self, config: Config) -> None:
        """Import what a bridge without a cluster has left in the data directory, before the first node is started."""
        assert config.cluster is not None
        outbox, dsn = config.data_dir / app.OUTBOX, config.cluster.dsn.reveal()
        if outbox.exists() and dsn not in self._imported:
            self._imported.add(dsn)
            assert await import_data(argparse.Namespace(config=config.path)) == OK

    async def _start(
        self, group: asyncio.TaskGroup, config: Config, name: str, stop: asyncio.Event, hangup: Hangup
    ) -> int:
        """Start a node that stands by; return its port for pushes."""
        options = yaml.safe_load(await asyncio.to_thread(config.path.read_text))
        options["cluster"]["node"] = name
        options["data_dir"] = f"data-{name}"
        options["push"]["port"] = free_port()
        options["web"] = options.get("web", {}) | {"host": HOST, "port": free_port()}
        file = config.path.with_name(f"node-{name}.yaml")
        await asyncio.to_thread(file.write_text, yaml.safe_dump(options))
        loaded = await asyncio.to_thread(loader.load, file)
        hangup.others.append(asyncio.Event())
        log = MqttLog(Redaction(loaded.secrets))
        group.create_task(node.run(loaded, log, stop, reload=hangup.others[-1]), name=f"node {name}")
        return loaded.push.port


@contextmanager
def open_cluster_under_test(count: int) -> Iterator[ClusterUnderTest]:
    """Start the servers."""
    with Servers(count=2) as servers:
        yield ClusterUnderTest(count, servers)
