"""Fault isolation: a failing item or call costs the others nothing, and its own values do not stay for good."""

from __future__ import annotations

from contextlib import suppress

import pytest

from fleet2mqtt.errors import AuthenticationError, BackendError, RateLimited, Rejected
from fleet2mqtt.sdk.sweep import MISSED_SWEEPS
from tests.platforms.sangfor_ac.connected import (
    BOUND,
    GROUP,
    HELLO,
    NAME,
    PAIR,
    USER,
    WATCH,
    Refusals,
    calls,
    simulated,
)

GROUPS = ("/default", "/hello", "/hello/world", "/研发部", "/市场部", "/访客")


@pytest.mark.parametrize("status", [403, 404, 500, 503])
async def test_groups_one_is_refused_others_are_read(status: int) -> None:
    """Defect 2.1."""
    refusals = Refusals({"/hello": status})
    async with simulated(watch={"groups": list(GROUPS)}, refusals=refusals) as (simulator, run):
        await run.poll("status", "groups")
        assert {device.vendor_id for device in run.of("groups")} == set(GROUPS) - {"/hello"}
        for _ in range(MISSED_SWEEPS):
            await run.poll("groups")
        reads = [call.query["path"] for call in calls(simulator, "group/netpolicy")]
        assert {path: reads.count(path) for path in GROUPS} == dict.fromkeys(GROUPS, 1 + MISSED_SWEEPS)
        assert not run.devices[run.named("groups", "/hello")].available


@pytest.mark.parametrize("status", [403, 404, 503])
async def test_accounts_one_is_refused_others_are_read(status: int) -> None:
    """Defect 2.1."""
    users = ["a", "zhangwei"]
    async with simulated(devices=2, watch={"users": users}, refusals=Refusals({"a": status})) as (_, run):
        await run.poll("status", "users")
        assert run.state(run.named("users", "zhangwei"))["enable"] == "ON"
        assert not [device for device in run.of("users") if device.vendor_id == "a"]


@pytest.mark.parametrize("status", [403, 503])
async def test_status_call_refused_others_are_read(status: int) -> None:
    """Defect 2.1."""
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("status", "/v1/status/online-user", status=status)
        await run.poll("status")
        assert run.state(NAME)["cpu_usage"] == 12
        assert run.state(NAME)["user_rank"]


async def test_status_every_call_is_refused_next_poll_continues() -> None:
    """Defect 2.1."""
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("status", status=503)
        for _ in range(2):
            with pytest.raises(RateLimited):
                await run.poll("status")
        paths = [call.path for call in simulator.fault_injector.calls]
        assert len(paths) == len(set(paths)) == 6  # three each, others than before


async def test_groups_every_one_is_refused_fails() -> None:
    """Defect 2.1."""
    async with simulated(watch={"groups": list(GROUPS)}) as (simulator, run):
        simulator.fault_injector.inject("status", "/v1/group/netpolicy", status=403)
        with pytest.raises(AuthenticationError):
            await run.poll("groups")


async def test_group_missed_three_times_is_unavailable_until_it_answers() -> None:
    """Defect 2.3."""
    refusals = Refusals()
    async with simulated(watch={"groups": ["/default", "/hello"]}, refusals=refusals) as (_, run):
        await run.poll("status", "policies", "groups")
        refusals.statuses["/hello"] = 503
        for missed in range(1, MISSED_SWEEPS + 1):
            await run.poll("groups")
            assert run.devices[GROUP].available is (missed < MISSED_SWEEPS)
        refusals.statuses.clear()
        await run.poll("groups")
        assert run.devices[GROUP].available
        assert run.state(GROUP)["netpolicy"] == 2


async def test_figure_missed_three_times_is_unknown_until_it_answers() -> None:
    """Defect 2.3."""
    async with simulated(throughput={"interfaces": ["eth0"]}) as (simulator, run):
        await run.poll("status")
        assert run.state(NAME)["throughput_eth0_send"] == 10_000_000
        for path in ("cpu-usage", "throughput", "sys-time", "user-rank"):
            simulator.fault_injector.inject("error", f"/v1/status/{path}")
        keys = ("cpu_usage", "throughput_send", "throughput_eth0_send", "sys_time", "user_rank")
        for missed in range(1, MISSED_SWEEPS + 1):
            await run.poll("status")
            known = {run.state(NAME).get(key) is not None for key in keys}
            assert known == {missed < MISSED_SWEEPS}
        simulator.fault_injector.clear()
        await run.poll("status")
        assert {run.state(NAME).get(key) is not None for key in keys} == {True}


