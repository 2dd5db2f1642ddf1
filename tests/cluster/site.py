"""A cluster for tests: PostgreSQL with standbys, a broker that keeps sessions, vendors, and nodes as processes.

async with open_cluster(tmp_path, servers) as cluster:
a = await cluster.start_node("a")
await cluster.owner("a")
a.kill()
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import ClientSession
from psycopg import AsyncConnection

from fleet2mqtt.outbox.postgres.migrations import SCHEMA
from tests.bridge_under_test import SECRET, Site, open_site
from tests.broker import HOST, free_port
from tests.process import BRIDGE, Process, running
from tests.waiting import PATIENCE, wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.postgres import Servers
    from tests.recording import Recording

TTL = 2
BRIDGE_STATE = "fleet2mqtt/bridge/state"


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[AsyncConnection]:
    """A connection to the database of a cluster."""
    dsn = f"{dsn} target_session_attrs=read-write options='-c search_path={SCHEMA}'"
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


@dataclass(slots=True, kw_only=True)
class ClusterNode:
    """A node as a process of its own, with a port for pushes."""

    name: str
    file: str
    process: Process
    push_port: int
    stack: AsyncExitStack

    def kill(self) -> None:
        """End it as a crash does."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it: the kernel keeps its connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End it in order."""
        await self.stack.aclose()

    def push_url(self, kind: str = "event", secret: str = SECRET) -> str:
        return f"http://{HOST}:{self.push_port}/push/hq_voip/{secret}/{kind}"

    async def push(self, body: Any, kind: str = "event", secret: str = SECRET) -> tuple[int, str]:
        url = self.push_url(kind, secret)
        async with ClientSession() as session, session.post(url, data=json.dumps(body).encode()) as response:
            return response.status, await response.text()

    async def healthz(self) -> int:
        async with ClientSession() as session, session.get(f"http://{HOST}:{self.push_port}/healthz") as response:
            return response.status

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.process.process.pid, number)


