"""Availability of a backend: offline after three failures in a row, online at once, stale when nothing changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import RunningBridge, Site, open_site
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIST = "/api/v1/devices/list"
AVAILABILITY = "fleet2mqtt/backend/branch/availability"
HEALTH = "fleet2mqtt/backend/branch/health"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


def words(bridge: RunningBridge) -> list[str]:
    """Return the values of the backend's availability so far."""
    return [message.text for message in bridge.seen.all(AVAILABILITY) if not message.retain]


async def test_availability_changes_after_three_failed_polls_and_one_success(site: Site) -> None:
    async with site.bridge(hq_voip=None) as bridge:
        await bridge.settle()
        await bridge.is_available("branch", "online")
        started = len(words(bridge))
        site.gateways.fault_injector.inject("status", LIST)
        for failures in (1, 2):
            await bridge.refresh()
            health = (await bridge.ask("health"))["data"]["backends"]["branch"]
            assert (health["available"], health["sources"]["devices"]["failures"]) == (True, failures)
        await bridge.refresh()
        await bridge.is_available("branch", "offline")
        await bridge.shows("branch", "connectivity", "OFF")
        site.gateways.fault_injector.clear()
        await bridge.refresh()
        await bridge.is_available("branch", "online")
        await bridge.shows("branch", "connectivity", "ON")
        assert words(bridge)[started:] == ["offline", "online"]
        said = [line for line in bridge.warnings() if line.startswith("branch")]
        assert len(said) == 2  # the first failure, and the end: edges, not every poll
        assert "devices fails" in said[0]


async def test_failures_of_a_secondary_source_leave_the_backend_available(site: Site) -> None:
    async with site.bridge(hq_voip=None) as bridge:
        await bridge.settle()
        site.gateways.fault_injector.inject("error", "/api/v1/mapping/list", code=7001)
        for _ in range(4):
            await bridge.refresh()
        health = (await bridge.ask("health"))["data"]["backends"]["branch"]
        assert (health["available"], health["sources"]["mappings"]["failures"]) == (True, 4)
        assert health["error"] == {**health["error"], "class": "rejected", "code": 7001, "endpoint": "mapping/list"}
        assert health["endpoints"]["mapping/list"]["failures"] == 4


async def test_credentials_that_are_refused_are_a_state_at_once(site: Site) -> None:
    site.gateways.fault_injector.inject("status", LIST, status=401)
    async with site.bridge(hq_voip=None) as bridge:
        await bridge.is_available("branch", "offline")
        await bridge.seen.wait(lambda m: m.topic == HEALTH and (m.json["error"] or {}).get("class") == "denied")
        calls = [call.path for call in site.gateways.fault_injector.calls]
        assert calls.count(LIST) <= 2  # by the devices source, and by the details that need the list


async def test_vendor_with_unchanged_data_is_stale_until_it_changes(site: Site) -> None:
    every = {"scan_interval": {"devices": 0.1, "details": 3600, "mappings": 3600}, "stale_after": 0.5}
    async with site.bridge(hq_voip=None, branch=every) as bridge:
        await bridge.is_available("branch", "online")
        site.gateways.fault_injector.inject("frozen", LIST)
        await bridge.is_available("branch", "offline")
        health = await bridge.seen.wait(lambda m: m.topic == HEALTH and m.json["stale_since"] is not None)
        assert health.json["error"] is None
        await wait_until(lambda: any("taken as stale" in line for line in bridge.warnings()), "a word")
        site.gateways.fault_injector.clear()
        for sn in site.gateways.gateways:
            site.gateways.set_base(sn, runtime=99)
        await wait_until(lambda: words(bridge)[-1] == "online", "it to move")
