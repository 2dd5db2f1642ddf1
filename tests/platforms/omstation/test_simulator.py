"""The simulated omstation against its pages: stations, lattices, registering locks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.platforms.omstation.simulated import (
    ADD_DEVICES,
    ADD_STATION,
    COLLECTIONS,
    DAY,
    DONE,
    LATTICES,
    ORG,
    PAGE,
    STATIONS,
    TRANSFERS,
    UPDATE_STATION,
    Omstation,
    station,
)

SUMS = (
    *("sumStationCount", "sumLowInventoryCount", "sumInStorageCount", "sumAvailableCount", "sumFullChargeCount"),
    *("sumAbnormalCount", "sumLatticeCount", "sumEmptyLatticeCount", "sumInChargeCount"),
)
LATTICE = (
    *("id", "index", "stationId", "latticeNo", "updateTime", "lockStatus", "deviceId"),
    *("connectPower", "isFull", "isFailure", "deviceType"),
)
MISSING = object()


def without(body: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (body | changes).items() if value is not MISSING}


async def test_simulator_lists_stations_and_their_sums(omstation: Omstation) -> None:
    data = await omstation.data(STATIONS, {"orgId": ORG})
    assert list(data) == ["stationInfoList", "stationStatistics"]
    first, second = data["stationInfoList"]
    assert (first["totalCount"], first["orgId"], first["orgName"]) == (12, ORG, "Jiutong IoT")
    assert first["latticeAssetList"][1] == {"typeId": 701, "stationType": "A", "index": 2}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", first["createTime"])
    assert first["centerLat"] != 0.0
    assert (second["centerLat"], second["centerLon"]) == (0.0, 0.0)
    sums = data["stationStatistics"]
    assert set(sums) == set(SUMS)
    assert (sums["sumStationCount"], sums["sumLatticeCount"], sums["sumAbnormalCount"]) == (2, 24, 2)
    assert (await omstation.data(STATIONS, {"orgId": "other"})) == {
        "stationInfoList": [],
        "stationStatistics": dict.fromkeys(SUMS, 0),
    }


async def test_simulator_sums_agree_with_its_lattices(omstation: Omstation) -> None:
    total = dict.fromkeys(SUMS, 0)
    for known in await omstation.stations():
        data = await omstation.data(LATTICES, DAY | {"id": known["id"]})
        items, sums = data["stationLatticeInfoList"], data["stationStatistics"]
        assert [item["latticeNo"] for item in items] == [f"A{index}" for index in range(1, 13)]
        assert {item["stationId"] for item in items} == {known["id"]}
        stored = [item for item in items if item["deviceId"]]
        assert sums == {
            "sumStationCount": 1,
            "sumLowInventoryCount": 0,
            "sumInStorageCount": len(stored),
            "sumAvailableCount": sum(not item["isFailure"] for item in stored),
            "sumFullChargeCount": sum(item["isFull"] for item in stored),
            "sumAbnormalCount": sum(item["isFailure"] for item in items),
            "sumLatticeCount": len(items),
            "sumEmptyLatticeCount": len(items) - len(stored),
            "sumInChargeCount": sum(item["connectPower"] and not item["isFull"] for item in stored),
        }
        assert all(sums[name] for name in SUMS if name != "sumLowInventoryCount")
        total = {name: total[name] + sums[name] for name in SUMS}
    assert (await omstation.data(STATIONS, {"orgId": ORG}))["stationStatistics"] == total


async def test_simulator_lattice_has_the_pages_fields(omstation: Omstation) -> None:
    items = list((await omstation.lattices()).values())
    for item in items:
        assert set(item) - {"fileUrl"} == set(LATTICE)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", item["updateTime"])
        assert item["deviceType"] == int(item["deviceId"][:3] or 0)
    assert {item["lockStatus"] for item in items} == {-1, 0, 1}
    films = [item["fileUrl"] for item in items if "fileUrl" in item]
    assert 0 < len(films) < len(items)
    assert all(re.search(r"\.mp4\?token=[0-9A-F]{32}$", film) for film in films)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "none"},
        {"id": 1},
        {"startTime": MISSING},
        {"endTime": ""},
        {"startTime": 1709082656979},
        {"startTime": "2024-02-28T00:00:00Z"},
        {"startTime": "2024-02-30"},
        {"startTime": DAY["endTime"], "endTime": DAY["startTime"]},
        {"orgId": ORG},
    ],
)
async def test_simulator_refuses_invalid_lattice_queries(omstation: Omstation, changes: dict[str, Any]) -> None:
    answer = await omstation.call(LATTICES, without(DAY | {"id": omstation.first}, changes))
    assert (answer["code"], answer["data"]) == (102, None)


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_simulator_adds_and_updates_a_station(omstation: Omstation, lang: str) -> None:
    assert await omstation.call(ADD_STATION, station(), lang=lang) == DONE
    added = (await omstation.stations())[-1]
    assert (added["stationName"], added["totalCount"], added["deviceId"]) == ("Yard", 3, "8099")
    assert added["latticeAssetList"] == station()["latticeAssetList"]
    assert list(await omstation.lattices(added["id"])) == ["B1", "B2", "A1"]
    lock = omstation.simulator.return_lock(added["id"], "B2")
    change = station(stationName="Yard 2", totalCount="2", latticeInfo='{"701": 1, "709": 1}')
    assert await omstation.call(UPDATE_STATION, change, lang=lang) == DONE
    changed = (await omstation.stations())[-1]
    assert (changed["id"], changed["stationName"], changed["totalCount"]) == (added["id"], "Yard 2", 2)
    assert {no: item["deviceId"] for no, item in (await omstation.lattices(added["id"])).items()} == {
        "B1": "",
        "B2": lock,
    }


async def test_simulator_frees_the_lock_of_a_removed_lattice(omstation: Omstation) -> None:
    lock = (await omstation.lattices())["A1"]["deviceId"]
    slots = [{"typeId": 705, "stationType": "C", "index": 1}]
    change = station(id=omstation.first, totalCount="1", latticeAssetList=slots)
    assert await omstation.call(UPDATE_STATION, change) == DONE
    assert list(await omstation.lattices()) == ["C1"]
    assert lock in omstation.simulator.away


@pytest.mark.parametrize(
    "changes",
    [
        {"totalCount": 3},
        {"totalCount": "0"},
        {"totalCount": "1"},
        {"totalCount": "201"},
        {"stationName": " "},
        {"deviceId": None},
        {"orgId": "other"},
        {"latticeAssetList": MISSING},
        {"latticeAssetList": "[]"},
        {"latticeAssetList": [{"typeId": 701, "stationType": "D", "index": 1}]},
        {"latticeAssetList": [{"typeId": 1, "stationType": "A", "index": 1}]},
        {"latticeAssetList": [{"typeId": 701, "stationType": "A", "index": "1"}]},
        {"latticeAssetList": [{"typeId": 701, "stationType": "A"}]},
        {"latticeAssetList": [{"typeId": 701, "stationType": "A", "index": 1}] * 2},
        {"id": ""},
        {"id": MISSING},
        {"latticeAssetList": ["A1"]},
        {"colour": "red"},
    ],
)
async def test_simulator_refuses_invalid_stations(omstation: Omstation, changes: dict[str, Any]) -> None:
    for call, body in ((ADD_STATION, station()), (UPDATE_STATION, station(id=omstation.first))):
        answer = await omstation.call(call, without(body, changes))
        assert (answer["code"], answer["data"]) == (102, None)
    assert [item["totalCount"] for item in await omstation.stations()] == [12, 12]


async def test_simulator_refuses_wrong_ids_and_languages(omstation: Omstation) -> None:
    assert (await omstation.call(ADD_STATION, station(id=omstation.first)))["code"] == 102
    assert (await omstation.call(UPDATE_STATION, station(id="none")))["code"] == 102
    update = station(id=omstation.first)
    assert (await omstation.call(UPDATE_STATION, update | {"latticeInfo": {"701": 1}}))["code"] == 102
    assert (await omstation.call(UPDATE_STATION, update | {"latticeInfo": "{"}))["code"] == 102
    assert (await omstation.call(ADD_STATION, station(), lang="de"))["code"] == 102


async def test_simulator_adds_locks_and_answers_105(omstation: Omstation) -> None:
    body = {"orgId": ORG, "deviceInfoList": [{"deviceType": 701, "deviceId": "7018800001"}]}
    assert await omstation.call(ADD_DEVICES, body) == DONE | {"code": 105}
    assert omstation.simulator.devices["7018800001"] == 701
    omstation.simulator.add_answers = 200
    body["deviceInfoList"] = [{"deviceType": "709", "deviceId": name} for name in ("7018800001", "7098800002")]
    assert await omstation.call(ADD_DEVICES, body) == DONE
    assert omstation.simulator.devices["7098800002"] == 709
    assert omstation.simulator.devices["7018800001"] == 701
    assert omstation.simulator.away == ["7018800001", "7098800002"]


@pytest.mark.parametrize(
    "changes",
    [
        {"orgId": "other"},
        {"deviceInfoList": []},
        {"deviceInfoList": "[]"},
        {"deviceInfoList": ["701"]},
        {"deviceInfoList": [{"deviceType": 702, "deviceId": "1"}]},
        {"deviceInfoList": [{"deviceType": 701.0, "deviceId": "1"}]},
        {"deviceInfoList": [{"deviceType": 701, "deviceId": 1}]},
        {"deviceInfoList": [{"deviceType": 701, "deviceId": "7018800001"}, {"deviceType": 701, "deviceId": ""}]},
    ],
)
async def test_simulator_refuses_invalid_locks_together(omstation: Omstation, changes: dict[str, Any]) -> None:
    known = dict(omstation.simulator.devices)
    body = {"orgId": ORG, "deviceInfoList": [{"deviceType": 701, "deviceId": "7018800001"}]} | changes
    assert (await omstation.call(ADD_DEVICES, body))["code"] == 102
    assert omstation.simulator.devices == known


async def test_simulator_accepts_the_pages_sample_query(omstation: Omstation) -> None:
    for call in (COLLECTIONS, TRANSFERS):
        assert (await omstation.call(call, PAGE))["code"] == 200
