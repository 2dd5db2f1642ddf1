"""Stations and the organisation: entities, identity, inventories, and unchanged devices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.model import UpdateOrigin
from fleet2mqtt.errors import Ambiguous, AuthenticationError, InvalidResponse, RateLimited, Rejected
from tests.platforms.omstation.connected import NAME, Shared, calls, device_of, simulated
from tests.platforms.omstation.simulated import COLLECTIONS, LATTICES, STATIONS, TRANSFERS, path
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.devices.model import Device, EntityDescription
    from fleet2mqtt.errors import BackendError
    from tests.loop_time import LoopTime

_SUMS = {
    "sum_low_inventory_count": "sumLowInventoryCount",
    "sum_in_storage_count": "sumInStorageCount",
    "sum_available_count": "sumAvailableCount",
    "sum_full_charge_count": "sumFullChargeCount",
    "sum_in_charge_count": "sumInChargeCount",
    "sum_abnormal_count": "sumAbnormalCount",
    "sum_lattice_count": "sumLatticeCount",
    "sum_empty_lattice_count": "sumEmptyLatticeCount",
}
_OFF = dict.fromkeys(("sum_in_storage_count", "sum_in_charge_count", "sum_lattice_count"), "sensor off measurement")
_FIGURES = dict.fromkeys(_SUMS, "sensor measurement") | _OFF | {"problem": "binary_sensor problem"}
_FLEET = {
    "org_name": "sensor diagnostic",
    "login_time": "sensor diagnostic timestamp",
    "time_diff": "sensor diagnostic off duration s",
    "sum_station_count": "sensor measurement",
    **_FIGURES,
    "open_authorisations": "sensor measurement",
    "open_transfers": "sensor measurement",
}
_STATION = {"position": "device_tracker", "total_count": "sensor off measurement", **_FIGURES}
_COMPARTMENT = {
    "occupied": "binary_sensor occupancy",
    "device_id": "sensor",
    "connect_power": "binary_sensor plug",
    "is_full": "binary_sensor",
    "is_failure": "binary_sensor problem",
    "lock_status": "sensor off",
    "update_time": "sensor diagnostic off timestamp",
}


def _summary(entity: EntityDescription) -> str:
    parts = (
        *(entity.component, entity.category, "" if entity.enabled else "off"),
        *(entity.device_class, entity.unit, entity.state_class),
    )
    return " ".join(str(part) for part in parts if part)


def _table(device: Device) -> dict[str, str]:
    return {entity.key: _summary(entity) for entity in device.entities}


async def test_devices_have_the_documented_entities() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        first, second = simulator.stations
        documented = {
            NAME: _FLEET,
            device_of(first): _STATION,
            device_of(second): _STATION,
            device_of(first, "A1"): _COMPARTMENT,
        }
        for device, table in documented.items():
            assert table.items() <= _table(run.devices[device]).items()
        entities = [entity for device in run.devices.values() for entity in device.entities]
        assert all(entity.name.en.isascii() and not entity.name.zh.isascii() for entity in entities)
        assert not [entity for entity in entities if entity.write]


async def test_station_shows_the_vendors_values() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        for id_, listed in simulator.stations.items():
            device, sums = run.devices[device_of(id_)], simulator.sums(id_)
            assert {key: device.state[key] for key in _SUMS} == {key: sums[field] for key, field in _SUMS.items()}
            assert device.state["total_count"] == listed["totalCount"]
            assert device.state["problem"] == "ON"
            assert device.attributes == {"total_count": {"device_id": listed["deviceId"]}}
        first, second = simulator.stations.values()
        assert run.state(device_of(first["id"]))["position"] == {
            "latitude": first["centerLat"],
            "longitude": first["centerLon"],
        }
        assert run.state(device_of(second["id"]))["position"] is None


async def test_organisation_shows_the_vendors_values() -> None:
    async with simulated(devices=3) as (simulator, run):
        await run.poll()
        state, sums = run.state(NAME), simulator.sums(*simulator.stations)
        assert {key: state[key] for key in _SUMS} == {key: sums[field] for key, field in _SUMS.items()}
        assert (state["sum_station_count"], state["problem"]) == (3, "ON")
        assert (state["org_name"], state["time_diff"]) == ("Jiutong IoT", 28800)
        assert state["login_time"].endswith("+00:00")
        found = [item["status"] for item in simulator.collections.values()]
        assert state["open_authorisations"] == found.count(0) + found.count(1) > 0
        assert run.devices[NAME].attributes == {
            "open_authorisations": {"unused": found.count(0), "in_use": found.count(1)}
        }
        assert state["open_transfers"] == [item["status"] for item in simulator.transfers.values()].count(0)
        assert {call.body["pageSize"] for name in (COLLECTIONS, TRANSFERS) for call in calls(simulator, name)} == {1}
        for id_ in simulator.stations:
            for item in simulator.lattices[id_]:
                simulator.change_lattice(id_, item["latticeNo"], isFailure=0)
        await run.poll("stations")
        assert run.state(NAME)["problem"] == "OFF"


async def test_devices_have_stable_ids_and_names() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        id_, listed = next(iter(simulator.stations.items()))
        own, station, lattice = (run.devices[name] for name in (NAME, device_of(id_), device_of(id_, "A1")))
        assert (own.scope, own.via, own.name, own.manufacturer) == ("backend", None, NAME, "Jointech")
        assert own.configuration_url is run.backend.configuration_url is None  # its url is an API, no console
        assert (station.vendor_id, station.scope, station.via) == (id_, "stations", NAME)
        assert station.name == listed["stationName"]
        assert (lattice.vendor_id, lattice.scope, lattice.via) == ("A1", f"lattices:{id_}", station.id)
        assert lattice.name == f"{station.name} A1"
        assert run.ids("stations") == {device_of(station) for station in simulator.stations}
        assert run.ids(f"lattices:{id_}") == {device_of(id_, f"A{number}") for number in range(1, 13)}
        simulator.change_station(id_, stationName="Elsewhere")
        await run.poll("stations")
        assert run.devices[device_of(id_)].name == "Elsewhere"
        assert run.devices[device_of(id_, "A1")].name == f"{listed['stationName']} A1"
        await run.poll("lattices")
        assert run.devices[device_of(id_, "A1")].name == "Elsewhere A1"


async def test_unchanged_poll_returns_the_same_objects() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        before = dict(run.devices)
        await run.poll()
        assert all(run.devices[id_] is device for id_, device in before.items())
        changed = next(iter(simulator.stations))
        simulator.set_charge(changed, "A1", 0)
        await run.poll("lattices")
        new = {id_ for id_, device in before.items() if run.devices[id_] is not device}
        assert new == {device_of(changed), device_of(changed, "A1")}
        tables = {id(device.entities) for device in run.of("lattices")}
        assert len(tables) == 1


async def test_removed_place_keeps_its_entity() -> None:
    async with simulated() as (simulator, run):
        id_ = next(iter(simulator.stations))
        await run.poll("stations")
        simulator.change_station(id_, centerLat=0.0, centerLon=0.0)
        await run.poll("stations")
        assert run.state(device_of(id_))["position"] is None
        assert run.devices[device_of(id_)].entity("position") is not None


async def test_empty_list_without_a_stated_zero_gives_no_inventory() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        run.inventories.clear()
        simulator.fault_injector.inject("empty")
        await run.poll()
        assert not run.inventories
        simulator.fault_injector.clear()
        await run.poll()
        assert len(run.ids("stations") or ()) == 2


async def test_empty_list_with_a_stated_zero_gives_an_empty_inventory() -> None:
    """Faults 3.10: the vendor states that there are 0 stations."""
    async with simulated() as (simulator, run):
        await run.poll()
        run.inventories.clear()
        for id_ in list(simulator.stations):
            simulator.remove_station(id_)
        await run.poll("stations")
        assert [(one.scope, one.ids, one.confirmed_empty) for one in run.inventories] == [
            ("stations", frozenset(), True)
        ]


async def test_blank_values_keep_their_entities() -> None:
    """Faults 1.2: a field that goes blank is null; only a field that is missing is no longer an entity's."""
    async with simulated() as (simulator, run):
        await run.poll()
        id_ = next(iter(simulator.stations))
        before = {device.id: {entity.key for entity in device.entities} for device in run.devices.values()}
        simulator.change_station(id_, centerLat=None, centerLon="", totalCount="")
        blank = ("updateTime", "lockStatus", "deviceId", "connectPower", "isFull", "isFailure")
        simulator.change_lattice(id_, "A1", **dict.fromkeys(blank, ""))
        await run.poll()
        assert {device.id: {entity.key for entity in device.entities} for device in run.devices.values()} == before
        compartment = run.state(device_of(id_, "A1"))
        assert [compartment[key] for key in ("connect_power", "is_failure", "lock_status", "update_time")] == [None] * 4
        assert compartment["occupied"] == "OFF"
        assert [run.state(device_of(id_))[key] for key in ("position", "total_count")] == [None, None]
        del simulator.lattices[id_][0]["lockStatus"]
        await run.poll()
        assert run.devices[device_of(id_, "A1")].entity("lock_status") is None


