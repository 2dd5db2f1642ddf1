"""A node of a cluster: accepts pushes always, and runs the unit while it has its lease."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from fleet2mqtt import __version__, app
from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.bridge_unit import published_under_file
from fleet2mqtt.cluster.documents import Documents
from fleet2mqtt.cluster.inbox import CHANNEL as INBOX_CHANNEL
from fleet2mqtt.cluster.inbox import Inbox
from fleet2mqtt.cluster.journal import CommandJournal
from fleet2mqtt.cluster.membership import HEARTBEATS, UNIT, Lease, Membership, NodeRecord, NodeState
from fleet2mqtt.cluster.node_client import NodeClient
from fleet2mqtt.cluster.notifications import Notifications
from fleet2mqtt.cluster.role import OwnerRole
from fleet2mqtt.cluster.status import compare_clocks
from fleet2mqtt.config import loader
from fleet2mqtt.config.models import BackendConfig, ClusterConfig, Config, MqttConfig
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.selection import SelectionFilter
from fleet2mqtt.errors import BridgeError, ConfigError, InvalidResponse, MqttError, OutboxError
from fleet2mqtt.ops.former_topics import load_published_under
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.outbox.postgres import Database, open_database
from fleet2mqtt.outbox.postgres.alarm_writer import Fence
from fleet2mqtt.outbox.postgres.session import Session
from fleet2mqtt.push.http_server import ReplaceableServer
from fleet2mqtt.push.receiver import PushReceiver
from fleet2mqtt.reload import Restart
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Backend, Push
from fleet2mqtt.storage import inventory_file
from fleet2mqtt.tracing import open_tracing
from fleet2mqtt.unit import INVENTORY, ActiveBackends, BackendConnector

_LOG = logging.getLogger(__name__)

BROKER_PATIENCE = 5.0
"""Seconds without the broker after which a node gives the unit up to one that has it."""
RETRY_DELAY = 1.0
"""Seconds before the unit is started again after an error."""
EMBEDDED = "a cluster needs mqtt: with a broker that all nodes use"


async def run(
    config: Config,
    log: MqttLog,
    stop: asyncio.Event,
    *,
    reload: asyncio.Event | None = None,
    on_started: Callable[[], None] = lambda: None,
) -> None:
    """Run a node until `stop` is set. Raises ConfigError, OutboxError, OSError when it cannot start.

    `on_started` is called once the node accepts pushes. When `reload` is set the configuration file is loaded again.
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
            _open(config, config.cluster, config.mqtt, log, reload or asyncio.Event())
        )
        await node.run(stop, on_started)


