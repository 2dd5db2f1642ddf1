"""Actions: their calls, responses and refusals, and arguments that are refused unsent."""

from __future__ import annotations

import json
import time
from typing import Any

import jsonschema
import pytest
import voluptuous as vol

from fleet2mqtt.errors import CommandError, Rejected
from fleet2mqtt.platforms.thingscloud.actions import ACTIONS
from fleet2mqtt.sdk.api import describe
from fleet2mqtt.sdk.json_schema import json_schema
from tests.platforms.thingscloud.connected import ADMIN, DEVICE, FIRST, NAME, SECOND, Run, calls, simulated
from tests.platforms.thingscloud.project import Project, running
from tests.sample_devices import area

DAY = 86_400_000
SAFE = {
    *("device_command", "device_data", "device_attributes_set", "cloud_attributes_set", "attribute_history"),
    *("device_tags_set", "device_tags_remove", "device_groups_set", "device_info_set", "device_create"),
    *("extend_infos_get", "extend_infos_set", "standard_infos_set", "device_get", "device_list", "device_types"),
    *("device_type_extend_infos", "device_groups", "alarm_logs", "project", "customer_roles", "customer_devices"),
    "customer_tags_set",
}
GUARDED = {
    *("attributes_remove", "device_delete", "device_certificate", "device_customers", "admin", "customers"),
    *("customer_get", "customer_create", "customer_info_set", "customer_password_set", "customer_delete"),
    "customer_auth",
}


async def test_action_with_personal_data_or_secrets_is_destructive() -> None:
    async with simulated() as (_, run):
        assert {action.name for action in run.backend.actions if not action.destructive} == SAFE
        assert {action.name for action in run.backend.actions if action.destructive} == GUARDED
        sources = {source.name for source in run.backend.sources}
        for action in run.backend.actions:
            assert json.dumps(describe(action)["arguments"])
            assert set(action.refresh) <= sources


async def test_reading_action_returns_the_vendors_data() -> None:
    async with simulated(devices=25) as (simulator, run):
        await run.poll("devices")
        kind, group = next(iter(simulator.types)), next(iter(simulator.groups))
        assert len((await run.act("device_list"))["items"]) == 20
        assert len((await run.act("device_list", page=2))["items"]) == 5
        for row in (await run.act("device_list", type=kind, group=group))["items"]:
            assert row["type"] == kind
        device = await run.act("device_get", device_id=FIRST)
        assert (device["id"], device["groups"]) == (FIRST, simulator.devices[FIRST].groups)
        assert "view_token" not in device
        assert [row["id"] for row in (await run.act("device_types"))["items"]] == list(simulator.types)
        infos = (await run.act("device_type_extend_infos", device_type_id=kind))["items"]
        assert {row["id"] for row in infos} >= {"std-location"}
        tree = (await run.act("device_groups"))["items"]
        assert tree[0]["children"][0]["name"] == "机房"
        assert (await run.act("project"))["id"] == simulator.project["id"]
        logs = [row["id"] for row in (await run.act("alarm_logs"))["items"]]
        assert sorted(logs) == sorted(row["id"] for row in simulator.alarm_logs)
        own = [row["id"] for row in (await run.act("alarm_logs", device_id=SECOND))["items"]]
        assert set(own) < set(logs)
        assert len((await run.act("customer_roles"))["items"]) == 2
        extended = (await run.act("extend_infos_get", device_id=FIRST))["items"]
        assert {row["name"] for row in extended} >= {"资产编号"}


