"""Messages that the broker refuses, loses, or closes the connection over, are published in the end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fleet2mqtt.contract.payloads import Reply
from tests.mqtt.fake_broker import PUBACK, PUBLISH, FakeBroker, Peer
from tests.publishing.harness import TOPICS, Parts, open_parts
from tests.sample_alarms import alarm
from tests.sample_devices import device, update
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.conftest import StartBroker
    from tests.loop_time import LoopTime

IDS = [f"hq_{n}" for n in range(8)]
EVENT = TOPICS.alarm_event("critical", "hq_voip_1")
EXPECTED = {
    EVENT,
    "fleet2mqtt/bridge/info",
    "fleet2mqtt/device/hq_0/result",
    *(TOPICS.discovery(id_) for id_ in IDS),
    *(TOPICS.device(id_, name) for id_ in IDS for name in ("availability", "state", "attributes")),
}


class RecordingBroker:
    """Records the topics that it acknowledges; `refuse` decides about each message."""

    def __init__(self, refuse: Callable[[Peer, str], str | None]) -> None:
        self.refuse = refuse
        self.published: set[str] = set()

    async def talk(self, peer: Peer) -> None:
        await peer.greet()
        while (packet := await peer.receive()).kind == PUBLISH:
            verdict = self.refuse(peer, packet.topic)
            if verdict == "close":
                return
            if verdict == "quota":
                await peer.send(PUBACK, packet.mid + b"\x97")
            elif verdict is None:
                self.published.add(packet.topic)
                await peer.acknowledge(packet)


async def publish_everything(parts: Parts) -> None:
    """Let everything happen that is published: discovery, states, a retained message, a result, an alarm event."""
    parts.publisher.set_retained("fleet2mqtt/bridge/info", b"{}")
    devices = [device(id_, attributes={"signal": {"raw": 1}}) for id_ in IDS]
    await parts.hub.accept(update(*devices, alarms=(alarm(1),)))
    parts.publisher.publish_reply(Reply(topic="fleet2mqtt/device/hq_0/result", payload=b"{}", device="hq_0"))


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


async def test_messages_refused_for_a_quota_are_published_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """PUBACK 0x97 for all that is sent at first (faults.md 2.7)."""
    refused: set[str] = set()

    def refuse(_: Peer, topic: str) -> str | None:
        if topic in refused:
            return None
        refused.add(topic)
        return "quota"

    recording = RecordingBroker(refuse)
    async with FakeBroker(recording.talk) as broker, open_parts(broker.port, tmp_path) as parts:
        await publish_everything(parts)
        await wait_until(
            lambda: recording.published >= EXPECTED, lambda: f"{EXPECTED - recording.published} to be published"
        )
        await wait_until(lambda: not parts.outbox.depth and parts.publisher.idle, "acknowledgements")

    assert refused == recording.published == EXPECTED
    assert len(broker.connects) == 1
    assert len(lines(caplog, "the broker refuses messages (quota exceeded)")) == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_messages_refused_by_access_rules_are_published_after_their_repair(
    tmp_path: Path, start_broker: StartBroker
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite fleet2mqtt/bridge/#\n")
    broker = await start_broker(extra=f"acl_file {rules}")
    async with broker.record("#") as seen, open_parts(broker.port, tmp_path) as parts:
        await publish_everything(parts)
        await wait_until(lambda: parts.publisher.dropped["refused_not_authorized"] >= 20, "refusals")
        rules.write_text("topic readwrite #\n")
        broker.reload()

        async def published() -> bool:
            retained = {topic for topic in await broker.retained() if not topic.startswith("$")}
            topics = retained | {message.topic for message in seen.messages}
            return topics >= EXPECTED and not parts.outbox.depth

        await wait_for_answer(published, "everything to be published")
        assert parts.mqtt.reconnects == 0


async def test_acknowledged_alarms_are_recorded_while_one_before_them_is_not(tmp_path: Path) -> None:
    """The first of them is swallowed, so that nothing but the others' acknowledgements tells of those."""
    seen: list[str] = []

    def swallow_first(_: Peer, topic: str) -> str | None:
        if topic != EVENT:
            return None
        seen.append(topic)
        return "swallow" if len(seen) == 1 else None

    recording = RecordingBroker(swallow_first)
    async with FakeBroker(recording.talk) as broker, open_parts(broker.port, tmp_path) as parts:
        await parts.hub.accept(update(alarms=(alarm(1),)))
        await wait_until(lambda: seen, "the first alarm to be swallowed")
        for number in range(2, 5):
            await parts.hub.accept(update(alarms=(alarm(number),)))
            await wait_until(lambda: parts.outbox.depth == 1, "the others to be recorded as published")


async def test_swallowed_messages_are_published_on_a_new_connection(tmp_path: Path, loop_time: LoopTime) -> None:
    """A broker that swallows every third message, and answers pings (faults.md 2.6)."""
    counts: list[str] = []
    swallowed: list[str] = []

    def swallow(_: Peer, topic: str) -> str | None:
        counts.append(topic)
        if len(broker.connects) > 1 or len(counts) % 3:
            return None
        swallowed.append(topic)
        return "swallow"

    recording = RecordingBroker(swallow)
    async with (
        FakeBroker(recording.talk) as broker,
        open_parts(broker.port, tmp_path, ack_warning=PATIENCE, ack_timeout=2 * PATIENCE) as parts,
    ):
        await publish_everything(parts)
        await wait_until(lambda: swallowed, "a message to be swallowed")
        loop_time.advance(PATIENCE)
        await wait_until(lambda: not parts.mqtt.acknowledging, "the client to notice")
        loop_time.advance(PATIENCE)
        await wait_until(
            lambda: recording.published >= EXPECTED, lambda: f"{EXPECTED - recording.published} to be published"
        )
        await wait_until(lambda: not parts.outbox.depth, "acknowledgements")
        loop_time.advance(PATIENCE)
        await wait_until(lambda: parts.mqtt.acknowledging, "the client to notice that all is well")


async def test_topics_over_which_the_broker_closes_are_published_after_the_repair(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker that closes the connection over a forbidden discovery topic (faults.md 2.8)."""
    repaired: list[bool] = []

    def close(_: Peer, topic: str) -> str | None:
        return "close" if topic.startswith("homeassistant/") and not repaired else None

    recording = RecordingBroker(close)
    discovery = {topic for topic in EXPECTED if topic.startswith("homeassistant/")}
    async with (
        FakeBroker(recording.talk) as broker,
        open_parts(broker.port, tmp_path, withhold_first=3.0, withhold_longest=3.0) as parts,
    ):
        await publish_everything(parts)
        await wait_until(
            lambda: recording.published >= EXPECTED - discovery,
            lambda: f"{EXPECTED - discovery - recording.published} to be published",
        )
        repaired.append(True)
        await wait_until(
            lambda: recording.published >= EXPECTED, lambda: f"{EXPECTED - recording.published} to be published"
        )
        await wait_until(lambda: not parts.outbox.depth, "acknowledgements")

    assert lines(caplog, "does an access rule forbid it?; everything on homeassistant/# is withheld for 3 s")
