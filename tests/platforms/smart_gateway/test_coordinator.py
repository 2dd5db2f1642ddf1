"""The coordinator: pages, batches, merging, inventories and reads."""

from __future__ import annotations

import pytest

from tests.platforms.context import Shared
from tests.platforms.smart_gateway.connected import (
    GATEWAY,
    NAME,
    OTHER,
    SECOND,
    SIM,
    SN,
    USB,
    calls,
    simulated,
)

LIST, QUERY, RULES = "/api/v1/devices/list", "/api/v1/devices/query", "/api/v1/mapping/list"


async def test_connect_sends_nothing() -> None:
    async with simulated() as (simulator, run):
        assert not simulator.fault_injector.calls
        assert [(source.name, source.interval, source.primary) for source in run.backend.sources] == [
            ("devices", 30.0, True),
            ("details", 60.0, False),
            ("mappings", 60.0, False),
        ]


async def test_list_is_read_to_its_last_page() -> None:
    async with simulated(devices=7, page_size=3) as (simulator, run):
        updates = await run.poll("devices")
        assert [call.body["page"] for call in calls(simulator, LIST)] == [1, 2, 3]
        assert all(call.body["limit"] == 3 for call in calls(simulator, LIST))
        assert len(updates) == 4
        assert len({device.serial_number for device in run.devices.values() if device.scope == "gateways"}) == 7
        found = run.ids("gateways")
        assert found is not None
        assert len(found) == 7
        assert run.state(NAME)["count"] == 7


async def test_list_request_has_all_required_fields() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices")
        (call,) = calls(simulator, LIST)
        assert call.method == "POST"
        assert call.body | {"filtration": 0, "condition": "", "sort_by": 0, "ascend": 0} == call.body
        assert call.body["args"]["channel"] == []
        assert call.body["args"]["network"] == ["lan", "hotspot"]
        assert "chart" not in call.body["args"]


