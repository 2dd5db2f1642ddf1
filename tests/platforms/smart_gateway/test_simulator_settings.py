"""The simulated IG200 system against its document: the set call."""

from __future__ import annotations

from typing import Any

import pytest

from tests.platforms.smart_gateway.simulated import FIRST, FREE, QUERY, RULES, SECOND, SET, TCP, UDP, VendorSystem
from tests.waiting import wait_for_answer, wait_until


async def test_set_accepts_a_whole_query_response(system: VendorSystem) -> None:
    response = await system.post(QUERY, {"sns": [FIRST, SECOND], "args": {}})
    system.simulator.set_channel(FIRST, "0", signal=-77)  # has moved since it was read
    response["devices"][FIRST]["channel"]["0"]["enable"] = 1
    response["devices"][SECOND]["parameters"]["lock"] = 1
    assert await system.post(SET, response) == {"code": 0, "msg": "success"}
    first, second = await system.query(), await system.query(SECOND)
    assert (first["channel"]["0"]["enable"], first["channel"]["0"]["signal"]) == (1, -77)
    assert second["parameters"] == {"top": 0, "lock": 1}


@pytest.mark.parametrize(
    ("section", "path", "value"),
    [
        ("base", ("alias",), "上海3"),
        ("base", ("remark",), ""),
        ("network", ("lan", "ip"), "192.168.5.1"),
        ("network", ("hotspot", "enable"), 0),
        ("network", ("hotspot", "passwd"), "12345678"),
        ("network", ("hotspot", "chain"), 36),
        ("channel", ("0", "name"), "主卡"),
        ("channel", ("0", "enable"), 1),
        ("channel", ("0", "net"), "SA"),
        ("channel", ("0", "slot"), 2),
        ("channel", ("0", "apn"), "3gnet"),
        ("channel", ("3", "initFlow"), 0.5),
        ("channel", ("3", "remainFlow"), 12),
        ("channel", ("4", "wifiKey"), "secret00"),
        ("channel", ("8", "is_dhcp"), True),
        ("channel", ("8", "gateway"), "10.0.0.1"),
        ("parameters", ("top",), 0),
    ],
)
async def test_set_changes_a_marked_field(
    system: VendorSystem, section: str, path: tuple[str, ...], value: Any
) -> None:
    before = await system.query()
    change: Any = value
    for name in reversed(path):
        change = {name: change}
    assert await system.write(**{section: change}) == 0
    after = await system.query()
    place, old = after[section], before[section]
    for name in path[:-1]:
        place, old = place[name], old[name]
    assert old[path[-1]] != value
    assert place[path[-1]] == value
    place[path[-1]] = old[path[-1]]
    after["base"]["runtime"] = before["base"]["runtime"]
    after["chart"] = before["chart"]
    assert after == before


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ({"base": {"alias": ""}}, 7009),
        ({"base": {"alias": "海" * 33}}, 7009),
        ({"base": {"alias": "上海一"}}, 7008),
        ({"base": {"alias": "上海1"}}, 0),
        ({"base": {"alias": 1}}, 7010),
        ({"base": {"version": "V2"}}, 7001),
        ({"base": {"version": "V1.1.2"}}, 0),
        ({"base": {"unheard": 1}}, 7001),
        ({"base": 5}, 7001),
        ({"network": {"lan": "192.168.5.1"}}, 7001),
        ({"network": {"lan": {"ip": "192.168.5"}}}, 7001),
        ({"network": {"hotspot": {"enable": True}}}, 7010),
        ({"network": {"hotspot": {"enable": 2}}}, 7001),
        ({"channel": {"0": {"enable": "1"}}}, 7010),
        ({"channel": {"0": {"state": 1}}}, 7001),
        ({"channel": {"0": {"net": 1}}}, 7010),
        ({"channel": {"0": {"net": "5G"}}}, 7001),
        ({"channel": {"0": {"slot": 3}}}, 7001),
        ({"channel": {"0": {"initFlow": -1}}}, 7001),
        ({"channel": {"0": {"initFlow": "1"}}}, 7010),
        ({"channel": {"0": {"ssid": "x"}}}, 7001),
        ({"channel": {"1": {"enable": 1}}}, 7001),
        ({"channel": {"7": {"enable": 1}}}, 7001),
        ({"channel": {"8": {"is_dhcp": 1}}}, 7010),
        ({"channel": {"8": {"mask": ""}}}, 7001),
        ({"parameters": {"top": 2}}, 7001),
        ({"state": 0}, 7001),
        ({"base": {"mapping": [{"uuid": "0", "name": "", "ip": "1.2.3.4"}]}}, 7004),
        ({"base": {"mapping": [{"uuid": TCP, "name": "", "ip": "1.2.3.4"}]}}, 7003),
        ({"base": {"mapping": [{"uuid": UDP, "name": "", "ip": "1.2.3"}]}}, 7001),
        ({"base": {"mapping": [UDP]}}, 7010),
    ],
)
async def test_set_is_applied_as_a_whole_or_not_at_all(
    system: VendorSystem, sections: dict[str, Any], code: int
) -> None:
    sections = {"parameters": {"lock": 1}} | sections
    assert await system.write(**sections) == code
    locked = (await system.query())["parameters"]["lock"]
    assert locked == (0 if code or "lock" not in sections["parameters"] else 1)