async def test_channels_missed_three_times_are_unavailable_until_they_answer() -> None:
    """Defect 2.3."""
    async with simulated() as (simulator, run):
        await run.poll("status", "policies")
        simulator.fault_injector.inject("error", "/v1/policy/fluxpolicy")
        for missed in range(1, MISSED_SWEEPS + 1):
            await run.poll("policies")
            assert {device.available for device in run.of("flux_policies")} == {missed < MISSED_SWEEPS}
            assert run.devices[HELLO].available
        simulator.fault_injector.clear()
        await run.poll("policies")
        assert {device.available for device in run.of("flux_policies")} == {True}


async def test_account_missed_three_times_is_unknown_and_presence_stays() -> None:
    """Defect 2.3."""
    refusals = Refusals()
    async with simulated(watch={"users": ["a", "zhangwei"]}, refusals=refusals) as (_, run):
        await run.poll("status", "online_users", "users")
        refusals.statuses["a"] = 503
        for missed in range(1, MISSED_SWEEPS + 1):
            await run.poll("users")
            assert run.state(USER)["enable"] == ("ON" if missed < MISSED_SWEEPS else None)
        assert run.state(USER)["online"] == "ON"
        assert run.devices[USER].entity("enable") is not None


@pytest.mark.parametrize("primary_fails", [False, True])
async def test_presence_and_libraries_missed_three_times_are_unknown(primary_fails: bool) -> None:
    """Defect 2.3: on devices that other sources read as well; while the whole AC fails they stay."""
    async with simulated(watch={"users": ["a"]}, primary_fails=lambda: primary_fails) as (simulator, run):
        await run.poll()
        entities = {entity.key for entity in run.devices[NAME].entities}
        for path in ("online-users", "status/insidelib"):
            simulator.fault_injector.inject("error", f"/v1/{path}")
        for missed in range(1, MISSED_SWEEPS + 1):
            for source in ("online_users", "libraries"):
                with pytest.raises(Rejected):
                    await run.poll(source)
            known = missed < MISSED_SWEEPS or primary_fails
            assert run.state(USER)["online"] == ("ON" if known else None)
            assert run.state(NAME)["library_kav_current"] == ("2021-09-01" if known else None)
        assert run.state(USER)["enable"] == "ON"
        assert {entity.key for entity in run.devices[NAME].entities} == entities
        simulator.fault_injector.clear()
        await run.poll("online_users", "libraries")
        assert (run.state(USER)["online"], run.state(NAME)["library_kav_enable"]) == ("ON", "ON")


async def test_pair_missed_three_times_is_unknown_and_user_bindings_stay() -> None:
    """Defect 2.3."""
    async with simulated(watch=WATCH) as (simulator, run):
        await run.poll("status", "bindings")
        simulator.fault_injector.inject("error", "/v1/ipmac-bindinfo")
        for missed in range(1, MISSED_SWEEPS + 1):
            with suppress(BackendError):
                await run.poll("bindings")
            assert run.state(BOUND)["user_bindings"] == 3
            assert run.state(PAIR)["mac"] == ("11-11-11-11-11-11" if missed < MISSED_SWEEPS else None)
            assert run.state(PAIR)["user_bindings"] == 1


async def test_presence_one_search_fails_others_are_known() -> None:
    """Defect 2.1."""
    refusals = Refusals({"a,zhangwei": 503, "zhangwei": 503})
    async with simulated(devices=250, watch={"users": ["a", "zhangwei"]}, refusals=refusals) as (_, run):
        await run.poll("status", "online_users")
        assert run.state(USER)["online"] == "ON"
        assert not [device for device in run.of("users") if device.vendor_id == "zhangwei"]


async def test_missing_call_counts_only_where_no_item_is_answered() -> None:
    """Defect 2.1: a format error for one group is none of the whole call."""
    async with simulated(watch={"groups": ["/hello", "/default"]}, refusals=Refusals({"/hello": 404})) as (_, run):
        await run.poll("status", "groups")
        assert run.state(run.named("groups", "/default"))["netpolicy"] == 1
        await run.poll("groups")
        assert run.state(run.named("groups", "/default"))["netpolicy"] == 1
