"""Port mapping rules: giving them to gateways by their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.model import UpdateOrigin
from fleet2mqtt.errors import CommandError, Rejected
from tests.platforms.context import Shared
from tests.platforms.smart_gateway.connected import OTHER, SN, calls, simulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet2mqtt.simulators.smart_gateway.app import Simulator
    from tests.platforms.context import Run

GIVE, TAKE, CHANGE = (f"/api/v1/device/{name}Mapping" for name in ("add", "delete", "edit"))
X, Y = SN.lower(), OTHER.lower()
FREE = "7fa20c64d9b83e15a07"
HELD = "ebfa83fe9b9aa6a83fe"


@pytest.fixture
async def site() -> AsyncIterator[tuple[Simulator, Run]]:
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.fault_injector.calls.clear()
        yield simulator, run


def _id(uuid: str) -> str:
    return f"branch_mapping_{uuid}"


async def test_what_a_rule_shows(site: tuple[Simulator, Run]) -> None:
    _, run = site
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


async def test_a_new_address_of_an_assigned_rule(site: tuple[Simulator, Run]) -> None:
    simulator, run = site
    assert await run.write(_id(HELD), "subnet_ip", "192.168.4.77") is None
    assert [call.body for call in calls(simulator, CHANGE)] == [{"rule": HELD, "sn": SN, "ip": "192.168.4.77"}]
    assert (await run.read(_id(HELD))).state["subnet_ip"] == "192.168.4.77"


async def test_an_unassigned_rule_needs_an_address_first(site: tuple[Simulator, Run]) -> None:
    simulator, run = site
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
    assert [call.body for call in calls(simulator, GIVE)] == [{"rule": FREE, "sn": OTHER, "ip": "192.168.184.9"}]
    after = await run.read(_id(FREE))
    assert (after.state["gateway"], after.state["subnet_ip"]) == (Y, "192.168.184.9")
    assert run.state(f"branch_{Y}")["mapping"] == 2


async def test_taking_a_rule_away_keeps_its_address(site: tuple[Simulator, Run]) -> None:
    simulator, run = site
    await run.write(_id(HELD), "gateway", "unassigned")
    assert [call.body for call in calls(simulator, TAKE)] == [{"sn": SN, "rules": [HELD]}]
    after = await run.read(_id(HELD))
    assert (after.state["gateway"], after.state["subnet_ip"]) == ("unassigned", "192.168.4.2")
    assert run.state(f"branch_{X}")["mapping"] == 0
    await run.write(_id(HELD), "gateway", X)
    assert (await run.read(_id(HELD))).state["gateway"] == X


async def test_moving_a_rule_takes_first_and_gives_after(site: tuple[Simulator, Run]) -> None:
    simulator, run = site
    await run.write(_id(HELD), "gateway", Y)
    assert [call.path for call in simulator.fault_injector.calls] == [TAKE, GIVE]
    after = await run.read(_id(HELD))
    assert (after.state["gateway"], after.state["subnet_ip"]) == (Y, "192.168.4.2")


async def test_a_move_that_fails_half_way_says_so(site: tuple[Simulator, Run]) -> None:
    simulator, run = site
    simulator.fault_injector.inject("error", GIVE, code=7006, text="设备已下线")
    with pytest.raises(Rejected, match=f"already unassigned from {SN}") as caught:
        await run.write(_id(HELD), "gateway", Y)
    assert caught.value.code == 7006
    assert (await run.read(_id(HELD))).state["gateway"] == "unassigned"


async def test_giving_that_fails_is_the_vendors_refusal(site: tuple[Simulator, Run]) -> None:
    simulator, run = site
    await run.write(_id(FREE), "subnet_ip", "192.168.4.9")
    simulator.fault_injector.inject("error", GIVE, code=7006, text="设备已下线")
    with pytest.raises(Rejected) as caught:
        await run.write(_id(FREE), "gateway", X)
    assert str(caught.value) == "the device is offline (设备已下线)"


async def test_the_gateway_it_has_already_and_one_that_is_not_there(site: tuple[Simulator, Run]) -> None:
    simulator, run = site
    await run.write(_id(HELD), "gateway", X)
    await run.write(_id(FREE), "gateway", "unassigned")
    with pytest.raises(CommandError) as caught:
        await run.write(_id(FREE), "gateway", "ffff")
    assert caught.value.code == "unknown_gateway"
    assert not simulator.fault_injector.calls


async def test_an_address_outlives_a_restart() -> None:
    shared = Shared()
    async with simulated(shared=shared) as (_, run):
        await run.poll()
        await run.write(_id(FREE), "subnet_ip", "192.168.184.9")
    async with simulated(shared=shared) as (simulator, run):
        await run.poll()
        assert run.state(_id(FREE))["subnet_ip"] == "192.168.184.9"
        await run.write(_id(FREE), "gateway", Y)
        assert calls(simulator, GIVE)[0].body["ip"] == "192.168.184.9"


async def test_an_address_before_the_move_is_the_one_that_is_used(site: tuple[Simulator, Run]) -> None:
    simulator, run = site
    await run.write(_id(HELD), "subnet_ip", "192.168.4.88")
    await run.write(_id(HELD), "gateway", Y)
    assert calls(simulator, GIVE)[0].body["ip"] == "192.168.4.88"


async def test_a_rule_that_left_is_forgotten(site: tuple[Simulator, Run]) -> None:
    simulator, run = site
    simulator.remove_rule(HELD)
    await run.poll("mappings")
    ids = run.ids("mappings")
    assert ids is not None
    assert len(ids) == 2
    assert _id(HELD) not in ids
