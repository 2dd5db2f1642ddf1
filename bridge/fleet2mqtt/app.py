"""The application: `build` constructs every component, dependencies first; `run` gives it what it needs and runs it."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import re
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from fleet2mqtt import __version__
from fleet2mqtt.aio import TaskSet, wait_for_first, wait_until
from fleet2mqtt.alarms.handling import AlarmHandling, AlarmSources
from fleet2mqtt.alarms.maintenance import MaintenanceWindows
from fleet2mqtt.alarms.manager import AlarmOptions
from fleet2mqtt.commands.calls import CallsInProgress
from fleet2mqtt.commands.queue import CommandLimits, CommandQueue
from fleet2mqtt.commands.replies import Replies
from fleet2mqtt.commands.requests import RequestHandler
from fleet2mqtt.commands.router import CommandRouter
from fleet2mqtt.config import models
from fleet2mqtt.config.models import Config, FirstRun
from fleet2mqtt.contract.discovery import Discovery
from fleet2mqtt.contract.payloads import OFFLINE, ONLINE
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_conditions import bridge_conditions
from fleet2mqtt.devices.builtin_entities import added_entities, bridge_entities
from fleet2mqtt.devices.conditions import ConditionTable
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device, Update
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.devices.selection import SelectionFilter
from fleet2mqtt.errors import ConfigError, OutboxError
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import Message, MqttClient, Settings, TlsFiles, embedded_broker
from fleet2mqtt.notify.notifier import Notifier
from fleet2mqtt.ops.alarm_requests import AlarmRequests
from fleet2mqtt.ops.backend_status import BackendStatus
from fleet2mqtt.ops.base_topic import BaseTopicMonitor
from fleet2mqtt.ops.bridge_requests import BridgeRequests
from fleet2mqtt.ops.former_topics import FormerTopics, PublishedUnder, load_published_under
from fleet2mqtt.ops.group_devices import GroupDevices
from fleet2mqtt.ops.housekeeping import Housekeeping
from fleet2mqtt.ops.inventory import InventorySaver
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import Outbox, OutboxLimits, open_outbox
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.push.http_server import ReplaceableServer
from fleet2mqtt.push.receiver import PushReceiver
from fleet2mqtt.reload import Reloader, Restart
from fleet2mqtt.storage import atomic_file, inventory_file
from fleet2mqtt.storage.inventory_file import Snapshot
from fleet2mqtt.unit import ActiveBackends, BackendConnector, Unit
from fleet2mqtt.web import page
from fleet2mqtt.web.alarm_list import AlarmList
from fleet2mqtt.web.metrics import Metrics, publish_latency
from fleet2mqtt.web.overview import Overview
from fleet2mqtt.web.search import DeviceIndex

_LOG = logging.getLogger(__name__)

OUTBOX = "outbox.sqlite"
INSTANCE = "instance"
INVENTORY = "inventory.json"
PUBLISHED_UNDER = "topics.json"
MAX_EARLY_MESSAGES = 1000
GRACE = 1.5
"""Seconds that commands in progress and the last replies get when the bridge is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Content of the data directory: the open outbox, the inventory of the last run, the instance id and the topics."""

    outbox: Outbox
    snapshot: Snapshot
    instance: str
    published_under: PublishedUnder | None


async def run(
    config: Config,
    log: MqttLog,
    stop: asyncio.Event,
    *,
    reload: asyncio.Event | None = None,
    embedded_port: int = embedded_broker.PORT,
) -> None:
    """Run the bridge until `stop` is set. Raises ConfigError, OutboxError, OSError when it cannot start.

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
            await _run_once(config, log, stop, reload, restart, started, embedded_port)
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
    started: asyncio.Event,
    embedded_port: int,
) -> None:
    async with AsyncExitStack() as stack:
        stack.enter_context(_lock(config.data_dir))
        _log_start(config)
        broker = config.mqtt
        if broker is None:
            port = await stack.enter_async_context(embedded_broker.broker(embedded_port))
            broker = models.MqttConfig(
                host=embedded_broker.HOST, port=port, protocol=models.Protocol(embedded_broker.PROTOCOL)
            )
        storage = await stack.enter_async_context(_open_storage(config))
        await build(config, broker, storage, log, restart).run(stop, reload, started)


def _log_start(config: Config) -> None:
    backends = ", ".join(f"{name} ({each.platform})" for name, each in config.backends.items())
    _LOG.info("fleet2mqtt %s starts with %s: backends %s", __version__, config.path, backends or "none")
    for warning in config.warnings:
        _LOG.warning("%s", warning)


