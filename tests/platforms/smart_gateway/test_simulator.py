"""The simulated IG200 system against its document: reading, registering and deleting gateways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.platforms.smart_gateway.simulated import (
    ADD,
    ASSIGN,
    BASE,
    DELETE,
    DELETE_RULES,
    EDIT,
    FIRST,
    LIST,
    PAGE,
    QUERY,
    REASSIGN,
    REGIST,
    SECOND,
    SET,
    UDP,
    UNASSIGN,
    VendorSystem,
)

IN_BOTH = {"name", "enable", "state", "signal", "operator", "type", "rateup", "ratedown", "rtt"}
ANYWHERE = {"ip", "mask", "gateway"}
RADIO = {"frequency", "frequencyRange", "rssi", "rssp", "rssq", "sinru"}
CELLULAR = RADIO | {"apn", "initFlow", "ICCID", "todayUsedFlow", "remainFlow"}
WIFI = {"usb_type", "ssid", "ssidList", "wifiKey", "wifiEncryMode", "wifiMode", "wifiSignal", "wifiFrequencyRange"}


async def test_list_returns_the_documents_sample(system: VendorSystem) -> None:
    response = await system.page()
    assert (response["code"], response["msg"], response["count"]) == (0, "success", 2)
    first, second = response["devices"]
    assert set(first) == {"base", "network", "channel", "parameters"}
    assert list(first["base"]) == list(BASE)
    sample: dict[str, Any] = {"sn": FIRST, "alias": "上海1", "state": "running", "type": "IG200", "version": "V1.1.2"}
    sample |= {"remark": "这是备注", "rateup": 58640, "ratedown": 58640, "qos": "standard"}
    sample |= {"mapping": [{"uuid": UDP, "name": "NMS_UDPPort", "ip": "192.168.4.2"}]}
    sample |= {"record": {"time": 16589465828, "speed": {"up": 56482, "down": 65824}}}
    assert first["base"] == sample | {name: first["base"][name] for name in ("runtime", "gps")}
    assert first["base"]["runtime"] >= 156482
    assert first["network"]["lan"]["start"] == "192.168.4.100"
    assert first["network"]["hotspot"]["passwd"] == "4564187"
    sim = {"name": "SIM1", "enable": 0, "state": 0, "signal": -30, "operator": "CMCC", "type": "5G SA"}
    sim |= {"rateup": 8546, "ratedown": 6426, "rtt": 100, "used": 522681, "remain": 5658654, "total": 100000000}
    assert first["channel"]["0"] == sim | {"innerip": "192.168.4.6", "outerip": "10.10.15.16"}
    assert first["channel"]["1"] == {}
    assert set(first["channel"]["8"]) == set(sim) | {"innerip", "outerip"}
    assert first["parameters"] == {"top": 1, "lock": 0}
    assert (second["base"]["sn"], second["base"]["alias"]) == (SECOND, "上海一")


async def test_list_returns_the_requested_args(system: VendorSystem) -> None:
    response = await system.page(args={"base": ["sn"], "channel": ["0", "5"], "parameters": ["top"]})
    row = response["devices"][0]
    assert row["base"] == {"sn": FIRST}
    assert set(row["channel"]) == {"0"}
    assert row["parameters"] == {"top": 1}
    assert "network" not in row
    assert (await system.page(args={}))["devices"] == [{}, {}]


async def test_list_is_paginated(system: VendorSystem) -> None:
    assert await system.listed(limit=1) == [FIRST]
    assert await system.listed(limit=1, page=2) == [SECOND]
    assert await system.listed(limit=1, page=3) == []
    assert (await system.page(page=0))["code"] == 7001
    system.simulator.first_page = 0
    assert await system.listed(limit=1, page=0) == [FIRST]


@pytest.mark.parametrize(
    ("filtration", "condition", "found"),
    [
        (0, "上海1", [FIRST, SECOND]),
        (1, "上海1", [FIRST]),
        (1, "上海", [FIRST, SECOND]),
        (2, "IG2", [FIRST, SECOND]),
        (2, "IG-200", []),
        (3, "V9", [SECOND]),
    ],
)
async def test_list_is_filtered(system: VendorSystem, filtration: int, condition: str, found: list[str]) -> None:
    system.simulator.set_base(SECOND, version="V9.0")
    assert await system.listed(filtration=filtration, condition=condition) == found
    assert (await system.page(filtration=filtration, condition=condition))["count"] == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"page": "1"}, 7010),
        ({"limit": True}, 7010),
        ({"limit": 0}, 7001),
        ({"filtration": 4}, 7001),
        ({"condition": None}, 7010),
        ({"sort_by": ""}, 7010),
        ({"args": []}, 7010),
        ({"args": {"base": ["serial"]}}, 7010),
        ({"args": {"chart": {}}}, 7010),
        ({"args": {"channel": [0]}}, 7010),
    ],
)
async def test_list_with_invalid_field_is_refused(system: VendorSystem, changes: dict[str, Any], code: int) -> None:
    assert (await system.page(**changes))["code"] == code


@pytest.mark.parametrize("missing", [*PAGE, "args"])
async def test_list_without_a_required_field_is_refused(system: VendorSystem, missing: str) -> None:
    body = {name: value for name, value in (PAGE | {"args": {}}).items() if name != missing}
    assert await system.post(LIST, body) == {"code": 7010, "msg": "参数错误"}


async def test_query_returns_all_fields_by_serial_number(system: VendorSystem) -> None:
    response = await system.post(QUERY, {"sns": [FIRST, "NOBODY"], "args": {}})
    assert (response["code"], response["msg"]) == (0, "success")
    assert response["devices"]["NOBODY"] == {"state": 0}
    node = response["devices"][FIRST]
    assert node["state"] == 1
    assert set(node) == {"state", "base", "network", "channel", "parameters", "chart"}
    channels = {key: set(channel) for key, channel in node["channel"].items()}
    assert channels == {
        "0": IN_BOTH | ANYWHERE | CELLULAR | {"net", "slot"},
        "1": set(),
        "2": IN_BOTH | ANYWHERE | CELLULAR | {"net", "slot"},
        "3": IN_BOTH | ANYWHERE | CELLULAR,
        "4": IN_BOTH | ANYWHERE | WIFI | {"is_dhcp"},
        "8": IN_BOTH | ANYWHERE | {"is_dhcp"},
    }
    assert node["channel"]["0"]["net"] == "auto"
    assert set(node["chart"]["channel"]["8"]) == {"rateUp", "rateDown", "rtt"}


async def test_query_returns_the_requested_args(system: VendorSystem) -> None:
    args = {"base": ["alias"], "channel": [], "chart": {"total": ["rateUp"], "channel": ["0", "1"]}}
    node = (await system.post(QUERY, {"sns": [FIRST], "args": args}))["devices"][FIRST]
    assert set(node) == {"state", "base", "channel", "chart"}
    assert node["base"] == {"alias": "上海1"}
    assert set(node["channel"]) == {"0", "1", "2", "3", "4", "8"}
    assert node["chart"]["total"] == {"rateUp": [58640] * 4}
    assert set(node["chart"]["channel"]) == {"0"}


@pytest.mark.parametrize(
    "body",
    [
        {"sns": FIRST, "args": {}},
        {"sns": [1], "args": {}},
        {"sns": [FIRST]},
        {"sns": [FIRST], "args": {"chart": []}},
        {"sns": [FIRST], "args": {"chart": {"total": ["rateup"]}}},
    ],
)
async def test_query_with_invalid_field_is_refused(system: VendorSystem, body: dict[str, Any]) -> None:
    assert (await system.post(QUERY, body))["code"] == 7010


@pytest.mark.parametrize(
    "path", [LIST, QUERY, SET, REGIST, DELETE, ADD, EDIT, DELETE_RULES, ASSIGN, UNASSIGN, REASSIGN]
)
async def test_body_that_is_no_object_is_refused(system: VendorSystem, path: str) -> None:
    assert json.loads(await system.text(path, data=b'{"sn": success}'))["code"] == 1
    assert json.loads(await system.text(path, data=b""))["code"] == 1
    assert (await system.post(path, []))["code"] == 7010
    assert (await system.post(path, {}))["code"] == 7010
    async with system.client.get(path) as response:
        assert response.status == 405


async def test_gateway_can_be_registered_and_deleted(system: VendorSystem) -> None:
    assert await system.post(REGIST, {"sn": "ADE55ADEA475567FC", "alias": "上海2"}) == {"code": 0, "msg": "success"}
    row = (await system.page())["devices"][2]
    assert (row["base"]["sn"], row["base"]["alias"], row["base"]["runtime"]) == ("ADE55ADEA475567FC", "上海2", "")
    assert row["base"]["state"] != "running"
    assert row["channel"] == {}
    assert await system.post(DELETE, {"sn": "ADE55ADEA475567FC"}) == {"code": 0, "msg": "success"}
    assert await system.post(DELETE, {"sn": "ADE55ADEA475567FC"}) == {"code": 7005, "msg": "序列号出错"}
    assert await system.listed() == [FIRST, SECOND]


@pytest.mark.parametrize(
    ("sn", "alias", "code"),
    [
        (FIRST, "上海2", 7007),
        ("ADE5", "上海1", 7008),
        ("ADE5", "", 7009),
        ("ADE5", "海" * 33, 7009),
        ("", "上海2", 7005),
        (5, "上海2", 7010),
    ],
)
async def test_invalid_registration_is_refused(system: VendorSystem, sn: Any, alias: str, code: int) -> None:
    assert (await system.post(REGIST, {"sn": sn, "alias": alias}))["code"] == code
    assert len(system.simulator.gateways) == 2


async def test_registration_over_the_limit_is_refused(system: VendorSystem) -> None:
    system.simulator.max_devices = 2
    assert (await system.post(REGIST, {"sn": "ADE5", "alias": "上海2"}))["code"] == 7011