async def test_command_and_data_are_sent_as_given() -> None:
    async with simulated() as (simulator, run):
        answer = await run.act("device_command", device_id=FIRST, method="restart", params={"after": 3}, id=7)
        assert answer == {"id": 7, "outcome": "unknown"}
        made = await run.act("device_command", device_id=FIRST, method="restart")
        assert abs(made["id"] - time.time() * 1000) < 60_000
        sent = [(one.kind, one.body) for one in simulator.sent]
        assert sent == [
            ("command", {"method": "restart", "params": {"after": 3}, "id": 7}),
            ("command", {"method": "restart", "params": {}, "id": made["id"]}),
        ]
        for kind, message in (("hex", "01 03 ff"), ("text", "t:45"), ("json", {"led": "ON"})):
            data = {"device_id": FIRST, "identifier": "stream", "type": kind, "msg": message, "push_mode": "tcp"}
            assert await run.act("device_data", **data) == {}
            body = {"type": kind, "msg": message, "identifier": "stream", "push_mode": "tcp"}
            assert simulator.sent[-1].body == body
        count = len(simulator.fault_injector.calls)
        for kind, message in (("hex", "01 0"), ("hex", "xy"), ("text", {}), ("json", "x"), ("hex", {})):
            with pytest.raises(CommandError, match="msg: expected"):
                await run.act("device_data", device_id=FIRST, identifier="s", type=kind, msg=message)
        assert len(simulator.fault_injector.calls) == count


async def test_attributes_go_to_the_device_by_post_and_to_the_cloud_by_put() -> None:
    async with simulated() as (simulator, run):
        path = f"control/device/{FIRST}/attributes"
        assert await run.act("device_attributes_set", device_id=FIRST, attributes={"relay1": False}) == {}
        assert await run.act("cloud_attributes_set", device_id=FIRST, attributes={"relay1": True}) == {}
        assert [(call.method, call.body) for call in calls(simulator, path)] == [
            ("POST", {"relay1": False}),
            ("PUT", {"relay1": True}),
        ]
        assert simulator.actual(FIRST)["relay1"] is False
        assert simulator.values(FIRST)["relay1"] is True


async def test_removed_attribute_becomes_null() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "attributes")
        assert await run.act("attributes_remove", device_id=FIRST, keys=["rssi"]) == {}
        await run.poll("attributes")
        assert run.state()["rssi"] is None
        assert [call.path for call in simulator.fault_injector.calls][-1] == f"/api/v1/device/{FIRST}/attributes_raw"


async def test_attributes_remove_rereads_definitions_at_once() -> None:
    cpu = {"identifier": "cpu", "value": 5, "model": {"name": "CPU"}}
    project = Project(attributes=[cpu, {"identifier": "mem", "value": 6}])
    async with running(project) as run:
        await run.poll("devices", "attributes", "schema")
        assert {"cpu", "mem"} <= {row.key for row in run.devices[DEVICE].entities}
        del project.attributes[0]
        await run.act("attributes_remove", device_id=FIRST, keys=["cpu"])
        (action,) = (action for action in run.backend.actions if action.name == "attributes_remove")
        await run.poll(*action.refresh)
        keys = {row.key for row in run.devices[DEVICE].entities}
        assert "cpu" not in keys
        assert "mem" in keys


async def test_history_is_read_page_by_page() -> None:
    async with simulated() as (simulator, run):
        now = simulator.devices[FIRST].active["attributes"]
        asked = {"device_id": FIRST, "identifier": "temperature"}
        rows = (await run.act("attribute_history", **asked))["items"]
        assert (len(rows), rows[0]["ts"], rows[0]["value"]) == (20, now, 24.1)
        more = (await run.act("attribute_history", **asked, page=2, pages=2))["items"]
        assert len(more) == 40
        assert more[0]["ts"] < rows[-1]["ts"]
        month = {"start_time": now - 30 * DAY, "end_time": now}
        whole = (await run.act("attribute_history", **asked, **month, page_records=100, pages=50))["items"]
        assert len({row["ts"] for row in whole}) == len(whole) == 241
        assert calls(simulator, f"device/{FIRST}/attribute/temperature/series")[-1].query["page"] == "4"


@pytest.mark.parametrize(
    "window",
    [
        {"start_time": 1},
        {"end_time": 1},
        {"start_time": 2, "end_time": 1},
        {"start_time": 0, "end_time": 30 * DAY + 1},
        {"identifier": " PassWord"},
    ],
)
async def test_history_with_invalid_window_is_refused_unsent(window: dict[str, Any]) -> None:
    async with simulated() as (simulator, run):
        with pytest.raises(CommandError):
            await run.act("attribute_history", **{"device_id": FIRST, "identifier": "a"} | window)
        assert not simulator.fault_injector.calls


