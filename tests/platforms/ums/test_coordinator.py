"""The device list: gateways, inventories, drifting pages and read-back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.devices.model import Component, Inventory, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse, Rejected
from fleet2mqtt.platforms.ums.models import Gateway
from fleet2mqtt.simulators.ums import create
from tests.platforms.ums.connected import NAME, Run, connected, scripted, simulated
from tests.sample_devices import area

OM50, MX100G = "000EA93D022E", "000EA9610BCC"
OM50_ID, MX100G_ID = f"{NAME}_000ea93d022e", f"{NAME}_000ea9610bcc"


def inventories(run: Run) -> list[frozenset[str]]:
    return [inventory.ids for inventory in run.inventories.get("devices", [])]


async def test_gateway_has_identity_and_state() -> None:
    async with simulated() as (simulator, run):
        simulator.change(OM50, proxy_url="https://10.0.0.5:8443/p", location="机房", product_version="3.1")
        await run.poll("devices")
        gateway = run.devices[OM50_ID]
        assert gateway.name == "OM50_130.211"
        assert (gateway.model, gateway.sw_version, gateway.manufacturer) == ("OM50", "3.1", "New Rock")
        assert (gateway.via, gateway.scope, gateway.vendor_id) == (NAME, "devices", OM50)
        assert gateway.connections == (("mac", "00:0e:a9:3d:02:2e"),)
        assert gateway.serial_number == OM50
        assert gateway.configuration_url == "https://10.0.0.5:8443/p"
        assert area(gateway) is None  # the default group is no area
        assert gateway.alarms
        assert gateway.state["connection_status"] == "ON"
        assert inventories(run) == [frozenset({OM50_ID, MX100G_ID})]


async def test_offline_gateway_is_available_while_listed() -> None:
    async with simulated() as (simulator, run):
        simulator.set_online(OM50, online=False, push=False)
        simulator.change(OM50, proxy_url="telnet://10.0.0.5")
        await run.poll("devices")
        assert run.devices[OM50_ID].state["connection_status"] == "OFF"
        assert run.devices[OM50_ID].available
        assert run.devices[OM50_ID].configuration_url is None


async def test_every_entity_has_two_names_and_valid_options() -> None:
    async with simulated() as (simulator, run):
        simulator.change(OM50, tag1="a", tag2="b", tag3="c", device_status="unreachable")
        await run.poll()
        seen = {row.key: row for device in run.devices.values() for row in device.entities}
        assert {"connection_status", "locked_time", "kernel_version", "event_reporting", "tag3"} - seen.keys() <= {
            "locked_time"
        }
        for row in seen.values():
            assert row.name.en != row.name.zh
            assert (row.device_class == "enum") == bool(row.options)
        for device in run.devices.values():
            for row in device.entities:
                if row.options and (value := device.state[row.key]) is not None:
                    assert value in row.options
                if row.component is Component.BINARY_SENSOR:
                    assert device.state[row.key] in ("ON", "OFF", None)


async def test_pages_yield_one_inventory() -> None:
    async with simulated(devices=25, page_size=10) as (simulator, run):
        updates = await run.poll("devices")
        assert [len(update.devices) for update in updates] == [10, 10, 5, 0]
        assert len(inventories(run)[0]) == 25
        assert [call.query["offset"] for call in simulator.fault_injector.calls] == ["0", "10", "20"]
        assert {call.query["show_group_info"] for call in simulator.fault_injector.calls} == {"true"}


async def test_unchanged_gateway_is_the_same_object() -> None:
    async with simulated(devices=5) as (simulator, run):
        await run.poll("devices", "statistics")
        before = dict(run.devices)
        simulator.rename(OM50, "renamed")
        await run.poll("devices", "statistics")
        changed = {id_ for id_, device in run.devices.items() if device is not before[id_]}
        assert changed == {OM50_ID}
        assert run.devices[OM50_ID].name == "renamed"
        assert run.devices[OM50_ID].state["alarms_total"] == before[OM50_ID].state["alarms_total"]


async def test_drifting_list_yields_no_inventory() -> None:
    async with simulated(devices=25, page_size=10) as (simulator, run):
        simulator.fault_injector.inject("drift", "/s1/device")
        await run.poll("devices")
        assert run.devices
        assert inventories(run) == []
        simulator.fault_injector.clear()
        await run.poll("devices")
        assert len(inventories(run)[0]) == 25


async def test_empty_list_with_total_zero_is_a_confirmed_inventory() -> None:
    """The registry removes after two of these; until then what is known of the gateways stays (faults 3.10)."""
    async with simulated() as (simulator, run):
        await run.poll("devices")
        simulator.devices.clear()
        await run.poll("devices")
        assert run.inventories["devices"][-1] == Inventory(scope="devices", ids=frozenset(), confirmed_empty=True)
        assert (await run.poll("statistics"))[0].devices
        await run.poll("devices")
        assert [inventory.confirmed_empty for inventory in run.inventories["devices"]] == [False, True, True]
        assert await run.poll("statistics") == []


@pytest.mark.parametrize("meta", [{}, {"totalResults": 2}, {"totalResults": ""}])
async def test_empty_list_without_total_zero_yields_no_inventory(meta: dict[str, Any]) -> None:
    async with scripted(lambda _: {"meta": meta, "devices": []}) as run:
        await run.poll("devices", "devices")
        assert inventories(run) == []


async def test_failed_page_yields_no_inventory() -> None:
    async with simulated(devices=25, page_size=10) as (simulator, run):
        simulator.fault_injector.inject("status", "/s1/device", times=1)
        with pytest.raises(InvalidResponse):
            await run.poll("devices")
        assert inventories(run) == []


async def test_removed_gateway_leaves_the_inventory() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices")
        simulator.remove_device(MX100G)
        await run.poll("devices", "statistics")
        assert inventories(run)[-1] == {OM50_ID}
        assert simulator.fault_injector.calls[-1].body == {"macs": OM50}


def listed(*macs: str, total: int | None) -> dict[str, Any]:
    meta = {} if total is None else {"totalResults": total}
    return {"meta": meta, "devices": [{"device_mac": mac} for mac in macs]}


async def poll_pages(page: Callable[[int, int], dict[str, Any]], **own: Any) -> tuple[list[int], Run]:
    """Poll a vendor whose pages are made of the offset and the number of the call; return the offsets requested."""
    offsets: list[int] = []

    def answer(request: web.Request) -> dict[str, Any]:
        offsets.append(int(request.query["offset"]))
        return page(offsets[-1], len(offsets))

    async with scripted(answer, **own) as run:
        await run.poll("devices")
    return offsets, run


async def test_moved_item_causes_one_second_reading() -> None:
    """A gateway goes while page 2 is asked for: one is skipped; the second reading is whole."""

    def page(offset: int, call: int) -> dict[str, Any]:
        left = ["A1", "B2", "C3", "D4"] if call == 1 else ["B2", "C3", "D4"]
        return listed(*left[offset : offset + 2], total=len(left))

    offsets, run = await poll_pages(page, page_size=2)
    assert offsets == [0, 2, 0, 2]
    assert inventories(run) == [{f"{NAME}_b2", f"{NAME}_c3", f"{NAME}_d4"}]
    assert set(run.devices) == {f"{NAME}_{mac}" for mac in ("a1", "b2", "c3", "d4")}


async def test_item_listed_twice_is_one_device() -> None:
    def page(offset: int, _: int) -> dict[str, Any]:
        return listed(*(["A1", "B2"] if offset == 0 else ["b-2", "C3"]), total=4)

    offsets, run = await poll_pages(page, page_size=2)
    assert offsets == [0, 2, 0, 2]
    assert inventories(run) == []
    assert sorted(run.devices) == [f"{NAME}_a1", f"{NAME}_b2", f"{NAME}_c3"]


async def test_shorter_pages_are_read_completely() -> None:
    def page(offset: int, _: int) -> dict[str, Any]:
        return listed(*["A1", "B2", "C3"][offset : offset + 1], total=3)

    offsets, run = await poll_pages(page, page_size=100)
    assert offsets == [0, 1, 2]
    assert len(inventories(run)[0]) == 3


@pytest.mark.parametrize("page_size", [2, 100])
async def test_list_without_total_and_short_pages_is_read_completely(page_size: int) -> None:
    def page(offset: int, _: int) -> dict[str, Any]:
        return listed(*["A1", "B2", "C3"][offset : offset + 2], total=None)

    offsets, run = await poll_pages(page, page_size=page_size)
    assert offsets == [0, 2, 3]
    assert len(run.devices) == 3
    assert inventories(run) == []


async def test_list_without_total_or_pages_is_read_once() -> None:
    offsets, run = await poll_pages(lambda *_: listed("A1", "B2", "C3", total=None), page_size=2)
    assert offsets == [0, 3]
    assert len(run.devices) == 3
    assert inventories(run) == []


async def test_list_repeating_its_first_page_ends() -> None:
    offsets, run = await poll_pages(lambda _, __: listed("A1", "B2", total=None), page_size=2)
    assert offsets == [0, 2]
    assert len(run.devices) == 2
    assert inventories(run) == []


async def test_total_beyond_the_items_ends_with_an_empty_page() -> None:
    def page(offset: int, _: int) -> dict[str, Any]:
        return listed(*["A1", "B2"][offset : offset + 2], total=99)

    offsets, run = await poll_pages(page, page_size=2)
    assert offsets == [0, 2, 0, 2]
    assert inventories(run) == []


async def test_items_without_mac_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    response = {"meta": {"totalResults": 3}, "devices": [{"device_mac": "A1"}, {"device_name": "?"}, "text"]}
    async with scripted(lambda _: response) as run:
        await run.poll("devices", "devices")
        assert set(run.devices) == {f"{NAME}_a1"}
        assert inventories(run) == []
    assert [record.getMessage() for record in caplog.records] == [
        f"{NAME} lists 2 devices without a MAC: they are left out"
    ]


async def test_connection_change_without_push_is_polled() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices")
        device = simulator.set_online(OM50, online=False)
        assert device.device_mac == OM50
        await run.poll("devices")
        assert run.devices[OM50_ID].state["connection_status"] == "OFF"


async def test_read_of_a_gateway_returns_its_state() -> None:
    async with simulated(devices=25, page_size=10) as (simulator, run):
        await run.poll("devices")
        last = list(run.devices.values())[-1]
        simulator.rename(last.vendor_id, "renamed")
        update = await run.backend.read(last)
        assert [device.name for device in update.devices] == ["renamed"]
        assert update.origin is UpdateOrigin.COMMAND
        simulator.remove_device(last.vendor_id)
        with pytest.raises(Rejected, match=last.vendor_id):
            await run.backend.read(last)


# Partial and blank data (faults 1.1, 1.2)

BLANKED = (
    *("connection_status", "device_status", "problem", "last_online", "last_offline", "connection_time"),
    *("first_online", "locked_time", "connection_ip", "device_ip", "group_info", "kernel_version"),
    *("tag1", "tag2", "tag3", "event_reporting"),
)


async def test_value_that_goes_blank_is_null_and_keeps_its_entity() -> None:
    """Faults 1.2: the UMS still sends the field, so its entity stays."""
    members: dict[str, Any] = {each.name: each.name for each in fields(Gateway) if each.name != "sent"} | {
        "device_mac": OM50,
        "connection_status": "online",
    }
    members |= dict.fromkeys(
        ("last_online", "last_offline", "connection_time", "first_online", "locked_time"), "2021-03-01 08:46:01"
    )
    members |= {"event": "on", "device_status": "work"}
    blank: dict[str, Any] = {key: "" if number % 2 else None for number, key in enumerate(members)} | {
        "device_mac": OM50
    }
    listed = [members]
    async with scripted(lambda _: {"meta": {"totalResults": 1}, "devices": listed}) as run:
        await run.poll("devices")
        known = {key for key, value in run.devices[OM50_ID].state.items() if value is not None}
        assert known >= set(BLANKED)
        listed[0] = blank
        await run.poll("devices")
        assert run.devices[OM50_ID].state == dict.fromkeys(known)
        assert {entity.key for entity in run.devices[OM50_ID].entities} == known
        listed[0] = {"device_mac": OM50, "tag1": ""}
        await run.poll("devices")
        assert {entity.key for entity in run.devices[OM50_ID].entities} == {"tag1"}


async def test_entities_of_other_sources_name_their_owner_and_who_has_answered() -> None:
    """Faults 1.1: the registry keeps what was known until the owner has answered for the gateway."""
    async with simulated() as (_, run):
        await run.poll("devices")
        assert run.devices[OM50_ID].answered == frozenset()
        await run.poll("statistics", "lines", "status", "events")
        gateway, fleet = run.devices[OM50_ID], run.devices[NAME]
        assert gateway.answered == frozenset(("statistics", "lines"))
        assert fleet.answered == frozenset(("status", "events"))
        owners = {entity.key: entity.source for device in (gateway, fleet) for entity in device.entities}
        assert {key for key, source in owners.items() if source == "statistics"} == {
            f"alarms_{kind}" for kind in ("total", "critical", "major", "minor", "indeterminate")
        }
        assert {key for key, source in owners.items() if source == "lines"} == {"test_fxo"}
        assert {source for key, source in owners.items() if key in fleet.state} == {"status", "events"}


# Areas and inventory (faults 5.7)


async def test_group_and_location_are_those_of_the_list() -> None:
    async with simulated() as (simulator, run):
        simulator.change(OM50, location="机房", group_info="华东组", group_id=3)
        await run.poll("devices")
        device = run.devices[OM50_ID]
        assert (device.groups, device.location) == ({"3": "华东组"}, "机房")
        simulator.change(OM50, group_id=0)
        await run.poll("devices")
        assert run.devices[OM50_ID].groups == {"华东组": "华东组"}


async def test_inventory_members_are_attributes_of_the_connection() -> None:
    async with simulated() as (simulator, run):
        simulator.change(OM50, contact="王工", device_cic="CIC-1", location="机房", series="OM", origin="manual")
        await run.poll("devices")
        attributes = run.devices[OM50_ID].attributes["connection_status"]
        wanted = {"contact": "王工", "device_cic": "CIC-1", "location": "机房", "series": "OM", "origin": "manual"}
        assert attributes.items() >= wanted.items()
        assert "pass" not in attributes
        assert "versions" not in attributes  # blank
        simulator.change(OM50, **dict.fromkeys(("contact", "device_cic", "location", "series", "origin"), "号" * 9999))
        await run.poll("devices")
        assert len(orjson.dumps(run.devices[OM50_ID].attributes["connection_status"])) < 16 * 1024


# Values that are not listed (faults 3.9)


async def test_device_status_that_is_not_listed_is_no_known_problem() -> None:
    async with simulated() as (simulator, run):
        simulator.change(OM50, device_status="melting")
        await run.poll("devices")
        state = run.devices[OM50_ID].state
        assert (state["device_status"], state["problem"]) == ("unknown", None)
        assert run.devices[OM50_ID].attributes["device_status"] == {"raw": "melting"}


# Addresses as the document prints them (faults 4.8)


@pytest.mark.parametrize("path", ["", "/", "/s1", "/s1/device", "/passports/login", "/index", "/s1/device/"])
async def test_url_as_the_document_prints_it_is_the_server(path: str) -> None:
    async with TestServer(create(devices=1)) as server, connected(f"{server.make_url('')}".rstrip("/") + path) as run:
        await run.poll("devices")
        assert OM50_ID in run.devices
        assert run.backend.configuration_url == str(server.make_url("/index"))


async def test_url_behind_a_proxy_keeps_its_path() -> None:
    async with connected("http://127.0.0.1:9/ums/s1/device") as run:
        assert run.backend.configuration_url == "http://127.0.0.1:9/ums/index"


@pytest.mark.parametrize(
    ("members", "groups"),
    [
        ({"group_id": 3, "group_info": "华东组"}, {"3": "华东组"}),
        ({"group_id": "3", "group_info": "华东组"}, {"3": "华东组"}),
        ({"group_id": 0, "group_info": "华东组"}, {"华东组": "华东组"}),
        ({"group_info": "华东组"}, {"华东组": "华东组"}),
        ({"group_id": 0, "group_info": "默认"}, {}),
        ({"group_id": 3}, {}),
    ],
)
async def test_group_goes_by_its_number(members: dict[str, Any], groups: dict[str, str]) -> None:
    answer = {"meta": {"totalResults": 1}, "devices": [{"device_mac": OM50, "tag1": "vip", "tag2": ""} | members]}
    async with scripted(lambda _: answer) as run:
        await run.poll("devices")
        device = run.devices[OM50_ID]
        assert (device.groups, device.tags) == (groups, ("vip",))
