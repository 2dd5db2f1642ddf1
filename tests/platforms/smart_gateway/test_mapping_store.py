"""Port mapping rules: their state, and assigning them through their entities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.model import Component, UpdateOrigin
from fleet2mqtt.errors import Ambiguous, CommandError, Rejected
from fleet2mqtt.platforms.smart_gateway import mapping_store
from tests.platforms.context import Shared
from tests.platforms.smart_gateway.connected import OTHER, SN, calls, simulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet2mqtt.simulators.fault_injection import Call
    from fleet2mqtt.simulators.smart_gateway import Simulator
    from tests.platforms.context import Run

ASSIGN, UNASSIGN, REASSIGN = (f"/api/v1/device/{name}Mapping" for name in ("add", "delete", "edit"))
X, Y = SN.lower(), OTHER.lower()
FREE = "7fa20c64d9b83e15a07"
HELD = "ebfa83fe9b9aa6a83fe"
OTHERS = "3c1d90a7be5f42e8d61"
QUERY, RULES = "/api/v1/devices/query", "/api/v1/mapping/list"


@pytest.fixture
async def backend() -> AsyncIterator[tuple[Simulator, Run]]:
    async with simulated() as (simulator, run):
        simulator.set_network(OTHER, "lan", ip="192.168.4.1", mask="255.255.255.0")
        await run.poll()
        simulator.fault_injector.calls.clear()
        yield simulator, run


def _writes(simulator: Simulator) -> list[Call]:
    return [call for call in simulator.fault_injector.calls if call.path in (ASSIGN, UNASSIGN, REASSIGN)]


def _id(uuid: str) -> str:
    return f"branch_mapping_{uuid}"


async def test_rule_state_has_address_gateway_and_ports(backend: tuple[Simulator, Run]) -> None:
    _, run = backend
    assert run.state(_id(HELD)) == {
        "subnet_ip": "192.168.4.2",
        "gateway": "上海1",
        "ip": "192.168.16.56",
        "port": "1935,22000-22010,22222,22048-22058",
        "protocol": "udp",
        "mark": "",
    }
    assert run.state(_id(FREE)) | {"subnet_ip": None, "gateway": "unassigned", "protocol": "tcp"} == run.state(
        _id(FREE)
    )
    assert run.devices[_id(FREE)].name == "Web_TCPPort"


async def test_subnet_ip_of_an_assigned_rule_is_sent(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    assert await run.write(_id(HELD), "subnet_ip", "192.168.4.77") is None
    assert [call.body for call in calls(simulator, REASSIGN)] == [{"rule": HELD, "sn": SN, "ip": "192.168.4.77"}]
    assert (await run.read(_id(HELD))).state["subnet_ip"] == "192.168.4.77"


async def test_assignment_without_address_is_refused(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    with pytest.raises(CommandError, match="mapping_assign") as caught:
        await run.write(_id(FREE), "gateway", "上海一")
    assert caught.value.code == "subnet_ip_required"
    update = await run.write(_id(FREE), "subnet_ip", "192.168.4.9")
    assert update is not None
    assert update.origin is UpdateOrigin.COMMAND
    assert run.state(_id(FREE))["subnet_ip"] == "192.168.4.9"
    assert not simulator.fault_injector.calls
    await run.write(_id(FREE), "gateway", "上海一")
    assert [call.body for call in calls(simulator, ASSIGN)] == [{"rule": FREE, "sn": OTHER, "ip": "192.168.4.9"}]
    after = await run.read(_id(FREE))
    assert (after.state["gateway"], after.state["subnet_ip"]) == ("上海一", "192.168.4.9")
    assert after.attributes["gateway"] == {"sn": OTHER}
    assert run.state(f"branch_{Y}")["mapping"] == 2


async def test_unassigned_rule_keeps_its_address(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    await run.write(_id(HELD), "gateway", "unassigned")
    assert [call.body for call in calls(simulator, UNASSIGN)] == [{"sn": SN, "rules": [HELD]}]
    after = await run.read(_id(HELD))
    assert (after.state["gateway"], after.state["subnet_ip"]) == ("unassigned", "192.168.4.2")
    assert run.state(f"branch_{X}")["mapping"] == 0
    await run.write(_id(HELD), "gateway", "上海1")
    assert (await run.read(_id(HELD))).state["gateway"] == "上海1"


async def test_moved_rule_is_unassigned_then_assigned(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    await run.write(_id(HELD), "gateway", "上海一")
    assert [call.path for call in simulator.fault_injector.calls] == [QUERY, UNASSIGN, ASSIGN]
    after = await run.read(_id(HELD))
    assert (after.state["gateway"], after.state["subnet_ip"]) == ("上海一", "192.168.4.2")


async def test_move_to_a_gateway_that_does_not_run_changes_nothing(backend: tuple[Simulator, Run]) -> None:
    """Faults 3.5."""
    simulator, run = backend
    simulator.set_base(OTHER, state="offline")
    with pytest.raises(CommandError, match=r"'offline'.*nothing was changed") as caught:
        await run.write(_id(HELD), "gateway", "上海一")
    assert caught.value.code == "device_offline"
    assert not _writes(simulator)
    assert (await run.read(_id(HELD))).state["gateway"] == "上海1"


@pytest.mark.parametrize(
    ("lan", "code"),
    [
        ({"ip": "192.168.1.1"}, "address_outside_lan"),
        ({"ip": "192.168.4.2"}, "address_taken"),
        ({"ip": "192.168.4.1", "mask": "255.255.255.254"}, "address_outside_lan"),
        ({"ip": "192.168.4.1", "mask": "255.255.255.252"}, None),
        ({"ip": "", "mask": ""}, None),
    ],
)
async def test_move_to_another_lan_changes_nothing(
    backend: tuple[Simulator, Run], lan: dict[str, str], code: str | None
) -> None:
    """Faults 3.5: the address has to be one of the target's LAN; the vendor takes any."""
    simulator, run = backend
    simulator.set_network(OTHER, "lan", **lan)
    if code is None:
        await run.write(_id(HELD), "gateway", "上海一")
        assert (await run.read(_id(HELD))).state["gateway"] == "上海一"
        return
    with pytest.raises(CommandError, match="nothing was changed") as caught:
        await run.write(_id(HELD), "gateway", "上海一")
    assert caught.value.code == code
    assert not _writes(simulator)


