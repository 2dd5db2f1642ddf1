"""Attributes in the simulated ThingsCloud: read, sent to a device, changed in the cloud, and their history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.platforms.thingscloud.simulated import FIRST, SECOND, Cloud, running
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONTROL = f"control/device/{FIRST}/attributes"
SERIES = f"device/{FIRST}/attribute/temperature/series"
DAY = 86_400_000


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with running(devices=3) as started:
        yield started


async def test_attributes_have_every_type_and_spelling(cloud: Cloud) -> None:
    rows = {row["identifier"]: row for row in await cloud.get(f"device/{FIRST}/attributes")}
    model: dict[str, Any] = {"name": "温度", "attr_type": "report", "data_type": "number"}
    model |= {"data_options": {"unit": "°C", "precision": 1, "min": -40, "max": 85}}
    assert rows["temperature"] == {
        "identifier": "temperature",
        "value": 24.1,
        "attr_type": "report",
        "data_type": "number",
        "ts": cloud.simulator.devices[FIRST].active["attributes"],
        "model": model,
    }
    assert {row["attr_type"] for row in rows.values()} == {"report", "push", "both", "cloud"}
    assert {row["data_type"] for row in rows.values()} == {
        *("number", "switch", "enum", "text", "object", "list"),
        *("mappoint", "mapcircle", "mappolygon", "dailytimer"),
    }
    assert set(rows["relay3"]) == {"identifier", "value", "attr_type", "data_type", "ts"}
    raw = await cloud.get(f"device/{FIRST}/attributes_raw")
    assert raw == {identifier: row["value"] for identifier, row in rows.items()}
    sample = {"temperature": 24.1, "humidity": 56.8, "relay1": True, "relay2": False, "relay3": False}
    assert {name: raw[name] for name in sample} == sample
    ways = [(await cloud.attribute("relay1", device))["value"] for device in cloud.simulator.devices]
    assert [repr(way) for way in ways] == ["True", "1", "'ON'"]


async def test_sent_attributes_reach_the_device(cloud: Cloud) -> None:
    before = (await cloud.attribute("relay1"))["ts"]
    assert await cloud.post(CONTROL, {"relay1": False, "brightness": 30, "mode": "cool"}) == {}
    after = await cloud.attribute("relay1")
    assert after["value"] is False
    assert after["ts"] > before
    assert cloud.simulator.actual(FIRST)["brightness"] == 30
    device = await cloud.get(f"device/{FIRST}")
    assert device["active"]["attributes"] == after["ts"]
    (sent,) = cloud.simulator.sent
    assert (sent.kind, sent.device, sent.reached) == ("attributes", FIRST, True)
    assert sent.body == {"relay1": False, "brightness": 30, "mode": "cool"}


async def test_send_to_an_offline_device_succeeds_without_effect(cloud: Cloud) -> None:
    cloud.simulator.change(FIRST, deaf=True)
    assert await cloud.post(CONTROL, {"relay1": False}) == {}
    cloud.simulator.change(FIRST, deaf=False)
    cloud.simulator.set_online(FIRST, online=False)
    assert await cloud.post(CONTROL, {"relay1": False}) == {}
    cloud.simulator.set_online(FIRST, online=True)
    assert await cloud.post(CONTROL, {"temperature": 20, "note": "x", "relay3": "OFF"}) == {}
    assert (await cloud.attribute("relay1"))["value"] is True
    assert (await cloud.attribute("temperature"))["value"] == 24.1
    assert (await cloud.attribute("note"))["value"] == ""
    assert (await cloud.attribute("relay3"))["value"] is False
    assert [sent.reached for sent in cloud.simulator.sent] == [False, False, True]


async def test_put_changes_only_the_clouds_copy(cloud: Cloud) -> None:
    active = cloud.simulator.devices[FIRST].active.copy()
    assert await cloud.put(CONTROL, {"relay1": False, "note": "云", "fresh": 1}) == {}
    raw = await cloud.get(f"device/{FIRST}/attributes_raw")
    assert (raw["relay1"], raw["note"], raw["fresh"]) == (False, "云", 1)
    assert cloud.simulator.actual(FIRST)["relay1"] is True
    assert "fresh" not in cloud.simulator.actual(FIRST)
    assert (cloud.simulator.devices[FIRST].active, list(cloud.simulator.sent)) == (active, [])
    assert await cloud.post(CONTROL, {"fresh": 2}) == {}
    cloud.simulator.report(FIRST, {"relay1": True})
    raw = await cloud.get(f"device/{FIRST}/attributes_raw")
    assert (raw["relay1"], raw["fresh"]) == (True, 1)


async def test_slow_device_acts_later(cloud: Cloud) -> None:
    cloud.simulator.device_delay = 3600
    await cloud.post(CONTROL, {"relay1": False})
    assert (await cloud.attribute("relay1"))["value"] is True
    cloud.simulator.device_delay = 0.02
    await cloud.post(CONTROL, {"relay2": True})

    async def has_changed() -> bool:
        return (await cloud.attribute("relay2"))["value"] is True

    await wait_for_answer(has_changed, "the device to act")
    assert (await cloud.attribute("relay1"))["value"] is True


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"brightness": 101},
        {"brightness": -1},
        {"brightness": "30"},
        {"brightness": True},
        {"relay1": 1},
        {"relay1": "ON"},
        {"mode": "dry"},
        {"mode": ["auto"]},
        {"display": 5},
        {"location": {"lat": 1}},
        {"network": []},
        {"channels": {}},
        {"relay1": None},
        {"温度": 1},
        {"relay1": False, "brightness": 200},
    ],
)
async def test_invalid_value_is_refused(cloud: Cloud, method: str, body: Any) -> None:
    before = await cloud.get(f"device/{FIRST}/attributes")
    assert await cloud.refused(method, CONTROL, body) == 400
    assert await cloud.refused(method, "control/device/nobody/attributes", {"relay1": True}) == 404
    assert await cloud.get(f"device/{FIRST}/attributes") == before
    assert not cloud.simulator.sent


async def test_switch_in_another_spelling_is_refused(cloud: Cloud) -> None:
    third = list(cloud.simulator.devices)[2]
    for device, right, wrong in ((SECOND, 0, False), (third, "OFF", "off")):
        path = f"control/device/{device}/attributes"
        assert await cloud.refused("POST", path, {"relay1": wrong}) == 400
        await cloud.post(path, {"relay1": right})
        assert (await cloud.attribute("relay1", device))["value"] == right


async def test_commands_are_sent(cloud: Cloud) -> None:
    path = f"control/device/{FIRST}/command"
    body: dict[str, Any] = {"method": "restart", "params": {"after": 3}, "id": 1001}
    assert await cloud.post(path, body) == {}
    assert [(sent.kind, sent.body) for sent in cloud.simulator.sent] == [("command", body)]
    for name, wrong in (("method", ""), ("params", []), ("id", "1"), ("id", True), ("id", None)):
        assert await cloud.refused("POST", path, body | {name: wrong}) == 400
    assert await cloud.refused("POST", "control/device/nobody/command", body) == 404


@pytest.mark.parametrize(
    "body",
    [
        {"type": "hex", "msg": "01 03 01 FF 00 0C 74 03"},
        {"type": "text", "msg": "t:45,u=31"},
        {"type": "json", "msg": {"command": "openLock", "led": "ON", "stat": "011001"}},
    ],
)
async def test_custom_data_of_the_samples_is_sent(cloud: Cloud, body: Any) -> None:
    path = f"control/device/{FIRST}/data/stream/set"
    assert await cloud.request("POST", path, body, params={"push_mode": "tcp"}) == {}
    assert cloud.simulator.sent[0].body == body | {"identifier": "stream", "push_mode": "tcp"}
    for wrong in ({"type": body["type"], "message": body["msg"]}, body | {"type": "xml"}, body | {"msg": 5}):
        assert await cloud.refused("POST", path, wrong, params={"push_mode": "mqtt"}) == 400
    for query in ({}, {"push_mode": "http"}):
        assert await cloud.refused("POST", path, body, params=query) == 400
    hexadecimal = {"type": "hex", "msg": "0103 0"}
    assert await cloud.refused("POST", path, hexadecimal, params={"push_mode": "mqtt"}) == 400
    assert len(cloud.simulator.sent) == 1


async def test_series_is_paginated(cloud: Cloud) -> None:
    rows = await cloud.get(SERIES)
    assert len(rows) == 20
    now = cloud.simulator.devices[FIRST].active["attributes"]
    assert rows[0] == {"ts": now, "name": "temperature", "value": 24.1, "type": "number"}
    stamps = [row["ts"] for row in rows]
    assert stamps == sorted(stamps, reverse=True)
    everything = await cloud.get(SERIES, page_records=100)
    assert everything[:20] == rows
    assert await cloud.get(SERIES, page=2) == everything[20:40]
    assert len({row["value"] for row in everything}) > 10
    assert await cloud.get(SERIES, page=4, page_records=100) == []
    cloud.simulator.report(FIRST, {"temperature": 30.5})
    assert [row["value"] for row in (await cloud.get(SERIES))[:2]] == [30.5, 24.1]


async def test_series_of_a_window(cloud: Cloud) -> None:
    now = cloud.simulator.devices[FIRST].active["attributes"]
    rows = await cloud.get(SERIES, page_records=100, start_time=now - DAY, end_time=now)
    assert [row["ts"] for row in rows] == [now - hours * 3_600_000 for hours in range(0, 25, 3)]
    assert len(await cloud.get(SERIES, page_records=100, start_time=now)) == 100
    assert await cloud.get(SERIES, start_time=now - 30 * DAY, end_time=now)
    for wrong in (
        {"start_time": now - 30 * DAY - 1, "end_time": now},
        {"start_time": now, "end_time": now - 1},
        {"start_time": "yesterday"},
        {"page": 0},
        {"page_records": 0},
    ):
        assert await cloud.refused("GET", SERIES, params=wrong) == 400
    assert await cloud.refused("GET", f"device/{FIRST}/attribute/none/series") == 404
    assert len(await cloud.get(SERIES, page_records=500)) == 100  # as the vendor's tools ask (faults 4.10)
    cloud.simulator.quirks.refuses_page_records = True
    assert await cloud.refused("GET", SERIES, params={"page_records": 101}) == 400


async def test_attributes_are_removed(cloud: Cloud) -> None:
    body = {"keys": ["temperature", "humitidy"]}
    assert await cloud.post(f"device/{FIRST}/attributes_remove", body) == {}
    assert "temperature" not in await cloud.get(f"device/{FIRST}/attributes_raw")
    assert await cloud.refused("GET", SERIES) == 404
    cloud.simulator.report(FIRST, {"temperature": 21.5})
    assert (await cloud.attribute("temperature"))["value"] == 21.5
    assert len(await cloud.get(SERIES)) == 1