def build(  # noqa: PLR0915 - each component is one statement
    config: Config, broker: models.MqttConfig, storage: Storage, log: MqttLog, restart: Restart
) -> Application:
    """Construct the components of the bridge, dependencies first. Raises ConfigError for unusable TLS files."""
    outbox, instance = storage.outbox, storage.instance
    topics = Topics(config.base_topic, config.discovery.prefix)
    group = asyncio.TaskGroup()
    work = TaskSet(group)
    active = ActiveBackends()
    ids = Ids(dict(storage.snapshot.assignments))
    latency = publish_latency()
    refused_commands: Counter[str] = Counter()

    published_under = PublishedUnder(
        base=config.base_topic,
        prefix=config.discovery.prefix if config.discovery.enabled else None,
        broker=config.mqtt.host if config.mqtt else None,
    )
    former = storage.published_under or published_under
    watched = {topics.state, topics.bridge("info"), former.info_topic, config.discovery.birth_topic}
    subscriptions = [(topic, 1) for topic in (*topics.commands(), *sorted(watched))]
    mqtt = MqttClient(mqtt_settings(broker, instance, topics), subscriptions)
    selection = SelectionFilter(active.selection_of)
    windows = MaintenanceWindows(outbox)
    active.condition_tables[""] = ConditionTable(bridge_conditions(config.alarms.max_rows), config.alarms.conditions)
    added = added_entities(active.refresh, windows.switch, active.has_conditions)
    registry = Registry(time.monotonic, added, selection)
    discovery = (
        Discovery(topics, config.language, __version__, active.secondary_sources) if config.discovery.enabled else None
    )
    publisher = Publisher(mqtt, registry, discovery, topics, broker.discovery_rate)
    alarm_publisher = AlarmPublisher(mqtt, outbox, topics, latency.observe)
    base_topic = BaseTopicMonitor(
        topics,
        instance,
        will_delay=broker.will_delay,
        take_over=broker.take_over,
        republish_info=partial(publisher.republish, topics.bridge("info")),
    )
    alarm_sources = AlarmSources(tables=active.conditions_of, rules_of=active.rules_of, language=config.language)
    on_events: list[Callable[[], None]] = [alarm_publisher.wake]

    def wake() -> None:
        for on_event in on_events:
            on_event()

    alarms = AlarmHandling(
        outbox,
        registry,
        publisher,
        topics,
        windows,
        wake,
        AlarmOptions(max_shelve=config.alarms.max_shelve, suppression_delay=config.alarms.suppression_delay),
        alarm_sources,
    )
    notifier = Notifier(config.notify.values(), config.language, outbox, registry, alarms.manager.records)
    on_events.append(notifier.wake)
    hub = Hub(outbox, registry, publisher, topics, alarms, wake)

    replies = Replies(publisher, topics)
    limits = CommandLimits(**asdict(config.commands))
    calls = CallsInProgress()
    commands = CommandQueue(hub, registry, publisher, topics, active.backends, calls, replies, work.start, limits)
    push_receiver = PushReceiver(hub, outbox, active.backends, active.configs, config.push.trusted_proxies)
    connector = BackendConnector(
        ids=ids,
        data_dir=config.data_dir,
        outbox=outbox,
        active=active,
        selection=selection,
        condition_options=config.alarms.conditions,
    )
    backend_status = BackendStatus(hub, publisher, topics)
    unit = Unit(active, connector, hub, registry, publisher, backend_status, topics, calls, push_receiver, group)
    inventory = InventorySaver(config.data_dir / INVENTORY, registry, publisher, ids, hub.inventory_changed)
    former_topics = FormerTopics(
        config.data_dir / PUBLISHED_UNDER,
        storage.published_under,
        published_under,
        instance,
        registry=registry,
        secondary_sources=active.secondary_sources,
        outbox=outbox,
        publisher=publisher,
        inventory=inventory,
    )

    status = Status(
        instance=instance,
        version=__version__,
        mqtt=mqtt,
        outbox=outbox,
        backends=active.backends,
        counters=(publisher.dropped, alarm_publisher.dropped, refused_commands),
        log_dropped=lambda: log.dropped,
        other_bridge=lambda: base_topic.other,
        notifications=notifier.figures,
    )
    group_devices = GroupDevices(hub, registry, ids, active.running_selection)
    own_entities = bridge_entities(partial(_announce, publisher))
    housekeeping = Housekeeping(hub, outbox, publisher, mqtt, status, topics, own_entities, alarms.manager)
    metrics = Metrics(hub, registry, alarms.manager, mqtt, status, active.pollers, push_receiver, commands, latency)
    overview = Overview(
        registry=registry,
        index=DeviceIndex(registry),
        alarms=alarms.manager,
        outbox=outbox,
        mqtt=mqtt,
        status=status,
        pollers=active.pollers,
    )
    alarm_list = AlarmList(manager=alarms.manager, registry=registry, outbox=outbox, sources=alarm_sources)
    push = ReplaceableServer("push", lambda: push_receiver.respond)
    web = ReplaceableServer(
        "web", partial(page.application, metrics, overview, alarm_list, status, mqtt, outbox, active.pollers)
    )
    connect = partial(mqtt_settings, instance=instance, topics=topics)
    reloader = Reloader(
        config,
        unit,
        push_receiver,
        push,
        web,
        limits,
        mqtt,
        publisher,
        connect,
        log,
        restart,
        housekeeping.publish_info,
    )
    bridge_requests = BridgeRequests(
        hub,
        registry,
        outbox,
        publisher,
        topics,
        status,
        active.pollers,
        push_receiver,
        reloader.reload,
        AlarmRequests(alarms.manager, windows, outbox, registry),
    ).actions()
    requests = RequestHandler(
        replies, bridge_requests, active.backends, active.configs, calls, work.start, active.request_poll
    )
    router = CommandRouter(commands, requests, registry, topics, limits, refused_commands)
    return Application(
        config=config,
        topics=topics,
        group=group,
        work=work,
        mqtt=mqtt,
        publisher=publisher,
        alarm_publisher=alarm_publisher,
        alarms=alarms,
        notifier=notifier,
        hub=hub,
        base_topic=base_topic,
        former_topics=former_topics,
        commands=commands,
        router=router,
        unit=unit,
        backend_status=backend_status,
        inventory=inventory,
        group_devices=group_devices,
        status=status,
        housekeeping=housekeeping,
        push=push,
        web=web,
        reloader=reloader,
        restart=restart,
        snapshot=storage.snapshot,
        log=log,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The running bridge: its components and the order in which they start and stop. Runs once."""

    config: Config
    topics: Topics
    group: asyncio.TaskGroup
    work: TaskSet
    mqtt: MqttClient
    publisher: Publisher
    alarm_publisher: AlarmPublisher
    alarms: AlarmHandling
    notifier: Notifier
    hub: Hub
    base_topic: BaseTopicMonitor
    former_topics: FormerTopics
    commands: CommandQueue
    router: CommandRouter
    unit: Unit
    backend_status: BackendStatus
    inventory: InventorySaver
    group_devices: GroupDevices
    status: Status
    housekeeping: Housekeeping
    push: ReplaceableServer
    web: ReplaceableServer
    reloader: Reloader
    restart: Restart
    snapshot: Snapshot
    log: MqttLog
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    early_messages: deque[Message] = field(default_factory=lambda: deque(maxlen=MAX_EARLY_MESSAGES))
    """Commands and requests that came before the base topic was claimed."""

    async def run(self, stop: asyncio.Event, reload: asyncio.Event, started: asyncio.Event) -> None:
        """Run every component until `stop` or a restart, and end them in order. Raises ConfigError if it cannot listen.

        `started` is set once everything runs.
        """
        async with AsyncExitStack() as stack, self.group:
            stack.push_async_callback(self.unit.close)
            await self._start_backends()
            for server, where in ((self.push, self.config.push), (self.web, self.config.web)):
                stack.push_async_callback(server.stop)
                await server.start(where)
            connection, loops, reloads = TaskSet(self.group), TaskSet(self.group), TaskSet(self.group)
            connection.start(self.mqtt.run(self._on_message, self._on_connected, self._on_disconnected), "mqtt")
            loops.start(self._publish(loops), "base topic")
            self._start_loops(loops)
            reloads.start(self.reloader.run(reload), "reload")
            for name in self.config.backends:
                self.unit.start(name)
            started.set()
            await wait_for_first(stop, self.restart.requested)
            await reloads.cancel()
            await self._stop(connection, loops)

    async def _start_backends(self) -> None:
        await self.unit.restore(self.snapshot, self.config.backends.values())
        self.former_topics.keep_current()
        self.publisher.set_retained(self.topics.state, ONLINE)
        for config in self.config.backends.values():
            await self.unit.add(config)
        self.unit.show_unconfigured()

    async def _publish(self, loops: TaskSet) -> None:
        """Begin to publish and to accept commands once the base topic is claimed. Raises ConfigError if it is not."""
        try:
            await self.base_topic.claim()
        except ConfigError:
            await self.mqtt.close(publish_will=False)  # the topic of the will is the other bridge's
            raise
        loops.start(self.publisher.run(), "publisher")
        loops.start(self.alarm_publisher.run(), "alarms")
        loops.start(self.alarm_publisher.run_recording(), "alarm acknowledgements")
        loops.start(self.housekeeping.run_log(self.log), "logging")
        if self.mqtt.connected:
            self._announce_all()
        while self.early_messages:
            self._receive(self.early_messages.popleft())
        await self.former_topics.run()

    def _start_loops(self, loops: TaskSet) -> None:
        loops.start(self.housekeeping.run_health(), "health")
        loops.start(self.housekeeping.run_alarm_summary(), "alarm summary")
        loops.start(self.alarms.manager.run(), "alarm manager")
        loops.start(self.alarms.evaluator.run(self.hub.accept), "conditions")
        loops.start(self.alarms.expiry.run(self.hub.accept), "alarm expiry")
        loops.start(self.notifier.run(), "notifications")
        loops.start(self.backend_status.run(), "backend health")
        loops.start(self.inventory.run(), "inventory")
        loops.start(self.group_devices.run(), "group devices")
        loops.start(self.status.watch_loop(), "loop lag")

    async def _stop(self, connection: TaskSet, loops: TaskSet) -> None:
        """Accept nothing more, end what is in progress, and leave the broker in order."""
        _LOG.info("stopping")
        await self.unit.stop_polls()
        await asyncio.gather(self.push.stop(), self.web.stop())
        await wait_until(lambda: self.commands.pending == 0 and self.publisher.idle, GRACE)
        self.stopping.set()
        await self.work.cancel()  # each command and request in progress ends in a reply
        if self.mqtt.connected:
            await wait_until(lambda: self.publisher.idle, GRACE / 4)
        await loops.cancel()
        await self.mqtt.close(publish_will=self.base_topic.claimed.is_set())
        # Else what was acknowledged last would be published again at the next start.
        await self.alarm_publisher.record_published()
        await connection.cancel()
        await self.inventory.save()

    def _on_message(self, message: Message) -> None:
        discovery = self.config.discovery
        self.former_topics.on_message(message)
        own = message.topic in (self.topics.state, self.topics.bridge("info"))
        if own:
            self.base_topic.on_message(message)
        if message.topic == discovery.birth_topic:
            if message.payload == discovery.birth_payload.encode():
                _LOG.info("Home Assistant has started: announcing everything")
                self.publisher.announce()
        elif own:
            claimed, offline = self.base_topic.claimed.is_set(), message.payload != ONLINE
            if message.topic == self.topics.state and offline and claimed and not self.stopping.is_set():
                self.publisher.republish(self.topics.state)
        elif not self.base_topic.claimed.is_set():
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
        self.housekeeping.publish_info()
        self.publisher.on_connected()
        self.alarm_publisher.on_connected()

    def _on_disconnected(self, reason: str) -> None:
        _LOG.debug("disconnected: %s", reason)


async def _announce(publisher: Publisher, _: object, __: Device, ___: object) -> Update | None:
    """Announce everything: the write function of the announce button."""
    publisher.announce()
    return None


def mqtt_settings(broker: models.MqttConfig, instance: str, topics: Topics) -> Settings:
    """Return what the MQTT client needs of the configuration. Raises ConfigError for TLS files that cannot be used."""
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
        client_id=broker.client_id or f"fleet2mqtt-{instance}",
        username=broker.username,
        password=broker.password.reveal() if broker.password else None,
        protocol=broker.protocol,
        keepalive=broker.keepalive,
        tls=tls,
        will_topic=topics.state,
        will_payload=OFFLINE,
        will_delay=broker.will_delay,
        max_payload=broker.max_payload,
    )


@asynccontextmanager
async def _open_storage(config: Config) -> AsyncIterator[Storage]:
    limits = OutboxLimits(
        rows=config.alarms.max_rows,
        bytes=config.alarms.max_bytes,
        history_rows=config.alarms.history_rows,
        announce_backlog=config.alarms.first_run is FirstRun.TWO_DAYS,
    )
    async with open_outbox(config.data_dir / OUTBOX, limits) as outbox:
        snapshot = await asyncio.to_thread(inventory_file.load, config.data_dir / INVENTORY)
        instance = await _instance_id(config.data_dir / INSTANCE, outbox)
        former = await asyncio.to_thread(load_published_under, config.data_dir / PUBLISHED_UNDER)
        yield Storage(outbox=outbox, snapshot=snapshot, instance=instance, published_under=former)


async def _instance_id(path: Path, outbox: Outbox) -> str:
    """Return the instance id. A copy stands beside the outbox, so that it survives a damaged one."""
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
def _lock(folder: Path) -> Iterator[None]:
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