async def test_address_with_the_same_ports_is_taken(backend: tuple[Simulator, Run]) -> None:
    """Faults 3.5."""
    simulator, run = backend
    simulator.rules[HELD]["protocol"] = simulator.rules[OTHERS]["protocol"]
    await run.poll("mappings")
    with pytest.raises(CommandError, match="NMS_TCPPort") as caught:
        await run.write_group(_id(HELD), {"subnet_ip": "192.168.4.5", "gateway": "上海一"})
    assert caught.value.code == "address_taken"
    simulator.rules[HELD]["port"] = "80"
    await run.poll("mappings")
    await run.write_group(_id(HELD), {"subnet_ip": "192.168.4.5", "gateway": "上海一"})
    assert (await run.read(_id(HELD))).state["gateway"] == "上海一"


async def test_address_and_gateway_in_one_set_are_one_move(backend: tuple[Simulator, Run]) -> None:
    """Faults 3.6: the new address is one of the new LAN, and never sent to the old gateway."""
    simulator, run = backend
    simulator.set_network(OTHER, "lan", ip="10.1.0.1", mask="255.255.0.0")
    await run.write_group(_id(HELD), {"subnet_ip": "10.1.2.3", "gateway": "上海一"})
    assert [call.path for call in _writes(simulator)] == [UNASSIGN, ASSIGN]
    assert calls(simulator, ASSIGN)[0].body == {"rule": HELD, "sn": OTHER, "ip": "10.1.2.3"}
    after = await run.read(_id(HELD))
    assert (after.state["gateway"], after.state["subnet_ip"]) == ("上海一", "10.1.2.3")
    await run.write_group(_id(HELD), {"subnet_ip": "10.1.2.4", "gateway": "上海一"})
    assert [call.body for call in calls(simulator, REASSIGN)] == [{"rule": HELD, "sn": OTHER, "ip": "10.1.2.4"}]


async def test_refused_move_returns_the_rule(backend: tuple[Simulator, Run]) -> None:
    """Faults 3.5."""
    simulator, run = backend
    simulator.fault_injector.inject("error", ASSIGN, code=7003, text="端口已被占用", times=1)
    with pytest.raises(Rejected, match=f"the rule was returned to {SN}") as caught:
        await run.write(_id(HELD), "gateway", "上海一")
    assert caught.value.code == 7003
    after = await run.read(_id(HELD))
    assert (after.state["gateway"], after.state["subnet_ip"]) == ("上海1", "192.168.4.2")


