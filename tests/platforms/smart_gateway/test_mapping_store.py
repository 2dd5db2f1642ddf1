"""Port mapping rules: their state, and assigning them through their entities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.model import UpdateOrigin
from fleet2mqtt.errors import CommandError, Rejected
from tests.platforms.context import Shared
from tests.platforms.smart_gateway.connected import OTHER, SN, calls, simulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet2mqtt.simulators.smart_gateway import Simulator
    from tests.platforms.context import Run

ASSIGN, UNASSIGN, REASSIGN = (f"/api/v1/device/{name}Mapping" for name in ("add", "delete", "edit"))
X, Y = SN.lower(), OTHER.lower()
FREE = "7fa20c64d9b83e15a07"
HELD = "ebfa83fe9b9aa6a83fe"


@pytest.fixture
async def backend() -> AsyncIterator[tuple[Simulator, Run]]:
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.fault_injector.calls.clear()
        yield simulator, run


def _id(uuid: str) -> str:
    return f"branch_mapping_{uuid}"


async def test_rule_state_has_address_gateway_and_ports(backend: tuple[Simulator, Run]) -> None:
    _, run = backend
    assert run.state(_id(HELD)) == {
        "subnet_ip": "192.168.4.2",
        "gateway": X,
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
        await run.write(_id(FREE), "gateway", Y)
    assert caught.value.code == "subnet_ip_required"
    assert not simulator.fault_injector.calls
    update = await run.write(_id(FREE), "subnet_ip", "192.168.184.9")
    assert update is not None
    assert update.origin is UpdateOrigin.COMMAND
    assert run.state(_id(FREE))["subnet_ip"] == "192.168.184.9"
    assert not simulator.fault_injector.calls
    await run.write(_id(FREE), "gateway", Y.upper())
    assert [call.body for call in calls(simulator, ASSIGN)] == [{"rule": FREE, "sn": OTHER, "ip": "192.168.184.9"}]
    after = await run.read(_id(FREE))
    assert (after.state["gateway"], after.state["subnet_ip"]) == (Y, "192.168.184.9")
    assert run.state(f"branch_{Y}")["mapping"] == 2


async def test_unassigned_rule_keeps_its_address(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    await run.write(_id(HELD), "gateway", "unassigned")
    assert [call.body for call in calls(simulator, UNASSIGN)] == [{"sn": SN, "rules": [HELD]}]
    after = await run.read(_id(HELD))
    assert (after.state["gateway"], after.state["subnet_ip"]) == ("unassigned", "192.168.4.2")
    assert run.state(f"branch_{X}")["mapping"] == 0
    await run.write(_id(HELD), "gateway", X)
    assert (await run.read(_id(HELD))).state["gateway"] == X


async def test_moved_rule_is_unassigned_then_assigned(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    await run.write(_id(HELD), "gateway", Y)
    assert [call.path for call in simulator.fault_injector.calls] == [UNASSIGN, ASSIGN]
    after = await run.read(_id(HELD))
    assert (after.state["gateway"], after.state["subnet_ip"]) == (Y, "192.168.4.2")


async def test_move_refused_by_the_target_is_reported(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.fault_injector.inject("error", ASSIGN, code=7006, text="设备已下线")
    with pytest.raises(Rejected, match=f"already unassigned from {SN}") as caught:
        await run.write(_id(HELD), "gateway", Y)
    assert caught.value.code == 7006
    assert (await run.read(_id(HELD))).state["gateway"] == "unassigned"


async def test_assignment_refused_by_the_vendor_is_rejected(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    await run.write(_id(FREE), "subnet_ip", "192.168.4.9")
    simulator.fault_injector.inject("error", ASSIGN, code=7006, text="设备已下线")
    with pytest.raises(Rejected) as caught:
        await run.write(_id(FREE), "gateway", X)
    assert str(caught.value) == "the device is offline (设备已下线)"


async def test_assignment_to_the_same_or_an_unknown_gateway_sends_nothing(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    await run.write(_id(HELD), "gateway", X)
    await run.write(_id(FREE), "gateway", "unassigned")
    with pytest.raises(CommandError) as caught:
        await run.write(_id(FREE), "gateway", "ffff")
    assert caught.value.code == "unknown_gateway"
    assert not simulator.fault_injector.calls


async def test_address_of_an_unassigned_rule_survives_a_restart() -> None:
    shared = Shared()
    async with simulated(shared=shared) as (_, run):
        await run.poll()
        await run.write(_id(FREE), "subnet_ip", "192.168.184.9")
    async with simulated(shared=shared) as (simulator, run):
        await run.poll()
        assert run.state(_id(FREE))["subnet_ip"] == "192.168.184.9"
        await run.write(_id(FREE), "gateway", Y)
        assert calls(simulator, ASSIGN)[0].body["ip"] == "192.168.184.9"


async def test_move_uses_the_last_written_address(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    await run.write(_id(HELD), "subnet_ip", "192.168.4.88")
    await run.write(_id(HELD), "gateway", Y)
    assert calls(simulator, ASSIGN)[0].body["ip"] == "192.168.4.88"


async def test_deleted_rule_is_not_in_the_inventory(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.remove_rule(HELD)
    await run.poll("mappings")
    ids = run.ids("mappings")
    assert ids is not None
    assert len(ids) == 2
    assert _id(HELD) not in ids
