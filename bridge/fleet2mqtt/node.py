"""A node of a cluster: accepts pushes always, and runs the units that it has leases for."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import tempfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from fleet2mqtt import __version__, app
from fleet2mqtt.aio import run_to_end, wait_for_event
from fleet2mqtt.cluster.assignment import AssignedUnit, assign, candidates
from fleet2mqtt.cluster.documents import add_documents, read_documents
from fleet2mqtt.cluster.errands import CHANNEL as ERRAND_CHANNEL
from fleet2mqtt.cluster.errands import Errands
from fleet2mqtt.cluster.inbox import CHANNEL as INBOX_CHANNEL
from fleet2mqtt.cluster.inbox import Inbox
from fleet2mqtt.cluster.membership import BRIDGE_UNIT, HEARTBEATS, Lease, Membership, NodeRecord, NodeState
from fleet2mqtt.cluster.node_client import NodeClient
from fleet2mqtt.cluster.notifications import Notifications
from fleet2mqtt.cluster.status import compare_clocks
from fleet2mqtt.cluster.units import Units
from fleet2mqtt.config import loader
from fleet2mqtt.config.models import ClusterConfig, Config, MqttConfig
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.selection import SelectionFilter
from fleet2mqtt.errors import (
    BridgeError,
    CommandError,
    ConfigError,
    InvalidResponse,
    LeaseLost,
    MqttError,
    OutboxError,
)
from fleet2mqtt.leased_unit import LeasedUnit, NodeParts
from fleet2mqtt.mqtt import Settings
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.ops.status import not_stored
from fleet2mqtt.outbox.postgres import Database, open_database
from fleet2mqtt.outbox.postgres.session import Session
from fleet2mqtt.push.http_server import ReplaceableServer, check_address
from fleet2mqtt.push.receiver import PushReceiver
from fleet2mqtt.reload import APPLIED, changed_options
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Backend, Push
from fleet2mqtt.tracing import open_tracing
from fleet2mqtt.unit import ActiveBackends, BackendConnector

_LOG = logging.getLogger(__name__)

BROKER_PATIENCE = 5.0
"""Seconds without the broker after which a node gives its units up to those that have it."""
RETRY_DELAY = 1.0
"""Seconds before a unit is started again after an error."""
RELOAD_PATIENCE = 60.0
"""Seconds that other nodes have to load their configuration files, before a request responds without them."""
END_PATIENCE = 30.0
"""Seconds that a unit has to end in order, before it is cancelled; and then to end at all."""
Load = Callable[[Path], Config]
"""Loads a configuration file. Raises ConfigError."""
EMBEDDED = "a cluster needs mqtt: with a broker that all nodes use"


async def run(  # noqa: PLR0913 - what runs, and what it is told by and tells
    config: Config,
    log: MqttLog,
    stop: asyncio.Event,
    *,
    reload: asyncio.Event | None = None,
    on_started: Callable[[], None] = lambda: None,
    load: Load = loader.load,
) -> None:
    """Run a node until `stop` is set. Raises ConfigError, OutboxError, OSError when it cannot start.

    `on_started` is called once the node accepts pushes. When `reload` is set `load` loads the configuration file again.
    """
    log.bind(asyncio.get_running_loop())
    if config.cluster is None or config.mqtt is None:
        raise ConfigError([f"{config.path}: {EMBEDDED}"])
    async with AsyncExitStack() as stack:
        stack.enter_context(app.lock(config.data_dir))
        app.log_start(config)
        if config.tracing is not None:
            await stack.enter_async_context(open_tracing(config.tracing.endpoint, __version__))
        node = await stack.enter_async_context(
            _open(config, config.cluster, config.mqtt, log, reload or asyncio.Event(), load)
        )
        await node.run(stop, on_started)


@asynccontextmanager
async def _open(  # noqa: PLR0913, PLR0917 - as run
    config: Config, cluster: ClusterConfig, broker: MqttConfig, log: MqttLog, reload: asyncio.Event, load: Load
) -> AsyncIterator[Node]:
    """Connect to the database and construct a node. Raises OutboxError."""
    dsn, replicated = cluster.dsn.reveal(), cluster.require_replication
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(dsn, app.outbox_limits(config), require_replication=replicated)
        )
        timeout = max(2.0, min(10.0, cluster.ttl))
        # A heartbeat that waits for a synchronous standby would let the lease of a node expire that works.
        heartbeats = Session(dsn, "heartbeats", parameters={"synchronous_commit": "local"}, timeout=timeout)
        stack.push_async_callback(heartbeats.close)
        session = Session(dsn, "cluster", parameters={"synchronous_commit": "on"})
        stack.push_async_callback(session.close)
        inbox_session = Session(dsn, "inbox", parameters={"synchronous_commit": "on"})
        stack.push_async_callback(inbox_session.close)
        # An errand that is lost with the primary is one that was not done.
        errand_session = Session(dsn, "errands", parameters={"synchronous_commit": "local"})
        stack.push_async_callback(errand_session.close)
        outbox = await database.outbox()
        await _check_cluster(outbox.setting, config)
        instance = await app.instance_id(config, outbox)
        database.release(outbox)
        topics = Topics(config.base_topic, config.discovery.prefix)
        client = NodeClient(app.mqtt_settings(broker, instance, topics), topics, cluster.node)
        node = Node(
            config=config,
            cluster=cluster,
            log=log,
            reload=reload,
            load=load,
            database=database,
            heartbeats=heartbeats,
            session=session,
            inbox=Inbox(inbox_session, require_replication=replicated),
            errands=Errands(errand_session),
            instance=instance,
            client=client,
        )
        yield node


async def _check_cluster(setting: Any, config: Config) -> None:
    """Refuse the database of another cluster. Raises ConfigError, OutboxError."""
    base = await setting("base_topic", lambda: config.base_topic)
    client_id = (config.mqtt.client_id if config.mqtt else None) or ""
    known = await setting("client_id", lambda: client_id)
    if client_id != known:
        message = (
            f"mqtt.client_id: the other nodes have {known or 'none'}; it has to be the same on all nodes, as "
            "the broker ends a former owner by it"
        )
        raise ConfigError([message])
    if base != config.base_topic:
        message = (
            f"cluster.dsn: this database belongs to the cluster with base_topic {base}, and this node has "
            f"{config.base_topic}; give each cluster a database of its own"
        )
        raise ConfigError([message])


def check_reload(running: Config, config: Config) -> None:
    """Refuse to load what belongs to the cluster, and cannot be another one's. Raises ConfigError."""
    if config.cluster is None or config.mqtt is None or running.mqtt is None:
        message = "cluster: is no longer there; a node leaves its cluster by being stopped, and started without it"
        raise ConfigError([f"{config.path}: {message}"])
    fixed = (
        ("base_topic", running.base_topic, config.base_topic),
        ("mqtt.client_id", running.mqtt.client_id, config.mqtt.client_id),
    )
    problems = [
        f"{config.path}: {option}: {after or 'none'}, and the cluster was started with {before or 'none'}; it belongs"
        " to the cluster and its database, so set it back, or start another cluster with a database of its own"
        for option, before, after in fixed
        if after != before
    ]
    if problems:
        raise ConfigError(problems)
    if config.cluster != running.cluster:
        _LOG.warning("%s: cluster is changed by a restart of the node only", config.path)


