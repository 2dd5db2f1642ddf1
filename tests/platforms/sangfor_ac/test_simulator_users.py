"""The simulated AC against its document: local users, bindings and online users."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.platforms.sangfor_ac.simulated import (
    BAD_FORMAT,
    BINDING,
    EXISTS,
    IPMAC_BINDINGS,
    IPMAC_QUERY,
    NOT_FOUND,
    ONLINE,
    SAMPLE_IP,
    SAMPLE_MAC,
    SUCCESS,
    USER,
    USER_BINDINGS,
    Ac,
    running,
)

PAIR = f"{SAMPLE_IP}+{SAMPLE_MAC}"


async def found(ac: Ac, kind: str, value: Any, **extend: Any) -> list[str]:
    body = {"search_type": kind, "search_value": value, "extend": extend}
    return [user["name"] for user in (await ac.post(USER, body, "GET"))["data"]]


async def test_simulator_user_add_modify_and_delete(ac: Ac) -> None:
    bound = [{"ip": "10.9.9.9", "mac": "AA-BB-CC-DD-EE-FF"}]
    extend = {"bind_cfg": bound, "self_pass": {"enable": True, "password": "secret"}}
    assert (await ac.post(USER, {"name": "b", "father_path": "/hello", "desc": "x", "extend": extend}))["code"] == 0
    user = (await ac.get(USER, name="b"))["data"]
    assert (user["show_name"], user["father_path"], user["desc"], user["bind_cfg"]) == ("b", "/hello", "x", bound)
    assert user["self_pass"]["password"] == ""
    assert user["expire_time"] == {"enable": False, "date": ""}
    assert {"create", "create_flag", "policy", "limit_ipmac"} <= set(user)
    change = {"expire_time": "2030-01-02 03:04:05", "enable": False, "extend": {"father_path": "/default"}}
    assert (await ac.post(USER, {"name": "b", "data": change}, "PUT"))["code"] == 0
    user = (await ac.get(USER, name="b"))["data"]
    assert (user["expire_time"]["date"], user["father_path"], user["desc"]) == ("2030-01-02 03:04:05", "/default", "x")
    assert user["enable"]  # flat it has no effect
    ac.simulator.flat_user_fields = True
    await ac.post(USER, {"name": "b", "data": change}, "PUT")
    assert not (await ac.get(USER, name="b"))["data"]["enable"]
    assert (await ac.post(USER, {"name": "b"}, "DELETE"))["code"] == 0
    for answer in (await ac.get(USER, name="b"), await ac.post(USER, {"name": "b"}, "DELETE")):
        assert answer == NOT_FOUND
    assert await ac.post(USER, {"name": "b", "data": {}}, "PUT") == NOT_FOUND
    assert await ac.post(USER, {"name": "a"}) == EXISTS


@pytest.mark.parametrize(
    ("body", "method"),
    [
        ({}, None),
        ({"name": ""}, None),
        ({"name": "b", "father_path": "hello"}, None),
        ({"name": "b", "expire_time": "2030-01-02"}, None),
        ({"name": "b", "extend": {"bind_cfg": {}}}, None),
        ({"name": "a"}, "PUT"),
        ({"name": "a", "data": {"desc": 5}}, "PUT"),
        ({"search_value": "a"}, "GET"),
        ({"search_type": "name", "search_value": "a"}, "GET"),
        ({"search_type": "ip", "search_value": "1.1.1.1"}, "GET"),
        ({"search_type": "ip", "search_value": {"start": "1.1.1.1"}}, "GET"),
        ({"search_type": "mac", "search_value": "111111"}, "GET"),
        ({"search_type": "user", "search_value": "", "extend": {"user_status": "on"}}, "GET"),
    ],
)
async def test_simulator_user_wrong_body_is_refused(ac: Ac, body: dict[str, Any], method: str | None) -> None:
    before = set(ac.simulator.users)
    assert await ac.post(USER, body, method) == BAD_FORMAT
    assert set(ac.simulator.users) == before


async def test_simulator_user_search() -> None:
    async with running(devices=150) as ac:
        ac.simulator.users["a"] |= {"enable": False, "bind_cfg": [{"ip": "9.9.9.9", "mac": SAMPLE_MAC}]}
        assert len(await found(ac, "user", "")) == 100
        assert "a" not in await found(ac, "user", "zhang")
        assert await found(ac, "user", "", user_status="disabled") == ["a"]
        assert await found(ac, "ip", {"start": "9.9.9.1", "end": "9.9.9.20"}) == ["a"]
        assert await found(ac, "ip", {"start": "9.9.9.10", "end": "9.9.9.20"}) == []
        assert await found(ac, "mac", SAMPLE_MAC) == ["a"]
        assert await found(ac, "user", "a", father_path="/nobody") == []


async def test_simulator_user_bindings_are_the_sample(ac: Ac) -> None:
    answer = await ac.get(USER_BINDINGS, search="a")
    assert {name: answer[name] for name in SUCCESS} == SUCCESS
    assert answer["data"][0] == {
        "enable": True,
        "desc": "",
        "name": "a",
        "addr": "1.1.1.2",
        "addr_type": "ip",
        "time": "2018-05-14",
        "limitlogon": True,
        "noauth": {"enable": True, "indate": 0},
    }
    assert [(item["addr"], item["addr_type"]) for item in answer["data"]] == [
        ("1.1.1.2", "ip"),
        (SAMPLE_MAC, "mac"),
        (PAIR, "ipmac"),
    ]
    assert len((await ac.get(USER_BINDINGS, search=SAMPLE_MAC))["data"]) == 2
    assert [item["addr"] for item in (await ac.get(USER_BINDINGS, search=SAMPLE_IP))["data"]] == [PAIR]
    assert (await ac.get(USER_BINDINGS, search="1.1.1"))["data"] == []
    assert await ac.get(USER_BINDINGS) == BAD_FORMAT


async def test_simulator_user_bindings_add_and_delete(ac: Ac) -> None:
    assert await ac.post(USER_BINDINGS, BINDING | {"noauth": {"enable": True, "expire_time": 1900000000}}) == SUCCESS
    item = (await ac.get(USER_BINDINGS, search=SAMPLE_IP))["data"][-1]
    assert (item["addr"], item["noauth"]) == (SAMPLE_IP, {"enable": True, "indate": 1900000000})
    assert await ac.post(USER_BINDINGS, BINDING) == EXISTS
    assert await ac.post(USER_BINDINGS, BINDING | {"name": "b"}) == SUCCESS
    assert await ac.post(USER_BINDINGS, {"addr": SAMPLE_IP}, "DELETE") == SUCCESS  # all three, the pair too
    assert (await ac.get(USER_BINDINGS, search=SAMPLE_IP))["data"] == []
    assert await ac.post(USER_BINDINGS, {"addr": SAMPLE_IP}, "DELETE") == NOT_FOUND
    pair = BINDING | {"addr_type": "ipmac", "addr": PAIR}
    assert await ac.post(USER_BINDINGS, pair) == SUCCESS
    assert await ac.post(USER_BINDINGS, {"addr": PAIR}, "DELETE") == BAD_FORMAT
    ac.simulator.deletes_pairs = True
    assert await ac.post(USER_BINDINGS, {"addr": PAIR}, "DELETE") == SUCCESS
    assert [item["addr"] for item in ac.simulator.bindings] == ["1.1.1.2", SAMPLE_MAC]


@pytest.mark.parametrize(
    "changes",
    [
        {"enable": 1},
        {"name": ""},
        {"name": None},
        {"addr_type": "IP"},
        {"addr": SAMPLE_MAC},
        {"addr_type": "mac", "addr": "11:11:11:11:11:11"},
        {"addr_type": "ipmac"},
        {"addr_type": "ipmac", "addr": "1.1.1.1-11-11-11-11-11-11"},
        {"limitlogon": "true"},
        {"noauth": {"enable": False, "indate": 0}},
        {"noauth": {"enable": False, "expire_time": "0"}},
        {"noauth": None},
        {"desc": None},
    ],
)
async def test_simulator_user_binding_wrong_field_is_refused(ac: Ac, changes: dict[str, Any]) -> None:
    assert await ac.post(USER_BINDINGS, BINDING | changes) == BAD_FORMAT
    assert len(ac.simulator.bindings) == 3


async def test_simulator_ip_mac_bindings(ac: Ac) -> None:
    sample = SUCCESS | {"data": {"desc": "", "mac": SAMPLE_MAC, "ip": "1.1.1.2"}}
    assert await ac.get(IPMAC_QUERY, search="1.1.1.2") == sample
    assert await ac.get(IPMAC_QUERY, search=SAMPLE_MAC) == sample
    assert await ac.get(IPMAC_QUERY, search="1.1.1.3") == NOT_FOUND
    assert await ac.get(IPMAC_QUERY) == BAD_FORMAT
    assert await ac.get(IPMAC_BINDINGS, search="1.1.1.2") == BAD_FORMAT
    assert await ac.post(IPMAC_QUERY, {"ip": "1.1.1.3", "mac": SAMPLE_MAC}) == BAD_FORMAT
    assert await ac.post(IPMAC_BINDINGS, {"ip": "1.1.1.3", "mac": "AA-BB-CC-DD-EE-FF"}) == SUCCESS
    assert (await ac.get(IPMAC_QUERY, search="aa-bb-cc-dd-ee-ff"))["data"]["ip"] == "1.1.1.3"
    assert await ac.post(IPMAC_BINDINGS, {"ip": "1.1.1.3", "mac": SAMPLE_MAC}) == EXISTS
    assert await ac.post(IPMAC_BINDINGS, {"ip": "1.1.1.3"}, "DELETE") == SUCCESS
    assert await ac.post(IPMAC_BINDINGS, {"ip": "1.1.1.3"}, "DELETE") == NOT_FOUND
    for wrong in ({"ip": "1.1.1"}, {"ip": "1.1.1.3", "mac": "1"}, {"mac": SAMPLE_MAC}):
        assert await ac.post(IPMAC_BINDINGS, wrong) == BAD_FORMAT


async def test_simulator_online_users_are_the_sample(ac: Ac) -> None:
    body = {"status": "all", "terminal": "all", "filter": {"type": "user", "value": ["a"]}}
    answer = await ac.post(ONLINE, body, "GET")
    assert {name: answer[name] for name in SUCCESS} == SUCCESS
    item = next(item for item in answer["data"]["users"] if item["name"] == "a")
    sample = {"name": "a", "show_name": "a", "father_path": "/default", "ip": SAMPLE_IP, "mac": SAMPLE_MAC}
    assert {name: item[name] for name in sample} == sample
    assert set(item) == {*sample, "terminal", "authway", "login_time", "online_time"}
    assert (item["terminal"], item["authway"]) == (2, 1)
    assert item["online_time"] >= 8
    assert item["login_time"] <= time.time() - 8
    assert (await ac.online())["count"] == (await ac.online(filter={}))["count"] == 2


async def test_simulator_online_users_at_most_100_are_listed() -> None:
    async with running(devices=250) as ac:
        answer = await ac.online()
        assert (answer["count"], len(answer["users"])) == (250, 100)
        halves = ("1.1.1.1", "10.0.0.0-10.1.0.100", "10.1.0.101-10.255.255.255")
        parts = [await ac.online(filter={"type": "ip", "value": [part]}) for part in halves]
        assert [part["count"] for part in parts] == [1, 99, 150]
        both = await ac.online(filter={"type": "ip", "value": list(halves[:2])})
        assert (both["count"], len(both["users"])) == (100, 100)
        terminals = [await ac.online(terminal=kind) for kind in ("mobile", "pc", "multi")]
        for number, part in enumerate(terminals, 1):
            assert {item["terminal"] for item in part["users"]} == {number}
        assert 0 < sum(part["count"] for part in terminals) < 250  # some are not identified
        statuses = [(await ac.online(status=status))["count"] for status in ("frozen", "active")]
        assert sum(statuses) == 250
        assert statuses[0] > 0
        mac = answer["users"][7]["mac"]
        by_mac = await ac.online(filter={"type": "mac", "value": [mac.lower()]})
        assert [item["mac"] for item in by_mac["users"]] == [mac]
        fuzzy = await ac.online(filter={"type": "user", "value": ["zhangwei"]})
        assert {item["name"] for item in fuzzy["users"]} > {"zhangwei"}


@pytest.mark.parametrize(
    "body",
    [
        {"status": "online"},
        {"terminal": "iot"},
        {"terminal": 1},
        {"filter": []},
        {"filter": {"type": "user"}},
        {"filter": {"type": "name", "value": ["a"]}},
        {"filter": {"type": "user", "value": "a"}},
        {"filter": {"type": "ip", "value": ["1.1.1.0/24"]}},
        {"filter": {"type": "ip", "value": ["1.1.1.9-1.1.1.1"]}},
        {"filter": {"type": "mac", "value": ["111111111111"]}},
    ],
)
async def test_simulator_online_users_wrong_body_is_refused(ac: Ac, body: dict[str, Any]) -> None:
    assert await ac.post(ONLINE, body, "GET") == BAD_FORMAT


async def test_simulator_user_logout_and_login(ac: Ac) -> None:
    assert await ac.post(ONLINE, {"ip": SAMPLE_IP}, "DELETE") == SUCCESS
    assert await ac.post(ONLINE, {"ip": SAMPLE_IP}, "DELETE") == NOT_FOUND
    assert (await ac.get("status/online-user"))["data"] == 1
    login = {"ip": SAMPLE_IP, "name": "a", "show_name": "甲", "group": "/hello", "mac": SAMPLE_MAC}
    assert await ac.post(ONLINE, login) == SUCCESS
    item = (await ac.online(filter={"type": "ip", "value": [SAMPLE_IP]}))["users"][0]
    assert (item["show_name"], item["father_path"], item["mac"], item["authway"]) == ("甲", "/hello", SAMPLE_MAC, 3)
    assert await ac.post(ONLINE, {"ip": SAMPLE_IP, "name": "b", "father_path": "/hello"}) == SUCCESS
    item = (await ac.online(filter={"type": "ip", "value": [SAMPLE_IP]}))["users"][0]
    assert (item["name"], item["father_path"]) == ("b", "/default")
    for wrong in ({"ip": "1"}, {"name": ""}, {"group": "hello"}, {"mac": "1"}, {"name": 5}, {"ip": None}):
        assert await ac.post(ONLINE, login | wrong) == BAD_FORMAT
    assert await ac.post(ONLINE, login | {"group": "/nobody"}) == NOT_FOUND
    assert await ac.post(ONLINE, {}, "DELETE") == BAD_FORMAT
