"""Connecting: protocol negotiation, and the log messages of failures."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Never

import pytest

from fleet2mqtt.errors import Disconnected
from fleet2mqtt.mqtt import MqttClient, Settings, connection
from tests.broker import HOST, Broker, free_port
from tests.mqtt.fake_broker import SUBSCRIBE, FakeBroker, Packet, Peer, read_packet
from tests.mqtt.subject import COMMANDS, STATE
from tests.mqtt.subject import start as start_subject
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fleet2mqtt.mqtt import Message
    from tests.conftest import StartBroker
    from tests.loop_time import LoopTime
    from tests.mqtt.conftest import Start

UNSUPPORTED_V311 = b"\x20\x02\x00\x01"
UNSUPPORTED_V5 = b"\x20\x03\x00\x84\x00"
NO_SUBSCRIPTION_IDENTIFIERS = b"\x29\x00"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(("protocol", "spoken"), [("auto", "5"), ("5", "5"), ("3.1.1", "3.1.1")])
async def test_connection_speaks_the_configured_protocol(
    broker: Broker, start: Start, protocol: str, spoken: str
) -> None:
    subject = start(broker.port, protocol=protocol)
    assert (subject.mqtt.protocol, subject.mqtt.connected) == (None, False)

    await subject.connected()
    await broker.publish("fleet/set/x", "1")

    assert (await subject.received("1")).topic == "fleet/set/x"
    assert subject.mqtt.protocol == spoken
    assert subject.mqtt.reconnects == 0


@pytest.mark.parametrize("refusal", [UNSUPPORTED_V311, UNSUPPORTED_V5])
async def test_unsupported_protocol_version_falls_back_and_stays(start: Start, refusal: bytes) -> None:
    async def talk(peer: Peer) -> None:
        if peer.connect.version == 5:
            peer.writer.write(refusal)
            return
        await peer.greet()
        await peer.receive()  # the first message that is published breaks the connection

    async with FakeBroker(talk) as broker:
        subject = start(broker.port)
        await subject.connected()
        assert subject.mqtt.protocol == "3.1.1"
        await subject.mqtt.submit("a", b"")
        await subject.connected(2)

    assert [connect.version for connect in broker.connects] == [5, 4, 4]


async def test_connect_closed_without_connack_tries_the_other_version(start: Start) -> None:
    async def talk(peer: Peer) -> None:
        if len(broker.connects) > 4:
            await peer.greet()
            await peer.serve()

    async with FakeBroker(talk) as broker:
        subject = start(broker.port)
        await subject.connected()

        assert [connect.version for connect in broker.connects] == [5, 5, 4, 4, 5]
        assert subject.mqtt.last_error == "the broker closed the connection in place of an answer"


async def test_connect_without_an_answer_falls_back_at_once(
    start: Start, loop_time: LoopTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that ignores a CONNECT of MQTT 5; at the next connection MQTT 5 is tried again (faults.md 5.2)."""

    async def talk(peer: Peer) -> None:
        if peer.connect.version == 5:
            loop_time.advance(PATIENCE)
            await peer.reader.read()
            return
        await peer.greet()
        await peer.receive()  # the first message that is published breaks the connection

    monkeypatch.setattr(connection, "_CONNACK_TIMEOUT", PATIENCE)  # 3.1.1 has all the time that it needs
    async with FakeBroker(talk) as broker:
        subject = start(broker.port)
        await subject.connected()
        assert [connect.version for connect in broker.connects] == [5, 4]
        assert subject.mqtt.last_error == "no answer to CONNECT within 3 s"
        await subject.mqtt.submit("a", b"")
        await subject.connected(2)

    assert [connect.version for connect in broker.connects] == [5, 4, 5, 4]


async def test_probe_of_a_silent_broker_ends() -> None:
    async def talk(peer: Peer) -> None:
        await peer.reader.read()

    async with FakeBroker(talk) as broker:
        mqtt = MqttClient(Settings(host=HOST, port=broker.port, client_id="probe", will_topic=STATE), [])
        with pytest.raises(Disconnected, match="no answer to CONNECT"):
            await mqtt.probe()

    assert [connect.version for connect in broker.connects] == [5, 4, 5]


