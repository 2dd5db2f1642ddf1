"""Deviations and injected faults of the simulated omstation."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.platforms.omstation.simulated import (
    ADD_DEVICES,
    ADD_STATION,
    COLLECTION,
    COLLECTIONS,
    DAY,
    DONE,
    LATTICES,
    ORG,
    PAGE,
    SIGN_IN,
    STATIONS,
    TRANSFER,
    TRANSFERS,
    UPDATE_COLLECTION,
    UPDATE_STATION,
    UPDATE_TRANSFER,
    Omstation,
    path,
    station,
)

LOCKS = {"orgId": ORG, "deviceInfoList": [{"deviceType": 701, "deviceId": "7018800001"}]}


def writes(omstation: Omstation) -> dict[str, Any]:
    """Return each write with a body that it accepts."""
    collection, transfer = next(iter(omstation.simulator.collections)), next(iter(omstation.simulator.transfers))
    return {
        ADD_STATION: station(),
        UPDATE_STATION: station(id=omstation.first),
        ADD_DEVICES: LOCKS,
        UPDATE_COLLECTION: COLLECTION | {"id": collection, "deviceTypes": '{"709": "JT709A"}'},
        UPDATE_TRANSFER: TRANSFER | {"id": transfer},
    }


def tables(omstation: Omstation) -> tuple[str, ...]:
    """Return the data that writes change, as it is now."""
    simulator = omstation.simulator
    return tuple(
        str(table) for table in (simulator.stations, simulator.devices, simulator.collections, simulator.transfers)
    )


async def listed(omstation: Omstation, **changes: Any) -> list[Any]:
    return list((await omstation.data(COLLECTIONS, PAGE | changes))["data"])


async def test_simulator_write_can_answer_105_and_be_done(omstation: Omstation) -> None:
    omstation.simulator.writes_say_105 = True
    omstation.simulator.add_answers = 200
    for call, body in writes(omstation).items():
        before = tables(omstation)
        assert await omstation.call(call, body) == DONE | {"code": 105}
        assert tables(omstation) != before
    assert (await omstation.call(STATIONS, {"orgId": ORG}))["code"] == 200


async def test_simulator_write_can_do_nothing(omstation: Omstation) -> None:
    before = tables(omstation)
    omstation.simulator.fault_injector.inject("noop")
    for call, body in writes(omstation).items():
        assert (await omstation.call(call, body))["message"] == "Operation succeeded"
        assert (await omstation.call(call, {}))["code"] == 102
    assert tables(omstation) == before
    assert len(await omstation.stations()) == 2


async def test_simulator_texts_can_be_null(omstation: Omstation) -> None:
    omstation.simulator.null_strings = True
    data = (await omstation.log_in())["data"]
    assert {data[name] for name in ("orgName", "webTheme", "adminCode", "dateFormat")} == {None}
    known = (await omstation.stations())[0]
    assert (known["orgName"], known["deviceId"], known["path"]) == (None, None, None)
    items = (await omstation.lattices()).values()
    assert "" not in {item["deviceId"] for item in items}
    assert None in {item["deviceId"] for item in items}
    assert None in {item["fileUrl"] for item in items}
    assert {item["descInfo"] for item in await listed(omstation)} == {None}


async def test_simulator_sums_can_be_texts(omstation: Omstation) -> None:
    omstation.simulator.statistics_as_text = True
    for call, body in ((STATIONS, {"orgId": ORG}), (LATTICES, DAY | {"id": omstation.first})):
        sums = (await omstation.data(call, body))["stationStatistics"]
        assert all(isinstance(value, str) for value in sums.values())
    assert sums["sumLatticeCount"] == "12"


async def test_simulator_lattices_can_be_missing(omstation: Omstation) -> None:
    omstation.simulator.lattices_missing = True
    assert list(await omstation.data(LATTICES, DAY | {"id": omstation.first})) == ["stationStatistics"]


async def test_simulator_window_can_filter_the_sums(omstation: Omstation) -> None:
    omstation.simulator.window_filters_sums = True
    body = DAY | {"id": omstation.first}
    assert (await omstation.data(LATTICES, body))["stationStatistics"]["sumLatticeCount"] == 0
    omstation.simulator.change_lattice(omstation.first, "A3", updateTime="2024-02-28T10:00:00.123456789Z")
    data = await omstation.data(LATTICES, body)
    assert data["stationStatistics"]["sumLatticeCount"] == 1
    assert len(data["stationLatticeInfoList"]) == 12


async def test_simulator_injected_error_comes_in_the_envelope(omstation: Omstation) -> None:
    fault_injector = omstation.simulator.fault_injector
    fault_injector.inject("error", path(SIGN_IN), code=106, times=1)
    assert await omstation.log_in() == {"code": 106, "message": "Account expired", "data": None}
    fault_injector.inject("error", path(STATIONS), code=108, text="busy", times=1)
    assert await omstation.call(STATIONS, {"orgId": ORG}) == {"code": 108, "message": "busy", "data": None}
    fault_injector.inject("error", path(LATTICES), times=1)
    assert (await omstation.call(LATTICES, {}))["code"] == 105
    fault_injector.inject("error", code=999, times=1)
    assert (await omstation.call(STATIONS, {}))["message"] == "Unknown error"
    assert (await omstation.call(STATIONS, {"orgId": ORG}))["code"] == 200


async def test_simulator_lists_can_be_empty(omstation: Omstation) -> None:
    omstation.simulator.fault_injector.inject("empty")
    data = await omstation.data(STATIONS, {"orgId": ORG})
    assert data["stationInfoList"] == []
    assert data["stationStatistics"]["sumStationCount"] == 2
    assert await omstation.lattices() == {}
    for call in (COLLECTIONS, TRANSFERS):
        assert await omstation.data(call, PAGE) == {"total": 0, "size": 1, "data": []}


async def test_simulator_pages_can_drift(omstation: Omstation) -> None:
    async def read() -> list[str]:
        return [item["id"] for page in (1, 2, 3) for item in await listed(omstation, pageNum=page, pageSize=3)]

    still = await read()
    omstation.simulator.fault_injector.inject("drift")
    moved = await read()
    assert (len(still), len(set(still))) == (9, 9)
    assert len(moved) == 9
    assert len(set(moved)) < 9


async def test_simulator_lost_response_was_carried_out(omstation: Omstation) -> None:
    omstation.simulator.fault_injector.inject("lost_answer", path(ADD_STATION), times=1)
    with pytest.raises(aiohttp.ClientError):
        await omstation.call(ADD_STATION, station())
    assert [item["stationName"] for item in await omstation.stations()][2:] == ["Yard"]
