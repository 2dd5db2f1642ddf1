"""The monitor of the base topic: another bridge at the start, and later (faults.md 3.12)."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.mqtt import Message
from fleet2mqtt.ops.base_topic import BaseTopicMonitor
from tests.waiting import PATIENCE, wait_until

TOPICS = Topics("fleet2mqtt", "homeassistant")
INFO, STATE = TOPICS.bridge("info"), TOPICS.state


class Monitor:
    """A monitor and the number of times that it published `bridge/info` again."""

    def __init__(self, **options: Any) -> None:
        self.republished = 0
        values: dict[str, Any] = {"will_delay": 0.0, "take_over": False, "conflict_timeout": PATIENCE}
        self.tested = BaseTopicMonitor(TOPICS, "own", republish_info=self._republish, **(values | options))

    def receive(self, topic: str, payload: str | bytes) -> None:
        data = payload if isinstance(payload, bytes) else payload.encode()
        self.tested.on_message(Message(topic=topic, payload=data, retain=True, qos=1))

    def other(self) -> None:
        self.receive(INFO, json.dumps({"id": "other"}))

    async def claim(self) -> None:
        self.tested.on_connected()
        async with asyncio.timeout(PATIENCE):
            await self.tested.claim()

    def _republish(self) -> None:
        self.republished += 1


async def test_base_topic_without_retained_messages_is_claimed() -> None:
    monitor = Monitor()
    await monitor.claim()
    assert monitor.tested.claimed.is_set()
    assert monitor.tested.other is None


@pytest.mark.parametrize("info", ['{"id": "own"}', "no JSON", "[]", '{"id": 7}', ""])
async def test_base_topic_of_this_bridge_or_of_nobody_is_claimed(info: str) -> None:
    monitor = Monitor()
    monitor.receive(STATE, b"online")
    monitor.receive(INFO, info)
    await monitor.claim()


async def test_base_topic_of_a_bridge_that_is_offline_is_claimed() -> None:
    monitor = Monitor()
    monitor.other()
    monitor.receive(STATE, b"offline")
    await monitor.claim()


@pytest.mark.parametrize("state_first", [True, False])
async def test_base_topic_of_a_bridge_that_is_online_is_refused(state_first: bool) -> None:
    monitor = Monitor()
    if state_first:
        monitor.receive(STATE, b"online")
    monitor.other()
    if not state_first:
        monitor.receive(STATE, b"online")
    with pytest.raises(ConfigError, match=r"another bridge \(id other\) is online on fleet2mqtt.*mqtt\.take_over"):
        await monitor.claim()
    assert not monitor.tested.claimed.is_set()


async def test_bridge_that_goes_offline_meanwhile_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    monitor = Monitor(will_delay=PATIENCE)
    monitor.other()
    monitor.receive(STATE, b"online")
    claim = asyncio.create_task(monitor.claim())
    await wait_until(lambda: "is online on the base topic fleet2mqtt: waiting" in caplog.text, lambda: caplog.text)
    monitor.receive(STATE, b"offline")
    await claim


async def test_take_over_claims_the_base_topic_of_a_bridge_that_is_online(caplog: pytest.LogCaptureFixture) -> None:
    monitor = Monitor(take_over=True)
    monitor.other()
    monitor.receive(STATE, b"online")
    await monitor.claim()
    assert "mqtt.take_over: the base topic fleet2mqtt is taken over from another bridge (other)" in caplog.text
    monitor.other()
    assert monitor.tested.other == "other"
    assert monitor.tested.refusal() is None


async def test_bridge_seen_later_is_a_conflict_until_it_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    monitor = Monitor(conflict_timeout=0.5)
    await monitor.claim()
    assert monitor.tested.refusal() is None
    for _ in range(3):
        monitor.other()
    assert monitor.tested.other == "other"
    refusal = monitor.tested.refusal()
    assert refusal is not None
    assert (refusal.code, str(refusal)) == ("other_bridge", "another bridge (other) uses the base topic fleet2mqtt")
    assert monitor.republished == 1
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "commands are refused" in errors[0].getMessage()
    await wait_until(lambda: monitor.tested.other is None, "the end of the conflict")
    assert monitor.tested.refusal() is None
    assert monitor.republished == 2
    assert "the other bridge (other) on the base topic fleet2mqtt is gone" in caplog.text
