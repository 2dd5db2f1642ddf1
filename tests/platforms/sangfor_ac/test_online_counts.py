"""Numbers of online users by status and terminal."""

from __future__ import annotations

import pytest

from fleet2mqtt.devices.selection import Override, Selection
from fleet2mqtt.errors import Rejected
from fleet2mqtt.sdk.sweep import MISSED_SWEEPS
from tests.platforms.sangfor_ac.connected import NAME, Refusals, calls, simulated

ONLINE = "online-users"
COUNTS = ("frozen", "pc", "mobile", "multi")


def state_of(state: dict[str, object]) -> dict[str, object]:
    return {name: state.get(f"online_user_{name}", "absent") for name in COUNTS}


async def test_whole_list_tells_terminals_and_only_the_frozen_cost_a_call() -> None:
    async with simulated(devices=40) as (simulator, run):
        await run.poll("online_users")
        users = simulator.online.values()
        terminals = [item["terminal"] for item in users]
        expected = {"frozen": sum(item["frozen"] for item in users)}
        expected |= {"pc": terminals.count(2), "mobile": terminals.count(1), "multi": terminals.count(3)}
        assert state_of(run.state(NAME)) == expected
        assert [call.body["status"] for call in calls(simulator, ONLINE)] == ["all", "frozen"]


async def test_truncated_list_terminals_are_counted_by_the_ac() -> None:
    async with simulated(devices=250) as (simulator, run):
        await run.poll("online_users")
        terminals = [item["terminal"] for item in simulator.online.values()]
        assert terminals.count(2) > 100
        counted = state_of(run.state(NAME))
        assert (counted["pc"], counted["mobile"]) == (terminals.count(2), terminals.count(1))
        assert [call.body["terminal"] for call in calls(simulator, ONLINE)] == ["all", "all", "pc", "mobile", "multi"]


async def test_defaults_cost_one_call_for_the_frozen() -> None:
    async with simulated(selection=Selection()) as (simulator, run):
        await run.poll("online_users")
        assert [call.body["status"] for call in calls(simulator, ONLINE)] == ["frozen"]
        assert run.state(NAME)["online_user_frozen"] == 0
    off = Selection(overrides={"online_user_frozen": Override(enabled=False)})
    async with simulated(selection=off) as (simulator, run):
        await run.poll("online_users")
        assert calls(simulator, ONLINE) == []


async def test_list_fails_counts_are_not_tried_and_unknown_after_three() -> None:
    async with simulated() as (simulator, run):
        await run.poll("status", "online_users")
        simulator.fault_injector.inject("error", f"/v1/{ONLINE}")
        simulator.fault_injector.calls.clear()
        for missed in range(1, MISSED_SWEEPS + 1):
            with pytest.raises(Rejected):
                await run.poll("online_users")
            assert len(calls(simulator, ONLINE)) == missed
            assert (run.state(NAME)["online_user_pc"] is None) is (missed == MISSED_SWEEPS)
        assert state_of(run.state(NAME)) == dict.fromkeys(COUNTS)


async def test_single_count_fails_the_others_are_read() -> None:
    refusals = Refusals()
    async with simulated(devices=250, refusals=refusals) as (simulator, run):
        await run.poll("online_users")
        before = run.state(NAME)["online_user_pc"]
        refusals.statuses["pc"] = 503
        for item in simulator.online.values():
            item["terminal"] = 1
        await run.poll("online_users")
        assert (run.state(NAME)["online_user_pc"], run.state(NAME)["online_user_mobile"]) == (before, 250)
        for _ in range(MISSED_SWEEPS - 1):
            await run.poll("online_users")
        assert (run.state(NAME)["online_user_pc"], run.state(NAME)["online_user_mobile"]) == (None, 250)


async def test_bbc_centre_has_no_counts() -> None:
    async with simulated() as (simulator, run):
        simulator.bbc_centre = True
        await run.poll()
        await run.poll()
        assert state_of(run.state(NAME)) == dict.fromkeys(COUNTS, "absent")
        assert len(calls(simulator, ONLINE)) == 1