async def test_device_info_tags_and_groups_are_changed() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "meta")
        device = simulator.devices[FIRST]
        group = list(simulator.groups)[3]
        await run.act("device_tags_set", device_id=FIRST, tags={"room": "201"})
        await run.act("device_tags_remove", device_id=FIRST, keys=["floor"])
        await run.act("device_info_set", device_id=FIRST, name="新名", descr="新")
        await run.act("device_groups_set", device_id=FIRST, groups=[group])
        assert (device.tags, device.name, device.descr, device.groups) == ({"room": "201"}, "新名", "新", [group])
        await run.act("device_get", device_id=FIRST)
        await run.poll("devices")
        assert area(run.devices[DEVICE]) == "分公司"
        await run.act("device_groups_set", device_id=FIRST, groups=[])
        assert device.groups == []
        for action, id_ in (("device_info_set", "device_id"), ("customer_info_set", "customer_id")):
            with pytest.raises(CommandError, match="at least one field"):
                await run.act(action, **{id_: "x"})


async def test_extended_information_is_changed_and_shown() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "schema")
        text = next(key for key, value in simulator.devices[FIRST].custom_infos.items() if value == "ZC-0001")
        assert await run.act("extend_infos_set", device_id=FIRST, infos={text: "新"}) == {text: "新"}
        place = {"info_type": "location", "value": {"address": "北京"}}
        assert await run.act("standard_infos_set", device_id=FIRST, **place) == {"location": {"address": "北京"}}
        await run.poll("schema")
        assert run.state()[f"info_{text}"] == "新"
        assert run.devices[DEVICE].attributes["info_std_location"]["value"]["address"] == "北京"


async def test_device_is_created_and_deleted() -> None:
    async with simulated() as (simulator, run):
        kind = next(iter(simulator.types))
        made = await run.act("device_create", name="新", type=kind, tags={"a": "b"}, device_key="K1", descr="x")
        assert simulator.devices[made["id"]].device_key == "K1"
        with pytest.raises(Rejected) as refused:
            await run.act("device_delete", device_id=FIRST)
        assert refused.value.code == 403
        await run.poll("devices")
        assert await run.act("device_delete", device_id=made["id"]) == {}
        assert made["id"] not in simulator.devices
        await run.poll("devices")
        assert run.updates[-1].removed == (f"{NAME}_{made['id']}",)  # at once, not after two lists (faults 3.10)
        await run.poll("devices")
        assert not run.updates[-1].removed


async def test_certificate_is_returned_to_the_requester_only() -> None:
    async with simulated() as (simulator, run):
        certificate = await run.act("device_certificate", device_id=FIRST)
        assert certificate["access_token"] == simulator.devices[FIRST].access_token
        assert set(certificate) == {"id", "name", "access_token", "project_key"}
        await run.poll()
        assert simulator.devices[FIRST].access_token not in repr(run.updates)
        simulator.fault_injector.inject("garbage", "*/certificate", text="secret <html>")
        with pytest.raises(Exception, match="not JSON") as bad:
            await run.act("device_certificate", device_id=FIRST)
        assert "secret" not in str(bad.value)


async def test_customer_is_created_changed_and_deleted() -> None:
    async with simulated() as (simulator, run):
        accounts = [row["account"] for row in (await run.act("customers"))["items"]]
        assert accounts == ["zhang", "li"]
        assert [row["account"] for row in (await run.act("device_customers", device_id=SECOND))["items"]] == ["zhang"]
        zhang = next(iter(simulator.customers))
        assert (await run.act("customer_get", customer_id=zhang))["account"] == "zhang"
        page = await run.act("customer_devices", customer_id=zhang, page=1)
        assert len(page["items"]) == len((await run.act("customer_devices", customer_id=zhang))["items"]) == 2
        new = {"name": "王五", "account": "wang", "password": "first", "email": "w@example.com", "tags": {"a": "b"}}
        made = await run.act("customer_create", **new)
        one = {"customer_id": made["id"]}
        assert await run.act("customer_auth", account="wang", password="first") == made
        assert await run.act("customer_info_set", **one, mobile="139") == {}
        assert await run.act("customer_password_set", **one, password="second") == {}
        assert await run.act("customer_tags_set", **one, tags={"c": "d"}) == {}
        known = simulator.customers[made["id"]]
        assert (known["mobile"], known["password"], known["tags"]) == ("139", "second", {"a": "b", "c": "d"})
        assert "password" not in await run.act("customer_get", **one)
        assert await run.act("customer_delete", **one) == {}
        assert made["id"] not in simulator.customers


