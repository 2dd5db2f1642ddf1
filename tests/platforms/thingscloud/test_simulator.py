"""The simulated ThingsCloud against its document: the project, its devices, alarms and users."""

from __future__ import annotations

from typing import Any

import pytest

from tests.platforms.thingscloud.simulated import FIRST, SECOND, Cloud, running

ROW = [
    *("id", "name", "descr", "device_key", "tags", "create_time"),
    *("alarm", "active", "online", "type", "type_info"),
]
CUSTOMER = {"id", "account", "name", "descr", "email", "mobile", "tags", "locale", "create_time", "count"}


async def test_project_and_totals(cloud: Cloud) -> None:
    assert set(await cloud.get("project")) == {"id", "name", "descr", "tags"}
    assert await cloud.get("devices_stat") == {
        "device_total": 2,
        "online_device_total": 2,
        "offline_device_total": 0,
        "active_device_total": 2,
        "inactive_device_total": 0,
        "alarm_device_total": 1,
    }
    figures = {"device_total": 2, "alarm_1_total": 0, "alarm_2_total": 0, "alarm_3_total": 1, "normal_total": 1}
    assert await cloud.get("devices_alarm_stat") == figures
    cloud.simulator.recover(SECOND)
    cloud.simulator.silence(FIRST, 86_401)
    assert (await cloud.get("devices_stat"))["inactive_device_total"] == 1
    assert (await cloud.get("devices_alarm_stat"))["normal_total"] == 2


async def test_device_types_and_definitions(cloud: Cloud) -> None:
    types = (await cloud.get("device_types"))["items"]
    shown = {"id", "name", "descr", "tags", "create_time", "device_count", "conn_protocol", "conn_type"}
    assert {frozenset(kind) for kind in types} == {frozenset(shown)}
    assert [kind["device_count"] for kind in types] == [1, 1, 0]
    infos = (await cloud.get(f"device_type/{types[0]['id']}/extend_infos"))["items"]
    wanted = {"id", "info_type", "name", "descr", "enabled", "options", "create_time", "update_time", "is_standard"}
    assert {frozenset(info) for info in infos} == {frozenset(wanted)}
    assert {info["is_standard"] for info in infos} == {True, False}
    assert await cloud.refused("GET", "device_type/none/extend_infos") == 404


async def test_group_tree(cloud: Cloud) -> None:
    tree = (await cloud.get("device_groups_tree"))["items"]
    assert [group["name"] for group in tree] == ["总部", "分公司"]
    assert [child["name"] for child in tree[0]["children"]] == ["机房", "仓库"]
    assert set(tree[0]) == {"id", "name", "descr", "tags", "create_time", "children"}
    assert set(tree[0]["children"][0]) == {"id", "name", "descr", "tags"}
    assert tree[1]["children"] == []


async def test_device_list_has_the_documents_fields(cloud: Cloud) -> None:
    page = await cloud.get("devices")
    assert (page["total"], page["page_total"]) == (2, 1)
    first, second = page["items"]
    assert [list(first), first["id"], second["id"]] == [ROW, FIRST, SECOND]
    assert set(first["type_info"]) == {"id", "name", "conn_type", "conn_protocol"}
    assert first["type_info"]["id"] == first["type"]
    assert (first["online"], first["alarm"], second["alarm"]) == (True, {}, {})
    cloud.simulator.quirks.alarm_status = True
    first, second = (await cloud.get("devices"))["items"]
    assert (first["alarm"]["status"], second["alarm"]["level"]) == (0, 3)
    cloud.simulator.quirks.alarm_only_active = True
    assert (await cloud.get(f"device/{FIRST}"))["alarm"] == {}
    assert second["tags"] == {}
    assert all(isinstance(ts, int) for ts in first["active"].values())


async def test_device_list_is_paginated() -> None:
    async with running(devices=45) as cloud:
        pages = [await cloud.get("devices", page=page) for page in (1, 2, 3, 4)]
        assert [len(page["items"]) for page in pages] == [20, 20, 5, 0]
        assert {(page["total"], page["page_total"]) for page in pages} == {(45, 3)}
        ids = [row["id"] for page in pages for row in page["items"]]
        assert ids == list(cloud.simulator.devices)
        assert len((await cloud.get("devices", page_records=50))["items"]) == 45
        cloud.simulator.quirks.ignores_page_records = True
        assert len((await cloud.get("devices", page_records=50))["items"]) == 20
        cloud.simulator.page_size = 7
        assert (await cloud.get("devices"))["page_total"] == 7
        for wrong in ("0", "-1", "x"):
            assert await cloud.refused("GET", "devices", params={"page": wrong}) == 400
        assert {row["online"] for page in pages for row in page["items"]} == {True, False}
        assert await cloud.get("devices", page=2) == await cloud.get("devices", page=2)


async def test_device_list_filters_by_type_and_group() -> None:
    async with running(devices=12) as cloud:
        kind = next(iter(cloud.simulator.types))
        rows = (await cloud.get("devices", type=kind))["items"]
        assert len(rows) == 4
        assert {row["type"] for row in rows} == {kind}
        whole, part, *_ = cloud.simulator.groups
        assert (await cloud.get("devices", group=whole))["total"] == 3
        inside = (await cloud.get("devices", groups=whole, include_sub_groups=1))["total"]
        assert inside == 3 + (await cloud.get("devices", group=part))["total"]