async def test_set_of_an_unknown_or_offline_gateway_is_refused(system: VendorSystem) -> None:
    assert (await system.post(SET, {"X": {}}))["code"] == 7005
    assert (await system.post(SET, {FIRST: 1}))["code"] == 7010
    both = {sn: {"base": {"alias": "上海9"}} for sn in (FIRST, SECOND)}
    assert (await system.post(SET, both))["code"] == 7008
    system.simulator.set_base(FIRST, state="offline")
    assert await system.write(parameters={"lock": 1}) == 7006


async def test_set_assigns_and_unassigns_rules(system: VendorSystem) -> None:
    rows = [{"uuid": FREE, "name": "Web_TCPPort", "ip": "192.168.4.9"}]
    assert await system.write(base={"mapping": rows, "alias": "上海3"}) == 0
    assert (await system.query())["base"]["mapping"] == rows
    rules = {rule["uuid"]: (rule["sn"], rule["devName"]) for rule in (await system.get(RULES))["list"]}
    assert rules == {UDP: ("", ""), TCP: (SECOND, "上海一"), FREE: (FIRST, "上海3")}


async def test_set_path_is_configurable(system: VendorSystem) -> None:
    for path in ("/api/v1/devices/edit", None):
        system.simulator.set_path = path
        async with system.client.post(SET, json={FIRST: {}}) as response:
            assert response.status == 404
    system.simulator.set_path = "/other"
    assert (await system.post("/other", {FIRST: {"parameters": {"lock": 1}}}))["code"] == 0


async def test_set_can_be_delayed(system: VendorSystem) -> None:
    async def is_locked() -> bool:
        return bool((await system.query())["parameters"]["lock"])

    system.simulator.apply_delay = 3600.0
    assert await system.write(parameters={"lock": 1}) == 0
    assert not await is_locked()
    system.simulator.apply_delay = 0.05
    assert await system.write(parameters={"lock": 1}) == 0
    await wait_for_answer(is_locked, "the set to be seen")


async def test_delayed_set_of_a_removed_gateway_is_ignored(system: VendorSystem) -> None:
    simulator = system.simulator
    simulator.apply_delay = 0.05
    body = {
        FIRST: {"channel": {"0": {"enable": 1}}, "parameters": {"lock": 1}},
        SECOND: {"parameters": {"lock": 1}},
    }
    assert (await system.post(SET, body))["code"] == 0
    simulator.pull_sim(FIRST, "0")
    simulator.remove_gateway(SECOND)
    await wait_until(lambda: simulator.gateways[FIRST]["parameters"]["lock"], "the rest of the set")
    assert simulator.gateways[FIRST]["channel"]["0"] == {}
    assert list(simulator.gateways) == [FIRST]


async def test_net_can_be_a_number(system: VendorSystem) -> None:
    system.simulator.net_as_int = True
    assert (await system.query())["channel"]["0"]["net"] == 0
    assert await system.write(channel={"0": {"net": "SA"}}) == 7010
    assert await system.write(channel={"0": {"net": 3}}) == 7001
    assert await system.write(channel={"0": {"net": 2}}) == 0
    system.simulator.net_as_int = False
    assert (await system.query())["channel"]["0"]["net"] == "NSA"


async def test_flags_can_be_booleans(system: VendorSystem) -> None:
    system.simulator.bool_enables = True
    node = await system.query()
    assert node["parameters"] == {"top": True, "lock": False}
    assert node["network"]["hotspot"]["hidden"] is False
    assert await system.write(channel={"0": {"enable": 1}}) == 7010
    assert await system.write(channel={"0": {"enable": True}}) == 0
    assert system.simulator.gateways[FIRST]["channel"]["0"]["enable"] is not True
    assert (await system.query())["channel"]["0"]["enable"] is True
