"""Selection that changes while the bridge runs: what goes is removed everywhere, and returns under its ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.bridge_under_test import LINE, VOIP, RunningBridge, Site, config_topic, open_site, state_topic, wait_retained
from tests.end_to_end.test_reload import edit, reload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


async def change(site: Site, bridge: RunningBridge, **options: Any) -> None:
    """Change options of the UMS backend; None takes one out."""

    def apply(config: dict[str, Any]) -> None:
        backend = config["backends"]["hq_voip"]
        backend.update(options)
        config["backends"]["hq_voip"] = {name: value for name, value in backend.items() if value is not None}

    edit(site, apply)
    assert (await reload(bridge))["changed"] == ["hq_voip"]


def components(bridge: RunningBridge, device: str) -> dict[str, str]:
    """Return the unique ids that are described of a device, by key."""
    described = bridge.descriptions()[device]["components"]
    return {key: each["unique_id"] for key, each in described.items() if "unique_id" in each}


async def test_source_that_is_off_has_no_calls_and_its_devices_return_under_their_ids(site: Site) -> None:
    intervals = {"devices": 3600, "alarms": 3600}
    source_topic = "fleet2mqtt/backend/hq_voip/source/lines/availability"
    async with site.bridge() as bridge:
        await bridge.settle()
        before = {id_: components(bridge, id_) for id_ in (VOIP, LINE)}
        assert "test_fxo" in before[VOIP]
        await change(site, bridge, scan_interval=intervals | {"lines": "off"})
        await bridge.is_available("hq_voip", "online")
        await wait_retained(site.broker, {config_topic(LINE): b"", state_topic(LINE): b"", source_topic: b""})
        assert LINE not in await bridge.devices()
        site.ums.fault_injector.calls.clear()
        assert "lines" not in (await bridge.refresh())["hq_voip"]
        assert not [call for call in site.ums.fault_injector.calls if call.path.endswith("/detect")]
        await bridge.seen.wait(
            lambda each: each.topic == config_topic(VOIP) and "test_fxo" not in components(bridge, VOIP)
        )

        await change(site, bridge, scan_interval=intervals)
        await bridge.settle()
        await wait_retained(site.broker, {source_topic: b"online"})
        assert {id_: components(bridge, id_) for id_ in (VOIP, LINE)} == before