async def test_refused_move_that_cannot_be_undone_is_reported(backend: tuple[Simulator, Run]) -> None:
    """Faults 3.5."""
    simulator, run = backend
    simulator.fault_injector.inject("error", ASSIGN, code=7006, text="设备已下线")
    with pytest.raises(Rejected, match=r"could not be returned.*no gateway has it now") as caught:
        await run.write(_id(HELD), "gateway", "上海一")
    assert caught.value.code == 7006
    after = await run.read(_id(HELD))
    assert (after.state["gateway"], after.state["subnet_ip"]) == ("unassigned", "192.168.4.2")


@pytest.mark.parametrize("path", [ASSIGN, UNASSIGN])
async def test_move_with_a_lost_response_that_was_carried_out_succeeds(
    backend: tuple[Simulator, Run], path: str
) -> None:
    """Faults 3.5: the list of rules decides after an ambiguous failure."""
    simulator, run = backend
    simulator.fault_injector.inject("lost_answer", path, times=1)
    await run.write(_id(HELD), "gateway", "上海一")
    assert (await run.read(_id(HELD))).state["gateway"] == "上海一"


async def test_move_with_an_ambiguous_failure_returns_the_rule(backend: tuple[Simulator, Run]) -> None:
    """Faults 3.5."""
    simulator, run = backend
    simulator.fault_injector.inject("reset", ASSIGN, times=1)
    with pytest.raises(Ambiguous, match=f"the rule was returned to {SN}"):
        await run.write(_id(HELD), "gateway", "上海一")
    assert (await run.read(_id(HELD))).state["gateway"] == "上海1"


