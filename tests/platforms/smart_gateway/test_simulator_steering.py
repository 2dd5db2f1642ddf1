"""How the simulated IG200 back end can be made to deviate, to fail and to change."""

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
    BackEnd,
    running,
)
from tests.waiting import wait_for_answer, wait_until


async def test_the_list_can_be_other_than_json(back_end: BackEnd) -> None:
    back_end.simulator.kbps_unquoted = True
    text = await back_end.text(LIST, json=PAGE | {"args": EVERYTHING})
    assert '"rateup": 58640 Kbps,' in text
    assert '"rateup": 8546,' in text
    assert (await back_end.query())["base"]["rateup"] == 58640


async def test_rates_can_be_texts(back_end: BackEnd) -> None:
    back_end.simulator.kbps_text = True
    assert (await back_end.page())["devices"][0]["base"]["rateup"] == "58640 Kbps"
    assert (await back_end.query())["channel"]["0"]["ratedown"] == "6426 Kbps"


async def test_success_can_be_bare(back_end: BackEnd) -> None:
    back_end.simulator.bare_success = True
    assert await back_end.text(REGIST, json={"sn": "ADE5", "alias": "上海2"}) == '{"code": 0, "msg": success}'
    assert await back_end.text(DELETE, json={"sn": "ADE5"}) == '{"code": 0, "msg": success}'
    assert (await back_end.page())["msg"] == "success"


async def test_answers_can_end_in_a_comma(back_end: BackEnd) -> None:
    back_end.simulator.trailing_commas = True
    assert await back_end.text(ADD, json=NEW_RULE) == '{"code": 0, "msg ": "success",}'


async def test_values_can_be_placeholders(back_end: BackEnd) -> None:
    back_end.simulator.placeholders = True
    back_end.simulator.gps_zero = True
    for base in ((await back_end.page())["devices"][0]["base"], (await back_end.query())["base"]):
        assert (base["runtime"], base["remark"], base["qos"], base["record"]) == ("", "", "", "")
        assert base["gps"] == {"lat": 0, "lon": 0}
    back_end.simulator.gps_missing = True
    assert "gps" not in (await back_end.query())["base"]


async def test_a_query_can_give_the_volumes_too(back_end: BackEnd) -> None:
    back_end.simulator.query_volumes = True
    assert (await back_end.query())["channel"]["0"]["used"] == 522681


async def test_rules_can_come_twice(back_end: BackEnd) -> None:
    back_end.simulator.duplicate_rules = True
    uuids = [rule["uuid"] for rule in (await back_end.get(RULES))["list"]]
    assert uuids == [UDP, UDP, TCP, TCP, FREE, FREE]


async def test_an_injected_error_comes_in_the_envelope(back_end: BackEnd) -> None:
    fault_injector = back_end.simulator.fault_injector
    fault_injector.inject("error", "*/mapping/*", code=7012, text="license", times=1)
    assert await back_end.get(RULES) == {"code": 7012, "msg ": "license"}
    assert (await back_end.get(RULES))["code"] == 0
    fault_injector.inject("error", REGIST, code=7011)
    answer = await back_end.post(REGIST, {"sn": "ADE5", "alias": "上海2"})
    assert answer == {"code": 7011, "msg": "注册设备超出最大限制"}


async def test_everything_can_look_empty(back_end: BackEnd) -> None:
    back_end.simulator.fault_injector.inject("empty")
    assert await back_end.page() == {"code": 0, "msg": "success", "count": 0, "devices": []}
    answer = await back_end.post(QUERY, {"sns": [FIRST], "args": {}})
    assert answer == {"code": 0, "msg": "success", "devices": {}}
    assert await back_end.get(RULES) == {"code": 0, "msg ": "success", "list": []}


async def test_a_write_can_do_nothing(back_end: BackEnd) -> None:
    before = json.dumps(back_end.simulator.rules)
    back_end.simulator.fault_injector.inject("noop")
    assert await back_end.write(parameters={"lock": 1}) == 0
    assert await back_end.post(DELETE_RULES, {"rules": [UDP]}) == {"code": 0, "msg ": []}
    assert await back_end.post(ADD, NEW_RULE) == {"code": 0, "msg ": "success"}
    assert (await back_end.post(ADD, {}))["code"] == 7010
    assert (await back_end.query())["parameters"]["lock"] == 0
    assert json.dumps(back_end.simulator.rules) == before


