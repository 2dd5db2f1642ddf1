"""Received messages with their properties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fleet2mqtt.mqtt import Message
from tests.mqtt.proxy import Proxy
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.broker import Broker
    from tests.mqtt.conftest import Start

VERSIONS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


async def test_message_has_response_topic_and_correlation_data(broker: Broker, start: Start) -> None:
    subject = start(broker.port)
    await subject.connected()
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ResponseTopic = "reply/to"
    properties.CorrelationData = b"17"

    await broker.publish("fleet/set/x", "1", properties=properties)

    assert await subject.received("1") == Message(
        topic="fleet/set/x",
        payload=b"1",
        retain=False,
        qos=1,
        response_topic="reply/to",
        correlation_data=b"17",
    )


@VERSIONS
async def test_message_is_retained_only_if_published_before(broker: Broker, start: Start, protocol: str) -> None:
    await broker.publish("fleet/set/x", "old", retain=True)
    subject = start(broker.port, protocol=protocol)
    await subject.connected()
    await broker.publish("fleet/set/x", "new", qos=0)

    assert await subject.received("new") == Message(topic="fleet/set/x", payload=b"new", retain=False, qos=0)
    assert await subject.received("old") == Message(topic="fleet/set/x", payload=b"old", retain=True, qos=1)


async def test_message_that_waited_at_the_broker_is_stale(broker: Broker, start: Start) -> None:
    async with Proxy(broker.port) as proxy:
        subject = start(proxy.port)
        await subject.connected()
        proxy.closed = True
        proxy.drop()
        await wait_until(lambda: subject.downs, "the connection to be gone")
        await broker.publish("fleet/set/x", "old")
        proxy.closed = False
        await subject.connected(2)
        await broker.publish("fleet/set/x", "new")

        assert (await subject.received("new")).stale is False
        assert (await subject.received("old")).stale is True
        assert subject.mqtt.protocol == "5"


async def test_message_that_waited_for_a_restart_is_stale(broker: Broker, start: Start) -> None:
    before = start(broker.port)
    await before.connected()
    await before.stop()
    await wait_until(lambda: "Client fleet closed its connection" in broker.log(), broker.log)
    await broker.publish("fleet/set/x", "old")

    after = start(broker.port)

    assert (await after.received("old")).stale is True
    assert before.messages == []


async def test_message_sent_while_disconnected_is_lost_with_mqtt_311(broker: Broker, start: Start) -> None:
    before = start(broker.port, protocol="3.1.1")
    await before.connected()
    await before.stop()
    await wait_until(lambda: "Client fleet closed its connection" in broker.log(), broker.log)
    await broker.publish("fleet/set/x", "old")

    after = start(broker.port, protocol="3.1.1")
    await after.connected()
    await broker.publish("fleet/set/x", "new")
    await after.received("new")

    assert len(after.messages) == 1
