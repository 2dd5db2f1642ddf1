"""The bridge under test as a cluster: PostgreSQL with a standby, nodes in this process, HAProxy before them.

`scripts/test --cluster-nodes 3 tests/end_to_end` has each bridge of these tests be three nodes, which start and end
together, and share its units.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fleet2mqtt import app, node
from fleet2mqtt.cli.cluster import import_data
from fleet2mqtt.cli.process import OK
from fleet2mqtt.cluster.assignment import AssignedUnit, assign, candidates
from fleet2mqtt.cluster.membership import BRIDGE_UNIT
from fleet2mqtt.config import loader
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.outbox.postgres import open_database
from fleet2mqtt.outbox.postgres.migrations import migrate
from fleet2mqtt.redaction import Redaction
from tests.broker import HOST, free_port
from tests.cluster.haproxy import behind_haproxy
from tests.cluster.site import connected
from tests.postgres import Servers
from tests.waiting import PATIENCE, wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from psycopg import AsyncConnection

    from fleet2mqtt.config.models import Config
    from fleet2mqtt.outbox import Outbox

TTL = 4
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
        """The names of the nodes, a letter each; the first owns the bridge unit."""
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

    async def documents(self, folder: Path, name: str) -> list[bytes]:
        """Return the files of this name that the units of the bridge in a folder have."""
        dsn = await asyncio.to_thread(self._dsn, folder)
        async with connected(dsn) as connection:
            rows = await (await connection.execute(_DOCUMENTS, {"name": name})).fetchall()
        return [bytes(body) for (body,) in rows]

    async def damage_documents(self, folder: Path, name: str) -> None:
        """Cut off the second half of these files."""
        dsn = await asyncio.to_thread(self._dsn, folder)
        async with connected(dsn) as connection:
            await connection.execute(_DAMAGE, {"name": name})

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
            if self.count > 1:
                await self._withhold_bridge_unit(config)
            first = asyncio.Event()
            running = node.run(config, log, stop, reload=hangup, on_started=first.set)
            group.create_task(running, name=f"node {self.names[0]}")
            starts = (self._start(group, config, name, stop, hangup) for name in self.names[1:])
            others = await asyncio.gather(*starts)
            await first.wait()
            if self.count > 1:
                await self._give_bridge_unit(config)
            await self._wait_settled(config)
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

    async def _withhold_bridge_unit(self, config: Config) -> None:
        """Let no node own the bridge unit, which assigns the others, before all nodes are there.

        So no unit has to move at the start, and to read its vendor twice. Nodes that crashed are taken for dead before.
        """
        await self._wait_for(config, _NO_LEASE, "the leases of nodes that crashed to expire")
        async with self._connect(config) as connection:
            await connection.execute(_BURY)
            await connection.execute(_WANT, {"unit": BRIDGE_UNIT, "node": "nobody"})

    async def _give_bridge_unit(self, config: Config) -> None:
        """Have the first node own the bridge unit once each node has a connection to the broker."""
        await self._wait_for(config, _ALL_READY, "all nodes to be connected", {"count": self.count})
        async with self._connect(config) as connection:
            await connection.execute(_WANT, {"unit": BRIDGE_UNIT, "node": self.names[0]})
            await connection.execute("NOTIFY fleet2mqtt_cluster")

    @asynccontextmanager
    async def _connect(self, config: Config) -> AsyncIterator[AsyncConnection]:
        assert config.cluster is not None
        async with connected(config.cluster.dsn.reveal()) as connection:
            await migrate(connection)
            yield connection

    async def _wait_for(
        self, config: Config, statement: str, what: str, parameters: dict[str, Any] | None = None
    ) -> None:
        """Wait until the database says that a condition holds."""
        async with self._connect(config) as connection:

            async def holds() -> bool:
                row = await (await connection.execute(statement.encode(), parameters)).fetchone()
                return row is not None and bool(row[0])

            await wait_for_answer(holds, what, PATIENCE)

    async def _start(
        self, group: asyncio.TaskGroup, config: Config, name: str, stop: asyncio.Event, hangup: Hangup
    ) -> int:
        """Start another node, with the file of the first one but for what is its own; return its port for pushes."""
        push = replace(config.push, host=HOST, port=free_port())
        web = replace(config.web, host=HOST, port=free_port())

        def load(path: Path) -> Config:
            loaded = loader.load(path)
            assert loaded.cluster is not None
            cluster, folder = replace(loaded.cluster, node=name), loaded.data_dir.with_name(f"data-{name}")
            proxies = replace(push, trusted_proxies=loaded.push.trusted_proxies)
            return replace(loaded, cluster=cluster, data_dir=folder, push=proxies, web=web)

        loaded = await asyncio.to_thread(load, config.path)
        hangup.others.append(asyncio.Event())
        log = MqttLog(Redaction(loaded.secrets))
        started = asyncio.Event()
        running = node.run(loaded, log, stop, reload=hangup.others[-1], on_started=started.set, load=load)
        group.create_task(running, name=f"node {name}")
        await started.wait()
        return push.port

    async def _wait_settled(self, config: Config) -> None:
        """Wait until the unit of each backend runs, and none is to move."""
        async with self._connect(config) as connection:

            async def is_settled() -> bool:
                rows = await (await connection.execute(_UNITS)).fetchall()
                units = [
                    AssignedUnit(name=name, owner=owner, wanted=wanted, weight=weight, fixed=name == BRIDGE_UNIT)
                    for name, owner, wanted, weight, _ in rows
                ]
                names = [unit.name for unit in units]
                nodes = dict.fromkeys(self.names, (frozenset(names), True))
                return (
                    config.backends.keys() <= {name for name, _, _, _, reported in rows if reported}
                    and all(unit.owner in nodes and unit.owner == unit.wanted for unit in units)
                    and not assign(units, candidates(names, nodes, frozenset()))
                )

            await wait_for_answer(is_settled, "units to run where they are to", PATIENCE)


_NO_LEASE = "SELECT NOT EXISTS (SELECT FROM node WHERE state = 'alive' AND expires > clock_timestamp())"
_BURY = """
WITH dead AS (UPDATE node SET state = 'dead' WHERE state = 'alive' RETURNING name, seen)
UPDATE unit SET owner = NULL, wanted = NULL, epoch = epoch + 1, left_at = dead.seen FROM dead WHERE owner = dead.name
"""
_WANT = """
INSERT INTO unit (name, wanted) VALUES (%(unit)s, %(node)s) ON CONFLICT (name) DO UPDATE SET wanted = excluded.wanted
"""
_ALL_READY = """
SELECT count(*) = %(count)s FROM node WHERE state = 'alive' AND (health::json ->> 'broker')::boolean
"""
_DOCUMENTS = "SELECT body FROM document WHERE name = %(name)s"
_DAMAGE = "UPDATE document SET body = substring(body FOR length(body) / 2) WHERE name = %(name)s"
_UNITS = "SELECT name, owner, wanted, weight, figures <> '{}' FROM unit"


@contextmanager
def open_cluster_under_test(count: int) -> Iterator[ClusterUnderTest]:
    """Start the servers."""
    with Servers(count=2) as servers:
        yield ClusterUnderTest(count, servers)