@pytest.mark.parametrize("devices", [2, 3, 7])
async def test_pages_numbered_from_zero_are_recognised(devices: int) -> None:
    async with simulated(devices=devices, page_size=3) as (simulator, run):
        simulator.first_page = 0
        await run.poll("devices")
        found = run.ids("gateways")
        assert found is not None
        assert len(found) == devices
        simulator.fault_injector.calls.clear()
        await run.poll("devices")
        assert [call.body["page"] for call in calls(simulator, LIST)] == list(range(-(-devices // 3)))


async def test_option_first_page_zero_is_corrected() -> None:
    async with simulated(devices=5, page_size=3, first_page=0) as (_, run):
        await run.poll("devices")
        found = run.ids("gateways")
        assert found is not None
        assert len(found) == 5


async def test_drifting_list_is_read_twice() -> None:
    async with simulated(devices=7, page_size=3) as (simulator, run):
        simulator.fault_injector.inject("drift", LIST, times=3)
        await run.poll("devices")
        found = run.ids("gateways")
        assert found is not None
        assert len(found) == 7


async def test_incomplete_list_is_no_inventory() -> None:
    async with simulated(devices=7, page_size=3) as (simulator, run):
        simulator.fault_injector.inject("drift", LIST)
        await run.poll("devices")
        assert run.ids("gateways") is None
        assert run.state(NAME)["count"] == 7


async def test_empty_list_is_no_inventory() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        run.inventories.clear()
        simulator.fault_injector.inject("empty")
        await run.poll()
        assert run.ids("gateways") is None
        assert run.ids("mappings") is None
        simulator.fault_injector.clear()
        await run.poll()
        assert run.ids("gateways") == {GATEWAY, SECOND}


async def test_missing_gateway_is_not_in_the_inventory() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.remove_gateway(OTHER)
        await run.poll()
        assert run.ids("gateways") == {GATEWAY}
        assert calls(simulator, QUERY)[-1].body["sns"] == [SN]
        assert run.state(NAME)["count"] == 1


async def test_details_are_queried_in_batches_after_the_list() -> None:
    async with simulated(devices=45) as (simulator, run):
        await run.poll("details")
        assert len(calls(simulator, LIST)) == 1
        assert [len(call.body["sns"]) for call in calls(simulator, QUERY)] == [20, 20, 5]
        assert run.state(SIM)["apn"] == "cmnet"


async def test_option_query_limits_details_to_these_gateways() -> None:
    async with simulated(query=[OTHER]) as (simulator, run):
        await run.poll("details")
        assert not calls(simulator, LIST)
        await run.poll()
        assert {tuple(call.body["sns"]) for call in calls(simulator, QUERY)} == {(OTHER,)}
        assert "apn" not in run.state(SIM)
        assert run.state(f"{SECOND}_channel_0")["apn"] == "ctnet"
        scopes = [inventory.scope for inventory in run.inventories]
        assert {f"channels:{SN}", f"channels:{OTHER}"} <= set(scopes)


async def test_list_and_query_are_merged() -> None:
    async with simulated() as (_, run):
        await run.poll("devices")
        listed = run.state(SIM)
        await run.poll("details")
        both = run.state(SIM)
        assert both | {"used": listed["used"], "total": listed["total"]} == both
        await run.poll("devices")
        assert run.state(SIM) == both


async def test_unchanged_device_is_the_same_object() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        before = dict(run.devices)
        await run.poll()
        assert all(run.devices[id_] is device for id_, device in before.items())
        simulator.set_channel(SN, "0", rtt=101)
        await run.poll("devices")
        changed = {id_ for id_, device in run.devices.items() if device is not before[id_]}
        assert changed == {SIM}
        assert run.devices[SIM].entities is before[SIM].entities


async def test_equal_entity_tables_are_one_tuple() -> None:
    async with simulated() as (_, run):
        await run.poll()
        assert run.devices[GATEWAY].entities is run.devices[SECOND].entities
        assert run.devices[SIM].entities is run.devices[f"{SECOND}_channel_0"].entities


async def test_empty_slot_has_no_device_and_pulled_sim_is_unavailable() -> None:
    async with simulated() as (simulator, run):
        simulator.pull_sim(SN, "3")
        await run.poll()
        assert f"{GATEWAY}_channel_1" not in run.devices
        assert f"{GATEWAY}_channel_3" not in run.devices
        simulator.pull_sim(SN, "0")
        await run.poll()
        gone = run.devices[SIM]
        assert not gone.available
        assert set(gone.state.values()) == {None}
        assert gone.entity("apn") is not None
        ids = run.ids(f"channels:{SN}")
        assert ids is not None
        assert SIM in ids
        assert f"{GATEWAY}_channel_3" not in ids
        simulator.set_channel(SN, "0", name="SIM1", enable=1, apn="cmnet")
        await run.poll()
        assert run.devices[SIM].available
        assert run.state(SIM)["apn"] == "cmnet"
        assert run.state(SIM)["rtt"] is None


async def test_gateway_not_found_by_a_query_is_unavailable() -> None:
    async with simulated(query=[SN, "FFFF"]) as (simulator, run):
        await run.poll()
        assert "branch_ffff" not in run.devices
        gateway = run.devices[GATEWAY]
        simulator.remove_gateway(SN)
        run.take(await run.backend.read(gateway))
        assert not run.devices[GATEWAY].available
        assert not run.devices[USB].available


async def test_gateway_without_details_is_available_again_with_the_list() -> None:
    async with simulated(query=[OTHER]) as (simulator, run):
        await run.poll()
        gateway = run.devices[GATEWAY]
        simulator.remove_gateway(SN)
        run.take(await run.backend.read(gateway))
        assert not run.devices[GATEWAY].available
        simulator.add_gateway(SN, "back")
        await run.poll("devices")
        assert run.devices[GATEWAY].available


async def test_uptimes_show_whether_data_is_fresh() -> None:
    async with simulated() as (simulator, run):
        fresh = run.source("devices").freshness
        assert fresh is not None
        assert fresh() is None
        await run.poll("devices")
        first = fresh()
        await run.poll("devices")
        assert fresh() == first
        simulator.set_base(OTHER, state="stopped")
        simulator.set_base(SN, runtime=1)
        await run.poll("devices")
        assert fresh() == ((SN, 1),)
        simulator.placeholders = True
        await run.poll("devices")
        assert fresh() is None


async def test_rules_are_devices_and_counted() -> None:
    async with simulated() as (_, run):
        await run.poll("mappings")
        rules = {device.id for device in run.devices.values() if device.scope == "mappings"}
        assert run.ids("mappings") == rules
        assert len(rules) == 3
        assert run.state(NAME) == {"mapping_count": 3}
        await run.poll("devices")
        assert run.state(NAME) == {"count": 2, "mapping_count": 3}
        assert run.devices[NAME].attributes["mapping_count"]["rules"][0]["name"] == "NMS_UDPPort"


async def test_rule_listed_twice_is_one_device() -> None:
    async with simulated() as (simulator, run):
        simulator.duplicate_rules = True
        await run.poll("mappings")
        assert len([device for device in run.devices.values() if device.scope == "mappings"]) == 3
        assert run.state(NAME)["mapping_count"] == 6


async def test_read_of_one_device_asks_only_for_it() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.set_base(SN, remark="read me")
        simulator.set_channel(SN, "0", apn="3gnet")
        simulator.fault_injector.calls.clear()
        assert (await run.read(SIM)).state["apn"] == "3gnet"
        assert run.state(GATEWAY)["remark"] == "read me"
        assert [call.body["sns"] for call in calls(simulator, QUERY)] == [[SN]]
        simulator.add_gateway("0A0B0C", "third")
        simulator.add_rule("late", "192.168.16.57", "99", 0)
        fleet = await run.read(NAME)
        assert fleet.state == {"count": 3, "mapping_count": 4}


async def test_new_gateway_is_an_option_of_the_rules() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        rule = next(id_ for id_, device in run.devices.items() if device.scope == "mappings")
        simulator.add_gateway("0A0B0C", "third")
        await run.poll("devices")
        row = run.devices[rule].entity("gateway")
        assert row is not None
        assert row.options == ("unassigned", "0a0b0c", "172de6ac9832de", "abcd21dcf318ba")


async def test_ids_are_the_same_after_a_restart() -> None:
    shared = Shared()
    async with simulated(shared=shared) as (_, run):
        await run.poll()
        before = set(run.devices)
    async with simulated(shared=shared) as (_, run):
        await run.poll("mappings", "devices", "details")
        assert set(run.devices) == before