async def test_move_whose_outcome_cannot_be_read_is_unknown(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.fault_injector.inject("reset", ASSIGN)
    simulator.fault_injector.inject("status", RULES)
    with pytest.raises(Ambiguous, match="which gateway has the rule is unknown"):
        await run.write(_id(HELD), "gateway", "上海一")


async def test_move_whose_return_gets_no_response_is_uncertain(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.fault_injector.inject("reset", ASSIGN)
    with pytest.raises(Ambiguous, match="perhaps no gateway has it"):
        await run.write(_id(HELD), "gateway", "上海一")


async def test_unassignment_with_an_ambiguous_failure_is_reported(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.fault_injector.inject("reset", UNASSIGN)
    with pytest.raises(Ambiguous):
        await run.write(_id(HELD), "gateway", "unassigned")
    assert (await run.read(_id(HELD))).state["gateway"] == "上海1"


async def test_subnet_ip_outside_the_lan_is_refused(backend: tuple[Simulator, Run]) -> None:
    """Faults 3.5."""
    simulator, run = backend
    with pytest.raises(CommandError) as caught:
        await run.write(_id(HELD), "subnet_ip", "192.168.0.50")
    assert caught.value.code == "address_outside_lan"
    assert not _writes(simulator)


async def test_assignment_refused_by_the_vendor_is_rejected(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    await run.write(_id(FREE), "subnet_ip", "192.168.4.9")
    simulator.fault_injector.inject("error", ASSIGN, code=7006, text="设备已下线")
    with pytest.raises(Rejected) as caught:
        await run.write(_id(FREE), "gateway", "上海1")
    assert str(caught.value) == "the device is offline (设备已下线)"


async def test_assignment_to_the_same_or_an_unknown_gateway_sends_nothing(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    await run.write(_id(HELD), "gateway", "上海1")
    await run.write(_id(FREE), "gateway", "unassigned")
    with pytest.raises(CommandError) as caught:
        await run.write(_id(FREE), "gateway", "ffff")
    assert caught.value.code == "unknown_gateway"
    assert not simulator.fault_injector.calls


async def test_address_of_an_unassigned_rule_survives_a_restart() -> None:
    shared = Shared()
    async with simulated(shared=shared) as (_, run):
        await run.poll()
        await run.write(_id(FREE), "subnet_ip", "192.168.4.9")
    async with simulated(shared=shared) as (simulator, run):
        await run.poll()
        assert run.state(_id(FREE))["subnet_ip"] == "192.168.4.9"
        await run.write(_id(FREE), "gateway", "上海1")
        assert calls(simulator, ASSIGN)[0].body["ip"] == "192.168.4.9"


async def test_move_uses_the_last_written_address(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    await run.write(_id(HELD), "subnet_ip", "192.168.4.88")
    await run.write(_id(HELD), "gateway", "上海一")
    assert calls(simulator, ASSIGN)[0].body["ip"] == "192.168.4.88"


async def test_select_lists_aliases_and_serial_numbers_only_where_aliases_are_equal() -> None:
    """Faults 5.8."""
    async with simulated() as (simulator, run):
        simulator.add_gateway("0A0B0C", "上海1")
        simulator.add_gateway("0D0E0F", "Unassigned")
        simulator.add_gateway("112233", "")
        await run.poll()
        select = run.devices[_id(HELD)].entity("gateway")
        assert select is not None
        named = {"上海1 (0A0B0C)", "上海1 (172DE6AC9832DE)", "上海一", "Unassigned (0D0E0F)", "112233"}
        assert set(select.options) == named | {"unassigned"}
        assert run.state(_id(HELD))["gateway"] == "上海1 (172DE6AC9832DE)"


async def test_too_many_gateways_make_the_select_a_sensor_that_a_new_gateway_does_not_change() -> None:
    """Faults 5.8: a gateway more must not change the discovery of every rule."""
    async with simulated(devices=mapping_store.MAX_GATEWAYS + 1) as (simulator, run):
        await run.poll()
        before = run.devices[_id(HELD)]
        gateway = before.entity("gateway")
        assert gateway is not None
        assert (gateway.component, gateway.options, gateway.write) == (Component.SENSOR, (), None)
        assert run.state(_id(HELD))["gateway"] == "上海1"
        simulator.add_gateway("0A0B0C", "new")
        await run.poll()
        assert run.devices[_id(HELD)] is before
        assert (await run.act("mapping_assign", rule=FREE, sn=SN, ip="192.168.4.9"))["code"] == 0
        assert (await run.read(_id(FREE))).state["gateway"] == "上海1"


async def test_select_returns_only_well_below_its_bound() -> None:
    """Faults 5.8: a fleet at the bound does not change the component each time that a gateway comes or goes."""
    async with simulated(devices=mapping_store.MAX_GATEWAYS + 1) as (simulator, run):
        await run.poll()
        for removed, component in ((2, Component.SENSOR), (11, Component.SELECT)):
            for sn in list(simulator.gateways)[-removed:]:
                simulator.remove_gateway(sn)
            await run.poll()
            gateway = run.devices[_id(HELD)].entity("gateway")
            assert gateway is not None
            assert gateway.component is component


async def test_rule_of_an_unknown_gateway_shows_the_name_in_the_rule() -> None:
    async with simulated() as (_, run):
        await run.poll("mappings")
        assert run.state(_id(HELD))["gateway"] == "上海1"
        assert run.devices[_id(HELD)].answered == frozenset({"mappings"})
        await run.poll("devices")
        assert run.devices[_id(HELD)].answered == frozenset({"mappings", "devices"})


async def test_rule_deleted_by_our_action_is_removed_with_the_next_list(backend: tuple[Simulator, Run]) -> None:
    """Faults 3.10: also the last one, after which the list is empty."""
    _, run = backend
    uuids = [HELD, OTHERS, FREE]
    await run.act("mapping_delete", rules=uuids)
    updates = await run.poll("mappings")
    assert {id_ for update in updates for id_ in update.removed} == {_id(uuid) for uuid in uuids}
    assert not [id_ for update in await run.poll("mappings") for id_ in update.removed]


async def test_rule_that_the_vendor_did_not_delete_stays(backend: tuple[Simulator, Run]) -> None:
    """Faults 3.10: a delete that fails for some, or has no effect, removes only what the list no longer has."""
    simulator, run = backend
    simulator.fault_injector.inject("noop", "*/mapping/delete", times=1)
    await run.act("mapping_delete", rules=[HELD])
    assert not [id_ for update in await run.poll("mappings") for id_ in update.removed]
    with pytest.raises(Rejected):
        await run.act("mapping_delete", rules=[FREE, "ffff"])
    assert [id_ for update in await run.poll("mappings") for id_ in update.removed] == [_id(FREE)]


async def test_deleted_rule_is_not_in_the_inventory(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.remove_rule(HELD)
    await run.poll("mappings")
    ids = run.ids("mappings")
    assert ids is not None
    assert len(ids) == 2
    assert _id(HELD) not in ids
