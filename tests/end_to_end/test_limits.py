"""Limits of the configuration and of the broker: a larger message is refused, named once, counted, and not retried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import CHANNEL, MAC, Site, config_topic, open_site
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, extra="max_packet_size 32000") as site:
        yield site


async def test_broker_with_small_packet_limit_gets_all_but_oversized(site: Site) -> None:
    for number in range(5):
        site.gateways.add_gateway(f"MORE{number}", f"more {number}")
    async with site.bridge() as bridge:
        await bridge.refresh()
        await bridge.seen.wait(lambda message: message.topic == config_topic(CHANNEL))
        answer = await bridge.ask("devices", limit=1000)
        assert (answer["status"], answer["error"]["code"]) == ("error", "too_large")
        assert (await bridge.ask("devices", limit=3))["status"] == "ok"
        health = (await bridge.ask("health"))["data"]["bridge"]
        assert health["dropped"]["too_large"] >= 1
        assert health["mqtt"]["reconnects"] == 0


async def test_payload_above_configured_size_is_logged_once(site: Site) -> None:
    async with site.bridge(mqtt={"max_payload": 1024}, branch=None) as bridge:
        for _ in range(2):
            await bridge.refresh()
            await site.broker.publish("homeassistant/status", "online")
        await wait_until(lambda: [line for line in bridge.warnings() if config_topic("hq_voip") in line], "a warning")
        lines = [line for line in bridge.warnings() if line.startswith(config_topic("hq_voip"))]
        assert len(lines) == 1
        assert "1024" in lines[0]


async def test_oversized_alarm_is_logged_and_stays_in_history(site: Site) -> None:
    site.ums.history.clear()
    async with site.bridge(mqtt={"max_payload": 1024}, branch=None) as bridge:
        await bridge.refresh()
        large = site.ums.raise_alarm(MAC, push=False, desc="x" * 2000)
        small = site.ums.raise_alarm(MAC, push=False)
        for alarm in (large, small):
            assert (await site.push(alarm))[0] == 200
        assert [event["id"] for event in await bridge.event_count(1)] == [f"hq_voip:{small['id']}"]
        await wait_until(lambda: [line for line in bridge.warnings() if large["id"] in line], "a word")
        assert [event["seq"] for event in bridge.events()] == [2]
    async with site.bridge(branch=None) as bridge:
        alarms = (await bridge.ask("alarms"))["data"]["alarms"]
        assert [alarm["id"] for alarm in alarms] == [f"hq_voip:{each['id']}" for each in (large, small)]
        assert bridge.events() == []