async def test_customer_auth_refusal_does_not_renew_the_token() -> None:
    async with simulated() as (simulator, run):
        for _ in range(2):
            with pytest.raises(Rejected):
                await run.act("customer_auth", account="zhang", password="wrong")
        simulator.fault_injector.inject("error", "*/customer_auth", code=401, text="Authentication failed")
        with pytest.raises(Rejected, match="Authentication failed"):
            await run.act("customer_auth", account="zhang", password="wrong")
        assert simulator.logins == 1
        simulator.fault_injector.clear()
        simulator.expire_tokens()
        assert (await run.act("customer_auth", account="zhang", password="zhang@2024"))["name"] == "张三"
        assert simulator.logins == 2


async def test_admin_without_admin_login_is_refused_unsent() -> None:
    async with simulated() as (simulator, run):
        with pytest.raises(CommandError, match="configure account and password"):
            await run.act("admin")
        assert not simulator.fault_injector.calls
    options: Any = ADMIN
    async with simulated(**options) as (_, run):
        assert (await run.act("admin"))["account"] == "admin"


INVALID: list[tuple[str, dict[str, Any]]] = [
    ("device_get", {}),
    ("device_get", {"device_id": ""}),
    ("device_get", {"device_id": 5.5}),
    ("device_list", {"page": 0}),
    ("device_list", {"page": True}),
    ("device_command", {"device_id": "a", "method": "m", "params": []}),
    ("device_data", {"device_id": "a", "identifier": "i", "type": "xml", "msg": "x"}),
    ("device_data", {"device_id": "a", "identifier": "i", "type": "text", "msg": "x", "push_mode": "http"}),
    ("device_attributes_set", {"device_id": "a", "attributes": {}}),
    ("attributes_remove", {"device_id": "a", "keys": []}),
    ("attribute_history", {"device_id": "a", "identifier": "i", "page_records": 101}),
    ("device_tags_set", {"device_id": "a", "tags": {"x": 1}}),
    ("device_groups_set", {"device_id": "a"}),
    ("standard_infos_set", {"device_id": "a", "info_type": "x", "value": {"a": {}}}),
    ("customer_create", {"name": "a", "account": "b"}),
    ("customer_password_set", {"customer_id": "a", "password": ""}),
    ("project", {"x": 1}),
    ("device_data", {"device_id": "a", "identifier": "i", "type": "text", "msg": 5}),
    ("device_data", {"device_id": "a", "identifier": "i", "type": "text", "msg": ["x"]}),
    ("device_attributes_set", {"device_id": "a", "attributes": "relay1"}),
    ("cloud_attributes_set", {"device_id": "a", "attributes": ["relay1"]}),
    ("device_attributes_set", {"device_id": "a", "attributes": {"": 1}}),
    ("device_tags_set", {"device_id": "a", "tags": {}}),
    ("device_tags_set", {"device_id": "a", "tags": "x"}),
    ("customer_tags_set", {"customer_id": "a", "tags": {}}),
    ("extend_infos_set", {"device_id": "a", "infos": {}}),
    ("extend_infos_set", {"device_id": "a", "infos": {"x": None}}),
    ("standard_infos_set", {"device_id": "a", "info_type": "x", "value": {}}),
    ("device_create", {"name": "a", "tags": {"x": 1}}),
    ("device_groups_set", {"device_id": "a", "groups": [""]}),
]
REFUSED_BY_THE_ACTION: list[tuple[str, dict[str, Any]]] = [
    ("device_data", {"device_id": "a", "identifier": "i", "type": "text", "msg": {}}),
    ("device_data", {"device_id": "a", "identifier": "i", "type": "json", "msg": "x"}),
    ("device_data", {"device_id": "a", "identifier": "i", "type": "hex", "msg": "01 0"}),
    ("attribute_history", {"device_id": "a", "identifier": "i", "start_time": 1}),
    ("device_info_set", {"device_id": "a"}),
    ("customer_info_set", {"customer_id": "a"}),
]
VALID: list[tuple[str, dict[str, Any]]] = [
    ("device_command", {"device_id": "a", "method": "m", "params": {"x": [1]}, "id": 5}),
    ("device_data", {"device_id": "a", "identifier": "i", "type": "text", "msg": "t:45,u=31"}),
    ("device_data", {"device_id": "a", "identifier": "i", "type": "hex", "msg": "01 03 FF"}),
    ("device_data", {"device_id": 7, "identifier": "i", "type": "json", "msg": {"led": "ON"}, "push_mode": "tcp"}),
    ("device_attributes_set", {"device_id": "a", "attributes": {"relay1": True, "t": 5.5, "o": {}, "l": []}}),
    ("cloud_attributes_set", {"device_id": "a", "attributes": {"note": "x"}}),
    ("attribute_history", {"device_id": "a", "identifier": "i", "start_time": 1, "end_time": 2, "pages": 3}),
    ("device_tags_set", {"device_id": "a", "tags": {"floor": "1", "x": ""}}),
    ("device_groups_set", {"device_id": "a", "groups": []}),
    ("device_info_set", {"device_id": "a", "descr": ""}),
    ("device_create", {"name": "a", "tags": {}}),
    ("customer_create", {"name": "a", "account": "b", "password": "c", "tags": {}, "mobile": 139}),
    ("extend_infos_set", {"device_id": "a", "infos": {"x": "a", "y": True, "z": 1.5}}),
    ("standard_infos_set", {"device_id": "a", "info_type": "location", "value": {"floor": 3}}),
]


