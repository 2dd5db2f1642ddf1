"""The window of messages in flight, with a clock of its own."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

from fleet2mqtt.mqtt.flow_control import InflightWindow, PublishCounters
from fleet2mqtt.mqtt.settings import Outgoing
from fleet2mqtt.mqtt.withheld import WithheldMessages
from tests.waiting import PATIENCE


@dataclass(slots=True)
class Setup:
    """A window that holds five messages at most."""

    now: float = 0.0
    sent: list[str] = field(default_factory=list)
    window: InflightWindow = field(init=False)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)

        def send(message: Outgoing) -> int:
            self.sent.append(message.topic)
            return next(numbers)

        withheld = WithheldMessages(first=60.0, longest=3600.0)
        self.window = InflightWindow(5, send, PublishCounters(), withheld, lambda: self.now)

    async def submit(self, *topics: str) -> None:
        for topic in topics:
            await self.window.submit(Outgoing(topic=topic, payload=b""))


async def test_slow_acknowledgements_in_order_are_no_stall() -> None:
    """Large messages over a slow network: each takes its time after the one before."""
    tested = Setup()
    await tested.submit("a", "b", "c", "d", "e")
    for mid in range(1, 5):
        tested.now += 20
        assert tested.window.stalled()[1] == 20
        assert tested.window.oldest_age() == 20 * mid
        tested.window.acknowledge(mid)
        assert tested.window.stalled()[1] == 0


async def test_message_that_others_overtake_is_a_stall() -> None:
    tested = Setup()
    await tested.submit("a", "swallowed", "c")
    tested.window.acknowledge(1)
    for mid in range(3, 40):
        tested.now += 1
        tested.window.acknowledge(mid)
        async with asyncio.timeout(PATIENCE):
            await tested.submit("next")
    assert tested.window.stalled() == ("swallowed", 37)
    assert tested.window.oldest_age() == 37


async def test_window_without_messages_has_no_age() -> None:
    tested = Setup()
    assert tested.window.oldest_age() is None
    assert tested.window.stalled() == ("", 0.0)


async def test_acknowledged_message_clears_those_before_it_at_qos_0() -> None:
    tested = Setup()
    await tested.window.submit(Outgoing(topic="log", payload=b"", qos=0))
    tested.now += 0.1
    await tested.submit("a", "b")
    tested.window.acknowledge(1)  # it is sent
    assert [topic for topic, _ in tested.window.unacknowledged()] == ["a", "b", "log"]
    tested.window.acknowledge(2)
    assert [topic for topic, _ in tested.window.unacknowledged()] == ["b"]
