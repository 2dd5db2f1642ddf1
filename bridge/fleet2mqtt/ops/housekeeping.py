"""What goes on whatever the vendors do: health, summary, the bridge's own device, inventory file, log on MQTT."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.contract.payloads import availability, dumps
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import BRIDGE, CONNECTIVITY
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device, EntityDescription, read_state
from fleet2mqtt.errors import Disconnected, OutboxError, Refused
from fleet2mqtt.hub import Hub
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.ops.status import Status
from fleet2mqtt.polling.health import BackendHealth
from fleet2mqtt.storage import inventory_file
from fleet2mqtt.storage.inventory_file import Snapshot

_LOG = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two healths, and between two looks at the sliding windows of the summary."""
SOON = 1.0
"""Seconds in which changes of health, summary and backends are gathered."""
SAVE_AFTER = 2.0
SAVE_EVERY = 60.0
SAVE_REST = 20
"""How many times as long as the last one took the next inventory waits: that of a large fleet takes a second."""


class Housekeeping:
    """The bridge's own housekeeping."""

    def __init__(self, hub: Hub, status: Status, topics: Topics, ids: Ids, rows: tuple[EntityDescription, ...]) -> None:
        """`rows` are those of the bridge's own device, read from its health."""
        self._hub = hub
        self._status = status
        self._topics = topics
        self._ids = ids
        self._rows = rows
        self._changed_backends: dict[str, BackendHealth] = {}

    def backend_changed(self, health: BackendHealth) -> None:
        """A source has said something: availability at once, the rest soon."""
        name = health.backend.name
        self._hub.publisher.set_retained(self._topics.backend(name, "availability"), availability(health.available))
        self._hub.show(name, {CONNECTIVITY: "ON" if health.available else "OFF"})
        self._changed_backends[name] = health

    def say_info(self) -> None:
        """Publish `bridge/info`; the MQTT protocol in it is known once connected."""
        self._hub.publisher.set_retained(self._topics.bridge("info"), dumps(self._status.info()))

    def say_health(self) -> None:
        """Publish `bridge/health` and the bridge's own device."""
        health = self._status.health()
        self._hub.publisher.set_retained(self._topics.bridge("health"), dumps(health))
        self._hub.put(
            Device(
                id=BRIDGE,
                backend="",
                vendor_id=self._status.instance,
                scope=BRIDGE,
                name="fleet2mqtt",
                entities=self._rows,
                state=read_state(self._rows, health),
                manufacturer="fleet2mqtt",
                sw_version=self._status.version,
                serial_number=self._status.instance,
            )
        )

    async def watch_health(self) -> None:
        """Say health every minute and when something in it matters, until cancelled."""
        loop = asyncio.get_running_loop()
        said: Any = None
        due = 0.0
        while True:
            fingerprint = tuple(self._status.fingerprint())
            if loop.time() >= due or fingerprint != said:
                said, due = fingerprint, loop.time() + EVERY
                self.say_health()
            backends, self._changed_backends = self._changed_backends, {}
            for name, health in backends.items():
                self._hub.publisher.set_retained(self._topics.backend(name, "health"), dumps(health.json()))
            await asyncio.sleep(SOON)

    async def watch_alarms(self) -> None:
        """Publish the alarm summary when an alarm came and as its windows slide, until cancelled."""
        while True:
            self._hub.alarms_changed.clear()
            try:
                await self._hub.summarise()
            except OutboxError as error:
                _LOG.warning("the alarm summary cannot be made: %s", error)
            await asyncio.sleep(SOON)
            await wait_for_event(self._hub.alarms_changed, EVERY)

    async def watch_inventory(self, path: Path) -> None:
        """Keep the inventory on disk up to date, until cancelled."""
        loop = asyncio.get_running_loop()
        took = 0.0
        while True:
            await wait_for_event(self._hub.inventory_changed, SAVE_EVERY)
            await asyncio.sleep(max(SAVE_AFTER, took * SAVE_REST))
            self._hub.inventory_changed.clear()
            started = loop.time()
            await self.save(path)
            took = loop.time() - started

    async def save(self, path: Path) -> None:
        """Write the inventory now."""
        registry = self._hub.registry
        snapshot = Snapshot(
            devices=tuple(registry.devices.values()),
            removed_components={id_: dict(keys) for id_, keys in registry.removed_components.items()},
            pending_deletions=frozenset(self._hub.publisher.pending_deletions),
            assignments=dict(self._ids.assignments),
            state_meta=dict(registry.state_meta),
        )
        try:
            await asyncio.to_thread(inventory_file.save, path, snapshot)
        except OSError as error:
            _LOG.error("the inventory cannot be written to %s: %s", path, error)

    async def say_log(self, log: MqttLog) -> None:
        """Publish warnings on `bridge/logging`, until cancelled; what was said without a connection waits for one."""
        while True:
            line = await log.take()
            try:
                await self._say(line)
            except Refused:
                log.dropped += 1

    async def _say(self, line: bytes) -> None:
        while True:
            try:
                return await self._status.mqtt.publish(self._topics.bridge("logging"), line, qos=0)
            except Disconnected:
                await asyncio.sleep(SOON)