@dataclass(slots=True, kw_only=True)
class Cluster:
    """Surroundings that nodes share, and the messages at their broker."""

    site: Site
    dsn: str
    folder: Path
    seen: Recording
    stack: AsyncExitStack
    options: dict[str, Any] = field(default_factory=dict)
    more_backends: dict[str, dict[str, Any]] = field(default_factory=dict)
    measured: bool = False
    """True to count the coverage of the nodes: of those that end in order."""
    nodes: list[ClusterNode] = field(default_factory=list)
    relays: dict[tuple[str, str], str] = field(default_factory=dict)
    """By node and URL of a vendor, at which URL the node reaches it."""

    async def write(self, folder: str, mqtt_port: int | None = None, **cluster: Any) -> str:
        """Write the configuration of a node, which reaches the broker by a port of its own; return its path."""
        directory = self.folder / folder
        await asyncio.to_thread(directory.mkdir, exist_ok=True)
        options = self.site.options(json.loads(json.dumps(self.options)))
        options["backends"] |= json.loads(json.dumps(self.more_backends))
        options |= {
            "cluster": {"dsn": self.dsn, "node": folder, "ttl": TTL} | cluster,
            "push": {"host": HOST, "port": free_port()},
            "web": {"host": HOST, "port": free_port()},
        }
        options["mqtt"]["port"] = mqtt_port or self.site.broker.port
        for backend in options["backends"].values():
            backend["url"] = self.relays.get((folder, backend["url"]), backend["url"])
        file = directory / "fleet2mqtt.yaml"
        file.write_text(yaml.safe_dump(options))
        return str(file)

    async def start_node(
        self, name: str, mqtt_port: int | None = None, program: Sequence[str] = BRIDGE, **cluster: Any
    ) -> ClusterNode:
        """Start a node; return once it is in the cluster. Its program is this release, if not another one is named."""
        file = await self.write(name, mqtt_port, **cluster)
        stack = await self.stack.enter_async_context(AsyncExitStack())
        process = await stack.enter_async_context(running(*program, "run", "-c", file, measured=self.measured))
        line = await process.says("push listens on")
        push_port = int(line.rpartition(":")[2])
        node = ClusterNode(name=name, file=file, process=process, push_port=push_port, stack=stack)
        self.nodes.append(node)
        return node

    async def owner(self, *names: str, unit: str = "bridge") -> str:
        """Wait until one of these nodes owns a unit; return its name."""

        async def ask() -> str | None:
            owner = (await self.owners()).get(unit)
            return owner if owner in names else None

        return await wait_for_answer(ask, f"unit {unit} to be owned by {names}", PATIENCE)

    @property
    def backends(self) -> set[str]:
        """The names of all backends."""
        return {*self.site.options({})["backends"], *self.more_backends}

    async def owners(self) -> dict[str, str | None]:
        """Return the owner of each unit."""
        return dict(await self.query("SELECT name, owner FROM unit"))

    async def settled(self, *names: str) -> dict[str, str | None]:
        """Wait until these nodes own all units, each that is to; return the owners."""

        async def ask() -> dict[str, str | None] | None:
            rows = await self.query("SELECT name, owner, wanted FROM unit")
            names_of = {name for name, _, _ in rows}
            complete = names_of == {"bridge", *self.backends}
            right = all(owner in names and wanted == owner for _, owner, wanted in rows)
            return {name: owner for name, owner, _ in rows} if complete and right else None

        return await wait_for_answer(ask, f"all units to be owned by {names}", PATIENCE)

    async def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return rows of the database."""
        async with connected(self.dsn) as connection:
            cursor = await connection.execute(statement.encode())
            return await cursor.fetchall() if cursor.description else []

    async def request(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Make a request to the bridge; return its response."""
        transaction = arguments.setdefault("transaction", os.urandom(6).hex())
        await self.site.broker.publish(f"fleet2mqtt/bridge/request/{name}", arguments)
        message = await self.seen.wait(
            lambda each: each.topic == f"fleet2mqtt/bridge/response/{name}" and each.json["transaction"] == transaction
        )
        found: dict[str, Any] = message.json
        return found

    def events(self) -> list[dict[str, Any]]:
        """Return the alarm events that were published, each once, in the order of their first publication."""
        found = {each.json["seq"]: each.json for each in self.seen.all("fleet2mqtt/alarm/event/#")}
        return list(found.values())

    def latest(self, topic: str) -> bytes:
        """Return the payload that a topic had last."""
        message = self.seen.latest(topic)
        return message.payload if message else b""

    def results(self, device: str) -> list[dict[str, Any]]:
        return [each.json for each in self.seen.all(f"fleet2mqtt/device/{device}/result")]


@asynccontextmanager
async def open_cluster(
    folder: Path, servers: Servers, *, measured: bool = False, **options: Any
) -> AsyncIterator[Cluster]:
    """Open PostgreSQL, a broker and two vendors; nodes are started by tests, `measured` ones with their coverage."""
    dsn = await asyncio.to_thread(servers.empty_database)
    extra = "persistence false\nmax_queued_messages 10000\n"
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(open_site(folder, extra=extra))
        seen = await stack.enter_async_context(site.broker.record("#"))
        nodes = await stack.enter_async_context(AsyncExitStack())
        cluster = Cluster(site=site, dsn=dsn, folder=folder, seen=seen, stack=nodes, options=options, measured=measured)
        try:
            yield cluster
        except BaseException as error:
            for node in cluster.nodes:
                error.add_note(f"--- node {node.name}\n{node.process.output[-4000:]}")
            raise


async def ready(cluster: Cluster, *names: str) -> None:
    """Wait until these nodes own the units, and have read the vendors."""
    await cluster.settled(*names)
    await cluster.seen.wait(lambda each: each.topic == BRIDGE_STATE and each.payload == b"online")
    response = await cluster.request("refresh")
    assert response["status"] == "ok", response
    assert {"hq_voip"} <= response["data"]["backends"].keys() <= cluster.backends
