"""Messages that are too large are refused before the broker closes the connection over them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import Disconnected, Refused
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from tests.broker import Broker
    from tests.conftest import StartBroker
    from tests.loop_time import LoopTime
    from tests.mqtt.conftest import Start


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_payload_beyond_max_payload_is_refused(broker: Broker, start: Start, protocol: str) -> None:
    subject = start(broker.port, protocol=protocol, max_payload=1000)
    await subject.connected()

    await subject.mqtt.publish("a", bytes(1000))
    with pytest.raises(Refused, match=r"^a: 1001 bytes are too large: the limit here is 1000$") as caught:
        await subject.mqtt.submit("a", bytes(1001))

    assert caught.value.reason == "too_large"
    assert subject.mqtt.dropped == {"too_large": 1}
    assert subject.ups == 1


@pytest.mark.parametrize("retain_for", [None, 60])
async def test_packet_beyond_the_announced_limit_is_refused(
    start_broker: StartBroker, start: Start, retain_for: int | None
) -> None:
    broker = await start_broker(extra="max_packet_size 20000")
    subject = start(broker.port)
    await subject.connected()
    # Head 1, length 3, topic 2 + 1, packet id 2, properties 1 or 1 + 5.
    largest = 20_000 - 10 - (5 if retain_for else 0)

    await subject.mqtt.publish("a", bytes(largest), expiry=retain_for)
    with pytest.raises(Refused, match="the broker takes packets of 20000 bytes at most"):
        await subject.mqtt.publish("a", bytes(largest + 1), expiry=retain_for)
    await subject.mqtt.publish("a", b"small")

    assert subject.mqtt.max_packet == 20_000
    assert subject.mqtt.dropped == {"too_large": 1}
    assert subject.ups == 1


async def test_limit_that_is_not_announced_is_inferred(
    start_broker: StartBroker, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await start_broker(extra="max_packet_size 20000")
    subject = start(broker.port, protocol="3.1.1")
    for attempt in (1, 2):
        await subject.connected(attempt)
        await subject.mqtt.publish("fits", bytes(19_000))
        with pytest.raises(Disconnected):
            await subject.mqtt.publish("too/large", bytes(25_000))
    await subject.connected(3)

    for size in (25_000, 30_000):
        with pytest.raises(Refused, match=r"closes the connection over 25000 bytes on too/large") as caught:
            await subject.mqtt.publish("another", bytes(size))
        assert (caught.value.reason, caught.value.temporary) == ("too_large", True)
    await subject.mqtt.publish("fits", bytes(19_000))

    assert subject.mqtt.dropped == {"too_large": 2}
    assert subject.ups == 3
    assert "25000 bytes and more are withheld for 60 s" in caplog.text


async def test_inferred_limit_expires(start_broker: StartBroker, start: Start, loop_time: LoopTime) -> None:
    broker = await start_broker(extra="max_packet_size 20000")
    subject = start(broker.port, protocol="3.1.1", withhold_first=600.0)
    for attempt in (1, 2):
        await subject.connected(attempt)
        with pytest.raises(Disconnected):
            await subject.mqtt.publish("too/large", bytes(25_000))
    await subject.connected(3)
    with pytest.raises(Refused):
        await subject.mqtt.publish("too/large", bytes(25_000))

    broker.extra = ""
    await broker.restart()
    await subject.connected(4)

    loop_time.advance(600)

    async def published() -> bool:
        try:
            await subject.mqtt.publish("too/large", bytes(25_000))
        except Refused:
            return False
        return True

    await wait_for_answer(published, "the limit to expire")
    await subject.mqtt.publish("larger", bytes(30_000))


async def test_messages_beside_the_cause_are_not_withheld(
    start_broker: StartBroker, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await start_broker(extra="max_packet_size 20000")
    subject = start(broker.port, protocol="3.1.1")
    for attempt, (topic, size) in enumerate((("a", 30_000), ("a", 30_000), ("c", 25_000), ("c", 25_000)), 1):
        await subject.connected(attempt)
        outcomes = await asyncio.gather(
            subject.mqtt.publish(topic, bytes(size)), subject.mqtt.publish("b", bytes(15_000)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {Disconnected}
    await subject.connected(5)
    await subject.mqtt.publish("b", bytes(15_000))
    assert "30000 bytes on a" in caplog.text
    assert "25000 bytes on c" in caplog.text
    assert "15000 bytes on b" not in caplog.text