async def test_removed_station_is_no_longer_read() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        gone, stays = simulator.stations
        simulator.remove_station(gone)
        await run.poll("stations")
        assert run.ids("stations") == {device_of(stays)}
        simulator.fault_injector.calls.clear()
        await run.poll("lattices")
        assert [call.body["id"] for call in calls(simulator, LATTICES)] == [stays]


async def test_null_texts_and_sums_as_texts_are_accepted() -> None:
    async with simulated() as (simulator, run):
        simulator.null_strings = simulator.statistics_as_text = True
        await run.poll()
        id_ = next(iter(simulator.stations))
        assert run.state(device_of(id_))["sum_lattice_count"] == 12
        assert not run.devices[device_of(id_)].attributes
        assert run.state(device_of(id_, "A4"))["occupied"] == "OFF"
        assert run.state(NAME)["org_name"] is None


async def test_default_window_covers_all_lattices() -> None:
    async with simulated() as (simulator, run):
        simulator.window_filters_sums = True
        await run.poll()
        assert {station.state["sum_lattice_count"] for station in run.of("stations")} == {12}


@pytest.mark.parametrize("of", ["own", "station", "lattice"])
async def test_read_updates_the_device(of: str) -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        id_ = next(iter(simulator.stations))
        simulator.take_lock(id_, "A1")
        simulator.change_station(id_, totalCount=11)
        item = next(item for item in simulator.collections.values() if item["status"] == 0)
        item["status"] = 2
        wanted = {"own": NAME, "station": device_of(id_), "lattice": device_of(id_, "A1")}[of]
        update = await run.backend.read(run.devices[wanted])
        run.take(update)
        assert update.origin is UpdateOrigin.COMMAND
        assert run.state(device_of(id_))["total_count"] == 11
        assert run.state(device_of(id_, "A1"))["occupied"] == ("ON" if of == "own" else "OFF")
        assert (run.state(NAME)["open_authorisations"] == 3) is (of == "own")


