"""The simulated IG200 back end against its document: port rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.platforms.smart_gateway.simulated import (
    ADD,
    CHANGE,
    DELETE,
    DELETE_RULES,
    EDIT,
    FIRST,
    FREE,
    GIVE,
    NEW_RULE,
    RULES,
    SECOND,
    TAKE,
    TCP,
    UDP,
    BackEnd,
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


async def test_the_rules_are_the_documents_sample(back_end: BackEnd) -> None:
    answer = await back_end.get(RULES)
    assert (answer["code"], answer["msg "]) == (0, "success")
    udp, tcp, free = answer["list"]
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
    async with back_end.client.post(RULES, json={}) as response:
        assert response.status == 405


async def test_a_rule_is_added(back_end: BackEnd) -> None:
    assert await back_end.post(ADD, NEW_RULE) == {"code": 0, "msg ": "success"}
    rule = (await back_end.get(RULES))["list"][-1]
    assert len(rule.pop("uuid")) == 19
    assert rule == NEW_RULE | {"sn": "", "devName": "", "devType": ""}


@pytest.mark.parametrize(("changes", "code"), REFUSED_RULES)
async def test_an_addition_is_checked(back_end: BackEnd, changes: dict[str, Any], code: int) -> None:
    answer = await back_end.post(ADD, NEW_RULE | changes)
    assert answer["code"] == code
    assert set(answer) == {"code", "msg "}
    assert len(back_end.simulator.rules) == (3 if code else 4)


async def test_a_rule_is_edited(back_end: BackEnd) -> None:
    rule = (await back_end.get(RULES))["list"][0]
    changed = rule | {"name": "NMS", "ip": "192.168.16.60", "port": "1935", "protocol": 2, "mark": "x"}
    assert (await back_end.post(EDIT, changed))["code"] == 7003
    changed["protocol"] = 1
    assert await back_end.post(EDIT, changed) == {"code": 0, "msg ": "success"}
    assert (await back_end.get(RULES))["list"][0] == changed
    assert (await back_end.query())["base"]["mapping"] == [{"uuid": UDP, "name": "NMS", "ip": "192.168.4.2"}]


async def test_an_edit_moves_a_rule_to_another_gateway_and_back_to_nobody(back_end: BackEnd) -> None:
    rule = (await back_end.get(RULES))["list"][0]
    assert (await back_end.post(EDIT, rule | {"sn": SECOND, "devName": "上海一"}))["code"] == 0
    assert (await back_end.query())["base"]["mapping"] == []
    uuids = [row["uuid"] for row in (await back_end.query(SECOND))["base"]["mapping"]]
    assert uuids == [TCP, UDP]
    assert (await back_end.post(EDIT, rule | {"sn": "", "devName": "", "devType": ""}))["code"] == 0
    assert (await back_end.get(RULES))["list"][0]["sn"] == ""
    assert (await back_end.post(EDIT, rule))["code"] == 0
    assert (await back_end.query())["base"]["mapping"] == [{"uuid": UDP, "name": "NMS_UDPPort", "ip": "0.0.0.0"}]  # noqa: S104


async def test_an_edit_takes_what_table_and_example_say(back_end: BackEnd) -> None:
    rule = (await back_end.get(RULES))["list"][2]
    ip = rule.pop("ip")
    assert (await back_end.post(EDIT, rule))["code"] == 7010
    assert (await back_end.post(EDIT, rule | {"addr": ip, "port": 9090}))["code"] == 0
    assert (await back_end.post(EDIT, rule | {"addr": ip, "ip": "1.2.3.4"}))["code"] == 7010
    assert (await back_end.get(RULES))["list"][2] == rule | {"ip": ip, "port": "9090"}


@pytest.mark.parametrize(
    ("changes", "code"), [*REFUSED_RULES, ({"uuid": "0"}, 7004), ({"sn": "X"}, 7005), ({"devName": 1}, 7010)]
)
async def test_an_edit_is_checked(back_end: BackEnd, changes: dict[str, Any], code: int) -> None:
    uuid = back_end.simulator.add_rule("Video", "192.168.16.57", "5000", 0)
    row = NEW_RULE | {"uuid": uuid, "sn": "", "devName": "", "devType": ""}
    assert (await back_end.post(EDIT, row | changes))["code"] == code


async def test_rules_are_deleted_and_those_that_cannot_be_are_named(back_end: BackEnd) -> None:
    assert await back_end.post(DELETE_RULES, {"rules": [UDP, UDP, FREE]}) == {"code": 0, "msg ": []}
    assert (await back_end.query())["base"]["mapping"] == []
    assert await back_end.post(DELETE_RULES, {"rules": [TCP, UDP]}) == {"code": 0, "msg ": [UDP]}
    back_end.simulator.partial_code = 7004
    assert await back_end.post(DELETE_RULES, {"rules": [UDP]}) == {"code": 7004, "msg ": [UDP]}
    assert (await back_end.post(DELETE_RULES, {"rules": [5]}))["code"] == 7010


async def test_a_gateway_is_given_a_rule(back_end: BackEnd) -> None:
    body = {"rule": FREE, "sn": FIRST, "ip": "192.168.4.5"}
    assert await back_end.post(GIVE, body) == {"code": 0, "msg ": "success"}
    assert (await back_end.query())["base"]["mapping"][1] == {"uuid": FREE, "name": "Web_TCPPort", "ip": "192.168.4.5"}
    assert (await back_end.get(RULES))["list"][2]["devName"] == "上海1"
    assert (await back_end.post(GIVE, body))["code"] == 7003
    assert (await back_end.post(CHANGE, body | {"ip": "192.168.4.6"})) == {"code": 0, "msg ": "success"}
    assert (await back_end.query())["base"]["mapping"][1]["ip"] == "192.168.4.6"
    assert await back_end.post(TAKE, {"sn": FIRST, "rules": [FREE, TCP]}) == {"code": 0, "msg ": [TCP]}
    assert [row["uuid"] for row in (await back_end.query())["base"]["mapping"]] == [UDP]
    assert (await back_end.get(RULES))["list"][2]["sn"] == ""


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (GIVE, {"rule": "0", "sn": FIRST, "ip": "192.168.4.5"}, 7004),
        (GIVE, {"rule": FREE, "sn": "X", "ip": "192.168.4.5"}, 7005),
        (GIVE, {"rule": FREE, "sn": SECOND, "ip": "192.168.4.5"}, 7006),
        (GIVE, {"rule": FREE, "sn": FIRST, "ip": "192.168.4.256"}, 7001),
        (GIVE, {"rule": FREE, "sn": FIRST}, 7010),
        (CHANGE, {"rule": "0", "sn": FIRST, "ip": "192.168.4.5"}, 7004),
        (CHANGE, {"rule": FREE, "sn": FIRST, "ip": "192.168.4.5"}, 7004),
        (CHANGE, {"rule": UDP, "sn": "X", "ip": "192.168.4.5"}, 7005),
        (CHANGE, {"rule": UDP, "sn": FIRST, "ip": ""}, 7001),
        (TAKE, {"rules": [UDP]}, 7010),
        (TAKE, {"rules": [UDP], "sn": "X"}, 7005),
        (TAKE, {"rules": [TCP], "sn": SECOND}, 7006),
        (TAKE, {"rules": UDP, "sn": FIRST}, 7010),
    ],
)
async def test_an_assignment_is_checked(back_end: BackEnd, path: str, body: dict[str, Any], code: int) -> None:
    back_end.simulator.set_base(SECOND, state="offline")
    before = json.dumps(back_end.simulator.rules)
    assert (await back_end.post(path, body))["code"] == code
    assert json.dumps(back_end.simulator.rules) == before


async def test_a_deleted_gateway_frees_its_rules(back_end: BackEnd) -> None:
    await back_end.post(DELETE, {"sn": FIRST})
    rules = {rule["uuid"]: rule["sn"] for rule in (await back_end.get(RULES))["list"]}
    assert rules == {UDP: "", TCP: SECOND, FREE: ""}