async def test_device_certificate_and_customers(cloud: Cloud) -> None:
    device = await cloud.get(f"device/{FIRST}")
    assert list(device) == [*ROW, "groups", "view_token", "device_code"]
    certificate = await cloud.get(f"device/{FIRST}/certificate")
    assert set(certificate) == {"id", "name", "access_token", "project_key"}
    assert certificate["access_token"] == cloud.simulator.devices[FIRST].access_token
    owners = (await cloud.get(f"device/{SECOND}/customers"))["items"]
    assert [owner["account"] for owner in owners] == ["zhang"]
    assert set(owners[0]) == CUSTOMER | {"role_id"}
    for path in ("", "/certificate", "/customers", "/attributes", "/attributes_raw", "/alarm_logs", "/extend_infos"):
        assert await cloud.refused("GET", f"device/nobody{path}") == 404


async def test_device_info_tags_and_groups_change(cloud: Cloud) -> None:
    assert await cloud.put(f"device/{FIRST}/info", {"name": "新名", "descr": ""}) == {}
    assert await cloud.put(f"device/{FIRST}/tags", {"tags": {"floor": "2", "room": "201"}}) == {}
    assert await cloud.post(f"device/{FIRST}/tags_remove", {"keys": ["floor", "none"]}) == {}
    group = list(cloud.simulator.groups)[2]
    assert await cloud.put(f"device/{FIRST}/groups", {"groups": [group]}) == {}
    device = await cloud.get(f"device/{FIRST}")
    assert (device["name"], device["descr"], device["device_key"]) == ("新名", "", "SN000001")
    assert (device["tags"], device["groups"]) == ({"room": "201"}, [group])
    assert await cloud.put(f"device/{FIRST}/groups", {"groups": []}) == {}
    assert (await cloud.get(f"device/{FIRST}"))["groups"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "info", {}),
        ("PUT", "info", {"name": ""}),
        ("PUT", "info", {"name": 1}),
        ("PUT", "info", {"alias": "x"}),
        ("PUT", "info", {"device_key": "SN000002"}),
        ("PUT", "tags", {"tags": {"floor": 2}}),
        ("PUT", "tags", {"floor": "2"}),
        ("POST", "tags_remove", {"keys": []}),
        ("POST", "tags_remove", {"keys": "floor"}),
        ("PUT", "groups", {"groups": ["none"]}),
        ("PUT", "groups", {}),
        ("POST", "attributes_remove", {"keys": [1]}),
        ("POST", "standard_infos", {"info_type": "none", "value": {"a": 1}}),
        ("POST", "standard_infos", {"info_type": "location", "value": "x"}),
        ("POST", "extend_infos", {"infos": []}),
    ],
)
async def test_invalid_change_is_refused(cloud: Cloud, method: str, path: str, body: Any) -> None:
    before = await cloud.get(f"device/{FIRST}"), await cloud.get(f"device/{FIRST}/extend_infos")
    assert await cloud.refused(method, f"device/{FIRST}/{path}", body) in (400, 404)
    assert before == (await cloud.get(f"device/{FIRST}"), await cloud.get(f"device/{FIRST}/extend_infos"))


async def test_device_is_created_and_deleted(cloud: Cloud) -> None:
    kind = next(iter(cloud.simulator.types))
    body = {"name": "新设备", "descr": "x", "type": kind, "tags": {"a": "b"}, "device_key": "K1"}
    made = await cloud.post("device", body)
    assert list(made) == ["id", "name"]
    device = await cloud.get(f"device/{made['id']}")
    assert {name: device[name] for name in body} == body
    assert (device["online"], device["alarm"], device["active"]) == (False, {}, {})
    assert await cloud.get(f"device/{made['id']}/attributes") == []
    for wrong in ({"descr": "x"}, {"name": ""}, {"name": "x", "type": "none"}, {"name": "x", "device_key": "K1"}):
        assert await cloud.refused("POST", "device", wrong) in (400, 404)
    assert await cloud.delete(f"device/{made['id']}") == {}
    assert await cloud.refused("DELETE", f"device/{made['id']}") == 404
    assert (await cloud.get("devices"))["total"] == 2


async def test_device_active_within_a_day_is_not_deleted(cloud: Cloud) -> None:
    assert await cloud.refused("DELETE", f"device/{SECOND}") == 403
    cloud.simulator.silence(SECOND, 86_401)
    assert await cloud.delete(f"device/{SECOND}") == {}
    assert [row["id"] for row in (await cloud.get("devices"))["items"]] == [FIRST]
    assert (await cloud.get("alarm_logs"))["items"][0]["device_id"] == SECOND
    assert {customer["count"]["device_count"] for customer in (await cloud.get("customers"))["items"]} == {1}


