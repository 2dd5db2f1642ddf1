"""The simulated IG200 system against its document: port mapping rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.platforms.smart_gateway.simulated import (
    ADD,
    ASSIGN,
    DELETE,
    DELETE_RULES,
    EDIT,
    FIRST,
    FREE,
    NEW_RULE,
    REASSIGN,
    RULES,
    SECOND,
    TCP,
    UDP,
    UNASSIGN,
    VendorSystem,
)

REFUSED_RULES: list[tuple[dict[str, Any], int]] = [
    ({"name": "NMS_TCPPort"}, 7002),
    ({"name": ""}, 7001),
    ({"name": None}, 7010),
    ({"ip": "192.168.16"}, 7001),
    ({"ip": 5}, 7010),
    ({"port": "22005"}, 7003),
    ({"port": "21000-23000"}, 7003),
    ({"port": "8080", "protocol": 0}, 7003),
    ({"port": "8080", "protocol": 1}, 0),
    ({"port": "0"}, 7001),
    ({"port": "70000"}, 7001),
    ({"port": "20-10"}, 7001),
    ({"port": "80,"}, 7001),
    ({"port": "80-"}, 7001),
    ({"port": ""}, 7001),
    ({"port": None}, 7010),
    ({"protocol": 3}, 7001),
    ({"protocol": "0"}, 7010),
    ({"mark": None}, 7010),
]


async def test_mapping_list_returns_the_documents_sample(system: VendorSystem) -> None:
    response = await system.get(RULES)
    assert (response["code"], response["msg "]) == (0, "success")
    udp, tcp, free = response["list"]
    assert udp == {
        "uuid": UDP,
        "name": "NMS_UDPPort",
        "ip": "192.168.16.56",
        "port": "1935,22000-22010,22222,22048-22058",
        "protocol": 1,
        "devName": "上海1",
        "sn": FIRST,
        "devType": "IG-200",
        "mark": "",
    }
    assert (tcp["uuid"], tcp["protocol"], tcp["sn"], tcp["devName"]) == (TCP, 0, SECOND, "上海一")
    assert (free["uuid"], free["sn"], free["devName"], free["devType"]) == (FREE, "", "", "")
    async with system.client.post(RULES, json={}) as response:
        assert response.status == 405


async def test_added_rule_is_listed(system: VendorSystem) -> None:
    assert await system.post(ADD, NEW_RULE) == {"code": 0, "msg ": "success"}
    rule = (await system.get(RULES))["list"][-1]
    assert len(rule.pop("uuid")) == 19
    assert rule == NEW_RULE | {"sn": "", "devName": "", "devType": ""}


@pytest.mark.parametrize(("changes", "code"), REFUSED_RULES)
async def test_invalid_added_rule_is_refused(system: VendorSystem, changes: dict[str, Any], code: int) -> None:
    response = await system.post(ADD, NEW_RULE | changes)
    assert response["code"] == code
    assert set(response) == {"code", "msg "}
    assert len(system.simulator.rules) == (3 if code else 4)


async def test_edited_rule_is_listed(system: VendorSystem) -> None:
    rule = (await system.get(RULES))["list"][0]
    changed = rule | {"name": "NMS", "ip": "192.168.16.60", "port": "1935", "protocol": 2, "mark": "x"}
    assert (await system.post(EDIT, changed))["code"] == 7003
    changed["protocol"] = 1
    assert await system.post(EDIT, changed) == {"code": 0, "msg ": "success"}
    assert (await system.get(RULES))["list"][0] == changed
    assert (await system.query())["base"]["mapping"] == [{"uuid": UDP, "name": "NMS", "ip": "192.168.4.2"}]


async def test_edit_assigns_and_unassigns_a_rule(system: VendorSystem) -> None:
    rule = (await system.get(RULES))["list"][0]
    assert (await system.post(EDIT, rule | {"sn": SECOND, "devName": "上海一"}))["code"] == 0
    assert (await system.query())["base"]["mapping"] == []
    uuids = [row["uuid"] for row in (await system.query(SECOND))["base"]["mapping"]]
    assert uuids == [TCP, UDP]
    assert (await system.post(EDIT, rule | {"sn": "", "devName": "", "devType": ""}))["code"] == 0
    assert (await system.get(RULES))["list"][0]["sn"] == ""
    assert (await system.post(EDIT, rule))["code"] == 0
    assert (await system.query())["base"]["mapping"] == [{"uuid": UDP, "name": "NMS_UDPPort", "ip": "0.0.0.0"}]  # noqa: S104


async def test_edit_accepts_the_fields_of_table_and_example(system: VendorSystem) -> None:
    rule = (await system.get(RULES))["list"][2]
    ip = rule.pop("ip")
    assert (await system.post(EDIT, rule))["code"] == 7010
    assert (await system.post(EDIT, rule | {"addr": ip, "port": 9090}))["code"] == 0
    assert (await system.post(EDIT, rule | {"addr": ip, "ip": "1.2.3.4"}))["code"] == 7010
    assert (await system.get(RULES))["list"][2] == rule | {"ip": ip, "port": "9090"}


@pytest.mark.parametrize(
    ("changes", "code"), [*REFUSED_RULES, ({"uuid": "0"}, 7004), ({"sn": "X"}, 7005), ({"devName": 1}, 7010)]
)
async def test_invalid_edit_is_refused(system: VendorSystem, changes: dict[str, Any], code: int) -> None:
    uuid = system.simulator.add_rule("Video", "192.168.16.57", "5000", 0)
    row = NEW_RULE | {"uuid": uuid, "sn": "", "devName": "", "devType": ""}
    assert (await system.post(EDIT, row | changes))["code"] == code


async def test_delete_names_the_rules_that_failed(system: VendorSystem) -> None:
    assert await system.post(DELETE_RULES, {"rules": [UDP, UDP, FREE]}) == {"code": 0, "msg ": []}
    assert (await system.query())["base"]["mapping"] == []
    assert await system.post(DELETE_RULES, {"rules": [TCP, UDP]}) == {"code": 0, "msg ": [UDP]}
    system.simulator.partial_code = 7004
    assert await system.post(DELETE_RULES, {"rules": [UDP]}) == {"code": 7004, "msg ": [UDP]}
    assert (await system.post(DELETE_RULES, {"rules": [5]}))["code"] == 7010


async def test_rule_is_assigned_reassigned_and_unassigned(system: VendorSystem) -> None:
    body = {"rule": FREE, "sn": FIRST, "ip": "192.168.4.5"}
    assert await system.post(ASSIGN, body) == {"code": 0, "msg ": "success"}
    assert (await system.query())["base"]["mapping"][1] == {"uuid": FREE, "name": "Web_TCPPort", "ip": "192.168.4.5"}
    assert (await system.get(RULES))["list"][2]["devName"] == "上海1"
    assert (await system.post(ASSIGN, body))["code"] == 7003
    assert (await system.post(REASSIGN, body | {"ip": "192.168.4.6"})) == {"code": 0, "msg ": "success"}
    assert (await system.query())["base"]["mapping"][1]["ip"] == "192.168.4.6"
    assert await system.post(UNASSIGN, {"sn": FIRST, "rules": [FREE, TCP]}) == {"code": 0, "msg ": [TCP]}
    assert [row["uuid"] for row in (await system.query())["base"]["mapping"]] == [UDP]
    assert (await system.get(RULES))["list"][2]["sn"] == ""


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (ASSIGN, {"rule": "0", "sn": FIRST, "ip": "192.168.4.5"}, 7004),
        (ASSIGN, {"rule": FREE, "sn": "X", "ip": "192.168.4.5"}, 7005),
        (ASSIGN, {"rule": FREE, "sn": SECOND, "ip": "192.168.4.5"}, 7006),
        (ASSIGN, {"rule": FREE, "sn": FIRST, "ip": "192.168.4.256"}, 7001),
        (ASSIGN, {"rule": FREE, "sn": FIRST}, 7010),
        (REASSIGN, {"rule": "0", "sn": FIRST, "ip": "192.168.4.5"}, 7004),
        (REASSIGN, {"rule": FREE, "sn": FIRST, "ip": "192.168.4.5"}, 7004),
        (REASSIGN, {"rule": UDP, "sn": "X", "ip": "192.168.4.5"}, 7005),
        (REASSIGN, {"rule": UDP, "sn": FIRST, "ip": ""}, 7001),
        (UNASSIGN, {"rules": [UDP]}, 7010),
        (UNASSIGN, {"rules": [UDP], "sn": "X"}, 7005),
        (UNASSIGN, {"rules": [TCP], "sn": SECOND}, 7006),
        (UNASSIGN, {"rules": UDP, "sn": FIRST}, 7010),
    ],
)
async def test_invalid_assignment_is_refused(system: VendorSystem, path: str, body: dict[str, Any], code: int) -> None:
    system.simulator.set_base(SECOND, state="offline")
    before = json.dumps(system.simulator.rules)
    assert (await system.post(path, body))["code"] == code
    assert json.dumps(system.simulator.rules) == before


async def test_rules_of_a_deleted_gateway_are_unassigned(system: VendorSystem) -> None:
    await system.post(DELETE, {"sn": FIRST})
    rules = {rule["uuid"]: rule["sn"] for rule in (await system.get(RULES))["list"]}
    assert rules == {UDP: "", TCP: SECOND, FREE: ""}
