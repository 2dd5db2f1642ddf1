"""Surroundings of the web listener: the bridge's own parts on invented vendors, and a client of the listener."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from fleet2mqtt.alarms.handling import AlarmSources
from fleet2mqtt.commands.calls import CallsInProgress
from fleet2mqtt.commands.queue import CommandLimits, CommandQueue
from fleet2mqtt.commands.replies import Replies
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import Component, Device, EntityCategory, EntityDescription, Name, Update, UpdateOrigin
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import BackendError
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import Outbox, OutboxLimits, open_outbox
from fleet2mqtt.polling.poller import Poller
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.push.receiver import PushReceiver
from fleet2mqtt.sdk.api import Backend, Calls, Source
from fleet2mqtt.web import page
from fleet2mqtt.web.alarm_list import AlarmList
from fleet2mqtt.web.device_view import DeviceView
from fleet2mqtt.web.metrics import Metrics, PublishLatency, UnitMetrics
from fleet2mqtt.web.overview import Overview, UnitOverview
from fleet2mqtt.web.search import DeviceIndex
from fleet2mqtt.web.stream import Streams, View
from tests.sample_hub import alarm_handling
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from aiohttp import web

    from fleet2mqtt.alarms.maintenance import MaintenanceWindows
    from fleet2mqtt.alarms.manager import AlarmManager
    from tests.broker import Broker

TOPICS = Topics("fleet2mqtt", "homeassistant")
CANARY = "canary-6f1d0c"
ROWS = (
    EntityDescription(key="uptime", name=Name("Uptime", "运行时间"), category=EntityCategory.DIAGNOSTIC),
    EntityDescription(key="signal", name=Name("Signal", "信号"), unit="dBm"),
    EntityDescription(key="enable", name=Name("Enabled", "启用"), component=Component.SWITCH),
    EntityDescription(key="wifi_key", name=Name("Wi-Fi key", "无线密码"), component=Component.TEXT, secret=True),
    EntityDescription(key="reboot", name=Name("Reboot", "重启"), component=Component.BUTTON),
    EntityDescription(key="note", name=Name("Note", "备注")),
)
STATE = {"uptime": 5, "signal": -70, "enable": "ON", "wifi_key": CANARY, "note": None}

CLUSTER: dict[str, Any] = {
    "nodes": {
        "b": {
            "state": "alive",
            "owner": True,
            "units": {"bridge": 7, "north": 3},
            "draining": False,
            "version": "9.8.7",
        },
        "a": {"state": "dead", "owner": False, "units": {}, "draining": False, "version": "9.8.7"},
        "c": {"state": "alive", "owner": False, "units": {}, "draining": True, "version": "9.8.6"},
    },
    "storage": {"engine": "postgresql", "durability": "local", "commit_seconds": 0.0042, "inbox": 3},
}
"""Members `nodes` and `storage` of a cluster's `bridge/health`."""


def device(number: int, **changes: Any) -> Device:
    id_ = f"hq_{number:04}"
    values: dict[str, Any] = {"name": f"Gateway {number}", "model": "OM50", "entities": ROWS, "state": STATE} | changes
    return Device(id=id_, backend="hq", vendor_id=str(number), scope="devices", **values)


@dataclass(slots=True)
class Vendor:
    """A vendor's system of which a backend is made."""

    name: str
    devices: tuple[Device, ...] = ()
    error: BackendError | None = None
    calls: dict[str, Calls] = field(default_factory=dict)

    async def poll(self) -> AsyncIterator[Update]:
        if self.error is not None:
            raise self.error
        yield self.update()

    async def read(self, _: Device) -> Update:
        return self.update()

    def update(self, **more: Any) -> Update:
        return Update(
            backend=self.name,
            origin=UpdateOrigin.POLL,
            requested_at=time.monotonic(),
            observed_at=datetime.now(UTC),
            devices=self.devices,
            **more,
        )

    def backend(self) -> Backend:
        source = Source(name="devices", interval=3600, poll=self.poll, primary=True)
        return Backend(
            name=self.name,
            platform="ums",
            client=None,
            sources=(source,),
            read=self.read,
            calls=self.calls,
            title=f"Site {self.name}",
        )


