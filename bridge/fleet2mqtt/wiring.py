"""The parts of a running bridge and how they hold together."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from fleet2mqtt import __version__
from fleet2mqtt.commands.queue import CommandLimits, CommandQueue
from fleet2mqtt.commands.replies import Replies
from fleet2mqtt.commands.requests import RequestHandler
from fleet2mqtt.commands.router import CommandRouter
from fleet2mqtt.config import models
from fleet2mqtt.config.models import Config
from fleet2mqtt.contract.discovery import Discovery
from fleet2mqtt.contract.payloads import OFFLINE, ONLINE
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import added_rows, bridge_rows
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device, Update
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import CommandError, ConfigError
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import Message, MqttClient, Settings, tls_context
from fleet2mqtt.ops.bridge_requests import BridgeRequests
from fleet2mqtt.ops.housekeeping import Housekeeping
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.polling.poller import Poller
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.push.http_server import HttpServer, Shortcut, start_http_server
from fleet2mqtt.push.receiver import PushReceiver
from fleet2mqtt.sdk.api import Backend
from fleet2mqtt.storage.inventory_file import Snapshot
from fleet2mqtt.web import page

_LOG = logging.getLogger(__name__)

INVENTORY = "inventory.json"
FIRST_ROUND = 5.0
"""Seconds that a backend's sources get to complete the picture of a new device before it is announced."""
GRACE = 1.5
"""Seconds that commands under way and the last answers get when the bridge is stopped."""


class Bridge:
    """The parts of a running bridge and how they hold together."""

    def __init__(
        self, config: Config, outbox: Outbox, backends: Mapping[str, Backend], group: asyncio.TaskGroup, instance: str
    ) -> None:
        self._config = config
        self._outbox = outbox
        self._backends = backends
        self._group = group
        self._instance = instance
        self._topics = Topics(config.base_topic, config.discovery.prefix)
        self._tasks: list[asyncio.Task[Any]] = []
        self._polls: list[asyncio.Task[Any]] = []
        self._listeners: list[HttpServer] = []
        self._stopping = False

    def wire_mqtt(self, broker: models.MqttConfig, log: MqttLog) -> None:
        """The way to the broker and back."""
        config, topics = self._config, self._topics
        subscriptions = [(topic, 1) for topic in (*topics.commands(), topics.state, config.discovery.birth_topic)]
        self._mqtt = MqttClient(
            mqtt_settings(broker, self._instance, topics),
            subscriptions,
            self._on_message,
            self._on_connected,
            self._on_disconnected,
        )
        discovery = Discovery(topics, config.language, __version__) if config.discovery.enabled else None
        registry = Registry(time.monotonic, added_rows(self._write_refresh))
        self._publisher = Publisher(self._mqtt, registry, discovery, topics, broker.discovery_rate)
        self._alarms = AlarmPublisher(self._mqtt, self._outbox, topics)
        self._hub = Hub(self._outbox, registry, self._publisher, self._alarms, topics)
        self._answers = Replies(self._publisher, topics)
        limits = CommandLimits(confirm=config.commands.confirm_timeout, pending=config.commands.max_pending)
        self._commands = CommandQueue(self._hub, self._backends, self._answers, self._spawn, limits)
        pushes = {name: each.push for name, each in config.backends.items() if each.push is not None}
        self._ingress = PushReceiver(self._hub, self._backends, pushes)
        self._status = Status(
            instance=self._instance,
            version=__version__,
            mqtt=self._mqtt,
            outbox=self._outbox,
            backends=self._backends,
            counters=[self._publisher.dropped, self._alarms.dropped],
            log_dropped=lambda: log.dropped,
        )

    def wire_upkeep(self, ids: Ids, log: MqttLog) -> None:
        """What polls, answers and looks after itself."""
        config, hub = self._config, self._hub
        rows = bridge_rows(self._write_announce)
        self._upkeep = Housekeeping(hub, self._status, self._topics, ids, rows)
        self._pollers = {
            name: Poller(each, hub, stale_after=config.backends[name].stale_after, changed=self._upkeep.backend_changed)
            for name, each in self._backends.items()
        }
        own = BridgeRequests(hub, self._status, self._pollers, self._ingress, self._publisher.announce)
        allowed = {name: each.allow for name, each in config.backends.items()}
        requests = RequestHandler(self._answers, own.actions(), self._backends, allowed, self._spawn)
        requests.after = lambda name, sources: self._pollers[name].request_poll(sources)
        self._inbound = CommandRouter(self._commands, requests, hub.registry, self._topics, config.commands.max_age)
        self._status.counters.append(self._inbound.dropped)
        self._log = log

    async def start(self, known: Snapshot, stack: AsyncExitStack, log: MqttLog) -> None:
        """Show what is known, start_http_server, connect, poll."""
        for name in self._backends:
            self._publisher.turns.hold(name)
            asyncio.get_running_loop().call_later(FIRST_ROUND, self._publisher.release, name)
        await self._restore(known)
        config = self._config
        people = page.application(self._hub, self._status, self._pollers, self._ingress, self._commands)
        plain = Shortcut(self._ingress.match, self._group)
        await self._listen(self._ingress.application(), "push", config.push, stack, plain)
        await self._listen(people, "web", config.web, stack)
        path = config.data_dir / INVENTORY
        for name, work in {
            "mqtt": self._mqtt.run(),
            "publisher": self._publisher.run(),
            "alarms": self._alarms.run(),
            "alarm marks": self._alarms.run_marks(),
            "health": self._upkeep.watch_health(),
            "alarm summary": self._upkeep.watch_alarms(),
            "inventory": self._upkeep.watch_inventory(path),
            "logging": self._upkeep.say_log(log),
            "loop lag": self._status.watch_loop(),
        }.items():
            self._tasks.append(self._group.create_task(work, name=name))
        for name, poller in self._pollers.items():
            self._polls += [
                self._group.create_task(poller.run(source), name=f"{name} {source.name}")
                for source in poller.backend.sources
            ]

    async def stop(self) -> None:
        """Take nothing more in, end what is under way, say goodbye."""
        _LOG.info("stopping")
        for task in self._polls:
            task.cancel()
        await asyncio.gather(*(listener.cleanup() for listener in self._listeners))
        await _until(lambda: self._commands.pending == 0 and self._publisher.idle, GRACE)
        self._stopping = True
        if late := self._requests():
            for task in late:
                task.cancel()
            await asyncio.wait(late)  # each says how it ended
        if self._mqtt.connected:
            await _until(lambda: self._publisher.idle, GRACE / 4)
        for task in self._tasks[1:]:
            task.cancel()
        await self._mqtt.close()
        await self._alarms.mark()  # else what was acknowledged last would be said again at the next start
        self._tasks[0].cancel()
        await self._upkeep.save(self._config.data_dir / INVENTORY)

    async def _restore(self, known: Snapshot) -> None:
        registry, publisher = self._hub.registry, self._publisher
        registry.restore(known.devices, known.removed_components, known.state_meta)
        publisher.pending_deletions |= known.pending_deletions
        await self._hub.restore_alarms()
        publisher.set_retained(self._topics.state, ONLINE)
        for name, each in self._backends.items():
            if name not in registry.devices:
                self._hub.put(_own_device(each))
            self._upkeep.backend_changed(self._pollers[name].health)
        for name in sorted({device.backend for device in known.devices} - {*self._backends, ""}):
            publisher.set_retained(self._topics.backend(name, "availability"), OFFLINE)
            _LOG.warning(
                "backend %s is no longer configured; its devices are kept, unavailable. To remove them publish "
                '{"backend": "%s"} to %s',
                name,
                name,
                self._topics.bridge("request/forget"),
            )

    async def _listen(
        self,
        app: web.Application,
        option: str,
        where: models.ListenConfig,
        stack: AsyncExitStack,
        shortcut: Shortcut | None = None,
    ) -> None:
        try:
            runner = await start_http_server(app, where.host, where.port, shortcut=shortcut)
        except OSError as error:
            remedy = f"choose another {option}.port or {option}.host"
            raise ConfigError([f"{option}: {cannot_listen(error, where.host, where.port)}; {remedy}"]) from error
        self._listeners.append(runner)
        stack.push_async_callback(runner.cleanup)
        _LOG.info("%s listens on %s:%d", option, *runner.addresses[0][:2])

    def _on_message(self, message: Message) -> None:
        if message.topic == self._config.discovery.birth_topic:
            if message.payload == self._config.discovery.birth_payload.encode():
                _LOG.info("Home Assistant is born: announcing everything")
                self._publisher.announce()
        elif message.topic == self._topics.state:
            if message.payload != ONLINE and not self._stopping:
                self._publisher.republish(self._topics.state)
        elif not self._stopping:
            self._inbound.receive(message)

    def _on_connected(self) -> None:
        self._upkeep.say_info()
        self._publisher.connected()
        self._alarms.connected()

    def _on_disconnected(self, reason: str) -> None:
        _LOG.debug("disconnected: %s", reason)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._group.create_task(work, name=f"work: {name}")

    def _requests(self) -> list[asyncio.Task[Any]]:
        return [task for task in asyncio.all_tasks() if task.get_name().startswith("work: ")]

    async def _write_refresh(self, _: object, device: Device, __: object) -> Update | None:
        """The refresh button of a backend's own device."""
        poller = self._pollers.get(device.backend)
        if poller is None:
            raise CommandError("not_ready", f"backend {device.backend} is no longer configured")
        errors = await poller.refresh()
        for error in errors.values():
            if error is not None:
                raise error
        return None

    async def _write_announce(self, _: object, __: Device, ___: object) -> Update | None:
        """The announce button of the bridge's own device."""
        self._publisher.announce()
        return None


