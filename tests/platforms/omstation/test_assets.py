"""The asset call: lock data from another system, and the same call served."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import voluptuous as vol

from fleet2mqtt.errors import AuthenticationError, BackendError, InvalidResponse, Rejected, Unreachable
from fleet2mqtt.platforms import omstation
from tests.platforms.omstation.connected import NAME, Shared, connected, device_of, simulated, url_of
from tests.platforms.omstation.simulated import LATTICES, path
from tests.platforms.omstation.test_restart import poll, registry_after, restarted, states

if TYPE_CHECKING:
    from fleet2mqtt.simulators.fault_injection import Call
    from fleet2mqtt.simulators.omstation import Simulator
    from tests.platforms.context import Run

ASSETS = "/QueryAdminAssetListByFAssetIDs"
SOURCES = ("stations", "lattices", "authorisations", "assets")
KEYS = ("lock_battery", "lock_online", "lock_position", "lock_gps_time")
FIELDS = (
    *("deviceId", "deviceType", "battery", "onlineStatus", "gpsSignal", "gsmSignal"),
    *("lat", "lon", "gpsTime", "networkType"),
)


def asked(simulator: Simulator) -> list[Call]:
    return [call for call in simulator.fault_injector.calls if call.path == ASSETS]


def locks(simulator: Simulator) -> dict[str, str]:
    """Return the device id of the compartment of each lock."""
    return {
        lattice["deviceId"]: device_of(station, lattice["latticeNo"])
        for station, lattices in simulator.lattices.items()
        for lattice in lattices
        if lattice["deviceId"]
    }


def serve(run: Run, ids: str | None, body: bytes = b"", **headers: str) -> Any:
    """Return the response to an asset call."""
    (call,) = run.backend.served
    assert (call.prefix, call.name) == ("assets", "QueryAdminAssetListByFAssetIDs")
    raw = body if ids is None else json.dumps({"assetIds": ids}).encode()
    return json.loads(call.respond(raw, headers))


async def test_compartment_shows_the_data_of_its_lock() -> None:
    async with simulated(assets=True) as (simulator, run):
        await run.poll()
        ids = locks(simulator)
        (call,) = asked(simulator)
        assert call.body == {"assetIds": ",".join(sorted(ids))}
        assert call.headers["token"] == simulator.asset_token
        charge = {
            lattice["deviceId"]: simulator.charge[lattice["id"]]
            for each in simulator.lattices.values()
            for lattice in each
        }
        for lock, compartment in ids.items():
            state = run.state(compartment)
            assert (state["lock_battery"], state["lock_online"]) == (charge[lock], "ON")
            assert (state["lock_gps_signal"], state["lock_gsm_signal"], state["lock_network_type"]) == (24, 20, "1")
            assert state["lock_gps_time"].endswith("+00:00")
        first = next(iter(simulator.stations.values()))
        place = {"latitude": first["centerLat"], "longitude": first["centerLon"]}
        assert run.state(device_of(first["id"], "A1"))["lock_position"] == place
        entities = {entity.key: entity for entity in run.of("lattices")[0].entities}
        assert {entities[key].source for key in KEYS} == {"assets"}
        assert (entities["lock_battery"].device_class, entities["lock_battery"].unit) == ("battery", "%")


async def test_compartment_without_a_lock_keeps_its_entities() -> None:
    async with simulated(assets=True) as (simulator, run):
        await run.poll()
        empty = [device for device in run.of("lattices") if device.state["occupied"] == "OFF"]
        assert empty
        assert {device.state[key] for device in empty for key in KEYS} == {None}
        station = next(iter(simulator.stations))
        lock = simulator.take_lock(station, "A1")
        await run.poll("lattices")
        assert {run.state(device_of(station, "A1"))[key] for key in KEYS} == {None}
        simulator.return_lock(station, "A4", lock, charge=35)
        await run.poll("lattices", "assets")
        assert run.state(device_of(station, "A4"))["lock_battery"] == 35


@pytest.mark.parametrize(
    ("changes", "state", "attributes"),
    [
        (
            {"battery": -1, "onlineStatus": -1, "gpsSignal": -1, "networkType": -1},
            {"lock_battery": None, "lock_online": None, "lock_gps_signal": None, "lock_network_type": None},
            None,
        ),
        ({"battery": 150}, {"lock_battery": None}, {"raw": 150}),
        ({"battery": "87", "networkType": "4G"}, {"lock_battery": 87, "lock_network_type": "4G"}, None),
        ({"onlineStatus": 0}, {"lock_online": "OFF"}, None),
        ({"onlineStatus": 7}, {"lock_online": None}, None),
        ({"lat": -1, "lon": -1}, {"lock_position": None}, None),
        ({"lat": 0.0, "lon": 0.0}, {"lock_position": None}, None),
        ({"lat": 91, "lon": 7}, {"lock_position": None}, None),
        ({"lat": -1, "lon": 36.8}, {"lock_position": {"latitude": -1, "longitude": 36.8}}, None),
        ({"gpsTime": "2025-04-25 06:20:59"}, {"lock_gps_time": "2025-04-25T06:20:59+00:00"}, None),
        ({"gpsTime": ""}, {"lock_gps_time": None}, None),
    ],
)
async def test_unknown_values_are_null(changes: dict[str, Any], state: dict[str, Any], attributes: Any) -> None:
    """Faults 3.8 and 3.9: -1 is unknown, a status nobody knows is, and what is out of range has its raw value."""
    async with simulated(assets=True) as (simulator, run):
        lock, compartment = next(iter(locks(simulator).items()))
        simulator.asset_changes[lock] = changes
        await run.poll()
        assert {key: run.state(compartment)[key] for key in state} == state
        assert run.devices[compartment].attributes.get("lock_battery") == attributes


async def test_lock_that_the_asset_system_does_not_know_is_unknown() -> None:
    async with simulated(assets=True) as (simulator, run):
        await run.poll()
        lock, compartment = next(iter(locks(simulator).items()))
        del simulator.devices[lock]
        await run.poll("assets")
        assert {run.state(compartment)[key] for key in KEYS} == {None}


async def test_rejected_lock_costs_the_others_nothing() -> None:
    """Faults 2.2: a batch that is rejected for one lock is halved."""
    async with simulated(assets=True) as (simulator, run):
        await run.poll()
        ids = locks(simulator)
        bad = next(iter(ids))
        simulator.refused_assets.add(bad)
        simulator.asset_changes = {lock: {"battery": 33} for lock in ids}
        for known in (True, True, False):
            simulator.fault_injector.calls.clear()
            await run.poll("assets")
            assert {run.state(compartment)["lock_battery"] for lock, compartment in ids.items() if lock != bad} == {33}
            assert (run.state(ids[bad])["lock_battery"] is not None) is known
            assert len(asked(simulator)) < 12
        simulator.refused_assets.clear()
        await run.poll("assets")
        assert run.state(ids[bad])["lock_battery"] == 33


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "status", "status": 500}, InvalidResponse),
        ({"kind": "error", "code": 104}, AuthenticationError),
        ({"kind": "error", "code": 108}, Rejected),
        ({"kind": "garbage"}, InvalidResponse),
    ],
)
async def test_failing_asset_system_leaves_the_cabinets_alone(fault: dict[str, Any], kind: type[BackendError]) -> None:
    async with simulated(assets=True) as (simulator, run):
        await run.poll()
        logins = simulator.login_count
        simulator.fault_injector.inject(path=ASSETS, **fault)
        with pytest.raises(kind) as raised:
            await run.poll("assets")
        assert raised.value.endpoint == ASSETS.removeprefix("/")
        assert simulator.asset_token not in str(raised.value)
        assert simulator.login_count == logins
        assert run.backend.calls[ASSETS.removeprefix("/")].failures
        await run.poll("stations", "lattices")
        assert all(device.available for device in run.of("lattices"))


async def test_one_failing_batch_does_not_end_the_sweep() -> None:
    """Faults 2.1: two batches in a item that fail do, and the next sweep goes on there."""
    async with simulated(devices=20, assets=True) as (simulator, run):
        await run.poll()
        total = len(locks(simulator))
        assert total > 100
        batches = len(asked(simulator))
        for times, calls in ((1, batches), (2, 2)):
            simulator.fault_injector.calls.clear()
            simulator.fault_injector.inject("status", ASSETS, status=503, times=times)
            if times == 1:
                await run.poll("assets")
            else:
                with pytest.raises(Rejected):
                    await run.poll("assets")
            assert len(asked(simulator)) == calls
        simulator.fault_injector.clear()
        simulator.fault_injector.calls.clear()
        await run.poll("assets")
        assert len({lock for call in asked(simulator) for lock in call.body["assetIds"].split(",")}) == total


async def test_asset_url_may_be_the_whole_address() -> None:
    async with simulated() as (simulator, run):
        own = {"url": url_of(run).rstrip("/") + ASSETS, "token": simulator.asset_token}
        async with connected(
            url_of(run), Shared(run.backend.client.client.session.store.path.parent), assets=own
        ) as other:
            await other.poll()
            assert len(asked(simulator)) == 1


async def test_restored_lock_data_stays_until_the_asset_system_has_answered(shared: Shared) -> None:
    """Faults 1.1."""
    async with simulated(assets=True, shared=shared) as (simulator, run):
        registry = await registry_after(run, SOURCES)
        before = states(registry)
        registry = await restarted(shared.folder, registry)
        own = {"url": url_of(run).rstrip("/"), "token": simulator.asset_token}
        async with connected(url_of(run), shared, assets=own) as second:
            for name in ("stations", "lattices", "authorisations"):
                await poll(registry, second, (name,), settled=False)
                assert states(registry) == before, name
            lock, compartment = next(iter(locks(simulator).items()))
            del simulator.devices[lock]
            await poll(registry, second, ("assets",), settled=True)
            assert states(registry)[compartment]["lock_battery"] is None
            assert states(registry)[NAME] == before[NAME]


async def test_served_call_has_the_form_of_the_page() -> None:
    async with simulated(assets=True) as (simulator, run):
        await run.poll()
        first, second, *_ = locks(simulator)
        changes = {
            "battery": 60,
            "lat": 22.126542,
            "lon": 113.254632,
            "gpsTime": "2025-04-25 06:20:59",
            "gsmSignal": -1,
        }
        simulator.asset_changes[first] = changes
        await run.poll("assets")
        response = serve(run, f"{first}, {second},unknown,{first}")
        assert list(response) == ["code", "message", "data"]
        assert (response["code"], response["message"]) == (200, "Operation succeeded")
        assert [list(item) for item in response["data"]] == [list(FIELDS)] * 2
        assert response["data"][0] == {
            "deviceId": first,
            "deviceType": simulator.devices[first],
            "onlineStatus": 1,
            "gpsSignal": 24,
            "networkType": 1,
            **changes,
        }
        assert serve(run, "unknown")["data"] == []


async def test_served_call_without_an_asset_system_tells_what_the_cabinet_knows() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        assert len(run.backend.sources) == 3
        station, lattices = next(iter(simulator.lattices.items()))
        full = next(lattice for lattice in lattices if lattice["isFull"])
        charging = next(lattice for lattice in lattices if lattice["connectPower"] and not lattice["isFull"])
        data = serve(run, f"{full['deviceId']},{charging['deviceId']}")["data"]
        place = {"lat": simulator.stations[station]["centerLat"], "lon": simulator.stations[station]["centerLon"]}
        assert [item["battery"] for item in data] == [100, -1]
        for item in data:
            assert {name: item[name] for name in place} == place
            assert [item[name] for name in ("onlineStatus", "gpsSignal", "gsmSignal", "networkType")] == [-1] * 4
        assert data[0]["gpsTime"] == full["updateTime"][:19].replace("T", " ")
        unplaced = list(simulator.lattices.values())[1]
        lock = next(lattice["deviceId"] for lattice in unplaced if lattice["deviceId"])
        (item,) = serve(run, lock)["data"]
        assert (item["lat"], item["lon"], item["gpsTime"]) == (-1, -1, None)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"{}", b'{"assetIds": 7}', b'{"assetIds": ""}', b'{"assetIds": " , "}']
)
async def test_served_call_refuses_what_is_no_request(body: bytes) -> None:
    async with simulated() as (_, run):
        assert (serve(run, None, body)["code"], serve(run, None, body)["data"]) == (102, None)
        assert serve(run, ",".join(map(str, range(1001))))["code"] == 102


async def test_served_call_checks_the_token_that_is_configured() -> None:
    async with simulated(assets={"server_token": "page-token"}) as (_, run):
        assert serve(run, "1")["code"] == 104
        assert serve(run, "1", token="other")["code"] == 104
        assert serve(run, "1", token="page-token")["code"] == 200


@pytest.mark.parametrize(
    ("assets", "wrong"),
    [
        ({}, None),
        ({"server_token": "page-token"}, None),
        ({"url": "http://a", "token": "page-token"}, None),
        ({"url": "http://a"}, ["assets", "token"]),
        ({"token": "page-token"}, ["assets", "url"]),
    ],
)
def test_asset_url_and_token_belong_together(assets: dict[str, str], wrong: list[str] | None) -> None:
    found = list(omstation.check({"assets": assets}))
    assert [error.path for error in found] == ([wrong] if wrong else [])
    for bad in ({"url": "a"}, {"url": 7}, {"token": ""}):
        with pytest.raises(vol.Invalid):
            vol.Schema(omstation.SCHEMA)({"username": "u", "password": "p", "assets": bad})


async def test_assets_wait_for_the_first_sweep_over_the_stations() -> None:
    async with simulated(assets=True) as (simulator, run):
        simulator.fault_injector.inject("status", path(LATTICES), status=500)
        with pytest.raises(InvalidResponse):
            await run.poll("lattices")
        with pytest.raises(InvalidResponse) as raised:  # does not wait for a second one
            await run.poll("assets")
        assert raised.value.code == 500
        assert not asked(simulator)
        simulator.fault_injector.clear()
        await run.poll("lattices", "assets")
        assert asked(simulator)


async def test_assets_do_not_wait_for_an_omstation_that_cannot_be_reached(shared: Shared) -> None:
    async with simulated(shared=shared) as (_, run):
        url = url_of(run)
    own = {"url": url.rstrip("/"), "token": "asset-token"}
    async with connected(url, shared, assets=own) as run:
        for name in ("stations", "lattices"):
            with pytest.raises(Unreachable):
                await run.poll(name)
        with pytest.raises(Unreachable):
            await run.poll("assets")
