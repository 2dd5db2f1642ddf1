"""The application: `build` constructs every component, dependencies first; `run` gives it what it needs and runs it."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp.web import Application as HttpApplication

from fleet2mqtt import __version__
from fleet2mqtt.aio import TaskSet, wait_for_first, wait_until
from fleet2mqtt.bridge_unit import BridgeUnit, build_bridge_unit, published_under, published_under_file
from fleet2mqtt.commands.requests import RequestHandler
from fleet2mqtt.commands.router import CommandRouter
from fleet2mqtt.config import loader, models
from fleet2mqtt.config.models import Config, FirstRun
from fleet2mqtt.contract.payloads import OFFLINE, ONLINE
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.errors import ConfigError, OutboxError
from fleet2mqtt.mqtt import Message, MqttClient, Settings, TlsFiles, embedded_broker
from fleet2mqtt.ops.alarm_requests import AlarmRequests
from fleet2mqtt.ops.base_topic import BaseTopicMonitor
from fleet2mqtt.ops.bridge_requests import BridgeRequests
from fleet2mqtt.ops.former_topics import FormerTopics, PublishedUnder, load_published_under
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.outbox import Outbox, OutboxLimits, open_outbox
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.push.http_server import ReplaceableServer
from fleet2mqtt.push.receiver import StoredPush
from fleet2mqtt.reload import Listens, Reloader, Restart
from fleet2mqtt.storage import atomic_file, inventory_file
from fleet2mqtt.storage.inventory_file import INVENTORY, Snapshot
from fleet2mqtt.tracing import open_tracing
from fleet2mqtt.unit import ActiveBackends, Unit, build_unit
from fleet2mqtt.web import page
from fleet2mqtt.web.alarm_list import AlarmList
from fleet2mqtt.web.cluster_views import ClusterViews
from fleet2mqtt.web.metrics import Metrics, PublishLatency, UnitMetrics
from fleet2mqtt.web.overview import Overview, UnitOverview
from fleet2mqtt.web.search import DeviceIndex
from fleet2mqtt.web.stream import View
from fleet2mqtt.web.unit_views import UnitViews

if TYPE_CHECKING:  # psycopg is no dependency of a bridge without a cluster
    from fleet2mqtt.cluster.journal import CommandJournal
    from fleet2mqtt.unit_role import UnitRole

_LOG = logging.getLogger(__name__)

OUTBOX = "outbox.sqlite"
INSTANCE = "instance"
MAX_EARLY_MESSAGES = 1000
WILL_LEASES = 3
"""Leases after which a unit that no node has taken over is offline."""
FIRST_READ = 10.0
"""Seconds that commands wait at a takeover until their backends were read."""
RESTORED_PATIENCE = 2.0
"""Seconds at a takeover for which a device waits until all of it was read, before its state is published."""
GRACE = 1.5
"""Seconds that commands in progress and the last replies get when the bridge is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Content of the data directory: the open outbox, the inventory of the last run, the instance id and the topics."""

    outbox: Outbox
    snapshot: Snapshot
    instance: str
    published_under: PublishedUnder | None


async def run(  # noqa: PLR0913 - what runs, and what it is told by and tells
    config: Config,
    log: MqttLog,
    stop: asyncio.Event,
    *,
    reload: asyncio.Event | None = None,
    embedded_port: int = embedded_broker.PORT,
    on_started: Callable[[], None] = lambda: None,
) -> None:
    """Run the bridge until `stop` is set. Raises ConfigError, OutboxError, OSError when it cannot start.

    `on_started` is called each time that everything runs, whether or not the broker and the backends can be reached.
    A configuration without an mqtt block gets a broker on `embedded_port`. When `reload` is set, or by a request, the
    configuration file is loaded again; where that cannot be applied to a running bridge, it is started again.
    """
    log.bind(asyncio.get_running_loop())
    reload = reload or asyncio.Event()
    before: Config | None = None
    while True:
        restart = Restart()
        started = asyncio.Event()
        try:
            await _run_once(config, log, stop, reload, restart, (started.set, on_started), embedded_port)
        except (ConfigError, OutboxError, OSError, BaseExceptionGroup) as error:
            if before is None or started.is_set():
                raise
            _LOG.error("the bridge cannot be started with the new configuration, so it goes on with the old: %s", error)
            config, before = before, None
            continue
        if restart.config is None:
            return
        config, before = restart.config, config


async def _run_once(  # noqa: PLR0913, PLR0917 - as run
    config: Config,
    log: MqttLog,
    stop: asyncio.Event,
    reload: asyncio.Event,
    restart: Restart,
    on_started: Iterable[Callable[[], None]],
    embedded_port: int,
) -> None:
    async with AsyncExitStack() as stack:
        stack.enter_context(lock(config.data_dir))
        log_start(config)
        if config.tracing is not None:
            await stack.enter_async_context(open_tracing(config.tracing.endpoint, __version__))
        broker = config.mqtt
        if broker is None:
            port = await stack.enter_async_context(embedded_broker.broker(embedded_port))
            broker = models.MqttConfig(
                host=embedded_broker.HOST, port=port, protocol=models.Protocol(embedded_broker.PROTOCOL)
            )
        storage = await stack.enter_async_context(_open_storage(config))
        await build(config, broker, storage, log, restart).run(stop, reload, on_started)


def log_start(config: Config) -> None:
    """Log what starts, and the warnings about its configuration."""
    backends = ", ".join(f"{name} ({each.platform})" for name, each in config.backends.items())
    _LOG.info("fleet2mqtt %s starts with %s: backends %s", __version__, config.path, backends or "none")
    for warning in config.warnings:
        _LOG.warning("%s", warning)


def build(  # noqa: PLR0913 - what everything is made from
    config: Config,
    broker: models.MqttConfig,
    storage: Storage,
    log: MqttLog,
    restart: Restart,
    *,
    role: UnitRole | None = None,
) -> Application:
    """Construct the components of the bridge, dependencies first. Raises ConfigError for unusable TLS files.

    There is one unit, which has all backends, and the bridge unit uses its connection. In a cluster `role` says which
    unit this is, and only that one has the bridge unit's components that is called so.
    """
    outbox, instance = storage.outbox, storage.instance
    topics = Topics(config.base_topic, config.discovery.prefix)
    group = asyncio.TaskGroup()
    active = ActiveBackends()
    latency = PublishLatency()
    is_bridge = role is None or role.is_bridge
    former = storage.published_under or published_under(config)
    watched = {topics.state, topics.bridge("info"), former.info_topic, config.discovery.birth_topic}
    commands = topics.commands() if is_bridge or role is None else topics.commands_of(role.unit)
    subscriptions = [(topic, 1) for topic in (*commands, *sorted(watched))]
    connect = partial(mqtt_settings, instance=instance, topics=topics, cluster=config.cluster)
    if role is not None and not is_bridge:
        connect = partial(connect, unit=role.unit)
    mqtt = MqttClient(connect(broker), subscriptions, role.confirm_lease if role else None)
    unit = build_unit(
        config,
        storage.snapshot,
        outbox,
        mqtt,
        topics,
        active=active,
        rate=broker.discovery_rate,
        group=group,
        taken_over=role is not None,
    )
    base_topic = BaseTopicMonitor(
        topics,
        instance,
        will_delay=broker.will_delay,
        take_over=broker.take_over,
        republish_info=partial(unit.publisher.republish, topics.bridge("info")),
    )
    bridge_unit = None
    if role is not None and role.view is not None:
        for each in role.view.configs.values():
            unit.runner.apply_alarm_options(each)
    if is_bridge:
        bridge_unit = build_bridge_unit(
            config,
            unit,
            outbox,
            topics,
            log,
            base_topic,
            instance=instance,
            observe_latency=latency.observe,
            cluster=role.view if role else None,
        )
    owns = role.owns if role else None
    views = _unit_views(unit, outbox, owns)
    servers: list[tuple[ReplaceableServer, Listens]] = []
    if role is None:
        servers.append((ReplaceableServer("push", lambda: unit.push_receiver.respond), attrgetter("push")))
    if bridge_unit is not None:
        web = ReplaceableServer("web", partial(_web_application, unit, bridge_unit, outbox, latency, views, role))
        servers.append((web, attrgetter("web")))

    async def on_reloaded(config: Config) -> None:
        if bridge_unit is not None:
            await bridge_unit.notifier.replace(config.notify)
            bridge_unit.housekeeping.publish_info()

    reloader = Reloader(
        config,
        unit.runner,
        unit.push_receiver,
        servers,
        unit.limits,
        mqtt,
        unit.publisher,
        connect,
        log,
        restart,
        on_reloaded,
        role.load if role else loader.load,
        logging.DEBUG if role else logging.INFO,  # a node says what has changed for all its units
    )
    actions = BridgeRequests(
        unit.hub,
        unit.registry,
        outbox,
        unit.publisher,
        topics,
        (lambda: {"dropped": unit.dropped()}) if bridge_unit is None else bridge_unit.status.health,
        unit.active.pollers,
        unit.push_receiver,
        role.reload if role else reloader.reload,
        AlarmRequests(unit.alarms.manager, unit.windows, outbox, unit.registry, owns),
    ).actions()
    if role is not None:
        actions = role.actions(unit, outbox, actions, views.perform)
    requests = RequestHandler(
        unit.replies,
        actions if is_bridge else {},
        active.backends,
        active.configs,
        unit.calls,
        unit.work.start,
        active.request_poll,
    )
    return Application(
        config=config,
        topics=topics,
        group=group,
        mqtt=mqtt,
        publisher=unit.publisher,
        unit=unit,
        base_topic=base_topic,
        former_topics=FormerTopics(
            published_under_file(config),
            storage.published_under,
            published_under(config),
            instance,
            registry=unit.registry,
            secondary_sources=active.secondary_sources,
            outbox=outbox,
            publisher=unit.publisher,
            inventory=unit.inventory,
        ),
        bridge_unit=bridge_unit,
        router=CommandRouter(unit.commands, requests, unit.registry, topics, unit.limits, unit.refused_commands, owns),
        servers=tuple(servers),
        reloader=reloader,
        restart=restart,
        role=role,
        journal=role.journal(unit.publisher.publish_reply) if role else None,
    )


def _unit_views(unit: Unit, outbox: Outbox, owns: Callable[[str], bool] | None) -> UnitViews:
    """Return the views of a unit's devices and alarms."""
    manager, pollers = unit.alarms.manager, unit.active.pollers
    return UnitViews(
        overview=UnitOverview(
            registry=unit.registry, index=DeviceIndex(unit.registry), alarms=manager, pollers=pollers
        ),
        alarms=AlarmList(
            manager=manager,
            registry=unit.registry,
            outbox=outbox,
            windows=unit.windows,
            sources=unit.alarm_sources,
            owns=owns,
        ),
        metrics=UnitMetrics(unit.hub, unit.registry, manager, unit.mqtt, pollers, unit.push_receiver, unit.commands),
    )


