"""Calls that the selection of devices and entities saves, and what the rules compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.selection import Detail, Override, Rule, Selection
from fleet2mqtt.unit import unpolled_sources
from tests.platforms.omstation.connected import NAME, Shared, calls, device_of, simulated
from tests.platforms.omstation.simulated import LATTICES, ORG, STATIONS
from tests.platforms.omstation.test_assets import asked

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.simulators.omstation import Simulator


def locks_of(simulator: Simulator, *stations: str) -> set[str]:
    return {item["deviceId"] for id_ in stations for item in simulator.lattices[id_] if item["deviceId"]}


def asked_locks(simulator: Simulator) -> set[str]:
    return {lock for call in asked(simulator) for lock in call.body["assetIds"].split(",")}


async def test_excluded_station_and_its_locks_cost_no_calls(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    async with simulated(devices=3) as (simulator, _):
        second = list(simulator.stations)[1]
    shared.selects = Selection(exclude=(Rule(id=second),)).selects
    async with simulated(devices=3, shared=shared, assets=True) as (simulator, run):
        first, _, third = simulator.stations
        await run.poll("stations", "lattices", "assets")
        assert [call.body["id"] for call in calls(simulator, LATTICES)] == [first, third]
        assert asked_locks(simulator) == locks_of(simulator, first, third)


async def test_locks_in_excluded_compartments_are_not_asked_for(tmp_path: Path) -> None:
    shared = Shared(tmp_path, selects=Selection(exclude=(Rule(kind="compartment", id="A*"),)).selects)
    async with simulated(shared=shared, assets=True) as (simulator, run):
        await run.poll("stations", "lattices", "assets")
        kept = {
            item["deviceId"]
            for items in simulator.lattices.values()
            for item in items
            if item["deviceId"] and not item["latticeNo"].startswith("A")
        }
        assert asked_locks(simulator) == kept != locks_of(simulator, *simulator.stations)


async def test_locks_are_not_asked_for_where_every_station_is_excluded(tmp_path: Path) -> None:
    shared = Shared(tmp_path, selects=Selection(include=(Rule(name="none"),)).selects)
    async with simulated(shared=shared, assets=True) as (simulator, run):
        await run.poll("stations", "lattices", "assets")
        assert (calls(simulator, LATTICES), asked(simulator)) == ([], [])
        assert len(calls(simulator, STATIONS)) == 1


@pytest.mark.parametrize(
    ("options", "unpolled"),
    [
        ({}, set()),
        ({"entities": Detail.MINIMAL}, {"authorisations"}),
        ({"exclude": (Rule(kind="compartment"),)}, {"assets"}),
        ({"exclude": (Rule(kind="compartment"),), "entities": Detail.MINIMAL}, {"assets", "authorisations"}),
        (
            {"overrides": dict.fromkeys(("open_authorisations", "open_transfers"), Override(enabled=False))},
            {"authorisations"},
        ),
    ],
)
async def test_source_that_feeds_nothing_is_not_polled(options: dict[str, Any], unpolled: set[str]) -> None:
    async with simulated(assets=True) as (_, run):
        assert unpolled_sources(run.backend.sources, Selection(**options)) == unpolled


async def test_station_of_another_organisation_is_in_its_group() -> None:
    async with simulated() as (simulator, run):
        first, second = simulator.stations
        simulator.stations[second] |= {"orgId": "SUB1", "orgName": "Harbour"}
        await run.poll("stations", "lattices")
        assert [run.devices[device_of(id_)].groups for id_ in (first, second)] == [{}, {"SUB1": "Harbour"}]
        compartment = run.devices[device_of(second, "A1")]
        assert (compartment.kind, compartment.groups) == ("compartment", {})
    async with simulated(org_id=ORG) as (simulator, run):
        await run.poll("stations")
        assert run.devices[device_of(next(iter(simulator.stations)))].groups == {}


async def test_minimal_entities_are_what_an_operator_alarms_on() -> None:
    async with simulated(assets=True) as (simulator, run):
        await run.poll()
        station = next(iter(simulator.stations))
        minimal = Selection(entities=Detail.MINIMAL)
        shown = {
            id_: {entity.key for entity in run.devices[id_].entities if minimal.is_enabled(entity)}
            for id_ in (NAME, device_of(station), device_of(station, "A1"))
        }
        assert [*shown.values()] == [
            {"problem", "sum_low_inventory_count"},
            {"problem", "sum_low_inventory_count"},
            {"is_failure", "lock_battery", "lock_online"},
        ]
