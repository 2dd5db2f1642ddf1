"""The actions: requests, responses, refusals, and arguments that are refused before anything is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import voluptuous as vol

from fleet2mqtt.errors import Ambiguous, CommandError, Rejected
from fleet2mqtt.platforms.omstation.actions import ACTIONS
from fleet2mqtt.sdk.api import describe
from fleet2mqtt.sdk.json_schema import json_schema
from tests.platforms.omstation.connected import NAME, calls, device_of, simulated
from tests.platforms.omstation.simulated import (
    ADD_DEVICES,
    ADD_STATION,
    COLLECTIONS,
    DAY,
    DONE,
    LATTICES,
    ORG,
    PERSON,
    TRANSFERS,
    UPDATE_COLLECTION,
    UPDATE_STATION,
    UPDATE_TRANSFER,
    path,
)

if TYPE_CHECKING:
    from fleet2mqtt.simulators.omstation import Simulator

SLOTS = [{"typeId": 701, "stationType": "B", "index": 1}, {"typeId": 709, "stationType": "B", "index": 2}]
YARD = {"id": "SG240304009", "stationName": "Yard", "deviceId": "8099", "totalCount": 2, "latticeAssetList": SLOTS}
LOCKS = {"deviceInfoList": [{"deviceType": 701, "deviceId": "7018800001"}]}
SHARES = [{"deviceType": 701, "count": 2}]
TYPES = '{"701":"JT701","705":"JT705C"}'


def writes(simulator: Simulator) -> dict[str, tuple[str, dict[str, Any]]]:
    """Each action that changes something, its endpoint and arguments."""
    station, collection, transfer = (
        next(iter(table)) for table in (simulator.stations, simulator.collections, simulator.transfers)
    )
    return {
        "station_add": (ADD_STATION, YARD),
        "station_update": (UPDATE_STATION, {"id": station, "stationName": "Else"}),
        "device_register": (ADD_DEVICES, LOCKS),
        "authorisation_add": (UPDATE_COLLECTION, {"type": 0, "deviceTypes": [709], **PERSON}),
        "authorisation_update": (UPDATE_COLLECTION, {"id": collection, "type": 0, "deviceTypes": [709]}),
        "authorisation_transfer_add": (UPDATE_TRANSFER, {"authInfo": SHARES, **PERSON}),
        "authorisation_transfer": (UPDATE_TRANSFER, {"id": transfer, "authInfo": [{"deviceType": 701, "count": 9}]}),
    }


async def test_actions_of_a_backend_are_the_documented_ones() -> None:
    async with simulated() as (_, run):
        offered = {action.name: (action.destructive, action.refresh) for action in run.backend.actions}
        stations, open_ = ("stations", "lattices"), ("authorisations",)
        documented = {
            "station_list": (False, ()),
            "station_get": (False, ()),
            "station_add": (False, stations),
            "station_update": (False, stations),
            "device_register": (False, stations),
            "authorisation_list": (True, ()),
            "authorisation_transfer_list": (True, ()),
            "authorisation_add": (True, open_),
            "authorisation_update": (True, open_),
            "authorisation_cancel": (True, open_),
            "authorisation_transfer_add": (True, open_),
            "authorisation_transfer": (True, open_),
        }
        assert documented.items() <= offered.items()
        schemas = {action.name: describe(action)["arguments"] for action in run.backend.actions}
        assert all(schema["type"] == "object" for schema in schemas.values())
        assert schemas["device_register"]["required"] == ["deviceInfoList"]


async def test_station_list_returns_stations_and_sums() -> None:
    async with simulated() as (simulator, run):
        data = await run.act("station_list")
        assert [item["id"] for item in data["stationInfoList"]] == [*simulator.stations]
        assert data["stationStatistics"]["sumStationCount"] == 2


async def test_station_get_returns_the_compartments_of_a_window() -> None:
    async with simulated() as (simulator, run):
        id_ = next(iter(simulator.stations))
        data = await run.act("station_get", id=id_)
        assert [item["latticeNo"] for item in data["stationLatticeInfoList"]] == [f"A{n}" for n in range(1, 13)]
        assert data["stationStatistics"]["sumLatticeCount"] == 12
        for window in (DAY, {"startTime": "2024-02-28T08:00:00+08:00", "endTime": "2024-02-29 00:00:00"}):
            await run.act("station_get", id=id_, **window)
            assert calls(simulator, LATTICES)[-1].body == {"id": id_, **DAY}
        with pytest.raises(CommandError) as raised:
            await run.act("station_get", id=id_, startTime=DAY["endTime"], endTime=DAY["startTime"])
        assert raised.value.code == "bad_window"
        with pytest.raises(Rejected) as refused:
            await run.act("station_get", id="none")
        assert refused.value.code == 102


@pytest.mark.parametrize("count", [2, "2"])
async def test_station_add_sends_all_fields_and_the_station_appears(count: int | str) -> None:
    async with simulated() as (simulator, run):
        assert await run.act("station_add", **YARD | {"totalCount": count}) == DONE
        (call,) = calls(simulator, ADD_STATION)
        assert call.body == {**YARD, "totalCount": "2", "orgId": ORG}
        await run.poll("stations", "lattices")
        added = str(YARD["id"])
        assert run.devices[device_of(added)].name == "Yard"
        assert run.ids(f"lattices:{added}") == {device_of(added, number) for number in ("B1", "B2")}


async def test_station_update_takes_missing_fields_from_the_list() -> None:
    async with simulated() as (simulator, run):
        id_, before = next(iter(simulator.stations.items()))
        before = dict(before)
        assert await run.act("station_update", id=id_, stationName="Else", latticeInfo={"701": 12}) == DONE
        (call,) = calls(simulator, UPDATE_STATION)
        kept = {name: before[name] for name in ("deviceId", "latticeAssetList")}
        assert call.body == {
            **kept,
            "id": id_,
            "stationName": "Else",
            "totalCount": "12",
            "latticeInfo": '{"701":12}',
            "orgId": ORG,
        }
        await run.poll("stations")
        assert run.devices[device_of(id_)].name == "Else"
        await run.act("station_update", **YARD | {"id": id_, "latticeInfo": '{"701": 2}'})
        assert calls(simulator, UPDATE_STATION)[-1].body["latticeInfo"] == '{"701": 2}'
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
            simulator.fault_injector.calls.clear()
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
        assert {item["phoneNum"] for item in data["data"]} <= {
            item["phoneNum"] for item in simulator.collections.values()
        }
        every = (await run.act("authorisation_list"))["data"]
        codes = {item["authCode"] for item in simulator.collections.values()}
        assert codes
        assert not [code for code in codes if f"'{code}'" in str(every)]
        assert all("authCode" not in item for item in every)
        assert {item["status"] for item in (await run.act("authorisation_list", status=4))["data"]} == {4}
        found = await run.act("authorisation_list", key="DRIVER3@", **DAY)
        assert found["data"] == []
        assert calls(simulator, COLLECTIONS)[-1].body == {
            "status": -2,
            "key": "DRIVER3@",
            "pageNum": "1",
            "pageSize": 20,
            "orgId": ORG,
            **DAY,
        }


async def test_transfer_list_filters_by_status() -> None:
    async with simulated() as (simulator, run):
        data = await run.act("authorisation_transfer_list", status=1)
        assert {item["status"] for item in data["data"]} == {1}
        assert all("authCode" not in item for item in data["data"])
        assert calls(simulator, TRANSFERS)[-1].body["orgId"] == ORG
        assert calls(simulator, TRANSFERS)[-1].body["startTime"] == "2000-01-01"


async def test_authorisation_poll_keeps_no_personal_data() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        personal = {
            item[name]
            for table in (simulator.collections, simulator.transfers)
            for item in table.values()
            for name in ("phoneNum", "email", "toUser", "authCode")
            if item.get(name)
        }
        shown = repr([(device.state, device.attributes, device.record) for device in run.devices.values()])
        assert len(personal) > 9
        assert not [text for text in personal if f"'{text}'" in shown]


@pytest.mark.parametrize("types", [[701, 705], {"701": "JT701", "705": "JT705C"}, '{"701": "JT701", "705": "JT705C"}'])
@pytest.mark.parametrize("name", ["authorisation_add", "authorisation_update"])
async def test_authorisation_is_created_as_in_the_pages_sample(name: str, types: Any) -> None:
    """Faults 4.2: the types as an object in a text, null times for type 0, an empty id."""
    async with simulated() as (simulator, run):
        before = set(simulator.collections)
        new = {"type": 0, "deviceTypes": types, **PERSON}
        if name == "authorisation_update":
            new |= {"id": "", "startTime": None, "endTime": None}
        assert await run.act(name, **new) == DONE
        (call,) = calls(simulator, UPDATE_COLLECTION)
        assert call.body == {
            "id": "",
            "type": 0,
            "startTime": None,
            "endTime": None,
            "deviceTypes": TYPES,
            "orgId": ORG,
            **PERSON,
        }
        (created,) = simulator.collections.keys() - before
        assert simulator.collections[created]["deviceTypes"] == "701,705"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"startTime": "2024-03-06", "endTime": "2099-03-08"}, ("2024-03-06", "2099-03-08")),
        (
            {"startTime": "2024-03-06T08:00:00+08:00", "endTime": "2099-03-08T12:30:00Z"},
            ("2024-03-06 00:00:00", "2099-03-08 12:30:00"),
        ),
    ],
)
async def test_authorisation_for_a_period_sends_both_times(given: dict[str, str], sent: tuple[str, str]) -> None:
    async with simulated() as (simulator, run):
        await run.act("authorisation_add", type=1, deviceTypes=[709], **given, toUser="Li Wei", phoneNum=139)
        (call,) = calls(simulator, UPDATE_COLLECTION)
        assert (call.body["startTime"], call.body["endTime"]) == sent
        assert (call.body["phoneNum"], call.body["email"], call.body["descInfo"]) == ("139", "", "")
        with pytest.raises(CommandError) as raised:
            await run.act("authorisation_add", type=1, deviceTypes=[709], **PERSON, startTime="2024-03-06")
        assert raised.value.code == "incomplete"
        with pytest.raises(CommandError) as raised:
            await run.act(
                "authorisation_add", type=1, deviceTypes=[709], **PERSON, startTime="2024-03-06", endTime="2024-03-05"
            )
        assert raised.value.code == "bad_window"
        assert len(calls(simulator, UPDATE_COLLECTION)) == 1


async def test_authorisation_update_takes_missing_fields_from_the_list() -> None:
    async with simulated() as (simulator, run):
        for id_, before in [(id_, dict(item)) for id_, item in simulator.collections.items()]:
            assert await run.act("authorisation_update", id=id_, toUser="Li Wei") == DONE
            expected = before | {"toUser": "Li Wei"}
            assert {name: simulator.collections[id_][name] for name in before if name != "status"} == {
                name: expected[name] for name in before if name != "status"
            }
        period = next(item for item in simulator.collections.values() if item["type"] == 1)
        assert period["startTime"]
        await run.act("authorisation_update", id=period["id"], type=2)
        assert (period["type"], period["startTime"], period["endTime"]) == (2, None, None)
        with pytest.raises(CommandError) as raised:
            await run.act("authorisation_update", id="none", toUser="Li Wei")
        assert raised.value.code == "unknown_authorisation"
        with pytest.raises(CommandError, match="type, deviceTypes, toUser, phoneNum") as raised:
            await run.act("authorisation_update", id="")
        assert raised.value.code == "incomplete"


async def test_authorisation_is_found_on_a_later_page() -> None:
    async with simulated() as (simulator, run):
        item = next(iter(simulator.collections.values()))
        for number in range(120):
            simulator.collections[f"C{number}"] = item | {"id": f"C{number}", "createTime": "2030-01-01 00:00:00"}
        await run.act("authorisation_update", id=item["id"], toUser="Li Wei")
        assert [call.body["pageNum"] for call in calls(simulator, COLLECTIONS)] == ["1", "2"]
        assert item["toUser"] == "Li Wei"


async def test_authorisation_whose_types_are_unknown_must_be_given_them() -> None:
    async with simulated() as (simulator, run):
        id_, item = next(iter(simulator.collections.items()))
        item["deviceTypes"] = "702"
        with pytest.raises(CommandError, match="deviceTypes") as raised:
            await run.act("authorisation_update", id=id_, toUser="Li Wei")
        assert raised.value.code == "incomplete"
        assert await run.act("authorisation_update", id=id_, toUser="Li Wei", deviceTypes=[701]) == DONE


async def test_authorisation_cancel_ends_the_period() -> None:
    """Faults 4.2: no call cancels; a period that is over does, and the list has to show it."""
    async with simulated() as (simulator, run):
        item = next(item for item in simulator.collections.values() if item["status"] == 0)
        before = dict(item)
        assert await run.act("authorisation_cancel", id=item["id"]) == DONE
        assert item["status"] == 4
        (call,) = calls(simulator, UPDATE_COLLECTION)
        assert call.body["type"] == 1
        assert call.body["startTime"] == call.body["endTime"] < before["createTime"][:10]
        assert {name: item[name] for name in PERSON} == {name: before[name] for name in PERSON}
        with pytest.raises(CommandError) as raised:
            await run.act("authorisation_cancel", id=item["id"])
        assert raised.value.code == "not_open"
        simulator.fault_injector.inject("noop", path(UPDATE_COLLECTION))
        other = next(item for item in simulator.collections.values() if item["status"] == 1)
        with pytest.raises(CommandError) as raised:
            await run.act("authorisation_cancel", id=other["id"])
        assert raised.value.code == "unconfirmed"


async def test_transfer_update_sends_the_pages_form() -> None:
    async with simulated() as (simulator, run):
        id_, item = next(iter(simulator.transfers.items()))
        before = dict(item)
        assert await run.act("authorisation_transfer", id=id_, authInfo=SHARES, toUser="Li Wei") == DONE
        (call,) = calls(simulator, UPDATE_TRANSFER)
        assert json.loads(call.body["authInfo"]) == SHARES
        assert call.body == {**call.body, "id": id_, "toUser": "Li Wei", "email": before["email"], "orgId": ORG}
        assert simulator.transfers[id_]["phoneNum"] == before["phoneNum"]


@pytest.mark.parametrize("name", ["authorisation_transfer_add", "authorisation_transfer"])
async def test_transfer_is_created_as_in_the_pages_sample(name: str) -> None:
    async with simulated() as (simulator, run):
        before = set(simulator.transfers)
        own = {"id": ""} if name == "authorisation_transfer" else {}
        assert await run.act(name, authInfo=json.dumps(SHARES), **PERSON, **own) == DONE
        (call,) = calls(simulator, UPDATE_TRANSFER)
        assert call.body == {"id": "", "authInfo": '[{"deviceType":701,"count":2}]', "orgId": ORG, **PERSON}
        assert len(simulator.transfers.keys() - before) == 1


async def test_authorisation_poll_counts_anew() -> None:
    async with simulated() as (simulator, run):
        await run.poll("authorisations")
        before = run.state(NAME)["open_authorisations"]
        next(item for item in simulator.collections.values() if item["status"] == 1)["status"] = 3
        await run.poll("authorisations")
        assert run.state(NAME)["open_authorisations"] == before - 1


INVALID: list[tuple[str, dict[str, Any]]] = [
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
    ("station_add", {name: value for name, value in YARD.items() if name != "id"}),
    ("station_add", {**YARD, "id": ""}),
    ("station_add", {**YARD, "latticeAssetList": [{"typeId": 701, "stationType": "D", "index": 1}]}),
    ("station_add", {**YARD, "latticeAssetList": [{"typeId": 1, "stationType": "A", "index": 1}]}),
    ("station_update", {"id": "1", "latticeInfo": "{"}),
    ("station_update", {"id": "1", "latticeInfo": 7}),
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
    ("authorisation_update", {"id": "1", "type": 0, "deviceTypes": "701"}),
    ("authorisation_update", {"id": "1", "type": 0, "deviceTypes": {"701": "JT705C"}}),
    ("authorisation_update", {"id": "1", "type": 0, "deviceTypes": [701, 701]}),
    ("authorisation_update", {"id": None, "type": 0, "deviceTypes": [701]}),
    ("authorisation_add", {"type": 0, "deviceTypes": [701]}),
    ("authorisation_add", {"deviceTypes": [701], "toUser": "Li Wei", "phoneNum": "139"}),
    ("authorisation_cancel", {"id": ""}),
    ("authorisation_list", {"startTime": "yesterday"}),
    ("authorisation_list", {"startTime": None}),
    ("authorisation_transfer_add", {"authInfo": SHARES}),
    ("authorisation_transfer", {"id": "1", "authInfo": [{"deviceType": 701, "count": 0}]}),
    ("authorisation_transfer", {"id": "1", "authInfo": []}),
]

VALID: list[tuple[str, dict[str, Any]]] = [
    ("station_list", {}),
    ("station_list", {"orgId": 7}),
    ("station_get", {"id": "1", "startTime": "2024-03-07", "endTime": "2024-03-15T10:00:00+08:00"}),
    ("station_add", YARD),
    ("station_add", {**YARD, "totalCount": "2", "deviceId": ""}),
    ("station_update", {"id": "1", "latticeInfo": {"701": 2}}),
    ("station_update", {"id": "1", "latticeInfo": [{"typeId": 701, "count": 2}]}),
    ("station_update", {"id": "1", "latticeInfo": '{"701": 2}'}),
    ("device_register", LOCKS),
    ("authorisation_list", {}),
    ("authorisation_list", {"status": -1, "pageNum": "3", "startTime": "2024-03-06", "endTime": "2024-03-08"}),
    ("authorisation_transfer_list", {"status": 1}),
    ("authorisation_add", {"type": "0", "deviceTypes": [701], **PERSON}),
    ("authorisation_update", {"id": "", "type": 0, "startTime": None, "endTime": None, "deviceTypes": TYPES, **PERSON}),
    ("authorisation_update", {"id": "1"}),
    ("authorisation_cancel", {"id": "1"}),
    ("authorisation_transfer_add", {"authInfo": json.dumps(SHARES), **PERSON}),
    ("authorisation_transfer", {"id": "", "authInfo": SHARES}),
]


def _action(name: str) -> Any:
    return next(action for action in ACTIONS if action.name == name)


@pytest.mark.parametrize(("name", "arguments"), VALID)
def test_published_schema_accepts_what_the_action_accepts(name: str, arguments: dict[str, Any]) -> None:
    """Faults 4.9."""
    vol.Schema(dict(_action(name).schema))(arguments)
    jsonschema.validate(arguments, json_schema(_action(name).schema))


@pytest.mark.parametrize(("name", "arguments"), INVALID)
def test_published_schema_refuses_what_the_action_refuses(name: str, arguments: dict[str, Any]) -> None:
    """Faults 4.9. What is inside a JSON text is the action's to check."""
    accepted = jsonschema.Draft202012Validator(json_schema(_action(name).schema)).is_valid(arguments)
    assert accepted is (arguments.get("latticeInfo") == "{")


@pytest.mark.parametrize(("name", "arguments"), INVALID)
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
