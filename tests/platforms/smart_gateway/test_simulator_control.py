"""Quirks, injected faults and control paths of the simulated IG200 system."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import aiohttp
import pytest

from fleet2mqtt.simulators.smart_gateway.live import step
from tests.platforms.smart_gateway.simulated import (
    ADD,
    DELETE,
    DELETE_RULES,
    EVERYTHING,
    FIRST,
    FREE,
    LIST,
    NEW_RULE,
    PAGE,
    QUERY,
    REGIST,
    RULES,
    SECOND,
    SET,
    TCP,
    UDP,
    VendorSystem,
    running,
)
from tests.waiting import wait_for_answer, wait_until


async def test_list_can_be_invalid_json(system: VendorSystem) -> None:
    system.simulator.kbps_unquoted = True
    text = await system.text(LIST, json=PAGE | {"args": EVERYTHING})
    assert '"rateup": 58640 Kbps,' in text
    assert '"rateup": 8546,' in text
    assert (await system.query())["base"]["rateup"] == 58640


async def test_rates_can_be_texts(system: VendorSystem) -> None:
    system.simulator.kbps_text = True
    assert (await system.page())["devices"][0]["base"]["rateup"] == "58640 Kbps"
    assert (await system.query())["channel"]["0"]["ratedown"] == "6426 Kbps"


async def test_success_can_be_unquoted(system: VendorSystem) -> None:
    system.simulator.bare_success = True
    assert await system.text(REGIST, json={"sn": "ADE5", "alias": "上海2"}) == '{"code": 0, "msg": success}'
    assert await system.text(DELETE, json={"sn": "ADE5"}) == '{"code": 0, "msg": success}'
    assert (await system.page())["msg"] == "success"


async def test_responses_can_end_in_a_comma(system: VendorSystem) -> None:
    system.simulator.trailing_commas = True
    assert await system.text(ADD, json=NEW_RULE) == '{"code": 0, "msg ": "success",}'


async def test_values_can_be_placeholders(system: VendorSystem) -> None:
    system.simulator.placeholders = True
    system.simulator.gps_zero = True
    for base in ((await system.page())["devices"][0]["base"], (await system.query())["base"]):
        assert (base["runtime"], base["remark"], base["qos"], base["record"]) == ("", "", "", "")
        assert base["gps"] == {"lat": 0, "lon": 0}
    system.simulator.gps_missing = True
    assert "gps" not in (await system.query())["base"]


async def test_query_can_return_the_data_counters(system: VendorSystem) -> None:
    system.simulator.query_volumes = True
    assert (await system.query())["channel"]["0"]["used"] == 522681


async def test_rules_can_be_listed_twice(system: VendorSystem) -> None:
    system.simulator.duplicate_rules = True
    uuids = [rule["uuid"] for rule in (await system.get(RULES))["list"]]
    assert uuids == [UDP, UDP, TCP, TCP, FREE, FREE]


async def test_injected_error_is_in_the_envelope(system: VendorSystem) -> None:
    fault_injector = system.simulator.fault_injector
    fault_injector.inject("error", "*/mapping/*", code=7012, text="license", times=1)
    assert await system.get(RULES) == {"code": 7012, "msg ": "license"}
    assert (await system.get(RULES))["code"] == 0
    fault_injector.inject("error", REGIST, code=7011)
    response = await system.post(REGIST, {"sn": "ADE5", "alias": "上海2"})
    assert response == {"code": 7011, "msg": "注册设备超出最大限制"}


async def test_lists_can_be_empty(system: VendorSystem) -> None:
    system.simulator.fault_injector.inject("empty")
    assert await system.page() == {"code": 0, "msg": "success", "count": 0, "devices": []}
    response = await system.post(QUERY, {"sns": [FIRST], "args": {}})
    assert response == {"code": 0, "msg": "success", "devices": {}}
    assert await system.get(RULES) == {"code": 0, "msg ": "success", "list": []}


async def test_write_can_be_ignored(system: VendorSystem) -> None:
    before = json.dumps(system.simulator.rules)
    system.simulator.fault_injector.inject("noop")
    assert await system.write(parameters={"lock": 1}) == 0
    assert await system.post(DELETE_RULES, {"rules": [UDP]}) == {"code": 0, "msg ": []}
    assert await system.post(ADD, NEW_RULE) == {"code": 0, "msg ": "success"}
    assert (await system.post(ADD, {}))["code"] == 7010
    assert (await system.query())["parameters"]["lock"] == 0
    assert json.dumps(system.simulator.rules) == before


async def test_pages_can_drift() -> None:
    async with running(devices=6) as system:
        still = [sn for page in (1, 2, 3) for sn in await system.listed(page=page, limit=2)]
        assert still == list(system.simulator.gateways)
        system.simulator.fault_injector.inject("drift")
        moved = [sn for page in (1, 2, 3) for sn in await system.listed(page=page, limit=2)]
    assert len(moved) == 6
    assert len(set(moved)) < 6


async def test_write_with_lost_response_was_applied(system: VendorSystem) -> None:
    system.simulator.fault_injector.inject("lost_answer", SET, times=1)
    with pytest.raises(aiohttp.ClientError):
        await system.write(parameters={"lock": 1})
    assert (await system.query())["parameters"]["lock"] == 1


async def test_gateways_are_changed_over_http(system: VendorSystem) -> None:
    channels = {"0": {"signal": -99}, "1": {"name": "SIM2"}, "2": None}
    body = {"sn": FIRST, "base": {"alias": "上海7"}, "channel": channels}
    body |= {"network": {"lan": {"ip": "10.0.0.1"}}, "parameters": {"lock": 1}}
    await system.post("/_sim/gateway", body)
    node = await system.query()
    assert (node["base"]["alias"], node["parameters"]["lock"]) == ("上海7", 1)
    assert (node["channel"]["0"]["signal"], node["channel"]["0"]["name"]) == (-99, "SIM1")
    assert (node["channel"]["1"], node["channel"]["2"]) == ({"name": "SIM2"}, {})
    assert node["network"]["lan"]["ip"] == "10.0.0.1"
    await system.post("/_sim/gateway", {"sn": "NEW1"})
    assert await system.listed() == [FIRST, SECOND, "NEW1"]
    async with system.client.delete("/_sim/gateway", params={"sn": FIRST}) as response:
        assert response.status == 200
    async with system.client.delete("/_sim/gateway", params={"sn": FIRST}) as response:
        assert response.status == 404
    state = await system.get("/_sim/state")
    assert list(state["gateways"]) == [SECOND, "NEW1"]
    assert state["rules"][UDP]["sn"] == ""
    assert [call["path"] for call in await system.get("/_sim/calls")] == [QUERY, LIST]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"sn": ""},
        {"sn": FIRST, "base": []},
        {"sn": FIRST, "network": {"lan": None}},
        {"sn": FIRST, "channel": {"0": 1}},
        {"sn": FIRST, "base": {"sn": SECOND}},
    ],
)
async def test_invalid_control_request_is_refused(system: VendorSystem, body: Any) -> None:
    before = json.dumps(system.simulator.gateways)
    async with system.client.post("/_sim/gateway", json=body) as response:
        assert response.status == 400
    assert json.dumps(system.simulator.gateways) == before


async def test_run_time_follows_the_clock_while_running(system: VendorSystem) -> None:
    async def has_advanced() -> bool:
        return bool((await system.query())["base"]["runtime"] > 0)

    system.simulator.set_base(FIRST, runtime=0)
    await wait_for_answer(has_advanced, "the run time to advance")
    system.simulator.set_base(FIRST, state="offline", runtime=7)
    assert (await system.query())["base"]["runtime"] == 7


async def test_live_mode_changes_values() -> None:
    async with running(devices=3, live=True) as system:
        simulator = system.simulator
        before = json.dumps(simulator.gateways[SECOND]["channel"])
        await wait_until(lambda: json.dumps(simulator.gateways[SECOND]["channel"]) != before, "values to move")
        assert simulator.gateways[SECOND]["channel"]["1"] == {}
        rates = sum(channel.get("rateup", 0) for channel in simulator.gateways[SECOND]["channel"].values())
        assert simulator.gateways[SECOND]["base"]["rateup"] == rates
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "smart_gateway simulator"]


async def test_generated_gateways_are_reproducible() -> None:
    async with running(devices=300) as one, running(devices=1000) as more, running(devices=300, seed=2) as other:
        first = one.simulator.gateways
        assert len(first) == 300
        assert len(more.simulator.gateways) == 1000
        assert json.dumps(list(first)) == json.dumps(list(more.simulator.gateways)[:300])
        assert list(first)[2:] != list(other.simulator.gateways)[2:]
        assert len({gateway["base"]["alias"] for gateway in more.simulator.gateways.values()}) == 1000
        rules = (await more.get(RULES))["list"]
        assert len({rule["uuid"] for rule in rules}) == len(rules) > 50
        assert len({rule["name"] for rule in rules}) == len(rules)


@pytest.mark.parametrize("devices", [0, 1])
async def test_fewer_gateways_than_in_the_document_are_possible(devices: int) -> None:
    async with running(devices=devices) as system:
        assert len((await system.page())["devices"]) == devices
        assert [rule["sn"] for rule in (await system.get(RULES))["list"]] == [FIRST if devices else "", "", ""]


def test_sim_goes_offline_and_online_in_live_mode(system: VendorSystem) -> None:
    sim, rng, states = system.simulator.gateways[SECOND]["channel"]["0"], Random(1), [1]  # noqa: S311
    for _ in range(3_000):
        step(system.simulator.gateways, rng)
        if sim["state"] != states[-1]:
            states.append(sim["state"])
        assert sim["state"] or not sim["rateup"]
    assert states[:4] == [1, 0, 1, 0]
    assert sim["used"] > 0 <= sim["remain"]
