"""The simulated UMS: what it pushes, how it is controlled, and its quirks and faults."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from fleet2mqtt.simulators.ums.app import SIMULATOR, create
from tests.platforms.ums.simulated import MX100G, OM50, PAGE, Ums, receiving, running
from tests.waiting import wait_until


@pytest.fixture
async def ums() -> AsyncIterator[Ums]:
    async with running() as ums:
        yield ums


@pytest.fixture
async def platform() -> AsyncIterator[tuple[str, list[tuple[str, bytes]]]]:
    async with receiving() as platform:
        yield platform


async def test_alarms_and_connection_changes_are_pushed(platform: tuple[str, list[tuple[str, bytes]]]) -> None:
    url, got = platform
    async with running(push_url=url) as ums:
        alarm = ums.simulator.raise_alarm(OM50, line_id="7")
        ums.simulator.set_online(MX100G, online=True)
        ums.simulator.set_online(MX100G, online=True)
        ums.simulator.set_online(OM50, online=False, push=False)
        await ums.simulator.settle()
        (_, event), (_, device) = got
        assert [path for path, _ in got] == ["/secret/event", "/secret/device"]
        assert json.loads(event) == alarm
        assert {"line_id", "tag1", "tag2", "tag3"} <= alarm.keys()
        body = json.loads(device)
        assert (body["device_mac"], body["connection_status"]) == (MX100G, "online")
        assert body["connection_time"] == body["last_online"] > body["last_offline"]
        assert [(push.kind, push.status, push.reply["code"]) for push in ums.simulator.pushes] == [
            ("event", 200, 0),
            ("device", 200, 0),
        ]


async def test_failed_push_is_not_repeated(unused_tcp_port: int) -> None:
    async with running(push_url=f"http://127.0.0.1:{unused_tcp_port}/x") as ums:
        ums.simulator.raise_alarm(OM50)
        await ums.simulator.settle()
        assert [(push.kind, push.status) for push in ums.simulator.pushes] == [("event", None)]


async def test_control_paths_change_the_state(platform: tuple[str, list[tuple[str, bytes]]]) -> None:
    url, got = platform
    async with running(push_url=url) as ums:
        await ums.post("/_sim/alarm", {"mac": OM50, "level": "warning", "at": "2021-03-09T17:55:40"})
        line = {"line": "FXO-8", "reg_state": "1", "con_state": "0"}
        await ums.post("/_sim/device", {"mac": MX100G, "device_name": "新", "online": True, "line": line})
        await ums.post("/_sim/device", {"mac": "000EA9000001", "add": True, "product_type": "HX4G"})
        await ums.post("/_sim/device", {"mac": OM50, "remove": True})
        await ums.simulator.settle()
        replies = await ums.post("/_sim/push", {"kind": "event", "body": "{nonsense", "times": 2})
        assert [reply["status"] for reply in replies] == [200, 200]
        await ums.post("/_sim/quirks", {"gbk": True})
        state = await ums.get("/_sim/state")
    assert [device["device_mac"] for device in state["devices"]] == [MX100G, "000EA9000001"]
    assert state["devices"][0]["device_name"] == "新"
    assert state["lines"][MX100G][1] | line == state["lines"][MX100G][1]
    assert state["history"][OM50][-1]["metric_history_time"] == "2021-03-09 17:55:40"
    assert state["quirks"]["gbk"] is True
    assert len(state["pushes"]) == 4
    assert [path for path, _ in got] == ["/secret/event", "/secret/device", "/secret/event", "/secret/event"]
    assert got[-1][1] == b"{nonsense"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("alarm", {}),
        ("alarm", {"mac": OM50, "colour": 1}),
        ("device", {"mac": "none"}),
        ("device", {"mac": OM50, "colour": 1}),
        ("device", {"mac": OM50, "line": {"line": "FXO-99"}}),
        ("push", {"kind": "event", "body": {}}),
        ("quirks", {"colour": True}),
    ],
)
async def test_invalid_control_request_is_refused(ums: Ums, path: str, body: Any) -> None:
    async with ums.client.post(f"/_sim/{path}", json=body) as response:
        assert response.status == 400


async def test_quirks_change_the_bytes_of_devices(ums: Ums) -> None:
    quirks = ums.simulator.quirks
    quirks.duplicate_status = quirks.blank_keys = quirks.epoch_first_online = quirks.trailing_fields = quirks.gbk = True
    raw = await ums.raw(f"/s1/device?{PAGE}")
    with pytest.raises(UnicodeDecodeError):
        raw.decode("utf-8")
    answer: dict[str, Any] = {}
    pairs = json.loads(
        raw.decode("gbk"), object_pairs_hook=lambda found: answer.setdefault("all", []).append(found) or found
    )
    first = next(found for found in answer["all"] if ("device_mac", OM50) in found)
    assert [value for key, value in first if key == "connection_status"] == ["online", "2021-03-01T08:46:01.522+08:00"]
    assert ("first_online", 1613787674) in first
    assert first[-1][0] == "ext"
    assert (" offset", 0) in dict(pairs)["meta"]


async def test_quirks_change_lines_alarms_and_pushes(platform: tuple[str, list[tuple[str, bytes]]]) -> None:
    url, got = platform
    async with running(push_url=url) as ums:
        quirks = ums.simulator.quirks
        quirks.blank_keys = quirks.sparse_alarms = quirks.duplicate_status = True
        first, second = (await ums.get(f"/s1/device/{MX100G}/detect?{PAGE}&type=curfxo"))["detects"]
        assert {"reg_state", "con_state"} <= first.keys()
        assert {"reg_state ", "con_state "} <= second.keys()
        (row,) = (await ums.get(f"/s1/device/metric_history?{PAGE}"))["metricHistorys"]
        assert "metric_history_level" not in row
        ums.simulator.raise_alarm(OM50)
        ums.simulator.set_online(OM50, online=False)
        await ums.simulator.settle()
    assert b"metric_history_level" not in got[0][1]
    assert got[1][1].count(b'"connection_status"') == 2
    assert b"connection_time" not in got[1][1]


async def test_injected_faults_are_in_the_vendors_terms(ums: Ums) -> None:
    fault_injector, path = ums.simulator.fault_injector, f"/s1/device?{PAGE}"
    fault_injector.inject("error", "/s1/device", times=1, code=500, text="数据库错误")
    assert await ums.get(path) == {"code": 500, "status": "数据库错误"}
    fault_injector.inject("empty", "/s1/device", times=1)
    answer = await ums.get(path)
    assert (answer["code"], answer["devices"], answer["meta"]["totalResults"]) == (0, [], 2)
    assert len((await ums.get(path))["devices"]) == 2
    assert [call.query["limit"] for call in fault_injector.calls] == ["10"] * 3


async def test_drift_repeats_one_item_and_skips_another() -> None:
    async with running(devices=6) as ums:
        ums.simulator.fault_injector.inject("drift", "/s1/device", times=1)
        pages = [await ums.get(f"/s1/device?limit=3&offset={offset}") for offset in (0, 3, 0, 3)]
        macs = [[row["device_mac"] for row in page["devices"]] for page in pages]
        fleet = list(ums.simulator.devices)
    assert macs[0] + macs[1] == [*fleet[:3], fleet[2], *fleet[4:]]
    assert macs[2] + macs[3] == fleet
    assert all(page["meta"]["totalResults"] == 6 for page in pages)


async def test_live_mode_changes_and_pushes(platform: tuple[str, list[tuple[str, bytes]]]) -> None:
    url, got = platform
    app = create(push_url=url, live=True)
    app[SIMULATOR].live_seconds = 0.001
    before = [line.voltage for line in app[SIMULATOR].lines(OM50)]
    async with TestServer(app):
        await wait_until(lambda: {path for path, _ in got} == {"/secret/event", "/secret/device"}, "both pushes")
        await wait_until(lambda: before != [line.voltage for line in app[SIMULATOR].lines(OM50)], "a line to change")
    assert len(app[SIMULATOR].statistics) > 3
