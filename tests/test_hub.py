"""The one door: alarms that stand until cleared, and what a device's end does to them; with a real broker and disk."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet2mqtt.alarms.records import AlarmRecord
from fleet2mqtt.contract.payloads import dumps
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import added_entities
from fleet2mqtt.devices.model import Component, DeviceEvent, UpdateOrigin
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import OutboxFull
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.outbox import OutboxLimits, open_outbox
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from tests.bridge_under_test import wait_retained
from tests.sample_alarms import alarm
from tests.sample_devices import device, inventory, row, update
from tests.sample_hub import sample_hub
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from tests.broker import Broker

TOPICS = Topics("fleet2mqtt", "homeassistant")
STANDING = "fleet2mqtt/alarm/active/hq_voip_1/power"


@asynccontextmanager
async def open_hub(
    broker: Broker, folder: Path, limits: OutboxLimits | None = None
) -> AsyncIterator[tuple[Hub, Registry]]:
    """A hub that publishes to the broker, and its registry; its alarms outlive it in the folder."""

    def connected() -> None:
        publisher.on_connected()
        alarms.on_connected()

    async with open_outbox(folder / "outbox.sqlite", limits) as outbox, asyncio.TaskGroup() as group:
        settings = Settings(host="127.0.0.1", port=broker.port, client_id="hub", will_topic=TOPICS.state)
        mqtt = MqttClient(settings, [])
        registry = Registry(time.monotonic, added_entities(_no_refresh, _no_refresh))
        publisher = Publisher(mqtt, registry, None, TOPICS, 1000)
        alarms = AlarmPublisher(mqtt, outbox, TOPICS)
        hub = sample_hub(outbox, registry, publisher, TOPICS, alarms.wake)
        await hub.restore_alarms()
        connection = mqtt.run(lambda _: None, connected, lambda _: None)
        tasks = [
            group.create_task(work) for work in (connection, publisher.run(), alarms.run(), alarms.run_recording())
        ]
        yield hub, registry
        for task in tasks:
            task.cancel()


async def _no_refresh(*_: Any) -> None:
    raise AssertionError("nobody presses it here")


def power(number: int, *, cleared: bool = False) -> Any:
    return alarm(number, active=True, alarm_key="power", cleared=cleared)


async def test_alarms_of_one_turn_are_refused_each_for_itself(broker: Broker, tmp_path: Path) -> None:
    async with open_hub(broker, tmp_path, OutboxLimits(rows=2)) as (hub, _):
        small, large, again, other = (
            asyncio.create_task(hub.accept(update(alarms=alarms)))
            for alarms in ((alarm(1),), tuple(map(alarm, range(2, 5))), (alarm(1),), (alarm(5),))
        )
        other.cancel()
        await asyncio.wait((small, large, again, other))
        assert isinstance(large.exception(), OutboxFull)
        assert ([event.id for event in small.result()], again.result()) == ([alarm(1).id], ())
        assert [event.id for event in await hub.accept(update(alarms=(alarm(6),)))] == [alarm(6).id]


async def test_raised_alarm_is_active_until_cleared(broker: Broker, tmp_path: Path) -> None:
    async with open_hub(broker, tmp_path) as (hub, registry):
        [raised] = await hub.accept(update(device("hq_voip_1", alarms=True), alarms=(power(1),)))
        await wait_retained(broker, {STANDING: _body(raised)})
        [ended] = await hub.accept(update(requested_at=1, alarms=(power(2, cleared=True),)))
        await wait_retained(broker, {STANDING: b""})
        assert (ended.body["type"], ended.cleared) == ("cleared", True)
        assert registry.devices["hq_voip_1"].state["last_alarm_time"] == raised.body["raised_at"]
        assert await hub.accept(update(requested_at=2, alarms=(power(1),))) == ()


async def test_events_of_a_device_are_published_each_and_not_retained(broker: Broker, tmp_path: Path) -> None:
    """Three equal events are three messages; a device or entity that is not there has none (faults 5.10)."""
    bell = row("bell", Component.EVENT, options=("ring",))
    ring = DeviceEvent(device="hq_1", key="bell", event_type="ring", attributes={"by": "key", "text": "x" * 20_000})
    others = [replace(ring, device="hq_2"), replace(ring, key="signal_lost")]
    async with open_hub(broker, tmp_path) as (hub, registry), broker.record("#") as seen:
        await hub.accept(update(device(entities=(bell,), state={})))
        await hub.accept(update(requested_at=1, events=(*others, *[ring] * 3)))
        await wait_until(lambda: len(seen.all("fleet2mqtt/device/+/event/+")) == 3, "three events")
        messages = seen.all("fleet2mqtt/device/+/event/+")
        assert {message.topic for message in messages} == {"fleet2mqtt/device/hq_1/event/bell"}
        assert (messages[0].json["event_type"], messages[0].json["by"], messages[0].qos) == ("ring", "key", 1)
        assert len(messages[0].payload) < 16_384  # what a recorder stores
        assert registry.devices["hq_1"].state == {}
    assert not [topic for topic in await broker.retained("#") if "/event/" in topic]


async def test_active_alarms_are_published_after_restart(broker: Broker, tmp_path: Path) -> None:
    async with open_hub(broker, tmp_path) as (hub, _):
        [raised] = await hub.accept(update(device("hq_voip_1", alarms=True), alarms=(power(1),)))
    await broker.restart()
    async with open_hub(broker, tmp_path) as (hub, registry):
        await wait_retained(broker, {STANDING: _body(raised)})
        await hub.accept(update(device("hq_voip_1", alarms=True)))
        assert registry.devices["hq_voip_1"].state["last_alarm_severity"] == "critical"


async def test_active_alarms_are_removed_with_device(broker: Broker, tmp_path: Path) -> None:
    async with open_hub(broker, tmp_path) as (hub, _):
        devices = device("hq_voip_1", alarms=True), device("hq_2")
        [raised] = await hub.accept(update(*devices, alarms=(power(1),)))
        await wait_retained(broker, {STANDING: _body(raised)})
        for requested_at in (1, 2):
            await hub.accept(update(requested_at=requested_at, inventories=(inventory("hq_2"),)))
        await wait_retained(broker, {STANDING: b"", "fleet2mqtt/device/hq_voip_1/state": b""})


async def test_older_pushed_state_is_ignored(broker: Broker, tmp_path: Path) -> None:
    async with open_hub(broker, tmp_path) as (hub, registry):
        await hub.accept(update(device(state={"signal": -1}), requested_at=5, origin=UpdateOrigin.PUSH))
        await hub.accept(update(device(state={"signal": -2}), requested_at=4, origin=UpdateOrigin.PUSH))
        assert registry.devices["hq_1"].state["signal"] == -1


def _body(event: Any) -> bytes:
    """The alarm as its active topic shows it before anybody did anything about it."""
    return dumps(AlarmRecord(event=event).body())


async def test_alarms_are_counted_by_severity_where_the_vendor_does_not_count(broker: Broker, tmp_path: Path) -> None:
    async with open_hub(broker, tmp_path) as (hub, registry):
        await hub.accept(update(device("hq_voip_1", alarms=True), device("hq_voip_2", alarms=True, counts_alarms=True)))
        await hub.accept(update(alarms=(alarm(1), alarm(2))))
        await hub.accept(update(alarms=(alarm(2), alarm(3, device="hq_voip_2"))))
        state = registry.devices["hq_voip_1"].state
        assert (state["alarms_critical"], state["alarms_major"]) == (2, 0)
        assert "alarms_critical" not in registry.devices["hq_voip_2"].state


async def test_alarm_polled_before_its_push_is_completed_where_it_stands(broker: Broker, tmp_path: Path) -> None:
    """The same alarm with more facts (faults.md 1.5)."""
    async with broker.record("#") as seen, open_hub(broker, tmp_path) as (hub, registry):
        await hub.accept(update(device("hq_voip_1", alarms=True)))
        polled = alarm(1, active=True, alarm_key="power")
        assert len(await hub.accept(update(alarms=(polled,)))) == 1
        assert await hub.accept(update(alarms=(replace(polled, line="4", tags=("a",), description="door"),))) == ()
        await seen.wait(lambda message: message.topic == STANDING and message.json["line"] == "4")
        assert registry.devices["hq_voip_1"].state["last_alarm"] == "door"
        await seen.wait(lambda message: message.topic.startswith("fleet2mqtt/alarm/event/"))
        assert len(seen.all("fleet2mqtt/alarm/event/#")) == 1
