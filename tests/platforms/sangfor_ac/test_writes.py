"""Entities that write: the requests, and the state that the read-back shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.model import Component, UpdateOrigin
from fleet2mqtt.errors import Ambiguous, CommandError, Rejected
from tests.platforms.sangfor_ac.connected import GROUP, USER, WATCH, calls, simulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet2mqtt.simulators.sangfor_ac.app import Simulator
    from tests.platforms.context import Run

POLICIES, ONLINE = "group/netpolicy", "online-users"


@pytest.fixture
async def allowed() -> AsyncIterator[tuple[Simulator, Run]]:
    async with simulated(watch=WATCH, allow=("user_logout",)) as (simulator, run):
        await run.poll()
        simulator.fault_injector.calls.clear()
        yield simulator, run


async def test_writable_entities_are_complete(allowed: tuple[Simulator, Run]) -> None:
    _, run = allowed
    writable = {(device.id, item.key) for device in run.devices.values() for item in device.entities if item.write}
    policies = ("hello", "policy1", "policy2", "f889ecd9", "8b258a9a")
    assert writable == {(USER, "logout"), *((GROUP, f"netpolicy_{policy}") for policy in policies)}


@pytest.mark.parametrize(
    ("key", "value", "opr", "policy"),
    [
        ("netpolicy_hello", True, "add", "hello"),
        ("netpolicy_policy1", False, "del", "policy1"),
        ("netpolicy_f889ecd9", True, "add", "全员审计"),
    ],
)
async def test_policy_switch_attaches_and_detaches(
    allowed: tuple[Simulator, Run], key: str, value: bool, opr: str, policy: str
) -> None:
    simulator, run = allowed
    assert await run.write(GROUP, key, value) is None
    (call,) = calls(simulator, POLICIES)
    assert (call.method, call.query) == ("POST", {})
    assert {name: call.body[name] for name in ("opr", "group", "policy")} == {
        "opr": opr,
        "group": "/hello",
        "policy": [policy],
    }
    after = await run.read(GROUP)
    assert after.state[key] == ("ON" if value else "OFF")
    others = {"netpolicy_policy1", "netpolicy_policy2"} - {key}
    assert {after.state[other] for other in others} == {"ON"}
    assert [call.method for call in calls(simulator, POLICIES)] == ["POST", "GET"]


async def test_policy_switch_deleted_policy_is_rejected(allowed: tuple[Simulator, Run]) -> None:
    simulator, run = allowed
    simulator.net_policies.pop(0)
    with pytest.raises(Rejected, match="There is no data") as caught:
        await run.write(GROUP, "netpolicy_hello", value=True)
    assert (caught.value.code, caught.value.endpoint) == (1, "POST group/netpolicy")


async def test_policy_switch_policy_for_all_stays_on() -> None:
    async with simulated(watch={"groups": ["/default"]}) as (simulator, run):
        await run.poll("policies", "groups")
        group = run.named("groups", "/default")
        with pytest.raises(Rejected, match="isn't allowed"):
            await run.write(group, "netpolicy_f889ecd9", value=False)
        simulator.silent_protection = True
        await run.write(group, "netpolicy_f889ecd9", value=False)
        assert (await run.read(group)).state["netpolicy_f889ecd9"] == "ON"


async def test_policy_switch_without_effect_shows_in_read_back(allowed: tuple[Simulator, Run]) -> None:
    simulator, run = allowed
    simulator.fault_injector.inject("noop", times=1)
    await run.write(GROUP, "netpolicy_hello", value=True)
    assert (await run.read(GROUP)).state["netpolicy_hello"] == "OFF"


@pytest.mark.parametrize("how", ["lost_answer", "code_missing"])
async def test_policy_switch_lost_response_is_ambiguous(allowed: tuple[Simulator, Run], how: str) -> None:
    simulator, run = allowed
    if how == "code_missing":
        simulator.code_missing = True
    else:
        simulator.fault_injector.inject(how, f"/v1/{POLICIES}", times=1)
    with pytest.raises(Ambiguous):
        await run.write(GROUP, "netpolicy_hello", value=True)
    assert len(calls(simulator, POLICIES)) == 1
    assert (await run.read(GROUP)).state["netpolicy_hello"] == "ON"


async def test_logout_button_ends_every_login(allowed: tuple[Simulator, Run]) -> None:
    simulator, run = allowed
    await run.act("user_login", ip="7.7.7.7", name="a")
    await run.act("user_login", ip="7.7.7.8", name="ab")
    simulator.fault_injector.calls.clear()
    update = await run.write(USER, "logout", None)
    assert update is not None
    assert update.origin is UpdateOrigin.COMMAND
    assert run.state(USER)["online"] == "OFF"
    sent = [(call.query["_method"], call.body.get("ip")) for call in calls(simulator, ONLINE)]
    assert sent == [("GET", None), ("DELETE", "7.7.7.7"), ("DELETE", "1.1.1.1"), ("GET", None)]
    assert "7.7.7.8" in simulator.online
    with pytest.raises(CommandError) as caught:
        await run.write(USER, "logout", None)
    assert caught.value.code == "not_online"


@pytest.mark.parametrize(("fault", "confirmed"), [(None, True), ("noop", False)])
async def test_logout_button_is_confirmed_by_its_effect(
    allowed: tuple[Simulator, Run], fault: str | None, confirmed: bool
) -> None:
    """Defect 3.3."""
    simulator, run = allowed
    button = run.devices[USER].entity("logout")
    assert button is not None
    assert button.confirmed is not None
    if fault is not None:
        simulator.fault_injector.inject(fault, f"/v1/{ONLINE}")
    await run.write(USER, "logout", None)
    assert button.confirmed(await run.read(USER)) is confirmed


async def test_policy_switches_of_one_set_are_written_together(allowed: tuple[Simulator, Run]) -> None:
    """Defect 3.6."""
    simulator, run = allowed
    switch = run.devices[GROUP].entity("netpolicy_hello")
    assert switch is not None
    assert switch.write_group is not None
    values = {"netpolicy_hello": True, "netpolicy_f889ecd9": True, "netpolicy_policy1": False}
    assert {run.devices[GROUP].entity(key).group for key in values} == {"netpolicy"}  # type: ignore[union-attr]
    await switch.write_group(run.backend.client, run.devices[GROUP], values)
    sent = [(call.body["opr"], call.body["policy"]) for call in calls(simulator, POLICIES)]
    assert sent == [("add", ["hello", "全员审计"]), ("del", ["policy1"])]
    after = await run.read(GROUP)
    assert {key: after.state[key] for key in values} == dict(zip(values, ("ON", "ON", "OFF"), strict=True))


@pytest.mark.parametrize("allow", [(), ("group_delete",)])
async def test_logout_button_not_allowed_is_absent(allow: tuple[str, ...]) -> None:
    async with simulated(watch=WATCH, allow=allow) as (_, run):
        await run.poll("online_users")
        assert run.devices[USER].entity("logout") is None


async def test_logout_button_allow_unknown_refuses() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        await run.poll("online_users")
        item = run.devices[USER].entity("logout")
        assert item is not None
        assert item.component is Component.BUTTON
        simulator.fault_injector.calls.clear()
        with pytest.raises(CommandError, match="allow names user_logout") as caught:
            await run.write(USER, "logout", None)
        assert caught.value.code == "not_allowed"
        assert not simulator.fault_injector.calls
