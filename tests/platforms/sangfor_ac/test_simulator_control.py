"""The simulated AC: fault injection, control over HTTP, live mode."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest

from fleet2mqtt.simulators.sangfor_ac.live import step
from fleet2mqtt.simulators.sangfor_ac.state import Simulator
from tests.platforms.sangfor_ac.simulated import (
    BAD_FORMAT,
    BINDING,
    FLUX_POLICIES,
    GROUP,
    GROUP_POLICIES,
    IPMAC_BINDINGS,
    IPMAC_QUERY,
    LIBRARIES,
    NET_POLICIES,
    NOT_FOUND,
    ONLINE,
    SAMPLE_IP,
    SAMPLE_MAC,
    SUCCESS,
    USER,
    USER_BINDINGS,
    VERSION,
    Ac,
    running,
)
from tests.waiting import wait_until

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9"}


async def test_simulator_injected_error_has_the_envelope(ac: Ac) -> None:
    fault_injector = ac.simulator.fault_injector
    fault_injector.inject("error", "*/online-users", code=7, text="no", times=1)
    assert await ac.post(ONLINE, {}, "GET") == {"code": 7, "message": "no"}
    fault_injector.inject("error")
    assert await ac.get(VERSION) == {"code": 1, "message": "Unknow error, fail to acquire data!"}
    assert (await ac.post(ONLINE, {}, "GET", **CHINESE))["message"] == "未知错误,获取数据失败!"


async def test_simulator_fault_empty_lists_are_empty(ac: Ac) -> None:
    ac.simulator.fault_injector.inject("empty")
    for path, query in (
        (LIBRARIES, {}),
        (NET_POLICIES, {}),
        (FLUX_POLICIES, {}),
        (GROUP_POLICIES, {"path": "/hello"}),
        ("user/netpolicy", {"user": "a"}),
        (USER_BINDINGS, {"search": "a"}),
    ):
        answer = await ac.get(path, **query)
        assert (answer["code"], answer["data"]) == (0, [])
    assert await ac.online() == {"count": 0, "users": []}
    assert (await ac.post("status/user-rank", {}, "GET"))["data"] == []
    assert (await ac.post(USER, {"search_type": "user", "search_value": ""}, "GET"))["data"] == []
    assert await ac.get(IPMAC_QUERY, search="1.1.1.2") == NOT_FOUND


async def test_simulator_fault_noop_changes_nothing(ac: Ac) -> None:
    def everything() -> str:
        simulator = ac.simulator
        return json.dumps([simulator.groups, simulator.bindings, simulator.ipmac, list(simulator.online)])

    before = everything()
    ac.simulator.fault_injector.inject("noop")
    assert (await ac.post(GROUP, {"path": "/hello"}, "DELETE"))["data"] == "Delete group success!"
    assert await ac.post(ONLINE, {"ip": SAMPLE_IP}, "DELETE") == SUCCESS
    assert await ac.post(USER_BINDINGS, BINDING) == SUCCESS
    assert await ac.post(IPMAC_BINDINGS, {"ip": "1.1.1.2"}, "DELETE") == SUCCESS
    assert await ac.post(ONLINE, {}, "DELETE") == BAD_FORMAT
    assert everything() == before


async def test_simulator_fault_drift_moves_the_list() -> None:
    async with running(devices=300) as ac:
        still = [item["ip"] for item in (await ac.online())["users"]]
        ac.simulator.fault_injector.inject("drift")
        for turn in (1, 2):
            answer = await ac.online()
            assert answer["count"] == 300
            assert [item["ip"] for item in answer["users"]][: 100 - turn] == still[turn:]


async def test_simulator_control_over_http(ac: Ac) -> None:
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        ("online", {"ip": SAMPLE_IP, "frozen": True}),
        ("online", {"ip": "7.7.7.7", "name": "b", "father_path": "/hello"}),
        ("online", {"ip": "10.1.0.2", "remove": True}),
        ("user", {"name": "b", "desc": "new"}),
        ("user", {"name": "b", "enable": False}),
        ("group", {"path": "/new", "policies": ["hello"]}),
        ("group", {"path": "/hello", "remove": True}),
        ("policy", {"name": "hello", "status": False}),
        ("policy", {"name": "视频会议保障", "policy_enable": False}),
        ("binding", {"ip": "7.7.7.7", "mac": SAMPLE_MAC}),
        ("binding", {"ip": "1.1.1.2", "remove": True}),
        ("binding", {"name": "b", "addr": "7.7.7.7", "enable": False}),
        ("binding", {"addr": SAMPLE_MAC, "remove": True}),
        ("status", {"cpu-usage": 99}),
        ("quirks", {"min_spacing": 0, "numbers_as_text": True, "missing_chapters": ["policies"]}),
    )
    for path, body in steps:
        assert await ac.control(path, body) == 200
    state = await ac.state()
    assert [(item["name"], item["frozen"]) for item in state["online"].values()] == [("a", True), ("b", False)]
    assert (state["users"]["b"]["desc"], state["users"]["b"]["enable"]) == ("new", False)
    assert state["group_policies"]["/new"] == ["hello"]
    assert not {"/hello", "/hello/world"} & set(state["groups"])
    assert not state["net_policies"][0]["policy_info"]["status"]
    assert not state["flux_policies"][0]["children"][0]["policy_enable"]
    assert "7.7.7.7" in state["ipmac"]
    assert "1.1.1.2" not in state["ipmac"]
    assert [item["enable"] for item in state["bindings"] if item["name"] == "b"] == [False]
    assert SAMPLE_MAC not in [item["addr"] for item in state["bindings"]]
    assert (await ac.get("status/cpu-usage"))["data"] == "99"
    assert await ac.status(NET_POLICIES) == 404
    state = await ac.state()
    assert (len(state["arrivals"]), state["reused_randoms"]) == (2, [])
    assert state["quirks"]["missing_chapters"] == ["policies"]
    for path, body in (("user", {"name": "b", "remove": True}), ("quirks", {"missing_chapters": []})):
        assert await ac.control(path, body) == 200
    assert "b" not in ac.simulator.users


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("online", {}),
        ("online", {"ip": "9.9.9.9", "frozen": True}),
        ("online", {"ip": SAMPLE_IP, "colour": 1}),
        ("online", {"ip": SAMPLE_IP, "name": "b", "colour": 1}),
        ("user", {"name": "nobody", "remove": True}),
        ("user", {"name": "new", "colour": 1}),
        ("group", {"path": "/nobody", "remove": True}),
        ("policy", {"name": "nothing", "status": True}),
        ("policy", {"name": "hello", "colour": 1}),
        ("binding", {"ip": "9.9.9.9", "remove": True}),
        ("binding", {"name": "b"}),
        ("status", {"colour": 1}),
        ("quirks", {"colour": True}),
        ("quirks", {"bbc_centre": 1}),
        ("quirks", {"missing_chapters": ["policy"]}),
        ("quirks", []),
    ],
)
async def test_simulator_control_wrong_body_is_refused(ac: Ac, path: str, body: Any) -> None:
    before = await ac.state()
    assert await ac.control(path, body) == 400
    assert await ac.state() == before


async def test_simulator_live_mode_counters_grow() -> None:
    async with running(devices=20, live=True) as ac:
        before = ac.simulator.status["log"]["record"]
        await wait_until(lambda: ac.simulator.status["log"]["record"] > before, "the log to grow")
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "sangfor_ac simulator"]


def test_simulator_live_mode_users_come_and_go() -> None:
    simulator, away = Simulator(rng=Random(1)), []  # type: ignore[var-annotated]  # noqa: S311
    simulator.populate(30)
    seen, rates = set(), set()
    for _ in range(2_000):
        step(simulator, away)
        seen.add(len(simulator.online))
        rates.add(simulator.status["interfaces"]["eth0"]["send"])
    assert min(seen) < 30 < max(seen) < 60
    assert len(rates) > 100
    assert 2 <= simulator.status["cpu-usage"] <= 98
    assert set(simulator.online) == {item["ip"] for item in simulator.online.values()}


async def test_simulator_users_are_reproducible() -> None:
    async with running(devices=300) as one, running(devices=1000) as more, running(devices=300, seed=2) as other:
        first = [item["mac"] for item in one.simulator.online.values()]
        assert len(first) == 300
        assert first == [item["mac"] for item in more.simulator.online.values()][:300]
        assert first[1:] != [item["mac"] for item in other.simulator.online.values()][1:]
        items = more.simulator.online.values()
        for name in ("name", "ip", "mac"):
            assert len({item[name] for item in items}) == 1000
        assert (await more.get("status/online-user"))["data"] == 1000


@pytest.mark.parametrize("devices", [0, 1])
async def test_simulator_few_users(devices: int) -> None:
    async with running(devices=devices) as ac:
        assert (await ac.online())["count"] == devices