def digest(config: Config) -> str:
    """Return a short hash of what has to be the same on all nodes of a cluster."""
    parts = (config.base_topic, config.discovery, config.language, config.alarms, config.commands)
    backends = [(name, each.platform, sorted(map(str, each.options))) for name, each in sorted(config.backends.items())]
    return hashlib.sha256(repr((parts, backends)).encode()).hexdigest()[:12]


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """The components of a node that run whatever it owns, and the units that it runs."""

    config: Config
    cluster: ClusterConfig
    log: MqttLog
    reload: asyncio.Event
    load: Load
    database: Database
    heartbeats: Session
    session: Session
    inbox: Inbox
    errands: Errands
    instance: str
    client: NodeClient
    units: Units = field(default_factory=lambda: Units({}))
    nodes: list[NodeRecord] = field(default_factory=list)
    running: dict[str, LeasedUnit] = field(default_factory=dict)
    """Units that run here, by name."""
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    backends: dict[str, Backend] = field(default_factory=dict)
    """All backends, connected for their pushes' kinds and responses, and for what is known of them without a call."""
    storing_receiver: PushReceiver | None = None
    """Receiver of the pushes of units that do not run here: it stores them for their owners."""
    membership: Membership = field(init=False)
    parts: NodeParts = field(init=False)
    push: ReplaceableServer = field(init=False)
    cut_off_since: float | None = None
    """Loop time since which this node has had no connection to the broker."""
    leaving: bool = False
    """True once the node ends, and is to own nothing more."""
    former_config: Config | None = None
    """The configuration with which units ran before it was loaded again, until they run with the new one."""
    undo: tuple[str | None, Config] | None = None
    """Id of the last reload, and the configuration before it."""
    said_offline: bool = False
    """True once the bridge unit, which ended on this node, has said that no node is left."""
    opened: AsyncExitStack = field(default_factory=AsyncExitStack)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when units are to be started or ended."""
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the configuration file is loaded and applied."""
    failure: Exception | None = None
    """The error by which a unit ends the node."""
    _digests_differ: bool = False

    def __post_init__(self) -> None:
        """Make what refers to the node itself."""
        self.push = ReplaceableServer("push", lambda: self._respond)
        self.membership = Membership(
            self.heartbeats,
            self.session,
            node=self.cluster.node,
            ttl=self.cluster.ttl,
            version=__version__,
            config_digest=digest(self.config),
            health=self._membership_health,
        )
        self.parts = NodeParts(
            config=lambda: self.config,
            log=self.log,
            database=self.database,
            session=self.session,
            membership=self.membership,
            inbox=self.inbox,
            errands=self.errands,
            units=self.units,
            instance=self.instance,
            backends=self.backends,
            is_last=self._is_last,
            health=self._cluster_health,
            not_stored=self._not_stored_elsewhere,
            reload=self._reload,
        )
        self.errands.serve_node(self.cluster.node, self._perform)

    async def run(self, stop: asyncio.Event, on_started: Callable[[], None]) -> None:
        """Take part in the cluster until `stop`. Raises ConfigError, OutboxError when it cannot start."""
        if (problem := await compare_clocks(self.session)) is not None:
            _LOG.warning("times of alarms mislead: %s", problem)
        await self.membership.join()
        await add_documents(
            self.session, await asyncio.to_thread(read_documents, self.config.data_dir, self.config.backends)
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close_backends)
            stack.push_async_callback(self.push.stop)
            await self._open_backends(self.config)
            on_started()
            async with asyncio.TaskGroup() as group:
                notifications = Notifications(
                    self.cluster.dsn.reveal(),
                    {
                        INBOX_CHANNEL: self.inbox.arrived.set,
                        ERRAND_CHANNEL: self.errands.notify,
                        "fleet2mqtt_cluster": self.membership.changed.set,
                    },
                )
                tasks = [
                    group.create_task(self._heartbeats(), name="heartbeats"),
                    group.create_task(self._report(), name="node health"),
                    group.create_task(self.client.run(), name="node client"),
                    group.create_task(notifications.run(), name="notifications"),
                    group.create_task(self.inbox.run(self.units.names), name="push inbox"),
                    group.create_task(self.errands.run(), name="errands"),
                    group.create_task(self._reload_on_signals(), name="reload"),
                ]
                try:
                    while not stop.is_set() and self.failure is None:
                        await self._look()
                        await _first_of(self.membership.wait_for_change(), stop.wait(), self.changed.wait())
                finally:
                    await asyncio.shield(self._leave(stopped=stop.is_set()))
                    await self.client.close()
                    for task in tasks:
                        task.cancel()
        if self.failure is not None:
            raise self.failure

    async def _look(self) -> None:
        """Start and end units as they are assigned to the nodes now; as the owner of the bridge unit assign them."""
        self.changed.clear()
        try:
            if self.membership.lost.is_set():
                await self._end_units()
                await self.membership.join()
            await self.membership.mark_dead()
            self._note_units()
            self.units.replace(await self.membership.units())
            if (lease := self.membership.leases.get(BRIDGE_UNIT)) is not None:
                await self._assign(lease)
            elif BRIDGE_UNIT not in self.units.records:
                await self.membership.add_units((BRIDGE_UNIT,))
            await self._claim()
        except OutboxError as error:
            _LOG.debug("the database cannot be asked now: %s", error)
        for name, unit in self.running.items():
            wanted = self.units.records[name].wanted if name in self.units.records else None
            if wanted not in {None, self.cluster.node} or unit.is_forgotten:
                unit.end.set()

    def _note_units(self) -> None:
        """Apply what is known of other units to those that run here."""
        total = sum(each.weight for each in self.units.records.values())
        rate = self.config.mqtt.discovery_rate if self.config.mqtt else 0.0
        for name, unit in self.running.items():
            unit.on_units_changed()
            if name in self.units.records:
                unit.set_discovery_rate(rate * self.units.records[name].weight / total)

    async def _assign(self, lease: Lease) -> None:
        """Have a unit for each backend that a node has, and an owner for each unit. Raises OutboxError."""
        self.nodes = await self.membership.nodes()
        own = self._membership_health()
        health = {each.name: own if each.name == self.cluster.node else each.health for each in self.nodes}
        alive = {
            each.name: (
                frozenset(health[each.name].get("backends", ())),
                bool(health[each.name].get("broker")) and not each.draining,
            )
            for each in self.nodes
            if each.state == NodeState.ALIVE and not health[each.name].get("leaving")
        }
        names = {BRIDGE_UNIT}.union(*(backends for backends, _ in alive.values()))
        if names - self.units.records.keys():
            await self.membership.add_units(sorted(names))
            self.units.replace(await self.membership.units())
        units = [
            AssignedUnit(
                name=each.name,
                owner=each.owner,
                wanted=each.wanted,
                weight=each.weight,
                fixed=each.name == BRIDGE_UNIT,  # it is light, and requests in progress would end
            )
            for each in self.units.records.values()
        ]
        wanted = assign(units, candidates(self.units.records, alive, frozenset((BRIDGE_UNIT,))))
        if wanted:
            await self.membership.assign(lease, wanted)
            self.units.replace(await self.membership.units())

    async def _claim(self) -> None:
        """Own the units that no node owns and this one is to. Raises OutboxError."""
        own = self.cluster.node
        for each in self.units.records.values():
            mine = each.wanted == own or (each.name == BRIDGE_UNIT and each.wanted is None and self._may_take())
            if each.owner in {None, own} and mine and each.name not in self.tasks:
                lease = await self.membership.claim(each.name)
                if lease is not None and each.name == BRIDGE_UNIT:
                    await self._assign(lease)  # the alarms that it begins with are those of no other unit
                if lease is not None:
                    self.tasks[each.name] = asyncio.create_task(self._own(lease), name=f"unit {each.name}")

    def _may_take(self) -> bool:
        """Return True if this node may own the bridge unit: it has the broker, or no other node has."""
        return self._has_broker() or not any(each.health.get("broker") for each in self._others())

    async def _own(self, lease: Lease) -> None:
        """Run a unit until its lease is lost or it is to be handed over; with another configuration run it again."""
        gap, result = lease.gap, None
        try:
            while not lease.lost.is_set():
                unit = self.running[lease.unit] = LeasedUnit(self.parts, lease, gap)
                result = await self._run_unit(unit, lease)
                if result is not None or unit.restart.config is None or unit.end.is_set():
                    break
                gap = 0.0
            if result is not None and not lease.lost.is_set():
                await self._recover(lease, result)
        finally:
            ended = self.running.pop(lease.unit, None)
            forgotten = ended is not None and ended.is_forgotten
            if not lease.lost.is_set():
                await self._release(lease, forgotten=forgotten)
            self.tasks.pop(lease.unit, None)
            self.changed.set()

    async def _run_unit(self, unit: LeasedUnit, lease: Lease) -> Exception | None:
        """Run a unit to its end; return the error that ended it."""
        running = asyncio.create_task(unit.run())
        lost = asyncio.create_task(lease.lost.wait())
        started = asyncio.create_task(unit.started.wait())
        started.add_done_callback(self._on_started)
        try:
            await asyncio.wait((running, lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            unit.end.set()
            lost.cancel()
            started.cancel()
            running.cancel()
            (result,) = await asyncio.gather(running, return_exceptions=True)
        if isinstance(result, BaseExceptionGroup):
            expected, bugs = result.split((BridgeError, OSError))
            if bugs is not None:
                self.failure = bugs if isinstance(bugs, Exception) else RuntimeError(str(bugs))
            result = expected
        return result if isinstance(result, Exception) else None

    def _on_started(self, started: asyncio.Task[bool | None]) -> None:
        if not started.cancelled() and all(unit.started.is_set() for unit in self.running.values()):
            self.former_config = None

    async def _recover(self, lease: Lease, error: Exception) -> None:
        """Log why a unit has ended; go on with the former configuration if it has not run with this one yet."""
        reasons = "; ".join(dict.fromkeys(str(each) for each in _leaves(error)))
        if self.former_config is not None:
            _LOG.error(
                "unit %s cannot be started with the new configuration, so the old one stays: %s", lease.unit, reasons
            )
            self._use_config(self.former_config)
        elif isinstance(error, ConfigError):
            self.failure = error
        else:
            _LOG.error("unit %s has ended, and is started again: %s", lease.unit, reasons)
        await asyncio.sleep(RETRY_DELAY)

    async def _release(self, lease: Lease, *, forgotten: bool) -> None:
        try:
            if forgotten:
                await self.membership.remove_unit(lease)
            else:
                await self.membership.release(lease)
        except OutboxError as error:
            _LOG.warning(
                "unit %s cannot be given up, and is taken over once the lease has expired: %s", lease.unit, error
            )

    async def _end_units(self) -> None:
        """End all units, and wait until they have ended, for a bounded time."""
        for unit in self.running.values():
            unit.end.set()
        if not self.tasks:
            return
        _, late = await asyncio.wait(tuple(self.tasks.values()), timeout=END_PATIENCE)
        for task in late:
            _LOG.warning("%s has not ended within %g s, and is cancelled", task.get_name(), END_PATIENCE)
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=END_PATIENCE)

    def _others(self) -> list[NodeRecord]:
        """Return the other nodes that may own units."""
        own = self.cluster.node
        return [each for each in self.nodes if each.name != own and each.state == NodeState.ALIVE and not each.draining]

    def _membership_health(self) -> Mapping[str, Any]:
        """Return what other nodes have to know to give this one units, or none."""
        refused = {"full": self.database.full, "disk": self.database.unwritten}
        return {
            "broker": self._has_broker(),
            "backends": sorted(self.config.backends),
            "leaving": self.leaving,
            "not_stored": not_stored(refused, self.database.displaced),
        }

    def _not_stored_elsewhere(self) -> Mapping[str, int]:
        total = Counter[str]()
        for each in self.nodes:
            if each.name != self.cluster.node and each.state == NodeState.ALIVE:
                total.update(each.health.get("not_stored", {}))
        return total

    def _has_broker(self) -> bool:
        """Return True unless this node has been cut off from the broker for a while."""
        now = asyncio.get_running_loop().time()
        if self.client.connected:
            self.cut_off_since = None
        elif self.cut_off_since is None:
            self.cut_off_since = now
        return self.cut_off_since is None or (bool(self.running) and now - self.cut_off_since < BROKER_PATIENCE)

    async def _open_backends(self, config: Config) -> None:
        """Connect the backends of a configuration; nothing is called at the vendors. Raises ConfigError."""
        async with AsyncExitStack() as stack:
            backends = await self._connect(config, stack)
            await self.push.start(config.push)
            before, self.opened = self.opened, stack.pop_all()
        await before.aclose()
        self.backends.clear()
        self.backends.update(backends)
        proxies, configs = config.push.trusted_proxies, dict(config.backends)
        letters = _ToInbox(self.inbox)
        self.storing_receiver = PushReceiver(None, letters, backends, configs, proxies, process=self._store_push)

    async def _connect(self, config: Config, stack: AsyncExitStack) -> dict[str, Backend]:
        """Return the backends of a configuration, which `stack` closes. Raises ConfigError."""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet2mqtt-")))
        active = ActiveBackends()
        outbox = await self.database.outbox()
        stack.callback(self.database.release, outbox)
        connector = BackendConnector(
            ids=Ids(),
            data_dir=folder,
            outbox=outbox,
            active=active,
            selection=SelectionFilter(active.selection_of),
        )
        return {
            name: await stack.enter_async_context(connector.connect(each)) for name, each in config.backends.items()
        }

    async def _close_backends(self) -> None:
        await self.opened.aclose()

    async def _store_push(self, backend: str, push: Push, body: bytes) -> None:
        """Store a push for the owner of its backend, who parses it. Raises InvalidResponse, OutboxError."""
        if not isinstance(vendor_json.parse(body), dict | list):
            raise InvalidResponse("expected a JSON object", code="malformed")
        await self.inbox.add(backend, push.kind, body)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.rel_url.raw_path == "/healthz":
            healthy = self.database.writer.connected
            return web.Response(status=200 if healthy else 503, text="ok\n" if healthy else "no database\n")
        receiver = self._receiver_of(request.rel_url.raw_path)
        if receiver is None:
            raise web.HTTPServiceUnavailable
        return await receiver.respond(request)

    def _receiver_of(self, path: str) -> PushReceiver | None:
        """Return who receives a push: the unit of its backend if that runs here."""
        _, _, backend, *_ = *path.split("/", 3), "", "", ""
        unit = self.running.get(backend)
        return self.storing_receiver if unit is None or unit.receiver is None else unit.receiver

    async def _heartbeats(self) -> None:
        while True:
            await self.membership.run()  # until the lease is lost
            await wait_for_event(asyncio.Event(), self.cluster.ttl / HEARTBEATS)

    async def _reload(self) -> dict[str, Any]:
        """Load the configuration file again, here and at all other nodes, or at none. Raises CommandError."""
        return await run_to_end(self._load_config(uuid.uuid4().hex, everywhere=True))

    async def _ask_others(self, work: Mapping[str, Any]) -> None:
        """Have the other nodes do something, those that own nothing, too. Raises CommandError.

        Does not wait for nodes that end, and no longer than the bridge unit runs here.
        """
        bridge = self.running.get(BRIDGE_UNIT)
        if bridge is None:
            return
        try:
            asking = asyncio.create_task(self.errands.ask_nodes(await self._other_names(), work, RELOAD_PATIENCE))
            await _first_of(asking, bridge.end.wait())
            await asyncio.gather(asking, return_exceptions=True)
            if not asking.cancelled():
                asking.result()
        except OutboxError as error:
            raise CommandError("outbox", str(error)) from error
        except CommandError as error:
            if error.code != "timeout":
                raise
            _LOG.warning("not every node has loaded its configuration again: %s", error)

    async def _other_names(self) -> list[str]:
        """Return the names of the other nodes that are alive. Raises OutboxError."""
        own = self.cluster.node
        return [
            each.name for each in await self.membership.nodes() if each.state == NodeState.ALIVE and each.name != own
        ]

    async def _check_others(self) -> None:
        """Have the other nodes try whether they can load their files. Raises CommandError."""
        try:
            await self._ask_others({"kind": "check_reload", "repeatable": True})
        except CommandError as error:
            if error.code != "unknown_request":  # a node of an earlier version
                raise

    async def _undo_others(self, reload: str) -> None:
        """Have the other nodes return to the configuration that they had before a reload."""
        work = {"kind": "undo_reload", "reload": reload, "repeatable": True}
        try:
            names = await self._other_names()
        except OutboxError as error:
            _LOG.warning("other nodes may have loaded their files: %s", error)
            return
        asking = (self.errands.ask_nodes((name,), work, RELOAD_PATIENCE) for name in names)
        for name, found in zip(names, await asyncio.gather(*asking, return_exceptions=True), strict=True):
            if isinstance(found, BridgeError):
                _LOG.warning("node %s may have loaded its file: %s", name, found)
            elif found is not None:
                raise found

    async def _perform(self, work: Mapping[str, Any]) -> Any:
        """Do an errand of this node. Raises CommandError."""
        try:
            match work["kind"]:
                case "check_reload":
                    async with self.loading:
                        await self._check_config()
                    return None
                case "reload":
                    return await self._load_config(work.get("reload"))
                case "undo_reload":
                    return await self._undo(work["reload"])
        except CommandError as error:
            raise CommandError(error.code, f"node {self.cluster.node}: {error}") from error
        raise CommandError("unknown_request", f"a node does not know the errand {work['kind']}: update it")

    async def _reload_on_signals(self) -> None:
        """Load the configuration file again each time that `reload` is set, until cancelled."""
        while True:
            await self.reload.wait()
            self.reload.clear()
            try:
                await self._load_config()
            except CommandError as error:
                _LOG.error("%s", error)

    async def _load_config(self, reload: str | None = None, *, everywhere: bool = False) -> dict[str, Any]:
        """Load the configuration file and have the units apply it; return what changes. Raises CommandError.

        One after another. With `everywhere` the other nodes do so, too, and if one of them cannot, nothing changes on
        any node. `reload` is the id by which it is undone.
        """
        async with self.loading:
            config, report = await self._check_config()
            if everywhere:
                await self._check_others()
            before = self.config
            try:
                await self._replace_config(config, report, reload if everywhere else None)
            except CommandError:
                if everywhere and reload is not None:
                    await self._undo_others(reload)
                if report["options"]:
                    await self._return_to(before)
                raise
            if report["options"]:
                self.undo = (reload, before)
            return report

    async def _check_config(self) -> tuple[Config, dict[str, Any]]:
        """Load the configuration file, and try whether it can be used; return it and what changes. Raises CommandError.

        Nothing is called at the vendors.
        """
        before = self.config
        try:
            config = await asyncio.to_thread(self.load, before.path)
            options = changed_options(before, config)
            if options:
                check_reload(before, config)
                self._client_settings(config)
                if BRIDGE_UNIT in self.running:  # its server moves last, when the other nodes have loaded their files
                    await check_address("web", before.web, config.web)
                await check_address("push", before.push, config.push)
                async with AsyncExitStack() as stack:
                    await self._connect(config, stack)
        except ConfigError as error:
            raise _not_reloaded(error) from error
        except OutboxError as error:
            raise CommandError("outbox", str(error)) from error
        old, new = before.backends, config.backends
        return config, {
            "added": [name for name in new if name not in old],
            "removed": [name for name in old if name not in new],
            "changed": [name for name in new if name in old and old[name] != new[name]],
            "options": options,
            "restarted": bool(set(options) - APPLIED),
        }

    async def _replace_config(self, config: Config, report: Mapping[str, Any], others: str | None) -> None:
        """Have the units that run here apply a configuration. Raises CommandError.

        The bridge unit is the last: it responds to the request, and may have to start again. The other nodes load their
        files before that, if this reload has the id `others` at them.
        """
        before, options = self.config, report["options"]
        if not options:
            _LOG.info("%s is reloaded: nothing has changed", config.path)
            if others is not None:
                await self._ask_others({"kind": "reload", "reload": others, "repeatable": True})
            return
        try:
            await self._open_backends(config)
        except ConfigError as error:
            raise _not_reloaded(error) from error
        self.log.add_secrets(config.secrets)
        for warning in config.warnings:
            _LOG.warning("%s", warning)
        changes = ((what, report[what]) for what in ("added", "removed", "changed"))
        summary = "; ".join(f"backends {what}: {', '.join(names)}" for what, names in changes if names)
        _LOG.info("%s is reloaded: %s", config.path, summary or ", ".join(options))
        self._use_config(config)
        self.former_config = before if report["restarted"] else None
        if config.mqtt != before.mqtt:
            self.client.replace_settings(self._client_settings(config))
        await self._apply_config(others)

    async def _undo(self, reload: str) -> None:
        """Return to the configuration before a reload, if that was the last one here. Raises CommandError."""
        async with self.loading:
            if self.undo is None or self.undo[0] != reload:
                return
            (_, before), self.undo = self.undo, None
            _LOG.warning("%s is not reloaded after all, as another node cannot load its file", before.path)
            await self._return_to(before)

    async def _return_to(self, before: Config) -> None:
        """Have a former configuration again. Raises CommandError."""
        if before.mqtt != self.config.mqtt:
            self.client.replace_settings(self._client_settings(before))
        self._use_config(before)
        try:
            await self._open_backends(before)
        except ConfigError as error:
            raise _not_reloaded(error) from error
        await self._apply_config(None)

    def _use_config(self, config: Config) -> None:
        """Have this configuration from now on."""
        self.config, self.former_config = config, None
        self.membership.config_digest = digest(config)
        self.changed.set()

    async def _apply_config(self, others: str | None) -> None:
        """Have the units that run here apply the configuration as it is now, and other nodes theirs before the last.

        Raises CommandError.
        """
        for unit in [unit for name, unit in self.running.items() if name != BRIDGE_UNIT]:
            await unit.reload()
        with contextlib.suppress(OutboxError, LeaseLost):  # then the next heartbeat says which backends there are
            await self.membership.renew()
        if others is not None:
            await self._ask_others({"kind": "reload", "reload": others, "repeatable": True})
        if (bridge := self.running.get(BRIDGE_UNIT)) is not None:
            await bridge.reload()

    def _client_settings(self, config: Config) -> Settings:
        """Return the settings of the broker. Raises ConfigError."""
        if config.mqtt is None:
            raise ConfigError([f"{config.path}: {EMBEDDED}"])
        return app.mqtt_settings(config.mqtt, self.instance, Topics(config.base_topic, config.discovery.prefix))

    async def _is_last(self) -> bool:
        """Return True if no other node is alive; the unit says `offline` then."""
        try:
            self.said_offline = await self.membership.is_last()
        except OutboxError:
            self.said_offline = False
        return self.said_offline

    async def _leave(self, *, stopped: bool) -> None:
        self.leaving = True
        with contextlib.suppress(OutboxError, LeaseLost):  # then other nodes take it for dead
            await self.membership.renew()
        await self._end_units()
        try:
            is_last = await self.membership.leave()
        except OutboxError as error:
            _LOG.warning("the node cannot leave in order: %s", error)
            return
        # Whoever owned the unit may have left it to this node, which has ended before it could own it.
        if is_last and stopped and not self.said_offline:
            try:
                await self.client.publish_cluster_offline()
            except (MqttError, TimeoutError) as error:
                _LOG.warning("that no node is left cannot be published: %s", error)

    async def _report(self) -> None:
        """Publish this node's health, and look at the other nodes, until cancelled."""
        while True:
            try:
                await self.membership.mark_dead()
                self.nodes = await self.membership.nodes()
            except OutboxError as error:
                _LOG.debug("the nodes cannot be read: %s", error)
            else:
                self._compare_digests()
            self.client.publish_health(self._own_health())
            await wait_for_event(asyncio.Event(), self.cluster.ttl / HEARTBEATS)

    def _compare_digests(self) -> None:
        others = [
            each.name
            for each in self.nodes
            if each.name != self.cluster.node
            and each.state == NodeState.ALIVE
            and each.config_digest != digest(self.config)
        ]
        if others and not self._digests_differ:
            _LOG.warning("nodes with another configuration than %s: %s", self.cluster.node, ", ".join(others))
        self._digests_differ = bool(others)

    def _own_health(self) -> Mapping[str, Any]:
        return {
            "version": __version__,
            "owner": BRIDGE_UNIT in self.membership.leases,
            "units": {unit: lease.epoch for unit, lease in sorted(self.membership.leases.items())},
            "lease_valid": self.membership.is_valid,
            "draining": self.membership.draining,
            "config_digest": digest(self.config),
            "database": {"connected": self.database.writer.connected, "durability": self.database.durability},
            "inbox": self.inbox.depth,
        }

    def _cluster_health(self) -> Mapping[str, Any]:
        """Return what the cluster adds to `bridge/health`."""
        return {
            "nodes": {
                each.name: {
                    "state": each.state,
                    "owner": BRIDGE_UNIT in each.units,
                    "units": {unit.name: unit.epoch for unit in self.units.records.values() if unit.owner == each.name},
                    "draining": each.draining,
                    "version": each.version,
                }
                for each in self.nodes
            },
            "storage": {
                "engine": "postgresql",
                "durability": self.database.durability,
                "commit_seconds": round(self.database.commit_seconds, 4),
                "inbox": self.inbox.depth,
            },
        }


def _not_reloaded(error: ConfigError) -> CommandError:
    return CommandError("invalid_configuration", f"the configuration is not reloaded, the running one stays:\n{error}")


@dataclass(frozen=True, slots=True)
class _ToInbox:
    """Dead letters of a node that owns nothing: the owner makes them."""

    inbox: Inbox

    async def add_dead_letter(
        self, backend: str, kind: str, error: str, body: bytes, stored_push: int | None = None
    ) -> int:
        """Store a push that is no JSON. Raises OutboxError."""
        del error, stored_push
        await self.inbox.add(backend, kind, body)
        return 0


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


async def _first_of(*waiting: Any) -> None:
    tasks = [asyncio.ensure_future(each) for each in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
