"""A command queue between a vendor made up and a real broker."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fleet2mqtt.aio import TaskSet
from fleet2mqtt.commands.calls import CallsInProgress
from fleet2mqtt.commands.queue import CommandLimits, CommandQueue
from fleet2mqtt.commands.replies import Command, Replies
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import Component, Device, EntityDescription, Name, Update, UpdateOrigin
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.outbox import open_outbox
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.sdk.api import Backend
from tests.sample_hub import sample_hub
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from fleet2mqtt.errors import BackendError
    from tests.broker import Broker
    from tests.recording import Recording

TOPICS = Topics("fleet2mqtt", "homeassistant")
DEVICE = "hq_1"
RESULT = f"fleet2mqtt/device/{DEVICE}/result"
LAN = ("ip", "mask", "gateway")


@dataclass(slots=True)
class Vendor:
    """Holds a LAN, of which ip, mask and gateway are written together, and the session of one user."""

    state: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(LAN, "old") | {"name": "old", "online": "ON"})
    calls: list[Any] = field(default_factory=list)
    error: BackendError | None = None
    ignored: frozenset[str] = frozenset()
    """Keys whose writes are accepted and have no effect."""
    removes: bool = False
    """A log-out removes the device."""
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    proceed: asyncio.Event = field(default_factory=asyncio.Event)

    async def write_group(self, _: object, __: Device, values: Mapping[str, Any]) -> Update | None:
        await self._call(dict(values))
        self.state |= {key: value for key, value in values.items() if key not in self.ignored}
        return None

    def write(self, key: str) -> Callable[[object, Device, Any], Any]:
        async def write(_: object, __: Device, value: Any) -> Update | None:
            await self._call({key: value})
            if key not in self.ignored:
                self.state[key] = value
            return None

        return write

    async def log_out(self, _: object, __: Device, ___: Any) -> Update | None:
        await self._call("log out")
        if self.removes:
            return self._update(removed=(DEVICE,))
        if "online" not in self.ignored:
            self.state["online"] = "OFF"
        return None

    async def read(self, _: Device) -> Update:
        return self._update() if self.removes else self._update(devices=(self.device(),))

    def device(self) -> Device:
        grouped = [
            EntityDescription(
                key=key,
                name=Name(key, key),
                component=Component.TEXT,
                write=self.write(key),
                group="lan",
                write_group=self.write_group,
            )
            for key in LAN
        ]
        entities = (
            *grouped,
            EntityDescription(key="name", name=Name("", ""), component=Component.TEXT, write=self.write("name")),
            EntityDescription(key="online", name=Name("", ""), component=Component.BINARY_SENSOR),
            EntityDescription(
                key="log_out",
                name=Name("", ""),
                component=Component.BUTTON,
                write=self.log_out,
                confirmed=lambda device: device.state["online"] == "OFF",
            ),
            EntityDescription(key="restart", name=Name("", ""), component=Component.BUTTON, write=self.log_out),
        )
        return Device(
            id=DEVICE,
            backend="hq",
            vendor_id="1",
            scope="devices",
            name="1",
            entities=entities,
            state=dict(self.state),
        )

    async def _call(self, what: Any) -> None:
        self.calls.append(what)
        self.accepted.set()
        if self.error is not None:
            raise self.error

    def _update(self, **content: Any) -> Update:
        return Update(
            backend="hq",
            origin=UpdateOrigin.COMMAND,
            requested_at=time.monotonic(),
            observed_at=datetime.now(UTC),
            **content,
        )


@dataclass(slots=True, kw_only=True)
class Bench:
    """The queue, its vendor, and what passes at the broker."""

    queue: CommandQueue
    registry: Registry
    backends: dict[str, Backend]
    calls: CallsInProgress
    seen: Recording

    def submit(self, **values: Any) -> None:
        """Submit the commands of one `set`."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        self.queue.submit(
            *(Command(device=DEVICE, key=key, value=value, deadline=deadline) for key, value in values.items())
        )

    async def results(self, count: int) -> dict[str, dict[str, Any]]:
        """Return the first results by key, once there are so many."""
        await wait_until(lambda: len(self.seen.all(RESULT)) >= count, f"{count} results", PATIENCE)
        return {message.json["key"]: message.json for message in self.seen.all(RESULT)}


@asynccontextmanager
async def bench(
    broker: Broker, folder: Path, vendor: Vendor, limits: CommandLimits | None = None
) -> AsyncIterator[Bench]:
    group = asyncio.TaskGroup()
    tasks = TaskSet(group)
    async with open_outbox(folder / "outbox.sqlite") as outbox, broker.record("#") as seen, group:
        settings = Settings(host="127.0.0.1", port=broker.port, client_id="bench", will_topic=TOPICS.state)
        mqtt = MqttClient(settings, [])
        registry = Registry(time.monotonic, lambda _: ())
        publisher = Publisher(mqtt, registry, None, TOPICS, 1000)
        hub = sample_hub(outbox, registry, publisher, TOPICS, lambda: None)
        backends = {"hq": Backend(name="hq", platform="vendor", client=None, sources=(), read=vendor.read)}
        calls = CallsInProgress()
        queue = CommandQueue(
            hub,
            registry,
            publisher,
            TOPICS,
            backends,
            calls,
            Replies(publisher, TOPICS),
            tasks.start,
            limits or CommandLimits(confirm_timeout=0.1),
        )
        tasks.start(mqtt.run(lambda _: None, publisher.on_connected, lambda _: None), "mqtt")
        tasks.start(publisher.run(), "publisher")
        hub.accept_device(vendor.device())
        await wait_until(lambda: mqtt.connected, "a connection", PATIENCE)
        yield Bench(queue=queue, registry=registry, backends=backends, calls=calls, seen=seen)
        await tasks.cancel()
