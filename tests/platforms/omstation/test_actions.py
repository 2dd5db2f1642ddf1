"""Every action with what the vendor answers, or its refusal; what is checked before anything is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import voluptuous as vol

from fleet2mqtt.errors import Ambiguous, CommandError, Rejected
from fleet2mqtt.sdk.api import describe
from tests.platforms.omstation.connected import NAME, calls, device_of, simulated
from tests.platforms.omstation.simulated import (
    ADD_DEVICES,
    ADD_STATION,
    COLLECTIONS,
    DONE,
    LATTICES,
    ORG,
    TRANSFERS,
    UPDATE_COLLECTION,
    UPDATE_STATION,
    UPDATE_TRANSFER,
    path,
)

if TYPE_CHECKING:
    from fleet2mqtt.simulators.omstation import Simulator

SLOTS = [{"typeId": 1, "stationType": "B", "index": 1}, {"typeId": 1, "stationType": "B", "index": 2}]
YARD = {"stationName": "Yard", "deviceId": "8099", "totalCount": 2, "latticeAssetList": SLOTS}
LOCKS = {"deviceInfoList": [{"deviceType": 701, "deviceId": "7018800001"}]}
PERSON = {"toUser": "Li Wei", "phoneNum": "139", "email": "li@example.com", "descInfo": "gate 3"}
SHARES = [{"deviceType": 701, "count": 2}]
TIMES = {"startTime": "2024-02-28T00:00:00Z", "endTime": "2024-02-29T00:00:00Z"}


def writes(simulator: Simulator) -> dict[str, tuple[str, dict[str, Any]]]:
    """Each action that changes something, its endpoint and arguments."""
    station, collection, transfer = (
        next(iter(table)) for table in (simulator.stations, simulator.collections, simulator.transfers)
    )
    return {
        "station_add": (ADD_STATION, YARD),
        "station_update": (UPDATE_STATION, {"id": station, "stationName": "Else"}),
        "device_register": (ADD_DEVICES, LOCKS),
        "authorisation_update": (UPDATE_COLLECTION, {"id": collection, "type": 0, "deviceTypes": [709]}),
        "authorisation_transfer": (UPDATE_TRANSFER, {"id": transfer, "authInfo": [{"deviceType": 701, "count": 9}]}),
    }


async def test_actions_of_a_backend_are_the_documented_ones() -> None:
    async with simulated() as (_, run):
        told = {action.name: (action.destructive, action.refresh) for action in run.backend.actions}
        stations, open_ = ("stations", "lattices"), ("authorisations",)
        assert told == {
            "station_list": (False, ()),
            "station_get": (False, ()),
            "station_add": (False, stations),
            "station_update": (False, stations),
            "device_register": (False, stations),
            "authorisation_list": (True, ()),
            "authorisation_transfer_list": (True, ()),
            "authorisation_update": (True, open_),
            "authorisation_transfer": (True, open_),
        }
        schemas = [describe(action)["arguments"] for action in run.backend.actions]
        assert all(schema["type"] == "object" for schema in schemas)
        assert schemas[4]["required"] == ["deviceInfoList"]


async def test_station_list_returns_stations_and_sums() -> None:
    async with simulated() as (simulator, run):
        data = await run.act("station_list")
        assert [row["id"] for row in data["stationInfoList"]] == [*simulator.stations]
        assert data["stationStatistics"]["sumStationCount"] == 2


async def test_station_get_returns_the_compartments_of_a_window() -> None:
    async with simulated() as (simulator, run):
        id_ = next(iter(simulator.stations))
        data = await run.act("station_get", id=id_)
        assert [row["latticeNo"] for row in data["stationLatticeInfoList"]] == [f"A{n}" for n in range(1, 13)]
        assert data["stationStatistics"]["sumLatticeCount"] == 12
        window = {"startTime": "2024-02-28T08:00:00+08:00", "endTime": "2024-02-29 00:00:00"}
        await run.act("station_get", id=id_, **window)
        assert calls(simulator, LATTICES)[-1].body == {"id": id_, **TIMES}
        with pytest.raises(CommandError) as raised:
            await run.act("station_get", id=id_, startTime=TIMES["endTime"], endTime=TIMES["startTime"])
        assert raised.value.code == "bad_window"
        with pytest.raises(Rejected) as refused:
            await run.act("station_get", id="none")
        assert refused.value.code == 102


@pytest.mark.parametrize("count", [2, "2"])
async def test_station_add_sends_all_fields_and_the_station_appears(count: int | str) -> None:
    async with simulated() as (simulator, run):
        assert await run.act("station_add", **YARD | {"totalCount": count}) == DONE
        (call,) = calls(simulator, ADD_STATION)
        assert call.body == {**YARD, "id": "", "totalCount": "2", "orgId": ORG}
        await run.poll("stations", "lattices")
        added = list(simulator.stations)[-1]
        assert run.devices[device_of(added)].name == "Yard"
        assert run.ids(f"lattices:{added}") == {device_of(added, number) for number in ("B1", "B2")}


async def test_station_update_takes_missing_fields_from_the_list() -> None:
    async with simulated() as (simulator, run):
        id_, before = next(iter(simulator.stations.items()))
        before = dict(before)
        assert await run.act("station_update", id=id_, stationName="Else", latticeInfo="") == DONE
        (call,) = calls(simulator, UPDATE_STATION)
        kept = {name: before[name] for name in ("deviceId", "latticeAssetList")}
        assert call.body == {
            **kept,
            "id": id_,
            "stationName": "Else",
            "totalCount": "12",
            "latticeInfo": "",
            "orgId": ORG,
        }
        await run.poll("stations")
        assert run.devices[device_of(id_)].name == "Else"
        await run.act("station_update", id=id_, **YARD)
        assert simulator.stations[id_]["totalCount"] == 2


async def test_station_update_of_an_incomplete_station_is_refused() -> None:
    async with simulated() as (simulator, run):
        with pytest.raises(CommandError) as raised:
            await run.act("station_update", id="none", stationName="Else")
        assert raised.value.code == "unknown_station"
        simulator.null_strings = True
        with pytest.raises(CommandError, match="deviceId") as raised:
            await run.act("station_update", id=next(iter(simulator.stations)), stationName="Else")
        assert raised.value.code == "incomplete"
        assert not calls(simulator, UPDATE_STATION)


async def test_device_register_answered_200_registers_locks() -> None:
    async with simulated() as (simulator, run):
        simulator.add_answers = 200
        assert await run.act("device_register", **LOCKS) == DONE
        assert calls(simulator, ADD_DEVICES)[-1].body == {**LOCKS, "orgId": ORG}
        assert simulator.devices["7018800001"] == 701


@pytest.mark.parametrize("name", ["station_add", "station_update", "device_register", "authorisation_update"])
async def test_write_answered_105_is_ambiguous_and_not_repeated(name: str) -> None:
    async with simulated() as (simulator, run):
        simulator.writes_say_105 = True
        call, arguments = writes(simulator)[name]
        with pytest.raises(Ambiguous, match="outcome is unknown") as raised:
            await run.act(name, **arguments)
        assert (raised.value.code, raised.value.endpoint) == (105, call)
        assert len(calls(simulator, call)) == 1


@pytest.mark.parametrize("fault", ["lost_answer", "reset"])
async def test_write_without_a_response_is_not_repeated(fault: str) -> None:
    async with simulated() as (simulator, run):
        await run.poll("stations")
        for name, (call, arguments) in writes(simulator).items():
            simulator.fault_injector.clear()
            simulator.fault_injector.inject(fault, path(call))
            with pytest.raises(Ambiguous) as raised:
                await run.act(name, **arguments)
            assert raised.value.code == "connection_lost"
            assert len(calls(simulator, call)) == 1


async def test_rejected_write_keeps_code_and_text() -> None:
    async with simulated() as (simulator, run):
        for name, (call, arguments) in writes(simulator).items():
            simulator.fault_injector.inject("error", path(call), code=108, text="Command failed", times=1)
            with pytest.raises(Rejected, match="Command failed") as raised:
                await run.act(name, **arguments)
            assert raised.value.code == 108


async def test_authorisation_list_omits_authorisation_codes() -> None:
    async with simulated() as (simulator, run):
        data = await run.act("authorisation_list", pageNum=2, pageSize=4)
        assert (data["total"], len(data["data"])) == (9, 4)
        assert {row["phoneNum"] for row in data["data"]} <= {row["phoneNum"] for row in simulator.collections.values()}
        every = (await run.act("authorisation_list"))["data"]
        codes = {row["authCode"] for row in simulator.collections.values()}
        assert codes
        assert not [code for code in codes if f"'{code}'" in str(every)]
        assert all("authCode" not in row for row in every)
        assert {row["status"] for row in (await run.act("authorisation_list", status=4))["data"]} == {4}
        found = await run.act("authorisation_list", key="DRIVER3@", **TIMES)
        assert found["data"] == []
        assert calls(simulator, COLLECTIONS)[-1].body == {
            "status": -2,
            "key": "DRIVER3@",
            "pageNum": "1",
            "pageSize": 20,
            "orgId": ORG,
            **TIMES,
        }


async def test_transfer_list_filters_by_status() -> None:
    async with simulated() as (simulator, run):
        data = await run.act("authorisation_transfer_list", status=1)
        assert {row["status"] for row in data["data"]} == {1}
        assert all("authCode" not in row for row in data["data"])
        assert calls(simulator, TRANSFERS)[-1].body["orgId"] == ORG


async def test_authorisation_poll_keeps_no_personal_data() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        personal = {
            row[name]
            for table in (simulator.collections, simulator.transfers)
            for row in table.values()
            for name in ("phoneNum", "email", "toUser", "authCode")
            if row.get(name)
        }
        shown = repr([(device.state, device.attributes, device.record) for device in run.devices.values()])
        assert len(personal) > 9
        assert not [text for text in personal if f"'{text}'" in shown]


async def test_authorisation_update_sends_the_pages_form() -> None:
    async with simulated() as (simulator, run):
        id_ = next(iter(simulator.collections))
        change = {"id": id_, "type": 1, "deviceTypes": [701, 709], **TIMES, **PERSON}
        assert await run.act("authorisation_update", **change) == DONE
        (call,) = calls(simulator, UPDATE_COLLECTION)
        assert call.body == {**change, "deviceTypes": "[701,709]", "orgId": ORG}
        row = simulator.collections[id_]
        assert (row["type"], row["deviceTypes"], row["toUser"]) == (1, "701,709", "Li Wei")


async def test_transfer_update_sends_the_pages_form() -> None:
    async with simulated() as (simulator, run):
        id_ = next(iter(simulator.transfers))
        assert await run.act("authorisation_transfer", id=id_, authInfo=SHARES, **PERSON) == DONE
        (call,) = calls(simulator, UPDATE_TRANSFER)
        assert json.loads(call.body["authInfo"]) == SHARES
        assert call.body["email"] == "li@example.com"
        assert simulator.transfers[id_]["toUser"] == "Li Wei"


async def test_authorisation_poll_counts_anew() -> None:
    async with simulated() as (simulator, run):
        await run.poll("authorisations")
        before = run.state(NAME)["open_authorisations"]
        next(row for row in simulator.collections.values() if row["status"] == 1)["status"] = 3
        await run.poll("authorisations")
        assert run.state(NAME)["open_authorisations"] == before - 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("station_list", {"orgId": ""}),
        ("station_list", {"org": ORG}),
        ("station_get", {}),
        ("station_get", {"id": "1", "startTime": "yesterday"}),
        ("station_get", {"id": "1", "startTime": 1709082656979}),
        ("station_add", {**YARD, "totalCount": 0}),
        ("station_add", {**YARD, "totalCount": True}),
        ("station_add", {**YARD, "totalCount": "many"}),
        ("station_add", {**YARD, "totalCount": "²"}),
        ("station_add", {**YARD, "stationName": ""}),
        ("station_add", {"stationName": "Yard"}),
        ("station_add", {**YARD, "latticeAssetList": [{"typeId": 1, "stationType": "D", "index": 1}]}),
        ("station_update", {"stationName": "Yard"}),
        ("device_register", {"deviceInfoList": []}),
        ("device_register", {"deviceInfoList": [{"deviceType": 702, "deviceId": "1"}]}),
        ("device_register", {"deviceInfoList": [{"deviceType": True, "deviceId": "1"}]}),
        ("authorisation_list", {"status": 5}),
        ("authorisation_list", {"pageNum": 0}),
        ("authorisation_list", {"pageSize": 1001}),
        ("authorisation_transfer_list", {"status": 2}),
        ("authorisation_update", {"id": "1", "type": 3, "deviceTypes": [701]}),
        ("authorisation_update", {"id": "1", "type": 0, "deviceTypes": []}),
        ("authorisation_update", {"id": "1", "type": 0, "deviceTypes": "[701]"}),
        ("authorisation_transfer", {"id": "1", "authInfo": [{"deviceType": 701, "count": 0}]}),
        ("authorisation_transfer", {"id": "1", "authInfo": []}),
    ],
)
async def test_invalid_arguments_send_nothing(name: str, arguments: dict[str, Any]) -> None:
    async with simulated() as (simulator, run):
        with pytest.raises(vol.Invalid):
            await run.act(name, **arguments)
        assert not simulator.fault_injector.calls


async def test_empty_lists_are_returned_empty() -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("empty")
        assert (await run.act("station_list"))["stationInfoList"] == []
        assert (await run.act("authorisation_list")) == {"total": 0, "size": 1, "data": []}