async def test_read_of_a_removed_station_is_rejected() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        gone = next(iter(simulator.stations))
        simulator.remove_station(gone)
        for device in (device_of(gone), device_of(gone, "A1")):
            with pytest.raises(Rejected) as raised:
                await run.read(device)
            assert raised.value.code == "not_listed"


async def test_ids_are_the_same_after_a_restart() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.fault_injector.clear()
        async with simulated() as (_, other):
            await other.poll()
            assert other.devices.keys() == run.devices.keys()


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ({"kind": "error", "code": 102}, Rejected, 102),
        ({"kind": "error", "code": 103}, AuthenticationError, 103),
        ({"kind": "error", "code": 105}, Ambiguous, 105),
        ({"kind": "error", "code": 108, "text": "busy"}, Rejected, 108),
        ({"kind": "status", "status": 500}, InvalidResponse, 500),
        ({"kind": "status", "status": 503}, RateLimited, 503),
        ({"kind": "garbage"}, InvalidResponse, "bad_reply"),
        ({"kind": "malformed"}, InvalidResponse, "bad_reply"),
        ({"kind": "reset", "times": 2}, Ambiguous, "connection_lost"),
    ],
)
@pytest.mark.parametrize("source", ["stations", "authorisations"])
async def test_poll_raises_the_narrowest_error(
    source: str, fault: dict[str, Any], kind: type[BackendError], code: int | str
) -> None:
    call = {"stations": STATIONS, "authorisations": TRANSFERS}[source]
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.fault_injector.inject(path=path(call), **{"times": 1} | fault)
        with pytest.raises(kind) as raised:
            await run.poll(source)
        assert type(raised.value) is kind
        assert raised.value.code == code
        assert raised.value.endpoint == call
        assert run.backend.calls[call].failures == 1
        await run.poll(source)


async def test_poll_of_a_vendor_that_hangs_raises_ambiguous(tmp_path: Path, loop_time: LoopTime) -> None:
    async with simulated(shared=Shared(tmp_path, timeout=PATIENCE)) as (simulator, run):
        simulator.fault_injector.inject("hang", path(STATIONS), times=1)
        polling = asyncio.create_task(run.poll("stations"))
        await wait_until(lambda: calls(simulator, STATIONS), "the call that hangs")
        loop_time.advance(PATIENCE)
        with pytest.raises(Ambiguous) as raised:
            await polling
        assert (raised.value.code, raised.value.endpoint) == ("timeout", STATIONS)
        await run.poll("stations")


async def test_backend_describes_itself() -> None:
    async with simulated() as (_, run):
        assert run.backend.quota == {"concurrency": 1}
        assert (run.backend.title, run.backend.manufacturer) == ("Jiutong omstation", "Jointech")
        assert run.backend.platform == "omstation"