def _own_device(each: Backend) -> Device:
    """A backend as a device, before it has been heard of."""
    return Device(
        id=each.name,
        backend=each.name,
        vendor_id=each.name,
        scope="backend",
        name=each.name,
        entities=(),
        state={},
        manufacturer=each.manufacturer,
        model=each.platform,
        configuration_url=each.configuration_url,
    )


def mqtt_settings(broker: models.MqttConfig, instance: str, topics: Topics) -> Settings:
    tls = broker.tls
    try:
        trust = tls and tls_context(ca=tls.ca, certificate=tls.certificate, key=tls.key, verify=tls.verify)
    except OSError as error:
        raise ConfigError([f"mqtt.tls: {error}"]) from error
    return Settings(
        host=broker.host,
        port=broker.port,
        client_id=broker.client_id or f"fleet2mqtt-{instance}",
        username=broker.username,
        password=broker.password.reveal() if broker.password else None,
        protocol=broker.protocol,
        keepalive=broker.keepalive,
        tls=trust or None,
        will_topic=topics.state,
        will_payload=OFFLINE,
        will_delay=broker.will_delay,
        max_payload=broker.max_payload,
    )


def cannot_listen(error: OSError, host: str, port: int) -> str:
    """Why there is no server at an address; asyncio's own words tell the address twice."""
    reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else error.strerror
    return f"cannot listen on {host}:{port}: {reason}"


async def _until(settled: Callable[[], bool], seconds: float) -> None:
    """Wait until `settled()`, at most so long."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not settled() and loop.time() < until:  # noqa: ASYNC110 - several parts, none of which owns an event for it
        await asyncio.sleep(0.02)
