"""The simulated AC against its document: permission check and chapter 1."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.platforms.sangfor_ac.simulated import (
    BAD_FORMAT,
    GROUP,
    LIBRARIES,
    NO_RANDOM,
    NOT_PERMITTED,
    ONLINE,
    THROUGHPUT,
    VERSION,
    Ac,
    running,
    signed,
)

READINGS = {
    "version": "AC13.0.18.046 Build20210909",
    "online-user": 2,
    "session-num": 1280,
    "log": {"block": 1024, "record": 58231},
    "cpu-usage": 12,
    "mem-usage": 41,
    "disk-usage": 23,
    "bandwidth-usage": 35,
}


async def raw(ac: Ac, path: str, **options: Any) -> Any:
    """Give the answer to a POST that is not signed by itself."""
    async with ac.client.post(f"/v1/{path}", **options) as response:
        assert response.status == 200
        return await response.json()


async def test_simulator_get_signature_elsewhere_is_refused(ac: Ac) -> None:
    assert (await ac.get(VERSION))["code"] == 0
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"json": signed("r")},
        {"params": {"random": "r"}},
        {"params": signed("") | {"md5": "x"}},
    )
    for options in wrong:
        async with ac.client.get(f"/v1/{VERSION}", **options) as response:
            assert await response.json() == NO_RANDOM


async def test_simulator_post_signature_elsewhere_is_refused(ac: Ac) -> None:
    url = f"{ONLINE}?_method=GET"
    wrong: tuple[dict[str, Any], ...] = (
        {"json": {}},
        {"params": {"_method": "GET"} | signed("r"), "json": {}},
        {"data": signed("r")},
        {"data": b"{", "headers": {"Content-Type": "application/json"}},
        {"json": [signed("r")]},
        {"json": {"random": 5, "md5": signed("5")["md5"]}},
    )
    for options in wrong:
        assert await raw(ac, url, **options) == NO_RANDOM
    assert (await raw(ac, f"{url}&random=x&md5=y", json=signed("r")))["code"] == 0


async def test_simulator_random_repeated_within_an_hour_is_refused(ac: Ac) -> None:
    for answer in (0, 1):
        async with ac.client.get(f"/v1/{VERSION}", params=signed("once")) as response:
            assert (await response.json())["code"] == answer
    assert await raw(ac, f"{ONLINE}?_method=GET", json=signed("once")) == NOT_PERMITTED
    assert ac.simulator.reused_randoms == ["once", "once"]
    ac.simulator.used_randoms["once"] -= 3600
    assert (await raw(ac, f"{ONLINE}?_method=GET", json=signed("once")))["code"] == 0
    assert len(ac.simulator.reused_randoms) == 2


async def test_simulator_random_seen_by_a_fault_is_used(ac: Ac) -> None:
    ac.simulator.fault_injector.inject("status", times=1)
    async with ac.client.get(f"/v1/{VERSION}", params=signed("seen")) as response:
        assert response.status == 500
    async with ac.client.get(f"/v1/{VERSION}", params=signed("seen")) as response:
        assert await response.json() == NOT_PERMITTED
    assert ac.simulator.reused_randoms == ["seen"]
    first, second = ac.simulator.arrivals
    assert first <= second


@pytest.mark.parametrize(
    "fields",
    [signed("r", "another key"), {"random": "r", "md5": signed("r")["md5"].upper()}, {"random": "r", "md5": "0"}],
)
async def test_simulator_wrong_md5_is_refused(ac: Ac, fields: dict[str, str]) -> None:
    assert await raw(ac, f"{ONLINE}?_method=GET", json=fields) == NOT_PERMITTED


async def test_simulator_other_key_is_accepted(ac: Ac) -> None:
    ac.simulator.key = "密钥"
    assert await ac.get(VERSION) == NOT_PERMITTED
    async with ac.client.get(f"/v1/{VERSION}", params=signed("r", "密钥")) as response:
        assert (await response.json())["code"] == 0


async def test_simulator_method_elsewhere_is_refused(ac: Ac) -> None:
    assert await ac.post(ONLINE, {"_method": "GET"}) == BAD_FORMAT
    assert await ac.post(ONLINE, {"_method": "GET"}, "GET") == BAD_FORMAT
    assert await ac.post(ONLINE, {}, "get") == BAD_FORMAT
    assert await ac.post(ONLINE, {"status": "all"}) == BAD_FORMAT  # without it this is a login
    assert await ac.get(VERSION, _method="GET") == BAD_FORMAT


async def test_simulator_unknown_path_is_404(ac: Ac) -> None:
    assert await ac.status("status/nothing") == 404
    assert await ac.status("status/version/") == 404
    async with ac.client.get("/status/version", params=ac.sign()) as response:
        assert response.status == 404
    async with ac.client.put(f"/v1/{GROUP}", json=ac.sign()) as response:
        assert response.status == 405
    assert await ac.get(THROUGHPUT) == BAD_FORMAT
    assert await ac.post(VERSION) == BAD_FORMAT


@pytest.mark.parametrize(("name", "data"), READINGS.items())
async def test_simulator_status_returns_values(ac: Ac, name: str, data: Any) -> None:
    assert await ac.get(f"status/{name}") == {"code": 0, "message": "Successfully", "data": data}


async def test_simulator_libraries_and_clock_have_document_form(ac: Ac) -> None:
    items = (await ac.get(LIBRARIES))["data"]
    assert {item["type"] for item in items} == {"kav", "url", "up", "contchk", "trace"}
    assert set(items[0]) == {"name", "type", "current", "new", "expire", "enable", "is_expired"}
    assert {item["is_expired"] for item in items} == {0, 1}
    here = (await ac.get("status/sys-time"))["data"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", here)
    ac.simulator.utc_offset_hours -= 24
    assert (await ac.get("status/sys-time"))["data"][:10] < here[:10]


@pytest.mark.parametrize(
    ("wanted", "data"),
    [
        ({}, {"send": 1_560_000, "recv": 7_305_000, "unit": "bytes"}),
        ({"unit": "bits"}, {"send": 12_480_000, "recv": 58_440_000, "unit": "bits"}),
        ({"unit": "bytes", "interface": "eth2"}, {"send": 310_000, "recv": 905_000, "unit": "bytes"}),
    ],
)
async def test_simulator_throughput_returns_unit(ac: Ac, wanted: dict[str, str], data: dict[str, Any]) -> None:
    assert (await ac.post(THROUGHPUT, {"filter": wanted}, "GET"))["data"] == data


async def test_simulator_throughput_wrong_filter_is_refused(ac: Ac) -> None:
    assert (await ac.post(THROUGHPUT, {"unit": "bits"}, "GET"))["data"]["unit"] == "bytes"
    wrong: tuple[Any, ...] = ({"unit": "kbps"}, {"unit": 8}, {"interface": "eth9"}, [])
    for wanted in wrong:
        assert await ac.post(THROUGHPUT, {"filter": wanted}, "GET") == BAD_FORMAT


async def test_simulator_ranks_are_sorted_and_filtered() -> None:
    async with running(devices=40) as ac:
        ac.simulator.online["1.1.1.1"]["frozen"] = True
        everyone = (await ac.post("status/user-rank", {"filter": {"top": 1000, "line": "0"}}, "GET"))["data"]
        assert len(everyone) == 40
        assert [item["total"] for item in everyone] == sorted((item["total"] for item in everyone), reverse=True)
        assert all(sum(app["total"] for app in item["detail"]["data"]) == item["total"] for item in everyone)
        assert not next(item for item in everyone if item["name"] == "a")["status"]
        assert len((await ac.post("status/user-rank", {}, "GET"))["data"]) == 10
        chosen = {"groups": ["/default"], "users": ["zhangwei"], "top": 99}
        groups = {item["group"] for item in (await ac.post("status/user-rank", {"filter": chosen}, "GET"))["data"]}
        assert groups == {"/default"}
        for one in ({"users": ["a"]}, {"ips": ["1.1.1.0-1.1.1.9"]}):
            assert [item["ip"] for item in (await ac.post("status/user-rank", {"filter": one}, "GET"))["data"]] == [
                "1.1.1.1"
            ]
        apps = (await ac.post("status/app-rank", {"filter": {"top": 99, "line": "2"}}, "GET"))["data"]
        assert {item["line_name"] for item in apps} == {"线路2"}
        assert all(item["user_data"]["count"] >= len(item["user_data"]["data"]) > 0 for item in apps)
        assert (await ac.post("status/app-rank", {"filter": {"groups": ["/nobody"]}}, "GET"))["data"] == []
        for wrong in ({"top": "5"}, {"top": 0}, {"line": 0}, {"line": "9"}, {"groups": "/default"}):
            assert await ac.post("status/app-rank", {"filter": wrong}, "GET") == BAD_FORMAT