@asynccontextmanager
async def _open(
    config: Config, cluster: ClusterConfig, broker: MqttConfig, log: MqttLog, reload: asyncio.Event
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
        outbox = await database.outbox()
        await _check_cluster(outbox.setting, config)
        instance = await app.instance_id(config, outbox)
        database.release(outbox)
        topics = Topics(config.base_topic, config.discovery.prefix)
        client = NodeClient(app.mqtt_settings(broker, instance, topics), topics, cluster.node)
        membership = Membership(
            heartbeats,
            session,
            node=cluster.node,
            ttl=cluster.ttl,
            version=__version__,
            config_digest=digest(config),
            health=lambda: {"broker": client.connected},
        )
        inbox = Inbox(inbox_session, require_replication=replicated)
        yield Node(
            config=config,
            cluster=cluster,
            broker=broker,
            log=log,
            reload=reload,
            database=database,
            session=session,
            membership=membership,
            inbox=inbox,
            instance=instance,
            client=client,
        )


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
    """The components of a node that run whether it owns the unit or not, and the unit while it does."""

    config: Config
    cluster: ClusterConfig
    broker: MqttConfig
    log: MqttLog
    reload: asyncio.Event
    database: Database
    session: Session
    membership: Membership
    inbox: Inbox
    instance: str
    client: NodeClient
    nodes: list[NodeRecord] = field(default_factory=list)
    receiver: PushReceiver | None = None
    """Receiver of pushes now: the unit's, or the one that stores them for the owner."""
    storing_receiver: PushReceiver | None = None
    push: ReplaceableServer = field(init=False)
    cut_off_since: float | None = None
    """Loop time since which this node has had no connection to the broker."""
    former_config: Config | None = None
    """The configuration with which the unit ran before it was loaded again, until it runs with the new one."""
    said_offline: bool = False
    """True once the unit, which ended last on this node, has said that no node is left."""
    _digests_differ: bool = False
    _connected: Config | None = None
    """The configuration whose backends `storing_receiver` has."""

    def __post_init__(self) -> None:
        """Make the server for pushes, which outlives the receivers."""
        self.push = ReplaceableServer("push", lambda: self._respond)

    async def run(self, stop: asyncio.Event, on_started: Callable[[], None]) -> None:
        """Take part in the cluster until `stop`. Raises ConfigError, OutboxError when it cannot start."""
        if (problem := await compare_clocks(self.session)) is not None:
            _LOG.warning("times of alarms mislead: %s", problem)
        await self.membership.join()
        async with AsyncExitStack() as stack:
            backends = await stack.enter_async_context(AsyncExitStack())
            await self._open_backends(backends)
            stack.push_async_callback(self.push.stop)
            await self.push.start(self.config.push)
            on_started()
            async with asyncio.TaskGroup() as group:
                notifications = Notifications(
                    self.cluster.dsn.reveal(),
                    {INBOX_CHANNEL: self.inbox.arrived.set, "fleet2mqtt_cluster": self.membership.changed.set},
                )
                tasks = [
                    group.create_task(self._heartbeats(), name="heartbeats"),
                    group.create_task(self._report(), name="node health"),
                    group.create_task(self.client.run(), name="node client"),
                    group.create_task(notifications.run(), name="notifications"),
                ]
                try:
                    while not stop.is_set():
                        lease = await self._wait_for_lease(stop, backends)
                        if lease is not None:
                            await self._own(lease, stop)
                            self.receiver = self.storing_receiver
                finally:
                    await asyncio.shield(self._leave(stopped=stop.is_set()))
                    await self.client.close()
                    for task in tasks:
                        task.cancel()

    async def _open_backends(self, stack: AsyncExitStack) -> None:
        """Connect the backends for their pushes' kinds and responses; nothing is called at the vendors."""
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
        backends: dict[str, Backend] = {}
        configs: dict[str, BackendConfig] = {}
        for name, each in self.config.backends.items():
            backends[name] = await stack.enter_async_context(connector.connect(each))
            configs[name] = each
        proxies = self.config.push.trusted_proxies
        letters = _ToInbox(self.inbox)
        self.storing_receiver = PushReceiver(None, letters, backends, configs, proxies, process=self._store_push)
        self.receiver = self.storing_receiver
        self._connected = self.config

    async def _store_push(self, backend: str, push: Push, body: bytes) -> None:
        """Store a push for the owner of its backend, who parses it. Raises InvalidResponse, OutboxError."""
        if not isinstance(vendor_json.parse(body), dict | list):
            raise InvalidResponse("expected a JSON object", code="malformed")
        await self.inbox.add(backend, push.kind, body)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.rel_url.raw_path == "/healthz":
            healthy = self.database.writer.connected
            return web.Response(status=200 if healthy else 503, text="ok\n" if healthy else "no database\n")
        if self.receiver is None:
            raise web.HTTPServiceUnavailable
        return await self.receiver.respond(request)

    async def _heartbeats(self) -> None:
        while True:
            await self.membership.run()  # until the lease is lost
            await wait_for_event(asyncio.Event(), self.cluster.ttl / HEARTBEATS)

    async def _wait_for_lease(self, stop: asyncio.Event, backends: AsyncExitStack) -> Lease | None:
        """Stand by until this node owns the unit; return None at the end."""
        while not stop.is_set():
            try:
                if self.membership.lost.is_set():
                    await self.membership.join()
                if self.reload.is_set():
                    self.reload.clear()
                    await self._reload()
                if self._connected is not self.config:
                    await backends.aclose()
                    await self._open_backends(backends)
                await self.membership.mark_dead()
                cut_off = not self.client.connected and any(each.health.get("broker") for each in self._others())
                lease = None if cut_off else await self.membership.claim()
            except OutboxError as error:
                _LOG.debug("the database cannot be asked now: %s", error)
                lease = None
            if lease is not None:
                return lease
            await _first_of(self.membership.wait_for_change(), stop.wait(), self.reload.wait())
        return None

    async def _reload(self) -> None:
        """Load the configuration file again, for when this node owns the unit."""
        try:
            config = await asyncio.to_thread(loader.load, self.config.path)
            check_reload(self.config, config)
            await self.push.start(config.push)
            self._use_config(config)
        except ConfigError as error:
            _LOG.error("the configuration is not reloaded, the running one stays:\n%s", error)
            return
        _LOG.info("%s is reloaded", config.path)

    def _use_config(self, config: Config) -> None:
        """Go on with a configuration that was loaded again. Raises ConfigError for unusable TLS files."""
        if config.mqtt is not None and config.mqtt != self.broker:
            topics = Topics(config.base_topic, config.discovery.prefix)
            self.client.replace_settings(app.mqtt_settings(config.mqtt, self.instance, topics))
            self.broker = config.mqtt
        self.config = config
        self.membership.config_digest = digest(config)

    async def _own(self, lease: Lease, stop: asyncio.Event) -> None:
        """Run the unit until the lease is lost, this node is drained, or `stop`."""
        end = asyncio.Event()
        running = asyncio.create_task(self._run_unit(lease, end), name="unit")
        try:
            while not running.done():
                changed = asyncio.create_task(self.membership.wait_for_change())
                stopped = asyncio.create_task(stop.wait())
                lost = asyncio.create_task(self.membership.lost.wait())
                await asyncio.wait((running, changed, stopped, lost), return_when=asyncio.FIRST_COMPLETED)
                for task in (changed, stopped, lost):
                    task.cancel()
                if self.membership.lost.is_set():
                    break
                if stop.is_set() or self._is_to_hand_over():
                    end.set()
                    await asyncio.wait(
                        (running, asyncio.create_task(self.membership.lost.wait())), return_when=asyncio.FIRST_COMPLETED
                    )
                    break
        finally:
            running.cancel()
            (result,) = await asyncio.gather(running, return_exceptions=True)
        if isinstance(result, ConfigError) and self.former_config is None:
            raise result
        if isinstance(result, BaseExceptionGroup):
            expected, bugs = result.split((BridgeError, OSError))
            if bugs is not None:
                raise bugs
            result = expected
        if isinstance(result, Exception) and not self.membership.lost.is_set():
            await self._recover(result)
        if not self.membership.lost.is_set():
            await self._release()

    async def _recover(self, error: Exception) -> None:
        """Log why the unit has ended; go on with the former configuration if it has not run with this one yet."""
        reasons = "; ".join(dict.fromkeys(str(each) for each in _leaves(error)))
        if self.former_config is None:
            _LOG.error("the unit has ended, and is started again: %s", reasons)
        else:
            _LOG.error("the unit cannot be started with the new configuration, so it goes on with the old: %s", reasons)
            former, self.former_config = self.former_config, None
            self._use_config(former)
        await asyncio.sleep(RETRY_DELAY)

    async def _release(self) -> None:
        try:
            await self.membership.release()
        except OutboxError as error:
            _LOG.warning("the unit cannot be given up, and is taken over once the lease has expired: %s", error)

    def _others(self) -> list[NodeRecord]:
        """Return the other nodes that may own the unit."""
        own = self.cluster.node
        return [each for each in self.nodes if each.name != own and each.state == NodeState.ALIVE and not each.draining]

    def _is_to_hand_over(self) -> bool:
        """Return True if this node is to be drained, or cut off from the broker, and another one is not."""
        others = self._others()
        if self.membership.draining and others:
            return True
        now = asyncio.get_running_loop().time()
        if self.client.connected:
            self.cut_off_since = None
        elif self.cut_off_since is None:
            self.cut_off_since = now
        cut_off = self.cut_off_since is not None and now - self.cut_off_since >= BROKER_PATIENCE
        return cut_off and any(each.health.get("broker") for each in others)

    async def _run_unit(self, lease: Lease, end: asyncio.Event) -> None:
        """Run the application with this lease. Raises BridgeError, OSError."""
        self.said_offline = False
        config = self.config
        documents = Documents(self.session, config.data_dir, UNIT, lease.epoch)
        await documents.restore()
        outbox = await self.database.outbox(Fence(unit=UNIT, epoch=lease.epoch))
        try:
            storage = app.Storage(
                outbox=outbox,
                snapshot=await asyncio.to_thread(inventory_file.load, config.data_dir / INVENTORY),
                instance=self.instance,
                published_under=await asyncio.to_thread(load_published_under, published_under_file(config)),
            )
            restart = Restart()
            application = app.build(config, self.broker, storage, self.log, restart, role=self._role(lease))
            saving = asyncio.create_task(documents.run(), name="documents")
            try:
                await application.run(end, self.reload, (partial(self._use, application.unit.push_receiver),))
            finally:
                self.receiver = self.storing_receiver
                saving.cancel()
                await asyncio.gather(saving, return_exceptions=True)
            await documents.save()
            if restart.config is not None:
                self.former_config = self.config
                self._use_config(restart.config)
        finally:
            self.database.release(outbox)

    def _use(self, receiver: PushReceiver) -> None:
        """Give pushes to the unit, which runs, from now on."""
        self.receiver = receiver
        self.former_config = None

    def _role(self, lease: Lease) -> OwnerRole:
        loop = asyncio.get_running_loop()
        since = None if lease.gap is None else loop.time() - lease.gap

        def journal(publish: Any) -> CommandJournal:
            return CommandJournal(self.session, UNIT, lease.epoch, publish, waiting_since=since)

        return OwnerRole(
            confirm_lease=self.membership.confirm_lease,
            journal=journal,
            inbox=self.inbox,
            push=self.push,
            is_last=self._is_last,
            check_reload=lambda config: check_reload(self.config, config),
            use_config=self._use_config,
            health=self._cluster_health,
        )

    async def _is_last(self) -> bool:
        """Return True if no other node is alive; the unit says `offline` then."""
        try:
            self.said_offline = await self.membership.is_last()
        except OutboxError:
            self.said_offline = False
        return self.said_offline

    async def _leave(self, *, stopped: bool) -> None:
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
            "owner": self.membership.lease is not None,
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
                each.name: {"state": each.state, "owner": each.owns, "draining": each.draining, "version": each.version}
                for each in self.nodes
            },
            "storage": {
                "engine": "postgresql",
                "durability": self.database.durability,
                "commit_seconds": round(self.database.commit_seconds, 4),
                "inbox": self.inbox.depth,
            },
        }


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
