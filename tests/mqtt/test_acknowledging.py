"""Brokers that do not acknowledge messages, or refuse them for now."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import Disconnected, Refused
from tests.mqtt.fake_broker import PUBACK, PUBLISH, FakeBroker, Packet, Peer
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from tests.loop_time import LoopTime
    from tests.mqtt.conftest import Start


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_message_without_puback_is_logged_and_ends_the_connection(
    start: Start, caplog: pytest.LogCaptureFixture, loop_time: LoopTime
) -> None:
    """A broker that swallows messages and answers pings (faults.md 2.6)."""
    caplog.set_level(logging.INFO)
    swallowed: list[Packet] = []

    async def talk(peer: Peer) -> None:
        await peer.greet()
        if len(broker.connects) == 1:
            while True:
                packet = await peer.receive()
                if packet.topic == "swallowed":
                    swallowed.append(packet)
                else:
                    await peer.acknowledge(packet)
        await peer.serve()

    async with FakeBroker(talk) as broker:
        subject = start(broker.port, ack_warning=PATIENCE, ack_timeout=2 * PATIENCE)
        await subject.connected()
        future = await subject.mqtt.submit("swallowed", b"")
        await subject.mqtt.publish("other", b"")
        await wait_until(lambda: swallowed, "the message that is swallowed")
        loop_time.advance(PATIENCE)
        await wait_until(lambda: not subject.mqtt.acknowledging, "the client to notice")
        assert (subject.mqtt.oldest_unacknowledged_age or 0) >= PATIENCE
        loop_time.advance(PATIENCE)
        with pytest.raises(Disconnected, match="no PUBACK for a message on swallowed for"):
            await future
        await subject.connected(2)
        await subject.mqtt.publish("swallowed", b"")
        assert subject.mqtt.oldest_unacknowledged_age is None
        loop_time.advance(PATIENCE)
        await wait_until(lambda: subject.mqtt.acknowledging, "the client to notice that all is well")

    assert len(swallowed) == 1
    first, second = warnings(caplog)
    assert first.startswith("the broker has not acknowledged a message on swallowed for")
    assert "no PUBACK for a message on swallowed" in second
    assert "the broker acknowledges messages again" in caplog.text


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0x80, "refused_unspecified_error"),
        (0x83, "refused_implementation_specific_error"),
        (0x87, "refused_not_authorized"),
        (0x90, "refused_topic_name_invalid"),
        (0x91, "refused_packet_identifier_in_use"),
        (0x97, "refused_quota_exceeded"),
        (0x99, "refused_payload_format_invalid"),
    ],
)
async def test_puback_with_a_failure_is_a_temporary_refusal(start: Start, code: int, reason: str) -> None:
    async def talk(peer: Peer) -> None:
        await peer.greet()
        while (packet := await peer.receive()).kind == PUBLISH:
            await peer.send(PUBACK, packet.mid + bytes([code]))

    async with FakeBroker(talk) as broker:
        subject = start(broker.port)
        await subject.connected()
        with pytest.raises(Refused) as caught:
            await subject.mqtt.publish("a", b"")

    assert (caught.value.reason, caught.value.temporary) == (reason, True)


async def test_refused_messages_are_one_log_line_per_reason(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(peer: Peer) -> None:
        await peer.greet()
        while (packet := await peer.receive()).kind == PUBLISH:
            await peer.send(PUBACK, packet.mid + (b"\x97" if packet.topic < "b" else b"\x87"))

    async with FakeBroker(talk) as broker:
        subject = start(broker.port)
        await subject.connected()
        futures = [await subject.mqtt.submit(f"{level}/{n}", b"") for n in range(50) for level in "ab"]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(each) for each in outcomes} == {Refused}
        await wait_until(lambda: len(warnings(caplog)) >= 2, lambda: caplog.text)

    quota, rules = sorted(warnings(caplog), reverse=True)
    assert quota == "the broker refuses messages (quota exceeded): 50 so far, the last on a/49; they are sent again"
    assert rules.startswith("the broker refuses messages (not authorized): 50 so far, the last on b/49")
