"""The end of connections by restart, crash, silence or close: reconnecting, and the will."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import LeaseLost
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.mqtt.takeover import try_takeover
from tests.broker import HOST
from tests.mqtt.fake_broker import FakeBroker
from tests.mqtt.proxy import Proxy
from tests.mqtt.subject import STATE
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broker import Broker
    from tests.loop_time import LoopTime
    from tests.mqtt.conftest import Start
    from tests.mqtt.fake_broker import Peer
    from tests.mqtt.subject import Subject
    from tests.recording import Message

VERSIONS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
PROCESS = """
import asyncio, sys
from fleet2mqtt.mqtt import MqttClient, Settings

settings = Settings(host=sys.argv[1], port=int(sys.argv[2]), client_id="process", will_topic="process", will_delay=0)
mqtt = MqttClient(settings, [])
asyncio.run(mqtt.run(print, lambda: print("connected", flush=True), print))
"""


def says(text: bytes, topic: str = STATE) -> Callable[[Message], bool]:
    return lambda message: (message.topic, message.payload) == (topic, text)


async def online(subject: Subject) -> None:
    await subject.mqtt.publish(STATE, b"online", retain=True)


@VERSIONS
@pytest.mark.parametrize("crash", [False, True])
async def test_broker_restart_reconnects(broker: Broker, start: Start, protocol: str, crash: bool) -> None:
    subject = start(broker.port, protocol=protocol)
    await subject.connected()

    await (broker.kill() if crash else broker.stop())
    await wait_until(lambda: subject.downs, "the connection to be gone")
    assert not subject.mqtt.connected
    assert subject.mqtt.protocol is None
    await broker.start()
    await subject.connected(2)
    await broker.publish("fleet/set/x", "1")

    await subject.received("1")
    assert (subject.ups, len(subject.downs), subject.mqtt.reconnects) == (2, 1, 1)


@VERSIONS
async def test_silent_connection_ends_by_keepalive(broker: Broker, start: Start, protocol: str) -> None:
    async with Proxy(broker.port) as proxy, broker.record(STATE) as seen:
        subject = start(proxy.port, protocol=protocol, keepalive=1)
        await subject.connected()
        await online(subject)

        proxy.swallowing = True
        unacknowledged = await subject.mqtt.submit("a", b"")
        await wait_until(lambda: subject.downs, "the silence to be noticed")
        proxy.swallowing = False
        await subject.connected(2)
        await online(subject)

        assert subject.downs == ["the broker does not answer any more"]
        assert unacknowledged.exception() is not None
        # There is one connection to a client id, so the will of the old one has come, or never will.
        await broker.publish(STATE, "end")
        await seen.wait(says(b"end"))
        assert seen.messages[-2].payload == b"online"


async def test_idle_connection_stays_connected(broker: Broker, start: Start, loop_time: LoopTime) -> None:
    subject = start(broker.port, keepalive=60)
    await subject.connected()
    for pings in (1, 2):
        loop_time.advance(60)
        await wait_until(partial(_has_pings, broker, pings), broker.log)
    assert subject.ups == 1


async def test_killed_process_leaves_the_will(broker: Broker) -> None:
    async with broker.record("process") as seen:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, HOST, str(broker.port), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"connected\n"
        process.kill()
        await process.wait()
        await seen.wait(says(b"offline", "process"))

    assert (await broker.retained("process"))["process"].payload == b"offline"


async def test_short_interruption_publishes_no_will(broker: Broker, start: Start) -> None:
    async with Proxy(broker.port) as proxy, broker.record("#") as seen:
        subject = start(proxy.port, will_delay=1)
        witness = start(proxy.port, will_delay=1, client_id="witness", will_topic="witness")
        await subject.connected()
        await witness.connected()
        await online(subject)
        proxy.drop()
        await witness.stop()
        await subject.connected(2)

        await seen.wait(says(b"offline", "witness"))  # as late as the subject's own will would have come
        assert [message.payload for message in seen.all(STATE)] == [b"online"]


async def test_short_interruption_with_mqtt_311_publishes_the_will(broker: Broker, start: Start) -> None:
    async with Proxy(broker.port) as proxy, broker.record(STATE) as seen:
        subject = start(proxy.port, protocol="3.1.1")
        await subject.connected()
        proxy.drop()
        await subject.connected(2)
        await seen.wait(says(b"offline"))


@VERSIONS
async def test_close_publishes_the_wills_payload_and_disconnects(broker: Broker, start: Start, protocol: str) -> None:
    async with broker.record(STATE) as seen:
        subject = start(broker.port, protocol=protocol, will_delay=0)
        await subject.connected()
        await online(subject)

        await subject.mqtt.close()
        await wait_until(lambda: "Client fleet disconnected." in broker.log(), broker.log)
        await wait_until(lambda: not subject.mqtt.connected, "run to notice")
        await broker.publish(STATE, "end")
        await seen.wait(says(b"end"))

    assert [message.payload for message in seen.messages] == [b"online", b"offline", b"end"]
    assert not subject.task.done()
    assert subject.ups == 1


async def test_close_without_acknowledgement_leaves_it_to_the_will(broker: Broker, start: Start) -> None:
    async with Proxy(broker.port) as proxy, broker.record(STATE) as seen:
        subject = start(proxy.port, will_delay=0)
        await subject.connected()
        proxy.swallowing = True

        async with asyncio.timeout(PATIENCE):
            await subject.mqtt.close()
        proxy.drop()

        await seen.wait(says(b"offline"))


async def test_close_while_connecting_ends_the_connection(start: Start) -> None:
    answer, gone = asyncio.Event(), asyncio.Event()

    async def talk(peer: Peer) -> None:
        await answer.wait()
        await peer.greet()
        try:
            await peer.serve()
        finally:
            gone.set()

    async with FakeBroker(talk) as broker:
        subject = start(broker.port)
        await wait_until(lambda: broker.connects, "CONNECT")
        await subject.mqtt.close()
        answer.set()
        async with asyncio.timeout(PATIENCE):
            await gone.wait()

    assert (subject.ups, subject.downs, subject.task.done()) == (0, [], False)


def _has_pings(broker: Broker, count: int) -> bool:
    return broker.log().count("Sending PINGRESP to fleet") >= count


async def test_message_that_is_not_acknowledged_comes_again_after_the_connection(broker: Broker, start: Start) -> None:
    subject = start(broker.port, acknowledge_manually=True, will_delay=60)
    await subject.connected()
    for text in ("kept", "left"):
        await broker.publish("fleet/set/x", text)
    (await subject.received("kept")).acknowledge()
    first = await subject.received("left")
    assert not first.duplicate
    await subject.stop()
    again = start(broker.port, acknowledge_manually=True, will_delay=60)
    second = await again.received("left")
    assert (second.duplicate, second.packet_id, second.stale) == (True, first.packet_id, True)
    assert [message.payload for message in again.messages] == [b"left"]


async def test_client_connects_only_when_it_may(broker: Broker) -> None:
    allowed, asked, connected = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def may_connect() -> None:
        asked.set()
        await allowed.wait()

    settings = Settings(host=HOST, port=broker.port, client_id="leased", will_topic=STATE)
    mqtt = MqttClient(settings, [], may_connect)
    running = asyncio.create_task(mqtt.run(lambda _: None, connected.set, lambda _: None))
    await asked.wait()
    assert not connected.is_set()
    allowed.set()
    await connected.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_client_ends_with_what_forbids_a_connection(broker: Broker) -> None:
    async def may_connect() -> None:
        raise LeaseLost("another node has the lease")

    settings = Settings(host=HOST, port=broker.port, client_id="leased", will_topic=STATE)
    with pytest.raises(LeaseLost):
        await MqttClient(settings, [], may_connect).run(lambda _: None, lambda: None, lambda _: None)


async def test_takeover_is_found_at_a_broker_that_has_it(broker: Broker) -> None:
    settings = Settings(host=HOST, port=broker.port, client_id="unused", will_topic=STATE)
    assert await try_takeover(settings) is None
    old = await try_takeover(replace(settings, protocol="3.1.1"))
    assert old is not None
    assert "MQTT 3.1.1" in old
