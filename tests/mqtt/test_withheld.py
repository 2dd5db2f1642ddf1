"""Messages over which the broker closes the connection (faults.md 2.8)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import Disconnected, MqttError, Refused
from fleet2mqtt.mqtt.withheld import WithheldMessages
from tests.mqtt.fake_broker import DISCONNECT, PUBLISH, FakeBroker, Peer
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.mqtt.conftest import Start
    from tests.mqtt.subject import Subject

ALLOWED = [f"fleet/{n}" for n in range(20)]
FORBIDDEN = [f"discovery/{n}" for n in range(5)]


class StrictBroker:
    """Closes the connection over a topic for which `forbids` is true, as RabbitMQ does; `code` is sent before."""

    def __init__(self, forbids: Callable[[str], bool], code: int | None = None) -> None:
        self.forbids = forbids
        self.code = code
        self.published: set[str] = set()

    async def talk(self, peer: Peer) -> None:
        await peer.greet()
        while (packet := await peer.receive()).kind == PUBLISH:
            if self.forbids(packet.topic):
                if self.code is not None:
                    await peer.send(DISCONNECT, bytes([self.code, 0]))
                return
            self.published.add(packet.topic)
            if packet.flags & 2:
                await peer.acknowledge(packet)


async def publish_all(subject: Subject, topics: list[str], size: int = 10, qos: int = 1) -> list[str]:
    """Publish on each topic at once, as an announcement does; return the topics that are refused."""
    futures, refused = [], []
    try:
        for topic in topics:
            try:
                futures.append(await subject.mqtt.submit(topic, bytes(size), qos=qos))
            except Refused as error:
                if error.temporary and error.retry_after:
                    refused.append(topic)
        await asyncio.gather(*futures)
    except Disconnected:
        await asyncio.gather(*futures, return_exceptions=True)
    return refused


async def announce_until(subject: Subject, refused: set[str], topics: list[str]) -> None:
    """Announce, again on each new connection, until exactly these topics are refused."""

    async def announce() -> bool:
        await subject.connected()
        found = await publish_all(subject, topics)
        return subject.mqtt.connected and set(found) == refused

    await wait_for_answer(announce, f"the refusal of {refused}")


@pytest.mark.parametrize("code", [None, 0x87])
async def test_topics_over_which_the_broker_closes_are_withheld_until_allowed(
    start: Start, caplog: pytest.LogCaptureFixture, code: int | None
) -> None:
    strict = StrictBroker(lambda topic: topic in FORBIDDEN, code)
    async with FakeBroker(strict.talk) as broker:
        subject = start(broker.port, withhold_first=3.0, withhold_longest=3.0)
        await announce_until(subject, set(FORBIDDEN), ALLOWED + FORBIDDEN)
        assert strict.published == set(ALLOWED)
        assert "the broker closes the connection over 10 bytes on discovery/" in caplog.text
        assert "an access rule" in caplog.text
        assert "everything on discovery/# is withheld for 3 s" in caplog.text
        assert ("not authorized" in caplog.text.lower()) is (code is not None)

        strict.forbids = lambda _: False
        await announce_until(subject, set(), FORBIDDEN)
        assert strict.published == {*ALLOWED, *FORBIDDEN}


async def test_qos_0_message_over_which_the_broker_closes_is_found(start: Start) -> None:
    strict = StrictBroker(lambda topic: topic == "fleet/log")
    async with FakeBroker(strict.talk) as broker:
        subject = start(broker.port)
        for attempt in range(1, 10):
            await subject.connected(attempt)
            try:
                await subject.mqtt.publish("fleet/state", b"")
                await subject.mqtt.publish("fleet/log", b"", qos=0)
                await subject.mqtt.publish("fleet/other", b"")
            except Refused:
                break
            except MqttError:
                continue
        with pytest.raises(Refused, match="fleet/log: 0 bytes are withheld"):
            await subject.mqtt.publish("fleet/log", b"", qos=0)


def withheld() -> WithheldMessages:
    return WithheldMessages(first=60.0, longest=200.0)


def closed(tested: WithheldMessages, *inflight: tuple[str, int], code: int = 0, now: float = 0.0) -> str | None:
    return tested.on_closed(inflight, code, "the broker says: so", now)


def is_withheld(tested: WithheldMessages, topic: str, size: int = 10, now: float = 0.0) -> bool:
    try:
        tested.check(topic, size, now)
    except Refused:
        return True
    return False


def test_message_is_withheld_after_two_closings_alone() -> None:
    tested = withheld()
    assert closed(tested, ("a/1", 10), ("a/2", 10)) is None
    assert tested.is_suspect("a/1", 10)
    assert closed(tested, ("a/1", 10)) is None
    text = closed(tested, ("a/1", 10))
    assert text is not None
    assert "10 bytes on a/1: does an access rule forbid it?; it is withheld for 60 s" in text
    assert is_withheld(tested, "a/1")
    assert not is_withheld(tested, "a/2")


def test_acknowledged_suspect_is_none_any_more() -> None:
    tested = withheld()
    closed(tested, ("a/1", 10))
    closed(tested, ("a/1", 10))
    tested.on_acknowledged("a/1", 10)
    assert not tested.is_suspect("a/1", 10)
    assert closed(tested, ("a/1", 10)) is None


def test_withholding_expires_and_doubles_up_to_its_bound() -> None:
    tested, now = withheld(), 0.0
    for _ in range(3):
        closed(tested, ("a/1", 10), now=now)
    for seconds in (60, 120, 200, 200):
        assert is_withheld(tested, "a/1", now=now + seconds - 1)
        now += seconds
        assert not is_withheld(tested, "a/1", now=now)
        assert tested.is_suspect("a/1", 10)
        assert closed(tested, ("a/1", 10), now=now) is not None
    tested.on_acknowledged("a/1", 10)
    assert not is_withheld(tested, "a/1", now=now)


def test_large_message_withholds_its_size_until_a_larger_one_is_acknowledged() -> None:
    tested = withheld()
    closed(tested, ("a/1", 20_000))
    text = closed(tested, ("a/1", 20_000))
    assert text is not None
    assert "it is too large, or an access rule forbids it; 20000 bytes and more are withheld for 60 s" in text
    assert is_withheld(tested, "b/1", 20_000)
    assert not is_withheld(tested, "b/1", 19_999)
    tested.on_acknowledged("b/1", 25_000)
    assert not is_withheld(tested, "b/2", 30_000)
    assert is_withheld(tested, "a/1", 5)
    # As large as what was acknowledged: it is not the size.
    assert "does an access rule forbid it?" in (closed(tested, ("a/1", 20_000), now=60.0) or "")


@pytest.mark.parametrize("code", [0x88, 0x89, 0x8B, 0x8E, 0x93, 0x96, 0x97, 0x98, 0x9C])
def test_closing_for_another_reason_makes_no_suspects(code: int) -> None:
    tested = withheld()
    for _ in range(5):
        assert closed(tested, ("a/1", 10), code=code) is None
    assert not tested.has_suspects


def test_level_with_an_acknowledged_topic_is_not_withheld() -> None:
    tested = withheld()
    closed(tested, ("a/0", 10), ("a/1", 10))
    tested.on_acknowledged("a/0", 10)
    for topic in ("a/1", "a/2"):
        text = closed(tested, (topic, 10), code=0x87)
        assert text is not None
        assert "(the broker says: so)" in text
        assert "a/#" not in text
    assert not is_withheld(tested, "a/3")


def test_suspects_of_a_stable_connection_are_forgotten() -> None:
    tested = withheld()
    closed(tested, ("a/1", 10))
    closed(tested, ("a/1", 10))
    tested.on_stable()
    assert closed(tested, ("a/1", 10)) is None
