"""A broker that takes 40 kB at once: what is larger is named once and counted, everything else is published."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import (
    CHANNEL,
    MAC,
    VOIP,
    RunningBridge,
    Site,
    config_topic,
    open_site,
    retained,
    state_topic,
)
from tests.broker import HOST
from tests.commandline import get
from tests.waiting import wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMIT = 40_000


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, extra=f"max_packet_size {LIMIT}") as site:
        yield site


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_device_config_above_packet_limit_leaves_others_unaffected(narrow: Site, protocol: str) -> None:
    """With MQTT 5 the broker tells its limit; with 3.1.1 it drops the connection, and twice is enough to learn it."""
    narrow.ums.history.clear()
    narrow.ums.change(MAC, location="x" * LIMIT)  # becomes its suggested area
    async with narrow.bridge(mqtt={"protocol": protocol}, hq_voip={"area": "location"}) as bridge:
        # From the page: a request by MQTT is lost when it falls into a gap between two connections.
        reconnects = 0 if protocol == "5" else 2
        await wait_for_answer(partial(_is_learned, narrow, reconnects), "the limit to be learned")
        wanted = {config_topic(VOIP)}
        await wait_for_answer(partial(_lack, bridge, wanted), f"everything but {wanted}")
        before = (await bridge.ask("health"))["data"]["bridge"]
        assert before["mqtt"]["reconnects"] == reconnects
        assert before["dropped"]["too_large"] >= 1
        await bridge.ask("announce")
        await bridge.refresh()
        alarm = narrow.ums.raise_alarm(MAC, push=False)
        assert (await narrow.push(alarm))[0] == 200
        assert (await bridge.set(CHANNEL, {"enable": "ON"}))["status"] == "confirmed"
        assert [event["id"] for event in await bridge.event_count(1)] == [f"hq_voip:{alarm['id']}"]
        after = (await bridge.ask("health"))["data"]["bridge"]
        assert after["mqtt"]["reconnects"] == before["mqtt"]["reconnects"]
        await wait_until(lambda: bool(_size_warnings(bridge)), "the log line about the size")
        assert len(_size_warnings(bridge)) == 1


def _size_warnings(bridge: RunningBridge) -> list[str]:
    return [line for line in bridge.warnings() if "bytes" in line]


async def _is_learned(site: Site, reconnects: int) -> bool:
    status = (await get(f"http://{HOST}:{site.web_port}/api/status"))["bridge"]
    connected: bool = status["connected"]
    return connected and status["mqtt"]["reconnects"] == reconnects and status["dropped"].get("too_large", 0) > 0


async def _lack(bridge: RunningBridge, topics: set[str]) -> bool:
    """Return True if just these topics of all those of the devices are missing."""
    known = await _ids(bridge)
    wanted = {topic for id_ in known for topic in (config_topic(id_), state_topic(id_))}
    return len(known) > 10 and wanted - (await retained(bridge.broker)).keys() == topics


async def _ids(bridge: RunningBridge) -> list[str]:
    found: list[str] = []
    while True:
        page = (await bridge.ask("devices", limit=3, after=found[-1] if found else ""))["data"]
        found += [device["id"] for device in page["devices"]]
        if not page["more"]:
            return found
