"""Housekeeping: periodic work that no vendor causes. Info, health, alarm summary, the bridge's device, log on MQTT."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.contract.payloads import dumps, now
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import BRIDGE, count_values
from fleet2mqtt.devices.model import Device, EntityDescription, read_state
from fleet2mqtt.errors import Disconnected, OutboxError, Refused
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.publishing.publisher import Publisher

_LOG = logging.getLogger(__name__)

HEALTH_INTERVAL = 60.0
"""Seconds between two health messages, and between two looks at the sliding windows of the summary."""
MIN_INTERVAL = 1.0
"""Seconds in which changes of health and summary are gathered."""

Counts = Mapping[str, int]
"""Numbers of alarms by severity."""


class Housekeeping:
    """Publishes what the bridge reports about itself as a whole."""

    def __init__(  # noqa: PLR0913, PLR0917 - what is reported, and where to
        self,
        hub: Hub,
        outbox: Outbox,
        publisher: Publisher,
        mqtt: MqttClient,
        status: Status,
        topics: Topics,
        entities: tuple[EntityDescription, ...],
        alarm_counts: Callable[[], dict[str, dict[str, int]]],
        counts_by_backend: Callable[[], Mapping[str, Mapping[str, Counts]]],
    ) -> None:
        """`entities` are those of the bridge's own device, read from its health.

        `alarm_counts` and `counts_by_backend` return the numbers of active alarms.
        """
        self._hub = hub
        self._outbox = outbox
        self._publisher = publisher
        self._mqtt = mqtt
        self._status = status
        self._topics = topics
        self._entities = entities
        self._alarm_counts = alarm_counts
        self._counts_by_backend = counts_by_backend

    def publish_info(self) -> None:
        """Publish `bridge/info`; the MQTT protocol in it is known once connected."""
        self._publisher.set_retained(self._topics.bridge("info"), dumps(self._status.info()))

    def publish_health(self) -> None:
        """Publish `bridge/health` and the bridge's own device."""
        health = self._status.health()
        self._publisher.set_retained(self._topics.bridge("health"), dumps(health))
        self._hub.accept_device(
            Device(
                id=BRIDGE,
                backend="",
                vendor_id=self._status.instance,
                scope=BRIDGE,
                name="fleet2mqtt",
                entities=self._entities,
                state=read_state(self._entities, health),
                manufacturer="fleet2mqtt",
                sw_version=self._status.version,
                serial_number=self._status.instance,
            )
        )

    async def run_health(self) -> None:
        """Publish health every minute and when its fingerprint changed, until cancelled."""
        loop = asyncio.get_running_loop()
        published: Any = None
        due = 0.0
        while True:
            fingerprint = tuple(self._status.fingerprint())
            if loop.time() >= due or fingerprint != published:
                published, due = fingerprint, loop.time() + HEALTH_INTERVAL
                self.publish_health()
            await asyncio.sleep(MIN_INTERVAL)

    async def run_alarm_summary(self) -> None:
        """Publish the alarm summary after an alarm and as its windows slide, until cancelled."""
        while True:
            self._hub.alarms_changed.clear()
            try:
                summary = await self._outbox.summary(now())
            except OutboxError as error:
                _LOG.warning("the alarm summary cannot be made: %s", error)
            else:
                self._publisher.set_retained(self._topics.alarm_summary, dumps(summary | self._alarm_counts()))
                show_counts(self._hub, self._counts_by_backend())
            await asyncio.sleep(MIN_INTERVAL)
            await wait_for_event(self._hub.alarms_changed, HEALTH_INTERVAL)

    async def run_log(self, log: MqttLog) -> None:
        """Publish warnings on `bridge/logging`, until cancelled; without a connection they wait for one."""
        while True:
            line = await log.dequeue()
            try:
                await self._publish_log_line(line)
            except Refused:
                log.dropped += 1

    async def _publish_log_line(self, line: bytes) -> None:
        while True:
            try:
                return await self._mqtt.publish(self._topics.bridge("logging"), line, qos=0)
            except Disconnected:
                await asyncio.sleep(MIN_INTERVAL)


def show_counts(hub: Hub, by_backend: Mapping[str, Mapping[str, Counts]]) -> None:
    """Show the active alarms of each backend at its own device."""
    for backend, counts in by_backend.items():
        hub.set_values(backend, count_values(counts))
