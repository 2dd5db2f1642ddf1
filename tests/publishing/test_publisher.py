"""The publisher against a real broker: what depends on the values of a device, and events."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from fleet2mqtt.devices.model import Component, DeviceEvent
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.outbox import open_outbox
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from tests.broker import Broker
from tests.publishing.harness import TOPICS, open_parts
from tests.sample_alarms import alarm
from tests.sample_devices import device, row, update
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.recording import Message

CONFIG = TOPICS.discovery("hq_1")
STATE = TOPICS.device("hq_1", "state")


def described(key: str, **members: Any) -> Callable[[Message], bool]:
    """Match the discovery message in which a component has these members."""
    return lambda message: message.topic == CONFIG and message.json["components"][key].items() >= members.items()


async def test_number_outside_its_range_widens_the_range_in_discovery(broker: Broker, tmp_path: Path) -> None:
    """85 in a range of 5 to 35: Home Assistant would log an error at each state (faults.md 3.8)."""
    number = row("limit", Component.NUMBER, minimum=5, maximum=35)
    async with broker.record("#") as seen, open_parts(broker.port, tmp_path) as parts:
        await parts.hub.accept(update(device(entities=(number,), state={"limit": 20})))
        await seen.wait(described("limit", min=5, max=35))
        await parts.hub.accept(update(device(entities=(number,), state={"limit": 85}), requested_at=1))
        await seen.wait(described("limit", min=5, max=85))
        await seen.wait(lambda message: message.topic == STATE and message.json["limit"] == 85)


async def test_text_that_becomes_too_long_gets_its_attributes_in_discovery(broker: Broker, tmp_path: Path) -> None:
    """Home Assistant shows a state of more than 255 characters as unknown (faults.md 5.6)."""
    text = "port, " * 100
    topic = TOPICS.device("hq_1", "attributes")
    async with broker.record("#") as seen, open_parts(broker.port, tmp_path) as parts:
        await parts.hub.accept(update(device(state={"signal": "", "enable": "ON"})))
        await seen.wait(described("signal", platform="sensor"))
        await parts.hub.accept(update(device(state={"signal": text, "enable": "ON"}), requested_at=1))
        await seen.wait(described("signal", json_attributes_topic=topic))
        await seen.wait(lambda message: message.topic == topic and message.json["signal"]["text"] == text)
        state = await seen.wait(lambda message: message.topic == STATE and len(message.json["signal"]) == 255)
        assert state.json["signal"] == text[:254] + "…"


async def test_equal_events_are_published_each_and_not_retained(broker: Broker, tmp_path: Path) -> None:
    """Three equal events of a device (faults.md 5.10)."""
    topic = "fleet2mqtt/device/hq_1/event/door"
    door = row("door", Component.EVENT, options=("opened", "closed"))
    events = tuple(
        DeviceEvent(device="hq_1", key="door", event_type=type_, attributes={"by": "card"})
        for type_ in ("opened", "opened", "opened", "closed")
    )
    async with broker.record("#") as seen, open_parts(broker.port, tmp_path) as parts:
        await parts.hub.accept(update(device(entities=(door,), state={}), events=events))
        await seen.wait(lambda message: message.topic == topic and message.json["event_type"] == "closed")

    published = seen.all(topic)
    assert [message.json["event_type"] for message in published] == ["opened", "opened", "opened", "closed"]
    assert published[0].json == {
        "event_type": "opened",
        "observed_at": "2026-11-22T08:00:00.000+00:00",
        "by": "card",
    }
    assert {(message.qos, message.retain) for message in published} == {(1, False)}
    topics = [message.topic for message in seen.messages]
    assert topics.index(CONFIG) < topics.index(topic)
    assert topic not in await broker.retained()


class Slow:
    """A connection whose messages the test acknowledges."""

    connected = True

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, asyncio.Future[None]]] = []
        self.topics: list[str] = []

    async def submit(self, topic: str, payload: bytes, **_: object) -> asyncio.Future[None]:
        self.topics.append(topic)
        self.sent.append((payload, asyncio.get_running_loop().create_future()))
        return self.sent[-1][1]

    def have_sent(self, count: int) -> bool:
        return len(self.topics) >= count

    async def have(self, *payloads: bytes) -> None:
        await wait_until(lambda: len(self.sent) == len(payloads), f"{payloads}")
        assert [payload for payload, _ in self.sent] == list(payloads)


def publisher_on(mqtt: Any) -> Publisher:
    """Return a publisher without devices on a connection."""
    return Publisher(mqtt, Registry(time.monotonic, lambda _: ()), None, TOPICS, 1)


@asynccontextmanager
async def cleared_and_published_again() -> AsyncIterator[tuple[Slow, Publisher]]:
    """Run a publisher that has cleared a topic and published it again; the broker has acknowledged neither."""
    mqtt = Slow()
    publisher = publisher_on(mqtt)
    publishing = asyncio.create_task(publisher.run())
    publisher.clear_retained("topic")
    await mqtt.have(b"")
    publisher.set_retained("topic", b"raised")
    await mqtt.have(b"", b"raised")
    yield mqtt, publisher
    publishing.cancel()


async def test_late_acknowledgement_does_not_cancel_the_next_deletion() -> None:
    """A topic that is cleared, published, and cleared again before the broker acknowledged the first time."""
    async with cleared_and_published_again() as (mqtt, publisher):
        publisher.clear_retained("topic")
        mqtt.sent[0][1].set_result(None)
        await mqtt.have(b"", b"raised", b"")
        assert publisher.pending_deletions == {"topic"}  # to be repeated on another connection
        mqtt.sent[2][1].set_result(None)
        await wait_until(lambda: not publisher.pending_deletions, "the acknowledgement of the deletion")


async def test_late_acknowledgement_of_a_deletion_clears_nothing_later() -> None:
    """A topic that is cleared and published again before the broker acknowledged; then there is another connection."""
    async with cleared_and_published_again() as (mqtt, publisher):
        for _, future in mqtt.sent:
            future.set_result(None)
        publisher.on_connected()
        assert not publisher.pending_deletions
        publisher.republish("topic")
        await mqtt.have(b"", b"raised", b"raised")


async def test_events_follow_the_state_of_the_bridge_on_each_connection(tmp_path: Path) -> None:
    """Home Assistant shows no event of an entity that is unavailable."""
    mqtt: Any = Slow()
    event = TOPICS.alarm_event("critical", "hq_1")
    async with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        await outbox.add([alarm(1, device="hq_1")], lambda _: None)
        publisher = publisher_on(mqtt)
        alarms = AlarmPublisher(mqtt, outbox, TOPICS, is_online=publisher.is_online)
        publisher.set_retained(TOPICS.state, b"online")
        work = [asyncio.create_task(alarms.run())]
        alarms.on_connected()
        for _ in range(3):  # as long as the publisher of alarms needs to read one
            await outbox.history(0, 1)
        assert mqtt.topics == []
        work.append(asyncio.create_task(publisher.run()))
        for expected in ([TOPICS.state, event], [TOPICS.state, event] * 2):
            alarms.on_connected()
            publisher.on_connected()
            await wait_until(partial(mqtt.have_sent, len(expected)), "the event")
            assert mqtt.topics == expected
        for task in work:
            task.cancel()


async def test_cleared_message_that_the_broker_has_again_after_a_crash_is_cleared_again(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    topic, other = TOPICS.alarm_active("hq_1", "door"), TOPICS.alarm_active("hq_1", "power")
    on_disk = f"persistence true\npersistence_location {folder}/\nautosave_interval 0"
    async with Broker(directory=folder, extra=on_disk) as broker, open_parts(broker.port, tmp_path) as parts:
        parts.publisher.set_retained(topic, b"active")
        parts.publisher.set_retained(other, b"active")
        await wait_until(lambda: parts.publisher.idle, "the messages", PATIENCE)
        await has_retained(broker, {topic, other})
        await broker.save()
        parts.publisher.clear_retained(topic)
        parts.publisher.clear_retained(other)
        await has_retained(broker, set())
        parts.publisher.set_retained(other, b"active again")
        await has_retained(broker, {other})
        await broker.kill()
        await broker.start()
        await has_retained(broker, {other})
        assert (await broker.retained(other))[other].payload == b"active again"


async def has_retained(broker: Broker, topics: set[str]) -> None:
    async def holds() -> bool:
        return (await broker.retained("fleet2mqtt/alarm/#")).keys() == topics

    await wait_for_answer(holds, f"{topics} at the broker", PATIENCE)
