"""Submitted messages reach the broker in order, or their future raises."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import Disconnected, Refused
from tests.mqtt.fake_broker import FakeBroker
from tests.mqtt.holding import Holding
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Broker
    from tests.conftest import StartBroker
    from tests.mqtt.conftest import Start

RECEIVE_MAXIMUM_3 = b"\x21\x00\x03"
VERSIONS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@VERSIONS
async def test_publish_delivers_retained_and_qos_0(broker: Broker, start: Start, protocol: str) -> None:
    subject = start(broker.port, protocol=protocol)
    await subject.connected()
    async with broker.record("fleet/#") as seen:
        await subject.mqtt.publish("fleet/a", b"kept", retain=True)
        await subject.mqtt.publish("fleet/b", b"gone", qos=0)
        await seen.wait(lambda message: message.payload == b"gone")
        assert [message.qos for message in seen.messages] == [1, 0]

    assert {topic: message.payload for topic, message in (await broker.retained("fleet/#")).items()} == {
        "fleet/a": b"kept"
    }
    assert subject.mqtt.published == 2


@VERSIONS
async def test_correlation_and_expiry_are_sent_with_mqtt_5_only(broker: Broker, start: Start, protocol: str) -> None:
    subject = start(broker.port, protocol=protocol)
    await subject.connected()
    async with broker.record("reply/#") as seen:
        await subject.mqtt.publish("reply/to", b"yes", response=b"17", expiry=60)
        message = await seen.wait(lambda message: message.payload == b"yes")

    assert getattr(message.properties, "CorrelationData", None) == (b"17" if protocol == "5" else None)
    assert hasattr(message.properties, "MessageExpiryInterval") == (protocol == "5")


async def test_batched_packets_arrive_whole_and_in_order(broker: Broker, start: Start) -> None:
    subject = start(broker.port, inflight=200)
    await subject.connected()
    sizes = (1, 70_000, 3, 200, 65_536, 0)
    sent = [(f"t/{n}", bytes([n % 256]) * sizes[n % len(sizes)], int(n % 7 != 0)) for n in range(60)]
    async with broker.record("t/#") as seen:
        done = [await subject.mqtt.submit(topic, payload, qos=qos) for topic, payload, qos in sent]
        await asyncio.gather(*done)
        await wait_until(lambda: len(seen.messages) == len(sent), "all of them")
    got = [(each.topic, each.payload, each.qos) for each in seen.messages]
    for qos in (0, 1):  # a subscriber that is slow to acknowledge gets QoS 0 first
        assert [each for each in got if each[2] == qos] == [each for each in sent if each[2] == qos]


async def test_messages_keep_order_and_inflight_bound(start: Start) -> None:
    holding = Holding()
    async with FakeBroker(holding.talk) as broker:
        subject = start(broker.port, inflight=5)
        await subject.connected()
        tasks = [asyncio.create_task(subject.mqtt.publish(f"t/{n}", b"x")) for n in range(100)]
        for _ in tasks:
            await wait_until(lambda: holding.held, "a message")
            await holding.release()
        await asyncio.gather(*tasks)

    assert holding.topics == [f"t/{n}" for n in range(100)]
    assert holding.most == 5


async def test_messages_of_several_senders_keep_the_order_of_submission(start: Start) -> None:
    holding = Holding()
    async with FakeBroker(holding.talk) as broker:
        subject = start(broker.port, inflight=1)
        await subject.connected()
        futures: list[asyncio.Future[float]] = []

        async def submit(*topics: str) -> None:
            futures.extend([await subject.mqtt.submit(topic, b"") for topic in topics])

        tasks = [asyncio.create_task(submit("1", "4")), asyncio.create_task(submit("2", "5"))]
        tasks.append(asyncio.create_task(submit("3", "6")))
        for _ in range(6):
            await holding.holds(1)
            await holding.release()
        await asyncio.gather(*tasks)
        await asyncio.gather(*futures)

    assert holding.topics == ["1", "4", "2", "3", "5", "6"]  # as they were submitted


async def test_receive_maximum_bounds_the_messages_in_flight(start: Start) -> None:
    holding = Holding(RECEIVE_MAXIMUM_3)
    async with FakeBroker(holding.talk) as broker:
        subject = start(broker.port)
        await subject.connected()
        tasks = [asyncio.create_task(subject.mqtt.publish(f"t/{n}", b"")) for n in range(9)]
        for _ in tasks:
            await wait_until(lambda: holding.held, "a message")
            await holding.release()
        await asyncio.gather(*tasks)

    assert holding.most == 3


async def test_message_of_a_cancelled_sender_is_not_sent(start: Start) -> None:
    holding = Holding()
    async with FakeBroker(holding.talk) as broker:
        subject = start(broker.port, inflight=1)
        await subject.connected()
        first = await subject.mqtt.submit("first", b"")
        gone = asyncio.create_task(subject.mqtt.submit("gone", b""))
        last = asyncio.create_task(subject.mqtt.publish("last", b""))
        await holding.holds(1)
        gone.cancel()
        await holding.release()
        await first
        await holding.holds(1)
        await holding.release()
        await last

    assert holding.topics == ["first", "last"]


async def test_sender_cancelled_in_flight_does_not_block_others(start: Start) -> None:
    holding = Holding()
    async with FakeBroker(holding.talk) as broker:
        subject = start(broker.port, inflight=1)
        await subject.connected()
        impatient = asyncio.create_task(subject.mqtt.publish("impatient", b""))
        patient = asyncio.create_task(subject.mqtt.publish("patient", b""))
        await holding.holds(1)
        impatient.cancel()
        await holding.release()
        await holding.holds(1)
        await holding.release()
        await patient

    assert subject.mqtt.published == 2


async def test_unacknowledged_messages_fail_with_the_connection(start: Start) -> None:
    holding = Holding()
    async with FakeBroker(holding.talk) as broker:
        subject = start(broker.port, inflight=1)
        await subject.connected()
        sent = await subject.mqtt.submit("sent", b"")
        waiting = asyncio.create_task(subject.mqtt.submit("waiting", b""))
        await holding.holds(1)
        holding.hang_up()

        for each in (sent, waiting):
            with pytest.raises(Disconnected, match="the broker closed the connection"):
                await each
        await subject.connected(2)

    assert holding.topics == ["sent"]


async def test_failed_future_that_nobody_awaits_is_not_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    holding = Holding()
    async with FakeBroker(holding.talk) as broker:
        subject = start(broker.port)
        await subject.connected()
        await subject.mqtt.submit("a", b"")
        await holding.holds(1)
        holding.hang_up()
        await subject.connected(2)

    gc.collect()  # asyncio complains when a future is forgotten
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_submit_without_a_connection_raises_disconnected(broker: Broker, start: Start) -> None:
    subject = start(broker.port)
    with pytest.raises(Disconnected, match="no connection"):
        await subject.mqtt.submit("a", b"")
    await subject.connected()
    await subject.mqtt.publish("a", b"")


async def test_five_thousand_retained_messages_are_all_acknowledged(broker: Broker, start: Start) -> None:
    subject = start(broker.port)
    await subject.connected()

    futures = [await subject.mqtt.submit(f"many/{n}", bytes(200), retain=True) for n in range(5000)]
    await asyncio.gather(*futures)

    assert len(await broker.retained("many/#")) == 5000
    assert (subject.mqtt.published, subject.ups) == (5000, 1)


async def test_message_larger_than_any_buffer_is_sent(broker: Broker, start: Start) -> None:
    subject = start(broker.port, max_payload=20_000_000)
    await subject.connected()

    await subject.mqtt.publish("large", bytes(20_000_000), retain=True)
    await subject.mqtt.publish("small", b"", retain=True)

    assert len((await broker.retained("large"))["large"].payload) == 20_000_000


async def test_refused_message_raises_at_its_sender(start_broker: StartBroker, start: Start, tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite allowed/#\n")
    broker = await start_broker(extra=f"acl_file {rules}")
    subject = start(broker.port)
    await subject.connected()

    with pytest.raises(Refused, match="the broker says: not authorized") as caught:
        await subject.mqtt.publish("forbidden", b"")
    await subject.mqtt.submit("forbidden", b"nobody asks after this one")
    await subject.mqtt.publish("allowed/a", b"")

    assert caught.value.reason == "refused_not_authorized"
    assert subject.mqtt.dropped == {"refused_not_authorized": 2}
    assert subject.mqtt.published == 1
