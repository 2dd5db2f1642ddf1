"""Compartments: their values, and sweeps over stations that respond, fail, or respond badly."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.errors import Ambiguous, AuthenticationError, BackendError, RateLimited, Rejected, Unreachable
from tests.platforms.context import Run
from tests.platforms.omstation.connected import Shared, calls, connected, device_of, simulated, url_of
from tests.platforms.omstation.simulated import LATTICES, STATIONS, path

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.simulators.omstation import Simulator


def _shown(value: Any) -> str:
    return "ON" if value else "OFF"


def available(run: Run) -> set[bool]:
    return {lattice.available for lattice in run.of("lattices")}


def take_one(simulator: Simulator, station: str) -> str:
    """Remove a lock from a station; return the device id of its compartment."""
    item = next(item for item in simulator.lattices[station] if item["deviceId"])
    simulator.take_lock(station, item["latticeNo"])
    return device_of(station, item["latticeNo"])


async def test_compartment_shows_the_vendors_values() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        for id_, items in simulator.lattices.items():
            for item in items:
                device = run.devices[device_of(id_, item["latticeNo"])]
                expected = {
                    "occupied": _shown(item["deviceId"]),
                    "device_id": item["deviceId"] or None,
                    "connect_power": _shown(item["connectPower"]),
                    "is_full": _shown(item["isFull"]),
                    "is_failure": _shown(item["isFailure"]),
                    "lock_status": item["lockStatus"],
                    "update_time": f"{item['updateTime'][:23]}+00:00",
                }
                assert expected.items() <= device.state.items()
                film = {"occupied": {"file_url": item["fileUrl"].partition("?")[0]}} if "fileUrl" in item else {}
                lock = {"device_id": {"device_type": item["deviceType"]}} if item["deviceId"] else {}
                assert device.attributes == film | lock
        assert {device.state["lock_status"] for device in run.of("lattices")} == {-1, 0, 1}


async def test_file_url_is_published_without_credentials_and_query() -> None:
    async with simulated() as (simulator, run):
        id_ = next(iter(simulator.stations))
        await run.poll("stations")
        for given, shown in (
            ("https://u:secret@f.example.com:8080/a.mp4;jsessionid=secret?x=secret#secret", "f.example.com:8080/a.mp4"),
            ("https://f.example.com/a.mp4?token=secret", "f.example.com/a.mp4"),
        ):
            simulator.change_lattice(id_, "A1", fileUrl=given)
            await run.poll("lattices")
            assert run.devices[device_of(id_, "A1")].attributes["occupied"] == {"file_url": f"https://{shown}"}
            assert "secret" not in str(await run.act("station_get", id=id_))
        simulator.change_lattice(id_, "A1", fileUrl="https://[secret")
        await run.poll("lattices")
        assert "occupied" not in run.devices[device_of(id_, "A1")].attributes


async def test_compartment_follows_its_lock() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        id_ = next(iter(simulator.stations))
        lattice = device_of(id_, "A1")
        lock = simulator.take_lock(id_, "A1")
        await run.poll("lattices")
        assert (run.state(lattice)["occupied"], run.state(lattice)["device_id"]) == ("OFF", None)
        simulator.return_lock(id_, "A1", lock)
        await run.poll("lattices")
        assert (run.state(lattice)["occupied"], run.state(lattice)["device_id"]) == ("ON", lock)


async def test_first_lattice_poll_lists_the_stations() -> None:
    async with simulated(devices=3) as (simulator, run):
        updates = await run.poll("lattices")
        assert len(updates) == 4
        assert len(calls(simulator, STATIONS)) == 1
        await run.poll("lattices")
        assert len(calls(simulator, STATIONS)) == 1
        assert [call.body["id"] for call in calls(simulator, LATTICES)] == [*simulator.stations] * 2


async def test_failing_station_costs_only_its_own_compartments(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fleet2mqtt")
    async with simulated(devices=3) as (simulator, run):
        await run.poll()
        first, second, third = simulator.stations
        kept, items = simulator.stations[second], simulator.lattices[second]
        simulator.remove_station(second)  # the list told us of it, so it is asked for
        emptied = [take_one(simulator, station) for station in (first, third)]
        for polled, there in ((1, True), (2, True), (3, False), (4, False)):
            await run.poll("lattices")
            assert run.devices[device_of(second, "A1")].available is there, polled
        assert [run.state(lattice)["occupied"] for lattice in emptied] == ["OFF", "OFF"]
        assert run.devices[device_of(second)].available
        assert [record.message for record in caplog.records] == [
            f"cabinets: the compartments of station {second} cannot be read"
        ]
        simulator.stations[second], simulator.lattices[second] = kept, items
        await run.poll("lattices")
        assert available(run) == {True}
        assert [record.message for record in caplog.records][1:] == [
            f"cabinets: the compartments of station {second} can be read again"
        ]


@pytest.mark.parametrize(
    ("fault", "kind", "asked"),
    [
        ({"kind": "error", "code": 105}, Ambiguous, 4),
        ({"kind": "error", "code": 102}, Rejected, 4),
        ({"kind": "status", "status": 503}, RateLimited, 4),
        ({"kind": "status", "status": 403}, AuthenticationError, 5),
        ({"kind": "reset"}, Ambiguous, 8),  # what only reads is asked once more
    ],
)
async def test_sweep_in_which_all_stations_fail_raises(
    fault: dict[str, Any], kind: type[BackendError], asked: int
) -> None:
    async with simulated(devices=4) as (simulator, run):
        await run.poll()
        simulator.fault_injector.inject(path=path(LATTICES), **fault)
        simulator.fault_injector.calls.clear()
        for there in ({True}, {True}, {False}):
            with pytest.raises(kind):
                await run.poll("lattices")
            assert available(run) == there
            if there == {True} and asked:
                assert len(calls(simulator, LATTICES)) == asked
                asked = 0
        simulator.fault_injector.clear()
        await run.poll("lattices")
        assert available(run) == {True}


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 503}, {"kind": "status", "status": 403}, {"kind": "reset"}]
)
async def test_station_that_refuses_the_call_costs_the_others_nothing(fault: dict[str, Any]) -> None:
    """Faults 2.1: one 503 or 403 does not end the sweep."""
    async with simulated(devices=4) as (simulator, run):
        await run.poll()
        simulator.fault_injector.inject(path=path(LATTICES), times=1, **fault)
        changed = [take_one(simulator, station) for station in list(simulator.stations)[1:]]
        simulator.fault_injector.calls.clear()
        await run.poll("lattices")
        assert {call.body["id"] for call in calls(simulator, LATTICES)} == set(simulator.stations)
        assert [run.state(compartment)["occupied"] for compartment in changed] == ["OFF"] * 3


async def test_sweep_gives_up_when_the_primary_source_fails_and_resumes_there(tmp_path: Path) -> None:
    """Faults 2.1: the next sweep starts where the last one ended."""
    shared = Shared(tmp_path)
    async with simulated(devices=5, shared=shared) as (simulator, run):
        await run.poll()
        first, second, third, fourth, fifth = simulator.stations
        shared.primary_fails = True
        simulator.fault_injector.inject("status", path(LATTICES), status=503)
        simulator.fault_injector.calls.clear()
        with pytest.raises(RateLimited):
            await run.poll("lattices")
        assert [call.body["id"] for call in calls(simulator, LATTICES)] == [first, second, third]
        simulator.fault_injector.clear()
        simulator.fault_injector.calls.clear()
        await run.poll("lattices")
        assert [call.body["id"] for call in calls(simulator, LATTICES)] == [fourth, fifth, first, second, third]


async def test_station_missed_by_three_sweeps_has_unknown_sums_and_unavailable_compartments() -> None:
    """Faults 2.3: what a failing call feeds does not stay as it was."""
    async with simulated() as (simulator, run):
        await run.poll()
        first, second = simulator.stations
        kept, lattices = simulator.stations[first], simulator.lattices[first]
        simulator.remove_station(first)
        for missed in (False, False, True):
            await run.poll("lattices")
            station = run.state(device_of(first))
            assert (station["sum_lattice_count"] is None) is missed
            assert (station["problem"] is None) is missed
            assert run.devices[device_of(first, "A1")].available is not missed
        assert run.state(device_of(first))["total_count"] == 12
        assert run.state(device_of(second))["sum_lattice_count"] == 12
        assert {compartment.source for compartment in run.of("lattices")} == {"lattices"}
        simulator.stations[first], simulator.lattices[first] = kept, lattices
        await run.poll("lattices")
        assert run.state(device_of(first))["sum_lattice_count"] == 12


async def test_two_stations_without_response_do_not_stop_the_sweep() -> None:
    async with simulated(devices=4) as (simulator, run):
        await run.poll()
        simulator.fault_injector.inject("reset", path(LATTICES), times=4)  # two stations, each asked twice
        simulator.fault_injector.calls.clear()
        await run.poll("lattices")
        assert len(calls(simulator, LATTICES)) == 6


async def test_unreachable_vendor_raises_unreachable(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    async with simulated(shared=shared) as (_, run):
        url = url_of(run)
        await run.poll()
    async with connected(url, shared) as run:
        with pytest.raises(Unreachable):
            await run.poll("lattices")


async def test_missing_lattice_list_changes_nothing() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        before = {device.id: device for device in run.of("lattices")}
        run.inventories.clear()
        simulator.lattices_missing = True
        await run.poll("lattices")
        assert not run.inventories
        assert {device.id: device for device in run.of("lattices")} == before


@pytest.mark.parametrize(("total", "removed"), [(0, True), (12, False), (None, False)])
async def test_empty_lattice_list_is_a_fact_only_for_a_station_without_compartments(
    total: int | None, removed: bool
) -> None:
    """Faults 3.10: an explicit total of 0. `sumLatticeCount` is none: the page's sample has 0 for three lattices."""
    async with simulated() as (simulator, run):
        await run.poll()
        first = next(iter(simulator.stations))
        simulator.lattices[first] = []
        simulator.change_station(first, totalCount=total)
        run.inventories.clear()
        await run.poll("stations", "lattices")
        found = [one for one in run.inventories if one.scope == f"lattices:{first}"]
        assert [(one.ids, one.confirmed_empty) for one in found] == [(frozenset(), True)] * removed


async def test_removed_compartment_leaves_the_inventory() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        id_ = next(iter(simulator.stations))
        del simulator.lattices[id_][0]
        updates = await run.poll("lattices")
        assert device_of(id_, "A1") not in (run.ids(f"lattices:{id_}") or set())
        assert device_of(id_, "A1") not in {device.id for update in updates for device in update.devices}


async def test_station_removed_during_a_sweep_is_ignored() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        first, second = simulator.stations
        updates = run.source("lattices").poll()
        run.take(await anext(updates))
        kept, items = simulator.stations[second], simulator.lattices[second]
        simulator.remove_station(second)
        await run.poll("stations")
        simulator.stations[second], simulator.lattices[second] = kept, items
        late = [update async for update in updates]
        assert [[device.scope for device in update.devices] for update in late] == [["backend"]]
        assert run.ids("stations") == {device_of(first)}
