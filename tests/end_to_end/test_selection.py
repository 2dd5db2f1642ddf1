"""Selection that changes while the bridge runs: what goes is removed everywhere, and returns under its ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.bridge_under_test import (
    LINE,
    MAC,
    VOIP,
    RunningBridge,
    Site,
    config_topic,
    open_site,
    state_topic,
    wait_retained,
)
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


async def test_excluded_gateway_costs_no_calls_and_returns_under_its_ids(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        before = {id_: components(bridge, id_) for id_ in (VOIP, LINE)}
        await change(site, bridge, exclude=[{"name": "om50*"}])
        await bridge.is_available("hq_voip", "online")
        await wait_retained(site.broker, {topic(id_): b"" for id_ in before for topic in (config_topic, state_topic)})
        site.ums.fault_injector.calls.clear()
        assert all(each["ok"] for each in (await bridge.refresh())["hq_voip"].values())
        assert (await site.push(site.ums.raise_alarm(MAC, push=False)))[0] == 200
        assert (await site.push({"device_mac": MAC, "connection_status": "online"}, "device"))[0] == 200
        assert not [call for call in site.ums.fault_injector.calls if MAC in f"{call.path} {call.query} {call.body}"]
        assert not {VOIP, LINE} & (await bridge.devices()).keys()

        await change(site, bridge, exclude=None)
        await bridge.settle()
        assert {id_: components(bridge, id_) for id_ in (VOIP, LINE)} == before
        assert not [each for each in bridge.events() if each["device"] == VOIP]  # what it raised while it was excluded


async def test_gateway_that_moves_into_an_excluded_group_goes_and_comes_back(site: Site) -> None:
    async with site.bridge(hq_voip={"exclude": [{"group": "closed"}]}) as bridge:
        await bridge.settle()
        before = components(bridge, VOIP)
        site.ums.change(MAC, group_info="Closed")
        await bridge.refresh(backend="hq_voip")
        await wait_retained(site.broker, {config_topic(VOIP): b"", config_topic(LINE): b""})
        site.ums.change(MAC, group_info="Open")
        await bridge.refresh(backend="hq_voip")
        await bridge.settle()  # the lines are read after the list
        assert components(bridge, VOIP) == before
        assert LINE in await bridge.devices()


@pytest.mark.parametrize("rule", [{"kind": "line"}, {"kind": "line", "id": f"{MAC}/*"}])
async def test_excluded_lines_go_and_come_back(site: Site, rule: dict[str, str]) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        before = components(bridge, LINE)
        await change(site, bridge, exclude=[rule])
        await bridge.is_available("hq_voip", "online")
        await wait_retained(site.broker, {config_topic(LINE): b"", state_topic(LINE): b""})
        await bridge.refresh()
        site.ums.fault_injector.calls.clear()
        await bridge.refresh()
        assert not [call for call in site.ums.fault_injector.calls if call.path == f"/s1/device/{MAC}/detect"]
        assert VOIP in await bridge.devices()
        await change(site, bridge, exclude=None)
        await bridge.settle()
        assert components(bridge, LINE) == before


async def test_minimal_entities_are_what_an_operator_alarms_on(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        before = components(bridge, VOIP)
        await change(site, bridge, entities="minimal")
        await bridge.settle()
        own = {"maintenance", "alarm", "alarm_active", "last_alarm", "last_alarm_time", "last_alarm_severity"}
        assert components(bridge, VOIP).keys() - own == {"connection_status", "problem"}
        assert components(bridge, LINE).keys() - own == {"line_fault"}
        await change(site, bridge, entities=None)
        await bridge.settle()
        assert components(bridge, VOIP) == before


async def test_alarm_pushed_before_the_first_list_is_published_for_selected_gateways_only(site: Site) -> None:
    site.ums.fault_injector.inject("hang", "/s1/device")
    async with site.bridge(branch=None, hq_voip={"exclude": [{"id": MAC}], "timeout": 60}) as bridge:
        macs = [MAC, next(mac for mac in site.ums.devices if mac != MAC)]
        alarms = [site.ums.raise_alarm(mac, push=False) for mac in macs]
        answers = [await site.push(alarm) for alarm in alarms]
        assert [status for status, *_ in answers] == [503, 503]
        assert all("Retry-After" in headers for _, headers, _ in answers)
        site.ums.fault_injector.clear()
        await bridge.refresh(backend="hq_voip")
        await bridge.refresh(backend="hq_voip")
        assert [(await site.push(alarm))[0] for alarm in alarms] == [200, 200]
        [event] = await bridge.event_count(1)
        assert event["id"] == f"hq_voip:{alarms[1]['id']}"
