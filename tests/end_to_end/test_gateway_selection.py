"""Selection of a smart gateway backend that changes while the bridge runs: calls, devices, entities, SIM usage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.bridge_under_test import RunningBridge, Site, config_topic, open_site, state_topic, wait_retained
from tests.end_to_end.test_reload import edit, reload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SN = "172DE6AC9832DE"
GATEWAY = "branch_172de6ac9832de"
SIM = f"{GATEWAY}_channel_0"
RULE = "branch_mapping_ebfa83fe9b9aa6a83fe"
LIST, QUERY, RULES = "/api/v1/devices/list", "/api/v1/devices/query", "/api/v1/mapping/list"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


async def change(site: Site, bridge: RunningBridge, **options: Any) -> None:
    """Change options of the backend; None takes one out. Then poll everything twice, to see what it costs."""

    def apply(config: dict[str, Any]) -> None:
        backend = config["backends"]["branch"]
        backend.update(options)
        config["backends"]["branch"] = {name: value for name, value in backend.items() if value is not None}

    edit(site, apply)
    assert (await reload(bridge))["changed"] == ["branch"]
    await bridge.settle()
    site.gateways.fault_injector.calls.clear()
    assert all(each["ok"] for each in (await bridge.refresh(backend="branch"))["branch"].values())


def called(site: Site, path: str) -> list[Any]:
    """Return the bodies of the calls at this path since the last change."""
    return [call.body for call in site.gateways.fault_injector.calls if call.path == path]


def components(bridge: RunningBridge, device: str) -> dict[str, str]:
    """Return the unique ids that are described of a device, by key."""
    described = bridge.descriptions()[device]["components"]
    return {key: each["unique_id"] for key, each in described.items() if "unique_id" in each}


async def test_excluded_channels_go_and_come_back_with_their_usage(site: Site) -> None:
    async with site.bridge(hq_voip=None) as bridge:
        await bridge.settle()
        before = {id_: components(bridge, id_) for id_ in (GATEWAY, SIM)}
        site.gateways.set_channel(SN, "0", used=522681 + 2_000_000)
        await bridge.refresh(backend="branch")
        await bridge.shows(SIM, "usage_month", 2)

        await change(site, bridge, exclude=[{"kind": "channel"}])
        await wait_retained(site.broker, {config_topic(SIM): b"", state_topic(SIM): b""})
        assert all(body["args"]["channel"] == [] for body in called(site, LIST))
        assert all("channel" not in body["args"] for body in called(site, QUERY))
        assert components(bridge, GATEWAY) == before[GATEWAY]

        site.gateways.set_channel(SN, "0", used=522681 + 3_000_000)
        await change(site, bridge, exclude=None)
        assert {id_: components(bridge, id_) for id_ in (GATEWAY, SIM)} == before
        await bridge.shows(SIM, "usage_month", 3)
        assert not bridge.warnings()


async def test_excluded_rules_go_and_come_back(site: Site) -> None:
    async with site.bridge(hq_voip=None) as bridge:
        await bridge.settle()
        before = components(bridge, RULE)
        await change(site, bridge, exclude=[{"kind": "rule"}])
        await wait_retained(site.broker, {config_topic(RULE): b"", state_topic(RULE): b""})
        assert not called(site, RULES)
        assert called(site, LIST)

        await change(site, bridge, exclude=None)
        assert components(bridge, RULE) == before
        assert called(site, RULES)


async def test_excluded_gateway_goes_with_its_channels_and_comes_back(site: Site) -> None:
    async with site.bridge(hq_voip=None) as bridge:
        await bridge.settle()
        before = {id_: components(bridge, id_) for id_ in (GATEWAY, SIM)}
        await change(site, bridge, exclude=[{"id": SN}])
        await wait_retained(site.broker, {topic(id_): b"" for id_ in before for topic in (config_topic, state_topic)})
        assert called(site, QUERY)
        assert not [body for body in called(site, QUERY) if SN in body["sns"]]
        await change(site, bridge, exclude=None)
        assert {id_: components(bridge, id_) for id_ in (GATEWAY, SIM)} == before


async def test_minimal_entities_cost_no_details_and_full_ones_return(site: Site) -> None:
    async with site.bridge(hq_voip=None) as bridge:
        await bridge.settle()
        before = {id_: components(bridge, id_) for id_ in (GATEWAY, SIM)}
        await change(site, bridge, entities="minimal")
        own = {"maintenance", "alarm", "alarm_active", "last_alarm", "last_alarm_time", "last_alarm_severity"}
        shown = {"state", "running", "bonding_degraded", "channels_up"}
        assert components(bridge, GATEWAY).keys() - own == shown
        assert components(bridge, SIM).keys() - own == {"up", "signal", "usage_remaining"}
        assert not called(site, QUERY)
        assert {"network", "parameters"}.isdisjoint(called(site, LIST)[0]["args"])

        await change(site, bridge, entities="full")
        assert {id_: components(bridge, id_) for id_ in (GATEWAY, SIM)} == before
        assert called(site, QUERY)


async def test_one_enabled_detail_brings_back_the_query(site: Site) -> None:
    async with site.bridge(hq_voip=None, branch={"entities": "minimal"}) as bridge:
        await bridge.settle()
        await change(site, bridge, overrides={"rssi": {"enabled": True}})
        assert {"rssi", "up"} <= components(bridge, SIM).keys()
        assert {tuple(body["args"]) for body in called(site, QUERY)} == {("base", "channel")}


async def test_another_billing_day_and_gateways_to_query_apply_at_once(site: Site) -> None:
    async with site.bridge(hq_voip=None) as bridge:
        await bridge.settle()
        site.gateways.set_channel(SN, "0", used=522681 + 2_000_000)
        await bridge.refresh(backend="branch")
        await bridge.shows(SIM, "usage_month", 2)
        await change(site, bridge, billing_day=31, query=["ABCD21DCF318BA"])
        await bridge.shows(SIM, "usage_month", 0)
        await bridge.shows(SIM, "usage_today", 2)
        assert {tuple(body["sns"]) for body in called(site, QUERY)} == {("ABCD21DCF318BA",)}
