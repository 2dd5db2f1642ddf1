"""Control of the simulated omstation, and its changes in live mode."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from fleet2mqtt.simulators.omstation import SIMULATOR, create
from tests.platforms.omstation.simulated import (
    ADD_DEVICES,
    ORG,
    STATIONS,
    Omstation,
    running,
)
from tests.waiting import wait_until


async def test_simulator_counts_stations_with_low_inventory(omstation: Omstation) -> None:
    for number, item in (await omstation.lattices()).items():
        if item["deviceId"] and not item["isFailure"]:
            omstation.simulator.take_lock(omstation.first, number)
    sums = (await omstation.data(STATIONS, {"orgId": ORG}))["stationStatistics"]
    assert sums["sumLowInventoryCount"] == 1


async def test_simulator_locks_are_removed_and_returned(omstation: Omstation) -> None:
    simulator, first = omstation.simulator, omstation.first
    before = (await omstation.lattices())["A1"]
    lock = simulator.take_lock(first, "A1")
    taken = (await omstation.lattices())["A1"]
    assert (lock, simulator.away) == (before["deviceId"], [lock])
    assert (taken["deviceId"], taken["lockStatus"], taken["isFull"], taken["connectPower"]) == ("", 1, 0, 0)
    assert "fileUrl" in taken
    assert taken["updateTime"] > before["updateTime"]
    assert simulator.return_lock(first, "A4") == lock
    back = (await omstation.lattices())["A4"]
    assert (back["deviceId"], back["deviceType"], back["isFull"], back["connectPower"]) == (lock, 701, 0, 1)
    simulator.set_charge(first, "A4", 100)
    assert (await omstation.lattices())["A4"]["isFull"] == 1
    with pytest.raises(ValueError, match="is empty"):
        simulator.take_lock(first, "A1")
    with pytest.raises(ValueError, match="is not empty"):
        simulator.return_lock(first, "A2")
    with pytest.raises(ValueError, match="in a lattice"):
        simulator.return_lock(first, "A1", lock)


async def test_simulator_new_lock_has_its_own_number(omstation: Omstation) -> None:
    simulator = omstation.simulator
    taken = f"{(701, 705, 709)[(len(simulator.devices) + 1) % 3]}{len(simulator.devices) + 2:07d}"
    body = {"orgId": ORG, "deviceInfoList": [{"deviceType": int(taken[:3]), "deviceId": taken}]}
    await omstation.call(ADD_DEVICES, body)
    assert simulator.return_lock(omstation.first, "A4") == taken
    assert simulator.return_lock(omstation.first, "A7") not in ("", taken)


async def test_simulator_is_controlled_over_http(omstation: Omstation) -> None:
    added = await omstation.control("station", {"stationName": "New", "lattices": 3})
    await omstation.control("station", {"id": added["id"], "stationName": "Newer"})
    first = omstation.first
    await omstation.control("lattice", {"stationId": first, "latticeNo": "A1", "take": True})
    lock = {"device_id": "7018800009", "charge": 50}
    await omstation.control("lattice", {"stationId": first, "latticeNo": "A1", "return": lock})
    await omstation.control("lattice", {"stationId": first, "latticeNo": "A1", "charge": 100, "isFailure": 1})
    item = (await omstation.lattices())["A1"]
    assert (item["deviceId"], item["isFull"], item["isFailure"]) == ("7018800009", 1, 1)
    assert [known["stationName"] for known in await omstation.stations()][2:] == ["Newer"]
    await omstation.control("station", {"id": first, "remove": True})
    await omstation.control("quirks", {"statistics_as_text": True, "token_answer": "403", "lock_after": 3})
    await omstation.control("account", {"userName": "admin", "password": "other"})
    assert await omstation.status(STATIONS, {"orgId": ORG}) == 403
    assert (await omstation.log_in())["code"] == 103
    async with omstation.client.get("/_sim/state") as response:
        state = await response.json()
    assert first not in state["stations"]
    assert first not in state["lattices"]
    assert (state["accounts"], state["bad_logins"], state["tokens"]) == ({"admin": "other"}, {"admin": 1}, {})
    assert (state["statistics_as_text"], state["null_strings"], state["lock_after"]) == (True, False, 3)
    await omstation.control("account", {"userName": "admin", "password": "123456"})
    await omstation.log_in()
    await omstation.control("expire_tokens", {})
    assert await omstation.status(STATIONS, {"orgId": ORG}) == 403
    await omstation.control("account", {"userName": "admin", "password": None})
    assert (await omstation.log_in())["code"] == 103


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("station", {"id": "none", "stationName": "x"}),
        ("station", {"colour": "red"}),
        ("station", []),
        ("lattice", {"stationId": "none", "latticeNo": "A1"}),
        ("account", {"password": "x"}),
        ("account", {"userName": "admin", "colour": "red"}),
        ("quirks", {"colour": True}),
        ("quirks", {"null_strings": 1}),
        ("quirks", {"null_strings": True, "add_answers": 104}),
    ],
)
async def test_simulator_refuses_invalid_control_requests(omstation: Omstation, name: str, body: Any) -> None:
    async with omstation.client.post(f"/_sim/{name}", json=body) as response:
        assert response.status == 400
    assert omstation.simulator.null_strings is False
    assert len(omstation.simulator.stations) == 2


async def test_simulator_ids_cannot_be_changed(omstation: Omstation) -> None:
    with pytest.raises(AttributeError):
        omstation.simulator.change_station(omstation.first, id="other")
    with pytest.raises(AttributeError):
        omstation.simulator.change_lattice(omstation.first, "A1", stationId="other")
    with pytest.raises(KeyError):
        omstation.simulator.change_lattice(omstation.first, "Z9", isFull=1)


def test_simulator_with_the_same_seed_has_the_same_stations() -> None:
    def drawn(seed: int) -> list[Any]:
        simulator = create(devices=5, seed=seed)[SIMULATOR]
        items = [item for items in simulator.lattices.values() for item in items]
        return [*simulator.stations, *([item["id"], item["deviceId"], item.get("fileUrl")] for item in items)]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


@pytest.mark.parametrize("devices", [0, 1, 7])
async def test_simulator_has_the_requested_number_of_stations(devices: int) -> None:
    async with running(devices=devices) as omstation:
        items = await omstation.stations()
        assert len(items) == devices
        assert sum(item["centerLat"] == 0.0 for item in items) == (devices + 3) // 5
        simulator = omstation.simulator
        stored = [item["deviceId"] for items in simulator.lattices.values() for item in items if item["deviceId"]]
        assert len(stored) == len(set(stored)) == len(simulator.devices)
        simulator.happen()


def test_simulator_live_locks_charge_and_move() -> None:
    simulator = create()[SIMULATOR]
    charging = [
        item for items in simulator.lattices.values() for item in items if item["connectPower"] and not item["isFull"]
    ]
    ever_away: set[str] = set()
    back: set[str] = set()
    filled: set[str] = set()
    for _ in range(300):
        simulator.happen()
        away = set(simulator.away)
        back |= ever_away - away
        ever_away |= away
        filled |= {item["id"] for item in charging if item["isFull"]}
        stored = {item["deviceId"] for items in simulator.lattices.values() for item in items} - {""}
        assert stored | away == simulator.devices.keys()
        assert not stored & away
    assert filled == {item["id"] for item in charging}
    assert back


async def test_simulator_in_live_mode_changes_by_itself() -> None:
    app = create(live=True)
    app[SIMULATOR].live_seconds = 0.001
    async with TestServer(app):
        await wait_until(lambda: app[SIMULATOR].away, "a lock to be taken")