async def test_configured_version_is_never_changed(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(peer: Peer) -> None:
        peer.writer.write(UNSUPPORTED_V5)

    async with FakeBroker(talk) as broker:
        start(broker.port, protocol="5")
        await wait_until(lambda: len(broker.connects) > 3, "attempts")

    assert {connect.version for connect in broker.connects} == {5}
    [warning] = warnings(caplog)
    assert "unsupported protocol version; set mqtt.protocol" in warning


async def test_broker_without_subscription_identifiers_gets_a_clean_start(start: Start) -> None:
    subscribes: list[Packet] = []

    async def talk(peer: Peer) -> None:
        await peer.greet(properties=NO_SUBSCRIPTION_IDENTIFIERS)
        packet = await read_packet(peer.reader)
        assert packet.kind == SUBSCRIBE
        subscribes.append(packet)
        await peer.send(9, packet.mid + b"\0\1")
        await peer.receive()

    async with FakeBroker(talk) as broker:
        subject = start(broker.port)
        await subject.connected()
        await subject.mqtt.submit("a", b"")
        await subject.connected(2)

    assert [connect.clean for connect in broker.connects] == [False, True, True]
    assert [packet.body[2] for packet in subscribes] == [0, 0]  # the length of the properties
    assert subject.mqtt.reconnects == 1


async def test_wrong_password_is_logged_once(
    start_broker: StartBroker, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await start_broker(users={"fleet": "right"})
    subject = start(broker.port, username="fleet", password="wrong")

    await wait_until(lambda: broker.log().count("as fleet") > 3 or broker.log().count("not authorised") > 3, broker.log)

    [warning] = warnings(caplog)
    assert f"no connection to {HOST}:{broker.port}: the broker refuses us: not authorized" in warning
    assert "check mqtt.username, mqtt.password" in warning
    assert "wrong" not in warning
    assert not subject.mqtt.connected
    assert subject.downs == []


async def test_right_password_connects(start_broker: StartBroker, start: Start) -> None:
    broker = await start_broker(users={"fleet": "right"})
    await start(broker.port, username="fleet", password="right").connected()


async def test_refused_subscription_is_logged_and_tried_again(
    start_broker: StartBroker, start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic read $SYS/#\ntopic write {STATE}\n")
    broker = await start_broker(extra=f"acl_file {rules}")
    subject = start(broker.port)
    await subject.connected()
    caplog.set_level(logging.INFO)

    # mosquitto grants every subscription and delivers nothing; others refuse.
    async def talk(peer: Peer) -> None:
        await peer.greet()
        packet = await read_packet(peer.reader)
        await peer.send(9, packet.mid + b"\0\x87")
        granted = await read_packet(peer.reader)
        await peer.send(9, granted.mid + b"\0\1")
        await peer.serve()

    async with FakeBroker(talk) as strict:
        await start(strict.port, resubscribe_first=0.1).connected()
        await wait_until(lambda: f"grants subscriptions now: {COMMANDS}" in caplog.text, lambda: caplog.text)

    [warning] = warnings(caplog)
    assert f"{COMMANDS} (not authorized)" in warning


async def test_repeated_session_takeover_without_reason_names_the_client_id(
    broker: Broker, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = start(broker.port), start(broker.port)
    await wait_until(lambda: len(first.downs + second.downs) > 6, "them to throw each other out")

    assert "closed the connection, again: does another client use the client id 'fleet'?" in warnings(caplog)[-1]


async def test_session_takeover_with_reason_names_the_client_id_at_once(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(peer: Peer) -> None:
        await peer.greet()
        if len(broker.connects) == 1:
            await peer.receive()
            await peer.send(14, b"\x8e\0")
        await peer.serve()

    async with FakeBroker(talk) as broker:
        subject = start(broker.port)
        await subject.connected()
        await subject.mqtt.submit("a", b"")
        await subject.connected(2)

    [warning] = warnings(caplog)
    assert "another client uses the client id 'fleet'; give each its own mqtt.client_id" in warning


async def test_broker_that_starts_later_is_connected_to(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    subject = start(port)
    await wait_until(lambda: "Connection refused" in (subject.mqtt.last_error or ""), "a first attempt")

    async with Broker(directory=tmp_path, port=port):
        await subject.connected()

    assert "Connection refused; trying again in" in warnings(caplog)[0]


async def test_exception_of_on_message_ends_run(broker: Broker, start: Start) -> None:
    def fail(message: Message) -> None:
        raise LookupError(message.topic)

    subject = start(broker.port, on_message=fail)
    await subject.connected()
    await broker.publish("fleet/set/x", "1")

    with pytest.raises(LookupError, match="fleet/set/x"):
        async with asyncio.timeout(PATIENCE):
            await subject.task
    assert not subject.mqtt.connected


async def test_exception_of_on_connected_ends_run(broker: Broker, start: Start) -> None:
    def fail() -> Never:
        raise LookupError("x")

    with pytest.raises(LookupError, match="x"):
        async with asyncio.timeout(PATIENCE):
            await start(broker.port, on_connected=fail).task


async def test_silent_broker_does_not_block_the_end(start: Start) -> None:
    async def talk(peer: Peer) -> None:
        await peer.reader.read()

    async with FakeBroker(talk) as broker:
        subject = start(broker.port)
        await wait_until(lambda: broker.connects, "CONNECT")
        async with asyncio.timeout(PATIENCE):
            await subject.stop()


@contextmanager
def black_hole() -> Iterator[socket.socket]:
    """A port that neither takes nor refuses connections, until the one that fills its queue is accepted."""
    with socket.create_server((HOST, 0), backlog=0) as listener, socket.create_connection(listener.getsockname()):
        yield listener


def dialling() -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == "mqtt-connect"), None)


def accept_what_comes_late(listener: socket.socket) -> bytes:
    """Accept a connection and close it, then another one; return the first bytes of that one."""
    listener.settimeout(PATIENCE)
    listener.accept()[0].close()
    with listener.accept()[0] as late:
        late.settimeout(PATIENCE)
        return late.recv(100)


async def test_unanswered_tcp_connect_does_not_block_the_loop(start: Start) -> None:
    with black_hole() as listener:
        subject = start(listener.getsockname()[1])
        thread = await wait_until(dialling, "the thread that connects")
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert thread.is_alive()  # and yet we are here

        async with asyncio.timeout(PATIENCE):
            await subject.stop()
        assert thread.is_alive()
        assert await asyncio.to_thread(accept_what_comes_late, listener) == b""
        await asyncio.to_thread(thread.join, PATIENCE)


def test_unanswered_tcp_connect_does_not_block_the_end_of_the_process() -> None:
    async def connect_and_give_up(port: int) -> threading.Thread:
        subject = start_subject(port)
        thread = await wait_until(dialling, "the thread that connects")
        await subject.stop()
        return thread

    with black_hole() as listener:
        thread = asyncio.run(connect_and_give_up(listener.getsockname()[1]))
        assert thread.daemon
        assert accept_what_comes_late(listener) == b""
        thread.join(PATIENCE)
        assert not thread.is_alive()