def _schema(name: str) -> Any:
    return next(action.schema for action in ACTIONS if action.name == name)


@pytest.mark.parametrize(("action", "arguments"), VALID)
def test_published_schema_accepts_what_the_action_accepts(action: str, arguments: dict[str, Any]) -> None:
    """Faults 4.9."""
    vol.Schema(dict(_schema(action)))(arguments)
    jsonschema.validate(arguments, json_schema(_schema(action)))


@pytest.mark.parametrize(("action", "arguments"), [*INVALID, *REFUSED_BY_THE_ACTION])
def test_published_schema_refuses_what_the_action_refuses(action: str, arguments: dict[str, Any]) -> None:
    """Faults 4.9."""
    assert not jsonschema.Draft202012Validator(json_schema(_schema(action))).is_valid(arguments)


@pytest.mark.parametrize(("action", "arguments"), REFUSED_BY_THE_ACTION)
async def test_arguments_that_contradict_each_other_are_refused_unsent(action: str, arguments: dict[str, Any]) -> None:
    async with simulated() as (simulator, run):
        with pytest.raises(CommandError):
            await run.act(action, **arguments)
        assert not simulator.fault_injector.calls


@pytest.mark.parametrize(("action", "arguments"), INVALID)
async def test_invalid_arguments_are_refused_unsent(action: str, arguments: dict[str, Any]) -> None:
    async with simulated() as (simulator, run):
        with pytest.raises(vol.Invalid):
            await run.act(action, **arguments)
        assert not simulator.fault_injector.calls


async def test_id_with_path_characters_is_quoted() -> None:
    async with simulated() as (simulator, run):
        with pytest.raises(Rejected):
            await run.act("device_get", device_id="../project?x=1#")
        assert simulator.fault_injector.calls[-1].path == "/api/v1/device/../project?x=1#"


def names(run: Run) -> set[str]:
    return set(run.backend.calls)


async def test_endpoint_names_contain_no_ids() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        for action in ("device_get", "device_certificate", "extend_infos_get", "device_customers"):
            await run.act(action, device_id=FIRST)
        await run.act("alarm_logs", device_id=FIRST)
        await run.act("attribute_history", device_id=FIRST, identifier="temperature")
        told = " ".join(names(run))
        assert FIRST not in told
        assert "temperature" not in told
        assert not any(kind in told for kind in simulator.types)