def _web_application(  # noqa: PLR0913, PLR0917 - what it shows
    unit: Unit,
    bridge_unit: BridgeUnit,
    outbox: Outbox,
    latency: PublishLatency,
    views: UnitViews,
    role: UnitRole | None,
) -> HttpApplication:
    """Return the application of the web server."""
    status = bridge_unit.status
    overview = Overview(unit=views.overview, outbox=outbox, mqtt=unit.mqtt, status=status)
    shown: dict[str, View] = {
        "status": overview.json,
        "alarms": views.alarms.json,
        "alarm": views.alarms.alarm,
        "device": views.device.json,
    }
    others = None
    availability: Callable[[], Mapping[str, bool]] = views.overview.availability
    if role is not None and role.view is not None:
        cluster = ClusterViews(
            own=views,
            overview=overview,
            units=role.view.units,
            ask_all=role.view.ask_all,
            alarm_counts=role.view.alarm_counts,
            load_windows=role.load_windows,
        )
        shown = {
            "status": cluster.status,
            "alarms": cluster.alarms,
            "alarm": cluster.alarm,
            "device": cluster.device,
        }
        others, availability = cluster.metrics, role.view.availability
    metrics = Metrics(views.metrics, unit.mqtt, status, latency, others)
    return page.application(metrics, shown, status, unit.mqtt, outbox, availability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The running bridge: unit, bridge unit and servers, and the order in which they start and stop. Runs once."""

    config: Config
    topics: Topics
    group: asyncio.TaskGroup
    mqtt: MqttClient
    publisher: Publisher
    unit: Unit
    base_topic: BaseTopicMonitor
    former_topics: FormerTopics
    bridge_unit: BridgeUnit | None
    """None for a backend's unit in a cluster."""
    router: CommandRouter
    servers: tuple[tuple[ReplaceableServer, Listens], ...]
    """Servers that start and end with the application, each with what says where it listens."""
    reloader: Reloader
    restart: Restart
    role: UnitRole | None
    """None without a cluster."""
    journal: CommandJournal | None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    early_messages: deque[Message] = field(default_factory=lambda: deque(maxlen=MAX_EARLY_MESSAGES))
    """Commands and requests that came before the base topic was claimed."""

    async def run(self, stop: asyncio.Event, reload: asyncio.Event, on_started: Iterable[Callable[[], None]]) -> None:
        """Run every component until `stop` or a restart, and end them in order. Raises ConfigError if it cannot listen.

        `on_started` is called once everything runs.
        """
        async with AsyncExitStack() as stack, self.group:
            stack.push_async_callback(self.unit.runner.close)
            await self.unit.restore()
            self.former_topics.keep_current()
            if self.bridge_unit is not None:
                self.publisher.set_retained(self.topics.state, ONLINE)
            await self.unit.start_backends()
            for server, listens in self.servers:
                stack.push_async_callback(server.stop)
                await server.start(listens(self.config))
            connection, loops, reloads = TaskSet(self.group), TaskSet(self.group), TaskSet(self.group)
            connection.start(self.mqtt.run(self._on_message, self._on_connected, self._on_disconnected), "mqtt")
            loops.start(self._publish(loops), "base topic")
            self.unit.start_loops(loops)
            if self.bridge_unit is not None:
                self.bridge_unit.start_loops(loops)
            reloads.start(self.reloader.run(reload, lambda: self.is_settled and not self._is_responding), "reload")
            self.unit.start_polls()
            for report in on_started:
                report()
            await wait_for_first(stop, self.restart.requested)
            await reloads.cancel()
            await self._stop(connection, loops)

    async def _publish(self, loops: TaskSet) -> None:
        """Begin to publish and to accept commands once the base topic is claimed. Raises ConfigError if it is not."""
        try:
            await self.base_topic.claim()
        except ConfigError:
            await self.mqtt.close(publish_will=False)  # the topic of the will is the other bridge's
            raise
        loops.start(self.publisher.run(), "publisher")
        if self.bridge_unit is not None:
            self.bridge_unit.start_delivery(loops)
        if self.mqtt.connected:
            self._announce_all()
        if self.role is not None and self.journal is not None:
            await self._take_over(self.role, self.journal, loops)
        while self.early_messages:
            self._receive(self.early_messages.popleft())
        await self.former_topics.run()

    async def _take_over(self, role: UnitRole, journal: CommandJournal, loops: TaskSet) -> None:
        """Go on with the pushes and commands that other nodes accepted. Raises OutboxError."""
        loops.start(self._publish_restored(), "restored values")
        loops.start(role.run(self.unit, self._process_pushes), "unit of a cluster")
        loops.start(journal.run_deciding(), "journal")
        loops.start(journal.run_cleaning(), "journal cleaning")
        # A command for a device that was not read since would fail.
        await wait_until(self.unit.is_tried, FIRST_READ)
        messages, known = await journal.restore()
        self.unit.restore_replies(known)
        for message in messages:
            journal.process(message, self._receive)
        loops.start(journal.run_receiving(self._receive, self.router.refuse), "journaled commands")

    async def _publish_restored(self) -> None:
        """Publish states with what was restored of them, where a source takes long to respond.

        The former owner may have published newer values than those in the database, so at first only what was read is.
        """
        await asyncio.sleep(RESTORED_PATIENCE)
        self.unit.publish_restored()

    async def _process_pushes(self, pushes: Sequence[StoredPush]) -> Sequence[bool]:
        return await self.unit.push_receiver.accept_stored(pushes)

    async def _stop(self, connection: TaskSet, loops: TaskSet) -> None:
        """Accept nothing more, end what is in progress, and leave the broker in order."""
        _LOG.info("stopping")
        await self.unit.runner.stop_polls()
        await asyncio.gather(*(server.stop() for server, _ in self.servers))
        await wait_until(lambda: self.unit.is_idle() and not self._is_responding, GRACE)
        self.stopping.set()
        await self.unit.end_work(GRACE / 4)
        if self.journal is not None:
            await wait_until(lambda: self.is_settled, GRACE)
        await loops.cancel()
        claimed = self.base_topic.claimed.is_set()
        is_last = self.role is None or await self.role.is_last()
        # The next owner goes on with the session, and does not let anything go offline; without one the will does.
        await self.mqtt.close(publish_will=claimed and is_last, keep_will=claimed and not is_last)
        # Else what was acknowledged last would be published again at the next start.
        if self.bridge_unit is not None:
            await self.bridge_unit.alarm_publisher.record_published()
        await connection.cancel()
        await self.unit.inventory.save()

    @property
    def _is_responding(self) -> bool:
        """True in a cluster while a request is carried out, perhaps by other units."""
        return self.role is not None and self.unit.work.running

    @property
    def is_settled(self) -> bool:
        """True if every reply is stored and published."""
        return (self.journal is None or self.journal.idle) and self.publisher.idle

    def _on_message(self, message: Message) -> None:
        discovery, base_topic = self.config.discovery, self.base_topic
        self.former_topics.on_message(message)
        own = message.topic in (self.topics.state, self.topics.bridge("info"))
        if own:
            base_topic.on_message(message)
        if message.topic == discovery.birth_topic:
            if message.payload == discovery.birth_payload.encode():
                _LOG.info("Home Assistant has started: announcing everything")
                self.publisher.announce()
            message.acknowledge()
        elif own:
            message.acknowledge()
            claimed, offline = base_topic.claimed.is_set(), message.payload != ONLINE
            if message.topic == self.topics.state and offline and claimed and not self.stopping.is_set():
                self.publisher.republish(self.topics.state)
        elif self.journal is not None:
            self._receive_journaled(message, self.journal)
        else:
            self._receive_once_claimed(message)

    def _receive_journaled(self, message: Message, journal: CommandJournal) -> None:
        """Store a command or request before it is acknowledged; what is left to the next owner is not."""
        if not self.router.routes(message.topic):
            message.acknowledge()
        elif message.retain:  # it is refused, which the next owner could not know of what is stored
            message.acknowledge()
            self._receive_once_claimed(message)
        elif not self.stopping.is_set():
            journal.receive(message)

    def _receive_once_claimed(self, message: Message) -> None:
        if not self.base_topic.claimed.is_set():
            self.early_messages.append(message)
        elif not self.stopping.is_set():
            self._receive(message)

    def _receive(self, message: Message) -> None:
        refusal = self.base_topic.refusal()
        if refusal is None:
            self.router.receive(message)
        else:
            self.router.refuse(message, refusal)

    def _on_connected(self) -> None:
        self.base_topic.on_connected()
        if self.base_topic.claimed.is_set():
            self._announce_all()

    def _announce_all(self) -> None:
        if self.bridge_unit is not None:
            self.bridge_unit.announce()
        self.publisher.on_connected()

    def _on_disconnected(self, reason: str) -> None:
        _LOG.debug("disconnected: %s", reason)
        if self.journal is not None:
            self.journal.on_disconnected()


def mqtt_settings(
    broker: models.MqttConfig,
    instance: str,
    topics: Topics,
    cluster: models.ClusterConfig | None = None,
    unit: str | None = None,
) -> Settings:
    """Return what the MQTT client needs of the configuration. Raises ConfigError for TLS files that cannot be used.

    `unit` is that of a backend in a cluster, which has a client id and a will of its own.
    """
    tls = None
    if broker.tls is not None:
        tls = TlsFiles(**asdict(broker.tls))
        try:
            tls.load()
        except OSError as error:
            raise ConfigError([error.strerror or str(error)]) from error
    return Settings(
        host=broker.host,
        port=broker.port,
        client_id=(broker.client_id or f"fleet2mqtt-{instance}") + (f"-{unit}" if unit else ""),
        username=broker.username,
        password=broker.password.reveal() if broker.password else None,
        protocol=broker.protocol,
        keepalive=broker.keepalive,
        tls=tls,
        will_topic=topics.backend(unit, "availability") if unit else topics.state,
        will_payload=OFFLINE,
        will_delay=broker.will_delay if cluster is None else max(broker.will_delay, round(WILL_LEASES * cluster.ttl)),
        acknowledge_manually=cluster is not None,
        max_payload=broker.max_payload,
    )


@asynccontextmanager
async def _open_storage(config: Config) -> AsyncIterator[Storage]:
    async with open_outbox(config.data_dir / OUTBOX, outbox_limits(config)) as outbox:
        snapshot = await asyncio.to_thread(inventory_file.load, config.data_dir / INVENTORY)
        instance = await instance_id(config, outbox)
        former = await asyncio.to_thread(load_published_under, published_under_file(config))
        yield Storage(outbox=outbox, snapshot=snapshot, instance=instance, published_under=former)


def outbox_limits(config: Config) -> OutboxLimits:
    """Return the bounds of the outbox."""
    return OutboxLimits(
        rows=config.alarms.max_rows,
        bytes=config.alarms.max_bytes,
        history_rows=config.alarms.history_rows,
        announce_backlog=config.alarms.first_run is FirstRun.TWO_DAYS,
    )


async def instance_id(config: Config, outbox: Outbox) -> str:
    """Return the instance id. A copy stands in the data directory, so that it survives a damaged outbox."""
    path = config.data_dir / INSTANCE
    instance = await outbox.setting("instance", partial(_read_instance_id, path))
    try:
        if _read_instance_id(path) != instance:
            await asyncio.to_thread(atomic_file.replace, path, instance.encode())
    except OSError as error:
        _LOG.warning("%s cannot be written: %s", path, error.strerror)
    return instance


def _read_instance_id(path: Path) -> str:
    """Return the instance id in the file, a new one without a valid file."""
    known = path.read_bytes() if path.is_file() else b""
    return known.decode() if re.fullmatch(rb"[0-9a-f]{12}", known) else secrets.token_hex(6)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock the data directory: two bridges with one would lose alarms. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise ConfigError([f"data_dir: {folder} cannot be written: {error.strerror}"]) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError([f"data_dir: {folder} belongs to another bridge that is running"]) from error
        yield
