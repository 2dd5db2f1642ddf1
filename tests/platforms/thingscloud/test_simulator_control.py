"""Pushes, control paths, quirks and injected faults of the simulated ThingsCloud."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from fleet2mqtt.simulators.thingscloud import simulate_step
from tests.platforms.thingscloud.simulated import FIRST, SECOND, Cloud, push_receiver, running
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONTROL = f"control/device/{FIRST}/attributes"
NAMED = {"id": FIRST, "name": "机房温湿度", "device_key": "SN000001"}


@pytest.fixture
async def project() -> AsyncIterator[tuple[str, list[tuple[str, Any]]]]:
    async with push_receiver() as receiver:
        yield receiver


async def test_alarms_are_pushed(project: tuple[str, list[tuple[str, Any]]]) -> None:
    url, received = project
    async with running(push_url=url) as cloud:
        cloud.simulator.raise_alarm(FIRST, 2)
        cloud.simulator.recover(FIRST)
        cloud.simulator.recover(SECOND, push=False)
        await cloud.simulator.settle()
        ended, over = (await cloud.get(f"device/{FIRST}/alarm_logs"))["items"][:2]
    assert {ended["alarm_status"], over["alarm_status"]} == {0, 1}
    assert [path for path, _ in received] == ["/secret/alarm", "/secret/alarm"]
    raised, recovered = (body for _, body in received)
    assert list(raised) == [
        *("project", "device", "alarm_rule", "alarm"),
        *("attributes", "cur_attributes", "report_attributes"),
    ]
    assert set(raised["project"]) == {"id", "name"}
    assert raised["device"] == NAMED
    assert set(raised["alarm_rule"]) == {"id", "name", "notify_text", "alarm_level", "pending_num", "pending_time"}
    alarm, rule = raised["alarm"], raised["alarm_rule"]
    assert (alarm["status"], alarm["level"], alarm["level_text"], rule["alarm_level"]) == (1, 2, "重要", 2)
    shanghai = timezone(timedelta(hours=8))
    assert alarm["ts_text"] == datetime.fromtimestamp(alarm["ts"] / 1000, shanghai).strftime("%Y-%m-%d %H:%M:%S")
    assert (recovered["alarm"]["status"], recovered["alarm"]["level"]) == (0, 2)
    assert raised["attributes"] == raised["report_attributes"] == {"temperature": 24.1}
    assert raised["cur_attributes"]["humidity"] == 56.8


async def test_reports_and_events_are_pushed(project: tuple[str, list[tuple[str, Any]]]) -> None:
    url, received = project
    async with running(push_url=url) as cloud:
        cloud.simulator.report(FIRST, {"temperature": 30.5, "extra": [1]})
        cloud.simulator.event(FIRST, "button", {"count": 2})
        cloud.simulator.report(FIRST, {"temperature": 31}, push=False)
        cloud.simulator.event(FIRST, "button", {}, push=False)
        await cloud.post(CONTROL, {"relay1": False})
        await cloud.put(CONTROL, {"relay1": True})
        await cloud.simulator.settle()
        active = (await cloud.get(f"device/{FIRST}"))["active"]
        assert [(push.kind, push.status, push.reply) for push in cloud.simulator.pushes] == [
            ("attributes", 200, {"ok": True}),
            ("event", 200, {"ok": True}),
            ("attributes", 200, {"ok": True}),
        ]
        assert (await cloud.attribute("extra"))["data_type"] == "list"
    (_, first), (path, event), (_, obeyed) = received
    assert first == {"device": NAMED, "attributes": {"temperature": 30.5, "extra": [1]}, "ts": first["ts"]}
    assert path == "/secret/event"
    assert event["event"] | {"id": 0} == {"method": "button", "params": {"count": 2}, "id": 0}
    assert set(event) == {"device", "event", "ts"}
    assert obeyed["attributes"] == {"relay1": False}
    assert active["event"] >= event["ts"] >= first["ts"]


async def test_failed_push_is_not_repeated(unused_tcp_port: int) -> None:
    async with running(push_url=f"http://127.0.0.1:{unused_tcp_port}/x") as cloud:
        cloud.simulator.raise_alarm(FIRST)
        await cloud.simulator.settle()
        assert [(push.kind, push.status) for push in cloud.simulator.pushes] == [("alarm", None)]


async def test_control_paths_change_the_state(project: tuple[str, list[tuple[str, Any]]]) -> None:
    url, received = project
    async with running(push_url=url) as cloud:
        log = await cloud.control("alarm", {"device": FIRST, "level": 1})
        await cloud.control("recover", {"device": SECOND, "push": False})
        values = await cloud.control("report", {"device": FIRST, "values": {"humidity": 40}})
        await cloud.control("event", {"device": FIRST, "method": "x", "params": {}})
        await cloud.control("device", {"device": "new1", "add": "新", "type": "", "online": True})
        await cloud.control("device", {"device": FIRST, "deaf": True, "name": "甲", "silent": 90_000})
        await cloud.control("device", {"device": SECOND, "remove": True})
        await cloud.simulator.settle()
        replies = await cloud.control("push", {"kind": "alarm", "body": "nonsense", "times": 2})
        await cloud.control("quirks", {"empty_as_list": True, "max_rate": 50})
        await cloud.control("tokens", {"expire": True})
        await cloud.control("faults", {"kind": "error", "path": "*/project"})
        assert await cloud.refused("GET", "project") == 500
        state = await cloud.control("state")
    assert (log["alarm_level"], values["humidity"]) == (1, 40)
    assert [path for path, _ in received] == [
        f"/secret/{kind}" for kind in ("alarm", "attributes", "event", *["alarm"] * 2)
    ]
    assert [reply["status"] for reply in replies] == [200, 200]
    assert list(state["devices"]) == [FIRST, "new1"]
    assert state["devices"][FIRST] | {"name": "甲", "deaf": True, "online": False} == state["devices"][FIRST]
    assert state["attributes"][FIRST]["humidity"]["value"] == 40
    assert len(state["alarm_logs"]) == 7
    assert (state["quirks"]["empty_as_list"], state["quirks"]["max_rate"]) == (True, 50)
    assert len(state["pushes"]) == 5
    assert state["access"]["logins"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("alarm", {"device": "nobody"}),
        ("alarm", {"device": FIRST, "level": 4}),
        ("recover", {"device": FIRST}),
        ("report", {"device": FIRST}),
        ("device", {"device": FIRST, "colour": "red"}),
        ("device", {}),
        ("quirks", {"nonsense": True}),
        ("push", {"kind": "alarm", "body": {}}),
    ],
)
async def test_invalid_control_request_is_400(cloud: Cloud, path: str, body: Any) -> None:
    async with cloud.client.post(f"/_sim/{path}", json=body) as response:
        assert response.status == 400


async def test_value_quirks(cloud: Cloud) -> None:
    quirks = cloud.simulator.quirks
    quirks.data_type_aliases = quirks.option_aliases = quirks.chinese_attr_types = True
    rows = {row["identifier"]: row for row in await cloud.get(f"device/{FIRST}/attributes")}
    assert {"float", "bool", "array", "Enum", "MapPoint", "string"} <= {row["data_type"] for row in rows.values()}
    assert {row["attr_type"] for row in rows.values()} == {"设备上报", "云端下发", "设备云端共享", "云端私有"}
    assert rows["temperature"]["model"]["data_options"] == {"unit": "°C", "decimal": 1, "min": -40, "max": 85}
    assert rows["temperature"]["model"]["data_type"] == "float"
    assert rows["mode"]["model"]["data_options"]["items"][0] == {"value": "auto", "label": "自动"}
    quirks.series_timestamp = True
    row = (await cloud.get(f"device/{FIRST}/attribute/relay1/series"))[0]
    assert list(row) == ["timestamp", "name", "value", "type"]
    assert row["type"] == "bool"
    seconds = (await cloud.get(f"device/{FIRST}"))["create_time"]
    quirks.create_time_ms = True
    assert (await cloud.get(f"device/{FIRST}"))["create_time"] // 1000 == seconds


async def test_list_quirks(cloud: Cloud) -> None:
    quirks = cloud.simulator.quirks
    assert (await cloud.get(f"device/{SECOND}"))["tags"] == {}
    quirks.empty_as_list = quirks.customers_without_role = True
    assert (await cloud.get(f"device/{SECOND}"))["tags"] == []
    assert await cloud.put(f"device/{FIRST}/info", {"name": "x"}) == []
    assert all("role_id" not in customer for customer in (await cloud.get("customers"))["items"])


@pytest.mark.parametrize("quirk", [True, False])
async def test_pages_drift(quirk: bool) -> None:
    async with running(devices=9) as cloud:
        cloud.simulator.page_size = 3
        cloud.simulator.quirks.drifting_pages = quirk
        if not quirk:
            cloud.simulator.fault_injector.inject("drift")
        pages = [await cloud.get("devices", page=page) for page in (1, 2, 3)]
        seen = [row["id"] for page in pages for row in page["items"]]
    assert len(seen) == 9
    assert len(set(seen)) == 7
    assert {page["total"] for page in pages} == {9}


async def test_injected_faults_are_vendor_responses(cloud: Cloud) -> None:
    fault_injector = cloud.simulator.fault_injector
    fault_injector.inject("error", "*/devices", times=1, code=1234, text="内部错误")
    status, answer = await cloud.call("GET", "devices")
    assert (status, answer) == (200, {"result": False, "errcode": 1234, "message": "内部错误", "errors": []})
    fault_injector.inject("empty")
    assert await cloud.get("devices") == {"items": [], "total": 0, "page_total": 0}
    assert await cloud.get("alarm_logs") == {"items": []}
    assert await cloud.get(f"device/{FIRST}/attributes") == []
    assert await cloud.get(f"device/{FIRST}/attributes_raw") == {}
    assert (await cloud.get(f"device/{FIRST}"))["id"] == FIRST


async def test_noop_fault_changes_nothing(cloud: Cloud) -> None:
    cloud.simulator.fault_injector.inject("noop")
    before = json.dumps((await cloud.control("state"))["devices"])
    assert await cloud.post(CONTROL, {"relay1": False}) == {}
    assert await cloud.put(f"device/{FIRST}/tags", {"tags": {"a": "b"}}) == {}
    assert (await cloud.post("device", {"name": "x"}))["name"] == "x"
    assert await cloud.refused("POST", "device", {}) == 400
    assert json.dumps((await cloud.control("state"))["devices"]) == before
    assert (await cloud.attribute("relay1"))["value"] is True


async def test_lost_response_was_carried_out(cloud: Cloud) -> None:
    cloud.simulator.fault_injector.inject("lost_answer", "*/control/*", times=1)
    with pytest.raises(aiohttp.ClientError):
        await cloud.post(CONTROL, {"relay1": False})
    assert (await cloud.attribute("relay1"))["value"] is False


async def test_live_steps_change_the_project() -> None:
    async with running() as cloud:
        before = cloud.simulator.devices[FIRST].active["attributes"], cloud.simulator.values(FIRST)["temperature"]
        happened = []
        for _ in range(300):
            simulate_step(cloud.simulator)
            happened.append(cloud.simulator.devices[FIRST].online)
        assert set(happened) == {True, False}
        new = list(cloud.simulator.alarm_logs)[5:]
        assert {log["alarm_status"] for log in new} == {0, 1}
        assert {log["alarm_level"] for log in new} == {1, 2, 3}
        now = cloud.simulator.devices[FIRST].active["attributes"], cloud.simulator.values(FIRST)["temperature"]
        assert now[0] > before[0]
        assert now[1] != before[1]
        assert all(-40 <= device["temperature"] <= 85 for device in map(cloud.simulator.values, (FIRST, SECOND)))


async def test_live_mode_runs_by_itself() -> None:
    async with running(live=True, devices=3) as cloud:
        changes = cloud.simulator.attribute_store.changes
        await wait_until(lambda: (FIRST, "temperature") in changes, "a report")


async def test_generated_devices_are_reproducible() -> None:
    async with running(devices=300) as one, running(devices=1000) as more, running(devices=300, seed=2) as other:
        ids = list(one.simulator.devices)
        assert len(set(ids)) == 300
        assert list(more.simulator.devices)[:300] == ids
        assert list(other.simulator.devices)[:2] == ids[:2]
        assert list(other.simulator.devices)[2:] != ids[2:]
        assert one.simulator.values(ids[7]) == more.simulator.values(ids[7])
        keys = [device.device_key for device in more.simulator.devices.values() if device.device_key]
        assert len(set(keys)) == len(keys) < 1000
        assert (await more.get("devices_stat"))["inactive_device_total"] > 0


@pytest.mark.parametrize("devices", [0, 1])
async def test_project_with_few_devices(devices: int) -> None:
    async with running(devices=devices) as cloud:
        page = await cloud.get("devices")
        assert (page["total"], page["page_total"], len(page["items"])) == (devices, devices, devices)
        assert (await cloud.get("devices_stat"))["alarm_device_total"] == 0