async def test_extended_infos_change(cloud: Cloud) -> None:
    infos = (await cloud.get(f"device/{FIRST}/extend_infos"))["items"]
    assert set(infos[0]) == {
        *("id", "info_type", "name", "descr", "value", "options"),
        *("create_time", "update_time", "is_standard"),
    }
    text, number, boolean = (info["id"] for info in infos if not info["is_standard"])
    body = {"info_type": "location", "value": {"address": "北京"}}
    assert await cloud.post(f"device/{FIRST}/standard_infos", body) == {"location": {"address": "北京"}}
    changed = await cloud.post(f"device/{FIRST}/extend_infos", {"infos": {text: "新", number: "1", "none": True}})
    assert changed == {text: "新"}
    after = {info["id"]: info for info in (await cloud.get(f"device/{FIRST}/extend_infos"))["items"]}
    assert after["std-location"]["value"] == {"address": "北京", "floor": 3}
    assert [after[key]["value"] for key in (text, number, boolean)] == ["新", 1500, True]
    assert after[text]["update_time"] > after[text]["create_time"] == after[number]["update_time"]


async def test_alarm_logs_are_newest_first(cloud: Cloud) -> None:
    logs = (await cloud.get("alarm_logs"))["items"]
    assert set(logs[0]) == {
        *("id", "device_id", "alarm_status", "alarm_level", "alarm_info"),
        *("create_time", "notify_logs", "device"),
    }
    assert [(log["device_id"], log["alarm_status"], log["alarm_level"]) for log in logs] == [
        (SECOND, 1, 3),
        (FIRST, 0, 1),
        (FIRST, 1, 1),
        (FIRST, 0, 2),
        (FIRST, 1, 2),
    ]
    assert logs[0]["device"] == {"id": SECOND, "name": "二楼配电箱"}
    assert len({log["id"] for log in logs}) == 5
    assert (await cloud.get(f"device/{FIRST}/alarm_logs"))["items"] == logs[1:]
    cloud.simulator.alarm_logs_shown = 2
    assert (await cloud.get("alarm_logs"))["items"] == logs[:2]


async def test_customers_and_roles(cloud: Cloud) -> None:
    first, second = (await cloud.get("customers"))["items"]
    assert set(first) == CUSTOMER | {"role_id"}
    assert (first["account"], first["count"], second["count"]) == ("zhang", {"device_count": 2}, {"device_count": 1})
    roles = (await cloud.get("customer_roles"))["items"]
    assert set(roles[0]) == {
        *("id", "name", "descr", "allow_operate_device", "allow_alarm_msg_maintain"),
        *("allow_add_device", "create_time", "customer_count"),
    }
    assert [(role["id"], role["customer_count"]) for role in roles] == [(first["role_id"], 1), (second["role_id"], 1)]
    assert set(await cloud.get(f"customer/{first['id']}")) == CUSTOMER
    page = await cloud.get(f"customer/{first['id']}/devices", page=1)
    assert ([row["id"] for row in page["items"]], page["total"], page["page_total"]) == ([FIRST, SECOND], 2, 1)


async def test_customer_is_created_changed_and_deleted(cloud: Cloud) -> None:
    body = {"name": "王五", "account": "wang", "password": "first", "email": "w@example.com", "tags": {"a": "b"}}
    made = await cloud.post("customer", body)
    assert made == {"id": made["id"], "name": "王五"}
    one = f"customer/{made['id']}"
    assert await cloud.post("customer_auth", {"account": "wang", "password": "first"}) == made
    assert await cloud.put(f"{one}/info", {"mobile": "139", "name": "王六"}) == {}
    assert await cloud.put(f"{one}/pwd", {"password": "second"}) == {}
    assert await cloud.put(f"{one}/tags", {"tags": {"c": "d"}}) == {}
    shown = await cloud.get(one)
    assert (shown["name"], shown["mobile"], shown["email"]) == ("王六", "139", "w@example.com")
    assert (shown["tags"], shown["count"]) == ({"a": "b", "c": "d"}, {"device_count": 0})
    status, answer = await cloud.call("POST", "customer_auth", json={"account": "wang", "password": "first"})
    assert (status, set(answer), answer["result"]) == (200, {"result", "errcode", "message"}, False)
    assert await cloud.delete(one) == {}
    for method, path, change in (("GET", "", None), ("DELETE", "", None), ("PUT", "/pwd", {"password": "x"})):
        assert await cloud.refused(method, one + path, change) == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "customer", {"name": "x", "account": "y"}),
        ("POST", "customer", {"name": "x", "account": "zhang", "password": "p"}),
        ("POST", "customer", {"name": "x", "account": "y", "password": "p", "tags": []}),
        ("PUT", "customer/{}/info", {}),
        ("PUT", "customer/{}/info", {"account": "y"}),
        ("PUT", "customer/{}/pwd", {"password": ""}),
        ("PUT", "customer/{}/tags", {"tags": None}),
        ("POST", "customer_auth", {"account": "zhang"}),
    ],
)
async def test_invalid_customer_is_refused(cloud: Cloud, method: str, path: str, body: Any) -> None:
    customer = next(iter(cloud.simulator.customers))
    assert await cloud.refused(method, path.format(customer), body) == 400
    assert len(cloud.simulator.customers) == 2
