"""The fields that polls request, by what the options publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.selection import Detail, Override, Rule, Selection
from tests.platforms.smart_gateway.connected import GATEWAY, SIM, SN, calls, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.smart_gateway import Simulator

LIST, QUERY, RULES = "/api/v1/devices/list", "/api/v1/devices/query", "/api/v1/mapping/list"
IDENTITY = ["sn", "alias", "state", "type", "version", "runtime"]
NO_BONDING = ("bonding_degraded", "channels_up")


def selected(selection: Selection) -> dict[str, Any]:
    """Return what the core makes of a selection, as arguments of `simulated`."""
    return {
        "is_enabled": selection.is_enabled,
        "publishes": selection.publishes,
        "excludes_kind": selection.excludes_kind,
    }


def args(simulator: Simulator, path: str) -> Any:
    return calls(simulator, path)[-1].body["args"]


async def test_list_requests_what_it_owns_and_queries_the_rest() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        assert args(simulator, LIST) == {
            "base": [*IDENTITY, "rateup", "ratedown", "mapping"],
            "channel": [],
            "parameters": ["top", "lock"],
        }
        assert args(simulator, QUERY) == {
            "base": [*IDENTITY, "remark", "qos", "record", "gps"],
            "network": ["lan", "hotspot"],
            "channel": [],
        }
        assert run.state(GATEWAY)["lan_ip"] == "192.168.4.1"


async def test_list_requests_everything_where_not_all_gateways_are_queried() -> None:
    async with simulated(query=[SN]) as (simulator, run):
        await run.poll()
        assert args(simulator, LIST)["network"] == ["lan", "hotspot"]
        assert args(simulator, LIST)["base"][-3:] == ["mapping", "record", "gps"]


async def test_minimal_entities_need_no_details_and_few_fields() -> None:
    async with simulated(**selected(Selection(entities=Detail.MINIMAL))) as (simulator, run):
        await run.poll()
        assert not calls(simulator, QUERY)
        assert args(simulator, LIST) == {"base": [*IDENTITY, "mapping"], "channel": []}
        assert run.state(GATEWAY)["running"] == "ON"


@pytest.mark.parametrize(
    ("selection", "channels"),
    [
        (Selection(exclude=(Rule(kind="channel"),)), True),
        (Selection(exclude=(Rule(kind="channel"),), entities=Detail.MINIMAL), True),
        (
            Selection(
                exclude=(Rule(kind="channel"),),
                entities=Detail.MINIMAL,
                overrides={key: Override(enabled=False) for key in NO_BONDING},
            ),
            True,
        ),
    ],
)
async def test_excluded_channels_are_read_for_the_bonding_only(selection: Selection, *, channels: bool) -> None:
    async with simulated(**selected(selection)) as (simulator, run):
        await run.poll()
        assert ("channel" in args(simulator, LIST)) is channels
        assert all("channel" not in call.body["args"] for call in calls(simulator, QUERY))
        assert SIM not in run.devices
        assert run.state(GATEWAY)["channels_up"] is not None
        assert run.ids(f"channels:{SN}") is None


async def test_excluded_rules_are_not_read() -> None:
    async with simulated(**selected(Selection(exclude=(Rule(kind="rule"),), entities=Detail.MINIMAL))) as (
        simulator,
        run,
    ):
        assert run.source("mappings").kind == "rule"
        await run.poll("devices")
        assert args(simulator, LIST) == {"base": IDENTITY, "channel": []}
        assert not calls(simulator, RULES)