@dataclass(slots=True, kw_only=True)
class Bench:
    """The parts behind the listener, and a client of it."""

    hub: Hub
    alarms: AlarmManager
    windows: MaintenanceWindows
    outbox: Outbox
    publisher: Publisher
    status: Status
    commands: CommandQueue
    push_receiver: PushReceiver
    client: TestClient[web.Request, web.Application]

    async def json(self, path: str, expected: int = 200) -> Any:
        async with self.client.get(path) as answer:
            assert answer.status == expected, await answer.text()
            assert answer.content_type == "application/json"
            return await answer.json()

    async def samples(self) -> dict[tuple[str, ...], float]:
        """Each sample of /metrics: (name without prefix, values of its labels…) → value."""
        async with self.client.get("/metrics") as answer:
            assert answer.status == 200
            assert answer.content_type == "text/plain"
            families = text_string_to_metric_families(await answer.text())
            return {
                (each.name.removeprefix("fleet2mqtt_"), *each.labels.values()): each.value
                for family in families
                for each in family.samples
            }


def client_of(broker: Broker | None) -> MqttClient:
    """A client that is not running yet."""
    port = broker.port if broker else 0
    settings = Settings(host="127.0.0.1", port=port, client_id="web", will_topic=TOPICS.state)
    return MqttClient(settings, [])


@asynccontextmanager
async def bench(  # noqa: PLR0913 - what tests vary
    folder: Path,
    *vendors: Vendor,
    broker: Broker | None = None,
    limits: OutboxLimits | None = None,
    shown_outbox: Outbox | None = None,
    streams: Streams | None = None,
    sources: AlarmSources | None = None,
) -> AsyncIterator[Bench]:
    """With a `broker` it is connected to it; each vendor has been polled once. The page reads `shown_outbox`."""
    tasks = asyncio.TaskGroup()
    running: list[asyncio.Task[Any]] = []

    def spawn(work: Coroutine[Any, Any, Any], name: str) -> None:
        running.append(tasks.create_task(work, name=name))

    async with open_outbox(folder / "outbox.sqlite", limits) as outbox, tasks:
        mqtt = client_of(broker)
        latency = PublishLatency()
        alarms = AlarmPublisher(mqtt, outbox, TOPICS, latency.observe)
        registry = Registry(time.monotonic, lambda _: ())
        publisher = Publisher(mqtt, registry, None, TOPICS, 100)
        handling = alarm_handling(outbox, registry, publisher, TOPICS, alarms.wake)
        hub = Hub(outbox, registry, publisher, TOPICS, handling, alarms.wake)
        backends = {vendor.name: vendor.backend() for vendor in vendors}
        pollers = {name: Poller(each, hub, stale_after=0, changed=lambda _: None) for name, each in backends.items()}
        replies = Replies(publisher, TOPICS)
        commands = CommandQueue(
            hub, registry, publisher, TOPICS, backends, CallsInProgress(), replies, spawn, CommandLimits()
        )
        push_receiver = PushReceiver(hub, outbox, backends, {})
        status = Status(
            instance="1",
            version="9.8.7",
            mqtt=mqtt,
            outbox=outbox,
            backends=backends,
            counters=[lambda: publisher.dropped, lambda: alarms.dropped],
            log_dropped=lambda: 0,
        )
        for poller in pollers.values():
            spawn(poller.run(poller.backend.sources[0]), "poll")
            await wait_until(lambda each=poller: each.health.sources["devices"].next_try, "a poll")  # type: ignore[misc]
        if broker is not None:
            connection = mqtt.run(lambda _: None, lambda: None, lambda _: None)
            for work in (connection, alarms.run(), alarms.run_recording()):
                spawn(work, "mqtt")
            await wait_until(lambda: mqtt.connected, "the broker")
        unit_overview = UnitOverview(
            registry=registry, index=DeviceIndex(registry), alarms=handling.manager, pollers=pollers
        )
        overview = Overview(unit=unit_overview, outbox=shown_outbox or outbox, mqtt=mqtt, status=status)
        alarm_list = AlarmList(
            manager=handling.manager,
            registry=registry,
            outbox=shown_outbox or outbox,
            windows=handling.windows,
            sources=sources or AlarmSources(),
        )
        unit_metrics = UnitMetrics(hub, registry, handling.manager, mqtt, pollers, push_receiver, commands)
        metrics = Metrics(unit_metrics, mqtt, status, latency)
        views: dict[str, View] = {
            "status": overview.json,
            "alarms": alarm_list.json,
            "alarm": alarm_list.alarm,
            "device": DeviceView(overview=unit_overview, alarms=alarm_list).json,
        }
        app = page.application(metrics, views, status, mqtt, outbox, unit_overview.availability, streams)
        async with TestClient(TestServer(app)) as client:
            yield Bench(
                hub=hub,
                alarms=handling.manager,
                windows=handling.windows,
                outbox=outbox,
                publisher=publisher,
                status=status,
                commands=commands,
                push_receiver=push_receiver,
                client=client,
            )
        for task in running:
            task.cancel()
