"""Lattices: their values, and stations that answer, do not, or answer badly."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.errors import Ambiguous, AuthenticationError, BackendError, RateLimited, Rejected, Unreachable
from tests.platforms.context import Run
from tests.platforms.omstation.connected import Shared, calls, connected, device_of, simulated
from tests.platforms.omstation.simulated import LATTICES, STATIONS, path

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.simulators.omstation.app import Simulator


def _shown(value: Any) -> str:
    return "ON" if value else "OFF"


def available(run: Run) -> set[bool]:
    return {lattice.available for lattice in run.of("lattices")}


def take_one(simulator: Simulator, station: str) -> str:
    """Take a lock out of a station; the device id of the lattice it was in."""
    row = next(row for row in simulator.lattices[station] if row["deviceId"])
    simulator.take_lock(station, row["latticeNo"])
    return device_of(station, row["latticeNo"])


async def test_every_lattice_shows_what_the_vendor_says() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        for id_, rows in simulator.lattices.items():
            for row in rows:
                device = run.devices[device_of(id_, row["latticeNo"])]
                assert dict(device.state) == {
                    "occupied": _shown(row["deviceId"]),
                    "device_id": row["deviceId"] or None,
                    "connect_power": _shown(row["connectPower"]),
                    "is_full": _shown(row["isFull"]),
                    "is_failure": _shown(row["isFailure"]),
                    "lock_status": row["lockStatus"],
                    "update_time": f"{row['updateTime'][:23]}+00:00",
                }
                film = {"occupied": {"file_url": row["fileUrl"].partition("?")[0]}} if "fileUrl" in row else {}
                lock = {"device_id": {"device_type": row["deviceType"]}} if row["deviceId"] else {}
                assert device.attributes == film | lock
        assert {device.state["lock_status"] for device in run.of("lattices")} == {-1, 0, 1}


async def test_what_a_film_may_carry_is_dropped() -> None:
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


async def test_locks_come_and_go() -> None:
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


async def test_the_stations_are_listed_first() -> None:
    async with simulated(devices=3) as (simulator, run):
        updates = await run.poll("lattices")
        assert len(updates) == 4
        assert len(calls(simulator, STATIONS)) == 1
        await run.poll("lattices")
        assert len(calls(simulator, STATIONS)) == 1
        assert [call.body["id"] for call in calls(simulator, LATTICES)] == [*simulator.stations] * 2


async def test_a_failing_station_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fleet2mqtt")
    async with simulated(devices=3) as (simulator, run):
        await run.poll()
        first, second, third = simulator.stations
        kept, rows = simulator.stations[second], simulator.lattices[second]
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
        simulator.stations[second], simulator.lattices[second] = kept, rows
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
        ({"kind": "status", "status": 503}, RateLimited, 1),
        ({"kind": "status", "status": 403}, AuthenticationError, 2),
        ({"kind": "reset"}, Ambiguous, 3),
    ],
)
async def test_when_none_can_be_read_it_says_so(fault: dict[str, Any], kind: type[BackendError], asked: int) -> None:
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


async def test_two_silent_ones_between_others_do_not_stop_it() -> None:
    async with simulated(devices=4) as (simulator, run):
        await run.poll()
        simulator.fault_injector.inject("reset", path(LATTICES), times=2)
        simulator.fault_injector.calls.clear()
        await run.poll("lattices")
        assert len(calls(simulator, LATTICES)) == 4


async def test_nobody_there(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    async with simulated(shared=shared) as (_, run):
        url = str(run.backend.configuration_url)
        await run.poll()
    async with connected(url, shared) as run:
        with pytest.raises(Unreachable):
            await run.poll("lattices")


async def test_a_list_that_is_missing_says_nothing() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        before = {device.id: device for device in run.of("lattices")}
        run.inventories.clear()
        simulator.lattices_missing = True
        await run.poll("lattices")
        assert not run.inventories
        assert {device.id: device for device in run.of("lattices")} == before


async def test_a_lattice_that_is_gone() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        id_ = next(iter(simulator.stations))
        del simulator.lattices[id_][0]
        updates = await run.poll("lattices")
        assert device_of(id_, "A1") not in (run.ids(f"lattices:{id_}") or set())
        assert device_of(id_, "A1") not in {device.id for update in updates for device in update.devices}


async def test_a_station_that_goes_while_it_is_read() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        first, second = simulator.stations
        updates = run.source("lattices").poll()
        run.take(await anext(updates))
        kept, rows = simulator.stations[second], simulator.lattices[second]
        simulator.remove_station(second)
        await run.poll("stations")
        simulator.stations[second], simulator.lattices[second] = kept, rows
        late = [update async for update in updates]
        assert [[device.scope for device in update.devices] for update in late] == [["backend"]]
        assert run.ids("stations") == {device_of(first)}