async def test_pages_can_drift() -> None:
    async with running(devices=6) as back_end:
        still = [sn for page in (1, 2, 3) for sn in await back_end.listed(page=page, limit=2)]
        assert still == list(back_end.simulator.gateways)
        back_end.simulator.fault_injector.inject("drift")
        moved = [sn for page in (1, 2, 3) for sn in await back_end.listed(page=page, limit=2)]
    assert len(moved) == 6
    assert len(set(moved)) < 6


async def test_a_lost_answer_was_carried_out(back_end: BackEnd) -> None:
    back_end.simulator.fault_injector.inject("lost_answer", SET, times=1)
    with pytest.raises(aiohttp.ClientError):
        await back_end.write(parameters={"lock": 1})
    assert (await back_end.query())["parameters"]["lock"] == 1


async def test_it_is_steered_over_http(back_end: BackEnd) -> None:
    channels = {"0": {"signal": -99}, "1": {"name": "SIM2"}, "2": None}
    body = {"sn": FIRST, "base": {"alias": "上海7"}, "channel": channels}
    body |= {"network": {"lan": {"ip": "10.0.0.1"}}, "parameters": {"lock": 1}}
    await back_end.post("/_sim/gateway", body)
    node = await back_end.query()
    assert (node["base"]["alias"], node["parameters"]["lock"]) == ("上海7", 1)
    assert (node["channel"]["0"]["signal"], node["channel"]["0"]["name"]) == (-99, "SIM1")
    assert (node["channel"]["1"], node["channel"]["2"]) == ({"name": "SIM2"}, {})
    assert node["network"]["lan"]["ip"] == "10.0.0.1"
    await back_end.post("/_sim/gateway", {"sn": "NEW1"})
    assert await back_end.listed() == [FIRST, SECOND, "NEW1"]
    async with back_end.client.delete("/_sim/gateway", params={"sn": FIRST}) as response:
        assert response.status == 200
    async with back_end.client.delete("/_sim/gateway", params={"sn": FIRST}) as response:
        assert response.status == 404
    state = await back_end.get("/_sim/state")
    assert list(state["gateways"]) == [SECOND, "NEW1"]
    assert state["rules"][UDP]["sn"] == ""
    assert [call["path"] for call in await back_end.get("/_sim/calls")] == [QUERY, LIST]


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
async def test_wrong_steering_is_refused(back_end: BackEnd, body: Any) -> None:
    before = json.dumps(back_end.simulator.gateways)
    async with back_end.client.post("/_sim/gateway", json=body) as response:
        assert response.status == 400
    assert json.dumps(back_end.simulator.gateways) == before


async def test_the_run_time_follows_the_clock_while_a_gateway_runs(back_end: BackEnd) -> None:
    async def has_advanced() -> bool:
        return bool((await back_end.query())["base"]["runtime"] > 0)

    back_end.simulator.set_base(FIRST, runtime=0)
    await wait_for_answer(has_advanced, "the run time to advance")
    back_end.simulator.set_base(FIRST, state="offline", runtime=7)
    assert (await back_end.query())["base"]["runtime"] == 7


async def test_a_live_back_end_moves() -> None:
    async with running(devices=3, live=True) as back_end:
        simulator = back_end.simulator
        before = json.dumps(simulator.gateways[SECOND]["channel"])
        await wait_until(lambda: json.dumps(simulator.gateways[SECOND]["channel"]) != before, "values to move")
        assert simulator.gateways[SECOND]["channel"]["1"] == {}
        rates = sum(channel.get("rateup", 0) for channel in simulator.gateways[SECOND]["channel"].values())
        assert simulator.gateways[SECOND]["base"]["rateup"] == rates
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "smart_gateway simulator"]


async def test_as_many_gateways_as_wanted_and_always_the_same() -> None:
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
async def test_fewer_gateways_than_the_documents(devices: int) -> None:
    async with running(devices=devices) as back_end:
        assert len((await back_end.page())["devices"]) == devices
        assert [rule["sn"] for rule in (await back_end.get(RULES))["list"]] == [FIRST if devices else "", "", ""]


def test_a_sim_goes_and_comes_back(back_end: BackEnd) -> None:
    sim, rng, states = back_end.simulator.gateways[SECOND]["channel"]["0"], Random(1), [1]  # noqa: S311
    for _ in range(3_000):
        step(back_end.simulator.gateways, rng)
        if sim["state"] != states[-1]:
            states.append(sim["state"])
        assert sim["state"] or not sim["rateup"]
    assert states[:4] == [1, 0, 1, 0]
    assert sim["used"] > 0 <= sim["remain"]
