"""The coordinator: pages, batches, merging, inventories and reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.model import Inventory
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import InvalidResponse, Rejected
from tests.platforms.context import Shared
from tests.platforms.smart_gateway.connected import (
    GATEWAY,
    NAME,
    OTHER,
    SECOND,
    SIM,
    SN,
    calls,
    simulated,
)

if TYPE_CHECKING:
    from tests.platforms.context import Run

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
        assert call.body["args"].keys() == {"base", "channel", "parameters"}


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


async def test_total_of_zero_is_a_confirmed_empty_inventory() -> None:
    """Faults 3.10: an explicit total of 0 is a fact; the list of rules has no total, so an empty one is none."""
    async with simulated() as (simulator, run):
        await run.poll()
        run.inventories.clear()
        simulator.fault_injector.inject("empty")
        await run.poll()
        assert [one for one in run.inventories if one.scope == "gateways"] == [  # once: details do not list again
            Inventory(scope="gateways", ids=frozenset(), confirmed_empty=True)
        ]
        assert run.ids("mappings") is None
        simulator.fault_injector.clear()
        await run.poll()
        assert run.ids("gateways") == {GATEWAY, SECOND}


async def test_gateway_deleted_by_our_action_is_removed_with_the_next_list() -> None:
    """Faults 3.10: also the last one, after which the list is empty."""
    async with simulated(devices=1) as (simulator, run):
        await run.poll()
        simulator.fault_injector.inject("noop", "*/devices/delete", times=1)
        await run.act("device_delete", sn=SN)
        assert not [id_ for update in await run.poll() for id_ in update.removed]
        await run.act("device_delete", sn=SN)
        assert [id_ for update in await run.poll() for id_ in update.removed] == [GATEWAY]
        assert not [id_ for update in await run.poll() for id_ in update.removed]


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
    async with simulated(query=[OTHER, "FFFF"]) as (simulator, run):
        await run.poll("details")
        assert {tuple(call.body["sns"]) for call in calls(simulator, QUERY)} == {(OTHER,)}
        assert "apn" not in run.state(SIM)
        assert run.state(f"{SECOND}_channel_0")["apn"] == "ctnet"
        await run.poll()
        scopes = [inventory.scope for inventory in run.inventories]
        assert {f"channels:{SN}", f"channels:{OTHER}"} <= set(scopes)
        owners = {entity.key: entity.source for entity in run.devices[f"{SECOND}_channel_0"].entities}
        assert (owners["apn"], owners["used"]) == ("details", "")
        await run.read(SIM)
        assert run.state(SIM)["apn"] == "cmnet"
        assert {entity.source for entity in run.devices[SIM].entities} == {""}
        assert run.devices[SIM].answered is None


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
        simulator.set_channel(SN, "0", name="SIM1", enable=1, apn="cmnet", rtt="")
        await run.poll()
        assert run.devices[SIM].available
        assert run.state(SIM)["apn"] == "cmnet"
        assert run.state(SIM)["rtt"] is None
        assert run.devices[SIM].entity("rssi") is None


async def test_details_of_a_gateway_that_is_not_found_are_null() -> None:
    """Faults 2.5: listed means available; a query that does not find the gateway costs the details."""
    async with simulated() as (simulator, run):
        await run.poll()
        gateway = run.devices[GATEWAY]
        simulator.remove_gateway(SN)
        run.take(await run.backend.read(gateway))
        assert run.devices[GATEWAY].available
        assert (run.state(SIM)["apn"], run.state(GATEWAY)["alias"]) == (None, "上海1")
        assert run.devices[SIM].entity("apn") is not None


async def test_freshness_changes_with_what_the_list_has_of_running_gateways() -> None:
    """Faults 2.4."""
    async with simulated() as (simulator, run):
        freshness = run.source("devices").freshness
        assert freshness is not None
        assert freshness() is None
        await run.poll("devices")
        first = freshness()
        assert first is not None
        await run.poll("devices")
        assert freshness() == first
        simulator.set_channel(SN, "0", rtt=12345)
        await run.poll("devices")
        assert freshness() != first
        simulator.set_base(OTHER, state="stopped")
        await run.poll("devices")
        assert freshness() is not None
        simulator.list_placeholders = True
        await run.poll()
        assert freshness() is None


async def test_rules_are_devices_and_counted() -> None:
    async with simulated() as (_, run):
        await run.poll("mappings")
        rules = {device.id for device in run.devices.values() if device.scope == "mappings"}
        assert run.ids("mappings") == rules
        assert len(rules) == 3
        assert run.state(NAME) == {"count": None, "mapping_count": 3}
        assert run.devices[NAME].answered == frozenset({"mappings"})
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
        assert row.options == ("unassigned", "third", "上海1", "上海一")


async def test_ids_are_the_same_after_a_restart() -> None:
    shared = Shared()
    async with simulated(shared=shared) as (_, run):
        await run.poll()
        before = set(run.devices)
    async with simulated(shared=shared) as (_, run):
        await run.poll("mappings", "devices", "details")
        assert set(run.devices) == before


# Ownership of keys (faults 1.1, 1.2, 3.7)


async def test_keys_of_details_keep_their_values_until_details_have_answered() -> None:
    """Faults 1.1: after a restart the list alone must not make null what only queries return."""
    async with simulated() as (simulator, run):
        simulator.list_placeholders = True
        registry = Registry(lambda: 0.0, lambda _: ())
        await accept(registry, run, "devices", "details", "mappings")
        devices = {id_: device.state for id_, device in registry.devices.items()}
    async with simulated() as (simulator, run):
        simulator.list_placeholders = True
        again = Registry(lambda: 0.0, lambda _: ())
        again.restore(registry.devices.values(), {}, {})
        for source in ("mappings", "devices", "details"):
            await accept(again, run, source)
            moving = {"runtime"}
            for id_, state in devices.items():
                now = again.devices[id_].state
                assert {key: now[key] for key in state.keys() - moving} == {
                    key: state[key] for key in state.keys() - moving
                }


async def accept(registry: Registry, run: Run, *sources: str) -> None:
    for update in await run.poll(*sources):
        registry.accept(update, "now", settled=False)


async def test_placeholders_of_the_list_do_not_replace_details() -> None:
    """Faults 3.7: by document 1.1 the list may send placeholders for five fields that a query returns."""
    async with simulated() as (simulator, run):
        simulator.list_placeholders = True
        await run.poll()
        for source in ("devices", "details", "devices"):
            await run.poll(source)
            state = run.state(GATEWAY)
            assert (state["remark"], state["qos"], state["record_speed_up"]) == ("这是备注", "standard", 56482)
            assert state["gps"] is not None
            assert state["runtime"] >= 156482


async def test_field_that_list_and_query_have_is_owned_by_the_list() -> None:
    """Faults 3.7: two calls that disagree do not make a value flap; a read-back counts at once."""
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.set_channel(SN, "0", signal=-99)
        await run.poll("details")
        assert run.state(SIM)["signal"] == -30
        await run.read(SIM)
        assert run.state(SIM)["signal"] == -99


@pytest.mark.parametrize("source", ["devices", "details"])
async def test_offline_gateway_that_sends_less_keeps_its_entities(source: str) -> None:
    """Faults 1.2: what a vendor leaves out of a gateway that it cannot reach is null, not gone."""
    async with simulated() as (simulator, run):
        await run.poll()
        entities = {id_: run.devices[id_].entities for id_ in (GATEWAY, SIM)}
        simulator.blank_when_offline = True
        simulator.set_base(SN, state="offline")
        await run.poll(source)
        await run.poll()
        assert {id_: run.devices[id_].entities for id_ in (GATEWAY, SIM)} == entities
        assert (run.devices[GATEWAY].complete, run.devices[GATEWAY].available) == (False, True)
        assert not run.devices[SIM].available
        assert run.state(GATEWAY)["lan_ip"] is None


# Isolation of failures (faults 2.1, 2.2, 2.3)


async def test_gateway_that_a_batch_is_refused_for_costs_the_others_nothing() -> None:
    """Faults 2.2: the batch is halved until the one is found."""
    async with simulated(devices=65) as (simulator, run):
        offline = list(simulator.gateways)[33]
        simulator.query_failures[offline] = 7006
        await run.poll()
        detailed = {device.via for device in run.of("channels") if device.state.get("apn")}
        assert len(detailed) == 64
        asked = len(calls(simulator, QUERY))
        await run.poll("details")
        assert [len(call.body["sns"]) for call in list(calls(simulator, QUERY))[asked:]] == [20, 20, 20, 4, 1]
        del simulator.query_failures[offline]
        await run.poll("details", "details")
        assert len({device.via for device in run.of("channels") if device.state.get("apn")}) == 65


async def test_many_refused_gateways_are_read_again_soon() -> None:
    """Faults 2.2: of many refused gateways some are asked for one by one, the others in batches."""
    async with simulated(devices=65) as (simulator, run):
        simulator.query_failures.update(dict.fromkeys(list(simulator.gateways)[:60], 7006))
        await run.poll()
        simulator.query_failures.clear()
        asked = len(calls(simulator, QUERY))
        await run.poll("details")
        sizes = [len(call.body["sns"]) for call in list(calls(simulator, QUERY))[asked:]]
        assert sizes == [5, *[1] * 20, 20, 20]
        assert len({device.via for device in run.of("channels") if device.state.get("apn")}) == 65


@pytest.mark.parametrize("status", [500, 503, 403])
async def test_batch_that_fails_costs_the_others_nothing(status: int) -> None:
    """Faults 2.1."""
    async with simulated(devices=65) as (simulator, run):
        simulator.query_failures[list(simulator.gateways)[5]] = status
        await run.poll("devices")
        await run.poll("details")
        detailed = {device.via for device in run.of("channels") if device.state.get("apn")}
        assert len(detailed) == (64 if status == 500 else 45)


async def test_details_missed_by_several_sweeps_are_null() -> None:
    """Faults 2.3."""
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.query_failures[SN] = 7006
        for apn in ("cmnet", "cmnet", None):
            await run.poll("details")
            assert run.state(SIM)["apn"] == apn
        assert run.state(GATEWAY)["alias"] == "上海1"
        assert run.devices[SIM].available
        simulator.query_failures.clear()
        await run.poll("details")
        assert run.state(SIM)["apn"] == "cmnet"


async def test_details_fail_only_if_every_gateway_is_refused() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.query_failures.update({SN: 7006, OTHER: 7006})
        with pytest.raises(Rejected):
            await run.poll("details")


async def test_page_that_fails_costs_only_its_gateways(caplog: pytest.LogCaptureFixture) -> None:
    """Faults 2.1: the other pages are read; after some readings its gateways are unavailable (2.3)."""
    async with simulated(devices=9, page_size=3) as (simulator, run):
        caplog.set_level("INFO")
        await run.poll()
        run.inventories.clear()
        broken = list(simulator.gateways)[4]
        simulator.list_failures[broken] = 500
        simulator.query_failures[broken] = 7006
        missed = run.named("gateways", broken)
        for available in (True, True, False):
            simulator.set_base(list(simulator.gateways)[8], remark="moves")
            await run.poll("devices", "details")
            assert run.devices[missed].available is available
        assert run.state(run.named("gateways", list(simulator.gateways)[8]))["remark"] == "moves"
        assert run.devices[run.named("gateways", list(simulator.gateways)[3])].available
        assert run.state(run.named("gateways", list(simulator.gateways)[3]))["alias"] is not None
        assert run.ids("gateways") is None
        simulator.list_failures.clear()
        await run.poll("devices")
        assert run.devices[missed].available
        failed, recovered = [one.message for one in caplog.records if "list of gateways" in one.message]
        assert failed.startswith("branch: page 2 of the list of gateways is left out: devices/list: HTTP 500")
        assert recovered == "branch: every page of the list of gateways can be read again"


async def test_list_fails_if_every_page_fails() -> None:
    async with simulated(devices=9, page_size=3) as (simulator, run):
        await run.poll()
        simulator.list_failures.update(dict.fromkeys(simulator.gateways, 500))
        simulator.fault_injector.calls.clear()
        with pytest.raises(InvalidResponse):
            await run.poll("devices")
        assert len(calls(simulator, LIST)) == 3


async def test_rule_is_read_although_its_gateway_refuses_a_query() -> None:
    """Faults 2.2: a read-back of a rule must not fail because one of its two gateways is offline."""
    async with simulated() as (simulator, run):
        await run.poll()
        rule = run.named("mappings", "ebfa83fe9b9aa6a83fe")
        simulator.query_failures[SN] = 7006
        assert (await run.read(rule)).state["gateway"] == "上海1"


# Selection by the operator


async def test_excluded_gateway_is_listed_and_not_queried() -> None:
    async with simulated(selects=lambda device: device.vendor_id != SN) as (simulator, run):
        await run.poll()
        assert {tuple(call.body["sns"]) for call in calls(simulator, QUERY)} == {(OTHER,)}
        assert run.ids("gateways") == {GATEWAY, SECOND}


async def test_details_that_no_enabled_entity_shows_are_not_queried() -> None:
    async with simulated(is_enabled=lambda entity: entity.source != "details") as (simulator, run):
        await run.poll()
        assert not calls(simulator, QUERY)
        assert run.state(GATEWAY)["remark"] == "这是备注"
        assert run.devices[SIM].answered is None


async def test_sub_devices_have_a_kind_for_rules_of_selection() -> None:
    async with simulated() as (_, run):
        await run.poll()
        kinds = {device.scope.partition(":")[0]: device.kind for device in run.devices.values()}
        assert kinds == {"gateways": None, "channels": "channel", "mappings": "rule", "backend": None}
