"""Devices from the list: pages, inventories, areas, and fixed entities."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from fleet2mqtt.errors import InvalidResponse, RateLimited, Rejected
from tests.platforms.thingscloud.connected import DEVICE, FIRST, NAME, OTHER, SECOND, calls, scripted, simulated
from tests.platforms.thingscloud.project import Project, running
from tests.sample_devices import area


async def test_list_item_becomes_a_device() -> None:
    async with simulated() as (simulator, run):
        simulator.quirks.alarm_status = True
        await run.poll("devices", "meta")
        device, known = run.devices[DEVICE], simulator.devices[FIRST]
        assert (device.id, device.vendor_id, device.scope, device.via) == (f"{NAME}_{FIRST}", FIRST, "devices", NAME)
        assert (device.name, device.model, device.serial_number) == (known.name, "环境采集器", known.device_key)
        assert (device.available, device.alarms, area(device)) == (True, True, "总部")
        assert (device.state["online"], device.state["problem"]) == ("ON", "OFF")
        assert run.state(OTHER)["problem"] == "ON"
        assert run.devices[OTHER].attributes["problem"]["level"] == 3
        newest = max(known.active.values())
        assert device.attributes["active"].keys() == known.active.keys()
        assert device.state["active"] == max(device.attributes["active"].values())
        assert str(newest)[-3:] in str(device.state["active"])
        about = device.attributes["online"]
        assert (about["groups"], about["tags"], about["conn_protocol"]) == (["总部"], {"floor": "1"}, "mqtt")
        assert about["create_time"].startswith("20")
        simulator.set_online(FIRST, online=False)
        await run.poll("devices")
        assert (run.state()["online"], run.devices[DEVICE].available) == ("OFF", True)


@pytest.mark.parametrize("quirk", ["empty_as_list", "create_time_ms", "no_expires_in"])
async def test_quirk_changes_no_state(quirk: str) -> None:
    async with simulated(devices=3) as (simulator, run):
        await run.poll("devices", "attributes", "schema", "meta")
        before = dict(run.devices)
        setattr(simulator.quirks, quirk, True)
        await run.poll("devices", "attributes", "schema", "meta")
        assert {id_: device.state for id_, device in run.devices.items()} == {
            id_: device.state for id_, device in before.items()
        }


async def test_unchanged_device_stays_the_same_object() -> None:
    async with simulated(devices=3) as (simulator, run):
        await run.poll()
        before = dict(run.devices)
        await run.poll()
        assert all(run.devices[id_] is device for id_, device in before.items())
        simulator.report(FIRST, {"temperature": 30.5})
        await run.poll()
        assert [id_ for id_, device in before.items() if run.devices[id_] is not device] == [DEVICE]


@pytest.mark.parametrize("devices", [1, 100, 101, 205])
async def test_all_pages_are_read_into_one_inventory(devices: int) -> None:
    async with simulated(devices=devices) as (simulator, run):
        await run.poll("devices")
        assert [call.query for call in calls(simulator, "devices")] == [
            {"page": str(page + 1), "page_records": "100"} for page in range((devices + 99) // 100)
        ]
        assert set(run.devices) == {f"{NAME}_{vendor_id}" for vendor_id in simulator.devices}
        (inventory,) = run.inventories
        assert (inventory.scope, inventory.ids) == ("devices", frozenset(run.devices))


async def test_drifting_pages_are_read_again_and_make_no_inventory() -> None:
    async with simulated(devices=9) as (simulator, run):
        simulator.page_size, simulator.quirks.ignores_page_records = 3, True
        simulator.fault_injector.inject("drift")
        await run.poll("devices")
        assert len(calls(simulator, "devices")) == 6
        assert not run.inventories
        simulator.fault_injector.clear()
        await run.poll("devices")
        assert len(calls(simulator, "devices")) == 9
        assert len(run.inventories[0].ids) == 9


@pytest.mark.parametrize(
    "pages",
    [
        [{"items": [], "total": 1, "page_total": 1}],
        [{"items": [{"id": "a"}], "total": 2, "page_total": 1}],
        [{"items": [{"id": "a"}], "page_total": 1}],
        [{"items": [{"id": "a"}, {"name": "nobody"}, "x"], "total": 3, "page_total": 1}],
        [{"items": [{"id": "a"}], "total": 2, "page_total": 2}, {"items": [], "total": 1, "page_total": 2}],
    ],
)
async def test_incomplete_list_makes_no_inventory(pages: list[Any]) -> None:
    def answer(request: Any, _: Any) -> Any:
        if request.path != "/api/v1/devices":
            return None
        page = int(request.query["page"])
        return pages[page - 1] if page <= len(pages) else {"items": []}

    async with scripted(answer) as run:
        await run.poll("devices")
        assert not run.inventories


async def test_pages_without_total_end_with_no_new_item() -> None:
    async with scripted(
        lambda request, _: {"items": [{"id": "a"}]} if request.path.endswith("devices") else None
    ) as run:
        await run.poll("devices")
        assert run.backend.calls["devices"].calls == 2
        assert set(run.devices) == {f"{NAME}_a"}


async def test_empty_list_is_an_inventory_only_if_the_vendor_counts_none() -> None:
    """An explicit total of 0 is a fact, which the registry believes when it comes twice (faults 3.10)."""
    async with simulated() as (simulator, run):
        await run.poll("devices", "attributes")
        simulator.fault_injector.inject("empty", "*/devices")
        await run.poll("devices")
        assert (run.inventories[-1].ids, run.inventories[-1].confirmed_empty) == (frozenset(), True)
        simulator.fault_injector.clear()
        await run.poll("devices")
        assert [len(inventory.ids) for inventory in run.inventories] == [2, 0, 2]
        before = len(simulator.fault_injector.calls)
        run.request_values()
        await run.poll("attributes")  # what is known of the devices outlives one such list
        assert {call.path.rsplit("/", 1)[-1] for call in list(simulator.fault_injector.calls)[before:]} == {
            "attributes_raw"
        }
        simulator.remove_device(SECOND)
        run.request_values()
        await run.poll("devices", "attributes")
        assert run.inventories[-1].ids == {DEVICE}
        assert [call.path for call in simulator.fault_injector.calls][-1].endswith(f"{FIRST}/attributes_raw")


@pytest.mark.parametrize(
    "said", [404, b"<html>", b'{"result": true}', b'{"result": true, "info": {}}', b'{"result": 1, "info": {}}']
)
async def test_response_without_a_list_is_refused(said: Any) -> None:
    async with running(
        Project(responses={"devices": said if isinstance(said, bytes) else web.Response(status=said)})
    ) as run:
        with pytest.raises((InvalidResponse, Rejected)):
            await run.poll("devices")
        assert not run.devices


async def test_404_is_a_wrong_path_or_invalid_json() -> None:
    async with simulated() as (_, run):
        await run.poll("devices")
        with pytest.raises(Rejected, match="HTTP 404") as no_path:
            await run.backend.client.client.get("nothing", "nothing")
        assert no_path.value.code == 404
        with pytest.raises(Rejected, match="设备不存在") as refused:
            await run.act("device_get", device_id="nobody")
        assert refused.value.code == 404
    project = Project(responses={"project": b'{"result": false, "message": "Invalid JSON message", "errcode": 400}'})
    async with running(project) as run:
        with pytest.raises(Rejected, match="Invalid JSON message") as invalid:
            await run.act("project")
        assert (invalid.value.code, invalid.value.endpoint) == (400, "project")
    async with running(Project(responses={"project": b'{"result": false}'})) as run:
        with pytest.raises(Rejected, match="no reason given") as bare:
            await run.act("project")
        assert bare.value.code is None


async def test_options_types_and_groups_filter_the_list() -> None:
    async with simulated(devices=12) as (simulator, run):
        kinds, groups = list(simulator.types), list(simulator.groups)
    expected = {
        vendor_id
        for vendor_id, device in simulator.devices.items()
        if device.type in kinds[:2] and groups[0] in device.groups
    }
    assert expected
    async with simulated(devices=12, types=kinds[:2], groups=groups[:1]) as (simulator, run):
        await run.poll("devices")
        assert [call.query for call in calls(simulator, "devices")] == [
            {"page": "1", "type": kind, "group": groups[0], "page_records": "100"} for kind in kinds[:2]
        ]
        assert {device.vendor_id for device in run.devices.values()} == expected
        if run.inventories:
            assert run.inventories[0].ids == set(run.devices)


async def test_several_lists_make_one_inventory_only_if_all_are_complete() -> None:
    async with simulated(devices=6) as (simulator, run):
        kinds = list(simulator.types)
    async with simulated(devices=6, types=kinds) as (simulator, run):
        await run.poll("devices")
        assert len(run.inventories[0].ids) == 6
        simulator.fault_injector.inject("empty", "*/devices", times=1)
        await run.poll("devices")
        assert len(run.inventories[-1].ids) == 4  # of the emptied type the vendor counts none


async def test_area_and_groups_come_from_the_group_lists() -> None:
    async with simulated(devices=8) as (simulator, run):
        names = {id_: group["name"] for id_, group in simulator.groups.items()}
        await run.poll("devices", "meta")
        for vendor_id, device in simulator.devices.items():
            shown = run.devices[f"{NAME}_{vendor_id}"]
            told = shown.attributes["online"].get("groups", [])
            assert set(told) == {names[group] for group in device.groups}
            assert area(shown) == (told[0] if told else None)
        simulator.change(FIRST, groups=[])
        await run.poll("meta")
        assert area(run.devices[DEVICE]) is None


async def test_area_is_the_innermost_group() -> None:
    tree = [
        {"id": "a", "name": "A", "children": [{"id": "b", "name": "B", "children": [{"id": "c"}, {}]}]},
        {"id": "d"},
    ]
    project = Project(responses={"device_groups_tree": {"items": tree}})
    async with running(project) as run:
        await run.poll("meta", "devices")
        assert area(run.devices[DEVICE]) == "c"
        assert run.devices[DEVICE].attributes["online"]["groups"] == ["c", "B", "A", "d"]
        project.responses["devices"] = {"items": [], "total": 1, "page_total": 1}
        await run.poll("meta")  # a list that is not whole takes nobody out
        assert area(run.devices[DEVICE]) == "c"
        project.responses["devices"] = {"items": [], "total": 0, "page_total": 0}
        await run.poll("meta")  # nor is the last one to go still in it
        assert area(run.devices[DEVICE]) is None
        assert "groups" not in run.devices[DEVICE].attributes.get("online", {})


async def test_device_listed_after_the_groups_gets_its_area() -> None:
    async with simulated(devices=3) as (_, run):
        await run.poll("meta")
        assert DEVICE not in run.devices
        await run.poll("devices")
        assert area(run.devices[DEVICE]) == "总部"


async def test_extended_information_becomes_disabled_sensors() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "schema")
        state = run.state()
        assert state["info_std_location"] == '{"address":"上海市浦东新区","floor":3}'
        row = run.entity("info_std_location")
        assert (row.enabled, row.category, row.name.zh) == (False, "diagnostic", "安装位置")
        assert run.devices[DEVICE].attributes["info_std_location"]["value"]["floor"] == 3
        shown = {key: value for key, value in state.items() if key.startswith("info_") and "std" not in key}
        assert sorted(map(str, shown.values())) == ["1500", "ON", "ZC-0001"]
        assert set(shown) == {f"info_{key}" for key in simulator.devices[FIRST].custom_infos}
    long = [{"id": "1", "value": "x" * 300}, {"id": "2", "value": None}, {"name": "no id"}, "x"]
    async with running(Project(responses={f"device/{FIRST}/extend_infos": {"items": long}})) as run:
        await run.poll("devices", "schema")
        assert (len(run.state()["info_1"]), run.state()["info_2"]) == (255, None)


@pytest.mark.parametrize(
    ("alarm", "problem"),
    [
        ({}, None),
        ([], None),
        ({"status": 1}, "ON"),
        ({"status": 0, "level": 3}, "OFF"),
        ({"level": 2}, "ON"),
        ({"level": 0}, "OFF"),
        ({"alerting": True}, "ON"),
        ({"status": "off"}, "OFF"),
        ({"alarm_level": "1"}, "ON"),
        ({"rule": "x"}, None),
    ],
)
async def test_problem_follows_the_alarm_of_the_list(alarm: Any, problem: str | None) -> None:
    """Without a status in the list the alarms decide, once the log was read (faults 3.1)."""
    async with running(Project({"id": FIRST, "alarm": alarm})) as run:
        await run.poll("devices")
        assert run.state()["problem"] == problem
        await run.poll("alarms")
        assert run.state()["problem"] == (problem or "OFF")


@pytest.mark.parametrize(
    ("active", "newest"),
    [
        ({}, None),
        ([], None),
        ({"attributes": 1_700_000_000_000, "event": 1_700_000_001}, "2023-11-15T06:13:21+08:00"),
        ({"attributes": {"ts": 1_700_000_000_000}, "event": None, "x": "soon"}, "2023-11-15T06:13:20+08:00"),
        ({"attributes": "2023-11-15 06:13:20"}, "2023-11-15T06:13:20+08:00"),
    ],
)
async def test_last_active_is_the_newest_time(active: Any, newest: str | None) -> None:
    async with running(Project({"id": FIRST, "active": active, "name": "", "device_key": "K"})) as run:
        await run.poll("devices")
        assert run.state()["active"] == newest
        assert run.devices[DEVICE].name == "K"


async def test_failing_list_of_a_type_or_group_costs_the_others_nothing() -> None:
    """Faults 2.1, with several lists of devices."""

    def respond(request: web.Request, _: Any) -> Any:
        if request.path.endswith("devices"):
            if "b" in (request.query.get("type"), request.query.get("group")):
                return web.Response(status=503)
            ids = [request.query[name] for name in ("type", "group") if name in request.query]
            return {"items": [{"id": id_} for id_ in ids], "total": len(ids), "page_total": 1}
        if request.path.endswith("device_groups_tree"):
            return {"items": [{"id": id_, "name": id_} for id_ in "abc"]}
        return None if request.path.endswith("access_token") else {"items": []}

    async with scripted(respond, types=["a", "b", "c"]) as run:
        await run.poll("devices", "meta")
        assert {device.vendor_id for device in run.devices.values()} == {"a", "c", NAME}
        assert not run.inventories
        assert [area(run.devices[f"{NAME}_{id_}"]) for id_ in "ac"] == ["a", "c"]
        assert run.state(NAME)["groups"] == 3
    async with scripted(respond, types=["b"]) as run:
        with pytest.raises(RateLimited):
            await run.poll("devices")


@pytest.mark.parametrize(
    ("tags", "location"),
    [({"Location": "hall", "地址": "x"}, "hall"), ({"位置": "机房"}, "机房"), ({"floor": "1"}, None)],
)
async def test_tag_of_the_place_is_the_location(tags: dict[str, str], location: str | None) -> None:
    async with running(Project(item={"id": FIRST, "name": "甲", "tags": tags})) as run:
        await run.poll("devices")
        assert run.devices[DEVICE].location == location
