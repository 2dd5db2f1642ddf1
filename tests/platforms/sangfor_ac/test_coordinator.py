"""Coordinator: polls, objects that stay the same, inventories, and reading single devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.model import UpdateOrigin
from fleet2mqtt.errors import Rejected
from tests.platforms.sangfor_ac.connected import BOUND, GROUP, HELLO, NAME, PAIR, SOURCES, USER, WATCH, calls, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.app import Simulator
    from tests.platforms.context import Run

GROUPS = "group/netpolicy"


async def test_backend_before_first_poll_sends_nothing() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        assert not simulator.fault_injector.calls
        assert tuple(source.name for source in run.backend.sources) == SOURCES


async def test_poll_unchanged_returns_same_objects(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    before = dict(run.devices)
    for update in await run.poll("policies", "groups", "libraries", "bindings"):
        assert update.origin is UpdateOrigin.POLL
    assert [id_ for id_, device in run.devices.items() if before[id_] is not device] == []
    simulator.net_policies[0]["policy_info"]["status"] = False
    await run.poll("policies")
    assert run.state(HELLO) == {"status": "OFF"}
    assert [id_ for id_, device in run.devices.items() if before[id_] is not device] == [HELLO]


async def test_ids_other_order_stay() -> None:
    assignments: dict[str, str] = {}
    async with simulated(watch=WATCH, assignments=assignments) as (_, run):
        await run.poll()
        before = {id_: tuple(sorted(item.key for item in device.entities)) for id_, device in run.devices.items()}
    async with simulated(watch=WATCH, assignments=assignments) as (simulator, run):
        simulator.net_policies.reverse()
        simulator.flux_policies.reverse()
        await run.poll(*reversed(SOURCES))
        assert {id_: tuple(sorted(item.key for item in one.entities)) for id_, one in run.devices.items()} == before


async def test_net_policy_deleted_leaves_inventory_and_empty_list_is_not_believed(
    polled: tuple[Simulator, Run],
) -> None:
    simulator, run = polled
    assert run.ids("net_policies") == {id_ for id_, one in run.devices.items() if one.scope == "net_policies"}
    assert run.ids("flux_policies") == {id_ for id_, one in run.devices.items() if one.scope == "flux_policies"}
    simulator.net_policies.pop(0)
    await run.poll("policies")
    listed = run.ids("net_policies")
    assert listed is not None
    assert HELLO not in listed
    run.inventories.clear()
    simulator.fault_injector.inject("empty")
    await run.poll("policies")
    assert run.inventories == []
    assert run.devices[GROUP].entity("netpolicy_policy1") is not None


async def test_group_switches_follow_the_net_policies(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    simulator.net_policies.pop(0)
    simulator.net_policies[1]["policy_info"]["name"] = "renamed"
    await run.poll("policies")
    keys = {item.key for item in run.devices[GROUP].entities}
    assert keys >= {"netpolicy", "netpolicy_policy1", "netpolicy_policy2", "netpolicy_renamed"}
    assert "netpolicy_hello" not in keys
    assert run.state(GROUP)["netpolicy_renamed"] == "OFF"
    assert run.state(GROUP)["netpolicy_policy2"] == "ON"


async def test_groups_before_policies_have_attached_switches() -> None:
    async with simulated(watch=WATCH) as (_, run):
        await run.poll("groups")
        assert set(run.state(GROUP)) == {"netpolicy", "netpolicy_policy1", "netpolicy_policy2"}
        assert run.inventories == []


async def test_group_deleted_is_unavailable(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    removed = simulator.groups.pop("/hello")
    await run.poll("groups")
    assert not run.devices[GROUP].available
    assert run.state(GROUP)["netpolicy"] == 2
    assert run.ids("groups") == {GROUP}
    assert not (await run.read(GROUP)).available
    simulator.groups["/hello"] = removed
    assert (await run.read(GROUP)).available


async def test_group_unknown_is_unavailable() -> None:
    async with simulated(watch={"groups": ["/nobody", "/hello"]}) as (simulator, run):
        await run.poll("policies", "groups")
        nobody = run.devices[run.named("groups", "/nobody")]
        assert (nobody.available, nobody.state["netpolicy"]) == (False, None)
        assert run.devices[GROUP].available
        assert [call.query["path"] for call in calls(simulator, GROUPS)] == ["/nobody", "/hello"]


async def test_group_chinese_path_is_encoded() -> None:
    async with simulated(watch={"groups": ["/研发部"]}) as (simulator, run):
        await run.poll("groups")
        assert calls(simulator, GROUPS)[0].query["path"] == "/研发部"
        assert run.state(run.named("groups", "/研发部"))["netpolicy"] == 0


async def test_binding_deleted_has_no_values(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    simulator.bindings.clear()
    simulator.ipmac.clear()
    await run.poll("bindings")
    assert run.state(BOUND) == {"enable": None, "user_bindings": 0}
    assert run.state(PAIR) == {"enable": None, "user_bindings": 0, "ip": None, "mac": None, "desc": None}
    assert run.ids("bindings") == {BOUND, PAIR}


async def test_binding_similar_address_is_not_counted() -> None:
    async with simulated(watch={"bindings": ["1.1.1."]}) as (simulator, run):
        simulator.fuzzy_bindings = True
        await run.poll("bindings")
        assert len(calls(simulator, "ipmac-bindinfo")) == 0
        assert run.state(run.named("bindings", "1.1.1."))["user_bindings"] == 0


async def test_binding_mac_notation_is_normalized() -> None:
    async with simulated(watch={"bindings": ["11:11:11:11:11:11"]}) as (simulator, run):
        await run.poll("bindings")
        state = run.state(run.named("bindings", "11-11-11-11-11-11"))
        assert (state["user_bindings"], state["ip"]) == (2, "1.1.1.2")
        assert {call.query["search"] for call in simulator.fault_injector.calls} == {"11-11-11-11-11-11"}


async def test_ip_mac_bindings_path_missing_other_is_used(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    await run.poll("bindings")
    assert len(calls(simulator, "bindinfo/ipmac-bindinfo")) == 0
    simulator.ipmac_under_bindinfo = True
    await run.poll("bindings")
    assert len(calls(simulator, "bindinfo/ipmac-bindinfo")) == 1
    assert run.state(PAIR)["mac"] == "11-11-11-11-11-11"
    simulator.ipmac.clear()
    await run.poll("bindings")
    assert run.state(PAIR)["mac"] is None


async def test_ip_mac_bindings_path_redirects_other_is_used(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    simulator.ipmac_under_bindinfo = True
    simulator.redirects = {"/v1/ipmac-bindinfo"}
    simulator.ipmac["1.1.1.2"]["mac"] = "AA-BB-CC-DD-EE-FF"
    await run.poll("bindings")
    assert run.state(PAIR)["mac"] == "AA-BB-CC-DD-EE-FF"


async def test_freshness_is_the_acs_clock(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    fresh = run.source("status").freshness
    assert fresh is not None
    before = fresh()
    assert before is not None
    simulator.utc_offset_hours += 1
    await run.poll("status")
    assert fresh() not in (None, before)
    simulator.empty_bodies = {"/v1/status/sys-time"}
    await run.poll("status")
    assert fresh() is None


async def test_read_device_returns_present_state(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    simulator.status["cpu-usage"] = 99
    simulator.net_policies[0]["policy_info"]["status"] = False
    simulator.flux_policies[0]["policy_enable"] = False
    simulator.group_policies["/hello"] = []
    simulator.online["1.1.1.1"]["terminal"] = 1
    simulator.bindings[0]["enable"] = False
    channel = run.named("flux_policies", "时延敏感型应用保障")
    assert (await run.read(NAME)).state["cpu_usage"] == 99
    assert (await run.read(HELLO)).state["status"] == "OFF"
    assert (await run.read(channel)).state["policy_enable"] == "OFF"
    assert (await run.read(GROUP)).state["netpolicy"] == 0
    assert (await run.read(USER)).state["terminal"] == "mobile"
    assert (await run.read(PAIR)).state["enable"] == "OFF"
    assert (await run.read(BOUND)).state["enable"] == "ON"
    update = await run.backend.read(run.devices[GROUP])
    assert update.origin is UpdateOrigin.COMMAND
    assert [device.id for device in update.devices] == [GROUP]


async def test_read_device_unlisted_is_rejected(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    simulator.net_policies.pop(0)
    with pytest.raises(Rejected) as caught:
        await run.read(HELLO)
    assert caught.value.code == "not_listed"
    simulator.fault_injector.inject("error", "/v1/group/netpolicy")
    with pytest.raises(Rejected, match="Unknow error"):
        await run.read(GROUP)
    simulator.fault_injector.inject("error", "/v1/ipmac-bindinfo")
    with pytest.raises(Rejected, match="Unknow error"):
        await run.read(PAIR)
    simulator.fault_injector.clear()
    simulator.redirects = {"*/ipmac-bindinfo"}
    simulator.ipmac.clear()
    assert (await run.read(PAIR)).state["mac"] == "11-11-11-11-11-11"  # as known from the poll before
