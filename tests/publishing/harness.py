"""A hub with publishers on an outbox and a broker, without platforms."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleet2mqtt.contract.discovery import Discovery
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import added_entities
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.outbox import Outbox, open_outbox
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from tests.broker import HOST
from tests.sample_hub import sample_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

TOPICS = Topics("fleet2mqtt", "homeassistant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The components under test."""

    hub: Hub
    registry: Registry
    outbox: Outbox
    mqtt: MqttClient
    publisher: Publisher
    alarm_publisher: AlarmPublisher


@asynccontextmanager
async def open_parts(
    port: int, folder: Path, topics: Topics = TOPICS, secondary_sources: Iterable[str] = (), **options: Any
) -> AsyncIterator[Parts]:
    """Run them against a broker on loopback; `options` are those of the MQTT client's Settings."""

    def on_connected() -> None:
        publisher.on_connected()
        alarm_publisher.on_connected()

    values: dict[str, Any] = {"client_id": "fleet", "backoff_first": 0.02, "backoff_max": 0.1}
    settings = Settings(host=HOST, port=port, will_topic=topics.state, **(values | options))
    async with open_outbox(folder / "outbox.sqlite") as outbox, asyncio.TaskGroup() as group:
        mqtt = MqttClient(settings, [])
        registry = Registry(time.monotonic, added_entities(_no_refresh, _no_refresh))
        discovery = Discovery(topics, "en", "1", lambda _: tuple(secondary_sources))
        publisher = Publisher(mqtt, registry, discovery, topics, 1000)
        alarm_publisher = AlarmPublisher(mqtt, outbox, topics)
        hub = sample_hub(outbox, registry, publisher, topics, alarm_publisher.wake)
        connection = mqtt.run(lambda _: None, on_connected, lambda _: None)
        loops = (connection, publisher.run(), alarm_publisher.run(), alarm_publisher.run_recording())
        tasks = [group.create_task(work) for work in loops]
        yield Parts(
            hub=hub,
            registry=registry,
            outbox=outbox,
            mqtt=mqtt,
            publisher=publisher,
            alarm_publisher=alarm_publisher,
        )
        for task in tasks:
            task.cancel()


async def _no_refresh(*_: Any) -> None:
    raise AssertionError("no test presses the refresh button")
