"""The simulated AC: refusals and deviations from the document."""

from __future__ import annotations

import asyncio

import pytest

from tests.platforms.sangfor_ac.simulated import (
    BAD_FORMAT,
    BUSY,
    FLUX_POLICIES,
    GROUP_POLICIES,
    IPMAC_BINDINGS,
    IPMAC_QUERY,
    NET_POLICIES,
    NOT_FOUND,
    ONLINE,
    SAMPLE_IP,
    SAMPLE_MAC,
    SUCCESS,
    THROUGHPUT,
    USER,
    USER_BINDINGS,
    VERSION,
    Ac,
)
from tests.waiting import wait_until

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9"}


@pytest.mark.parametrize(
    ("switch", "english", "chinese"),
    [
        ("service_disabled", "Restful service isn't enabled!", "Restful服务未启用!"),
        ("outside_whitelist", "IP of request isn't in white list!", "请求的IP不在白名单!"),
    ],
)
async def test_simulator_service_disabled_is_refused(ac: Ac, switch: str, english: str, chinese: str) -> None:
    setattr(ac.simulator, switch, True)
    assert await ac.get(VERSION) == {"code": 1, "message": english}
    assert await ac.post(ONLINE, {}, "GET", **CHINESE) == {"code": 1, "message": chinese}


async def test_simulator_refusal_in_chinese(ac: Ac) -> None:
    ac.simulator.key = "another"
    assert (await ac.post(ONLINE, {}, "GET", **CHINESE))["message"] == "权限校验失败!"
    assert (await ac.post(ONLINE, {}, "GET"))["message"] == "Permission check failed!"


async def test_simulator_calls_too_fast_is_busy(ac: Ac) -> None:
    ac.simulator.min_spacing = 3600
    assert (await ac.get(VERSION))["code"] == 0
    assert await ac.get(VERSION) == BUSY
    ac.simulator.arrivals[-1] -= 3600
    assert (await ac.get(VERSION))["code"] == 0
    assert len(ac.simulator.arrivals) == 3


async def test_simulator_concurrent_calls_is_busy(ac: Ac) -> None:
    ac.simulator.busy_when_concurrent = True
    ac.simulator.answer_delay = 0.5
    first = asyncio.create_task(ac.get(VERSION))
    await wait_until(lambda: ac.simulator.in_flight, "the first call to arrive")
    assert await ac.get(VERSION) == BUSY
    assert (await first)["code"] == 0
    assert (ac.simulator.in_flight, ac.simulator.most_in_flight) == (0, 2)
    assert (await ac.get(VERSION))["code"] == 0


async def test_simulator_empty_arrays_as_objects(ac: Ac) -> None:
    ac.simulator.braces_for_empty = True
    policy = (await ac.get(NET_POLICIES))["data"][0]
    assert policy["user_info"]["ou"] == {}
    assert policy["user_info"]["location"] == ["所有位置"]
    assert (await ac.get(FLUX_POLICIES))["data"][0]["children"][0]["children"] == {}
    assert (await ac.get(GROUP_POLICIES, path="/访客"))["data"] == {}
    assert (await ac.online(filter={"type": "user", "value": ["nobody"]})) == {"count": 0, "users": {}}
    assert (await ac.get(USER, name="a"))["data"]["limit_ipmac"] == {"enable": False, "ipmac": {}}


async def test_simulator_numbers_as_texts(ac: Ac) -> None:
    ac.simulator.numbers_as_text = True
    assert (await ac.get("status/cpu-usage"))["data"] == "12"
    assert (await ac.get("status/log"))["data"] == {"block": "1024", "record": "58231"}
    assert (await ac.post(THROUGHPUT, {}, "GET"))["data"]["send"] == "1560000"
    assert (await ac.online())["count"] == 2


async def test_simulator_throughput_without_unit(ac: Ac) -> None:
    ac.simulator.unit_ignored = True
    answer = await ac.post(THROUGHPUT, {"filter": {"unit": "bits"}}, "GET")
    assert answer["data"] == {"send": 1_560_000, "recv": 7_305_000, "unit": "bytes"}
    ac.simulator.unit_missing = True
    assert set((await ac.post(THROUGHPUT, {}, "GET"))["data"]) == {"send", "recv"}


async def test_simulator_empty_bodies(ac: Ac) -> None:
    ac.simulator.empty_bodies = {"/v1/group", "/v1/status/*"}
    async with ac.client.post("/v1/group?_method=PUT", json={"path": "/hello", "desc": "new"} | ac.sign()) as response:
        assert (response.status, response.content_type) == (200, "application/octet-stream")
        assert await response.read() == b""
    assert ac.simulator.groups["/hello"] == "new"
    async with ac.client.get(f"/v1/{VERSION}", params=ac.sign()) as response:
        assert await response.read() == b""
    assert (await ac.get(NET_POLICIES))["code"] == 0


async def test_simulator_code_missing(ac: Ac) -> None:
    ac.simulator.code_missing = True
    assert await ac.post(ONLINE, {"ip": SAMPLE_IP}, "DELETE") == {"message": "Success"}
    assert await ac.post(ONLINE, {"ip": SAMPLE_IP}, "DELETE") == NOT_FOUND
    assert (await ac.get(VERSION))["code"] == 0


async def test_simulator_path_redirects(ac: Ac) -> None:
    ac.simulator.redirects = {"/v1/status/*"}
    assert await ac.status(VERSION) == 302
    assert await ac.status(NET_POLICIES) == 200
    async with ac.client.get(f"/v1/{VERSION}", params=ac.sign()) as response:
        assert (response.status, response.content_type) == (200, "text/html")


async def test_simulator_missing_chapters(ac: Ac) -> None:
    ac.simulator.missing_chapters = {"status", "bindings"}
    assert [await ac.status(path) for path in (VERSION, IPMAC_QUERY, USER_BINDINGS)] == [404, 404, 404]
    assert (await ac.online())["count"] == 2
    ac.simulator.missing_as_text = True
    assert await ac.get(VERSION) == BAD_FORMAT
    assert await ac.get(IPMAC_QUERY, search="1.1.1.2") == BAD_FORMAT


async def test_simulator_bbc_centre_has_groups_and_policies(ac: Ac) -> None:
    ac.simulator.bbc_centre = True
    assert [await ac.status(path) for path in (VERSION, USER_BINDINGS, IPMAC_QUERY, ONLINE)] == [404] * 4
    for path, query in ((NET_POLICIES, {}), (GROUP_POLICIES, {"path": "/hello"}), (USER, {"name": "a"})):
        assert (await ac.get(path, **query))["code"] == 0


async def test_simulator_channels_as_devices_send_them(ac: Ac) -> None:
    ac.simulator.device_fluxpolicy = True
    items = (await ac.get(FLUX_POLICIES))["data"]
    assert [(item["id"], item["fatherID"]) for item in items] == [(1, 0), (2, 1), (3, 0), (4, 3)]
    assert list(items[0]) == [
        *("id", "name", "fatherID", "di", "object", "service", "time", "status", "assured", "max", "single")
    ]
    assert (items[0]["max"], items[0]["single"]) == (["100000000", "100000000"], ["-1", "-1"])
    ac.simulator.old_father_id = True
    assert [item["father_id"] for item in (await ac.get(FLUX_POLICIES))["data"]] == [0, 1, 0, 3]


async def test_simulator_channels_as_the_table_spells_them(ac: Ac) -> None:
    ac.simulator.table_spelling = True
    item = (await ac.get(FLUX_POLICIES))["data"][0]
    assert item["targetip_group"] == item["childrens"][0]["targetip_group"] == "全部"
    assert not {"ip_group", "children"} & set(item)


async def test_simulator_bindings_deviations(ac: Ac) -> None:
    ac.simulator.bindings_without_search = True
    assert len((await ac.get(USER_BINDINGS))["data"]) == 3
    ac.simulator.fuzzy_bindings = True
    assert [item["addr"] for item in (await ac.get(USER_BINDINGS, search="1.1.1.2"))["data"]] == ["1.1.1.2"]
    assert len((await ac.get(USER_BINDINGS, search="1.1.1."))["data"]) == 2
    ac.simulator.ipmac_under_bindinfo = True
    assert await ac.status(IPMAC_QUERY) == 404
    assert (await ac.get(IPMAC_BINDINGS, search="1.1.1.2"))["data"]["mac"] == SAMPLE_MAC
    assert await ac.post(IPMAC_BINDINGS, {"ip": "1.1.1.2"}, "DELETE") == SUCCESS


async def test_simulator_users_deviations(ac: Ac) -> None:
    await ac.post(USER, {"name": "a", "data": {"expire_time": "2030-01-02 03:04:05"}}, "PUT")
    user = (await ac.get(USER, name="a"))["data"]
    assert (user["enable"], user["expire_time"]) == (True, {"enable": True, "date": "2030-01-02 03:04:05"})
    ac.simulator.nested_user_fields = ac.simulator.expiry_as_text = True
    search = {"search_type": "user", "search_value": "a"}
    for user in ((await ac.get(USER, name="a"))["data"], (await ac.post(USER, search, "GET"))["data"][0]):
        assert (user["extend"]["enable"], user["expire_time"]) == (True, "2030-01-02 03:04:05")
        assert "enable" not in user
        assert user["extend"]["self_pass"]["password"] == ""


async def test_simulator_newer_terminals(ac: Ac) -> None:
    ac.simulator.newer_terminals = True
    ac.simulator.online[SAMPLE_IP]["terminal"] = 4
    assert [item["ip"] for item in (await ac.online(terminal="iot"))["users"]] == [SAMPLE_IP]
