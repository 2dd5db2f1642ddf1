"""Call selection: no calls for what the options exclude or disable, on every level of entities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.selection import Detail, Override, Rule, Selection
from tests.platforms.sangfor_ac.connected import BOUND, GROUP, NAME, PAIR, USER, WATCH, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.app import Simulator

LOADS = ("cpu-usage", "mem-usage", "disk-usage", "bandwidth-usage")
FIGURES = {f"status/{name}" for name in ("version", "sys-time", *LOADS)}
MINIMAL = {
    *FIGURES,
    *("status/insidelib", "online-users", "policy/netpolicy", "policy/fluxpolicy", "group/netpolicy", "user"),
    "bindinfo/user-bindinfo",
}
STANDARD = {*MINIMAL, "status/online-user", "status/session-num", "status/throughput", "ipmac-bindinfo"}
FULL = {*STANDARD, "status/log", "status/user-rank", "status/app-rank"}


def paths(simulator: Simulator) -> set[str]:
    return {call.path.removeprefix("/v1/") for call in simulator.fault_injector.calls}


async def called(watch: dict[str, Any] = WATCH, **selection: Any) -> set[str]:
    """Return the paths that two polls of all sources call."""
    async with simulated(watch=watch, selection=Selection(**selection)) as (simulator, run):
        await run.poll()
        await run.poll()
        return paths(simulator)


@pytest.mark.parametrize(
    ("level", "expected"), [(Detail.MINIMAL, MINIMAL), (Detail.STANDARD, STANDARD), (Detail.FULL, FULL)]
)
async def test_level_decides_which_calls_are_made(level: Detail, expected: set[str]) -> None:
    assert await called(entities=level) == expected


@pytest.mark.parametrize(("level", "number"), [(Detail.MINIMAL, 6), (Detail.STANDARD, 10), (Detail.FULL, 14)])
async def test_level_without_watched_users_costs_calls_every_minute(level: Detail, number: int) -> None:
    async with simulated(selection=Selection(entities=level)) as (simulator, run):
        await run.poll("status", "online_users")
        assert len(simulator.fault_injector.calls) == number


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("session_num", "status/session-num"),
        ("online_user", "status/online-user"),
        ("cpu_usage", "status/cpu-usage"),
        ("policy_enable", "policy/fluxpolicy"),
    ],
)
async def test_override_that_disables_saves_the_call(key: str, path: str) -> None:
    assert STANDARD - await called(overrides={key: Override(enabled=False)}) == {path}


async def test_override_that_enables_costs_the_call() -> None:
    enabled = {key: Override(enabled=True) for key in ("log_block", "user_rank")}
    assert await called(overrides=enabled) - STANDARD == {"status/log", "status/user-rank"}


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("flux_policy", {"policy/fluxpolicy"}),
        ("net_policy", set()),  # the switches of the watched group need the list
        ("user_group", {"group/netpolicy"}),
        ("user", {"user"}),
        ("binding", {"bindinfo/user-bindinfo", "ipmac-bindinfo"}),
    ],
)
async def test_kind_excluded_is_not_called_for(kind: str, lost: set[str]) -> None:
    assert STANDARD - await called(exclude=(Rule(kind=kind),)) == lost


async def test_policies_excluded_without_groups_are_not_called_for() -> None:
    rules = (Rule(kind="net_policy"), Rule(kind="flux_policy"))
    async with simulated(selection=Selection(exclude=rules)) as (simulator, run):
        await run.poll()
        assert not {path for path in paths(simulator) if path.startswith("policy/")}
        assert {device.scope for device in run.devices.values()} == {"backend"}


async def test_switches_disabled_need_the_list_of_policies_once() -> None:
    selection = Selection(entities=Detail.MINIMAL, exclude=(Rule(kind="net_policy"),))
    async with simulated(watch=WATCH, selection=selection) as (simulator, run):
        await run.poll()
        await run.poll("policies", "groups")
        assert [call.path for call in simulator.fault_injector.calls].count("/v1/policy/netpolicy") == 1
        assert run.state(GROUP)["netpolicy"] == 2
        assert run.ids("groups") == {GROUP}


async def test_single_watched_items_are_selected_by_name_and_id() -> None:
    rules = (Rule(kind="user", id="a"), Rule(kind="binding", name="Binding 1.1.1.*"))
    async with simulated(watch=WATCH, selection=Selection(exclude=rules)) as (simulator, run):
        await run.poll()
        assert not {USER, PAIR} & run.devices.keys()
        assert {GROUP, BOUND} <= run.devices.keys()
        asked = [call.query.get("search") for call in simulator.fault_injector.calls if "bindinfo" in call.path]
        assert asked == ["a"]
        assert not [call for call in simulator.fault_injector.calls if call.path == "/v1/user"]
        assert (run.ids("users"), run.ids("bindings")) == (set(), {BOUND})
    only = Selection(include=(Rule(kind="binding", id="1.1.1.2"),))
    async with simulated(watch=WATCH, selection=only) as (_, run):
        await run.poll()
        assert run.ids("bindings") == {PAIR}


async def test_watched_devices_have_kinds() -> None:
    async with simulated(watch=WATCH) as (_, run):
        await run.poll()
        kinds = {device.scope: device.kind for device in run.devices.values()}
        assert kinds == {
            "backend": None,
            "net_policies": "net_policy",
            "flux_policies": "flux_policy",
            "groups": "user_group",
            "users": "user",
            "bindings": "binding",
        }


async def test_libraries_all_disabled_are_called_for_once() -> None:
    fields = ("update", "current", "new", "enable", "expire", "is_expired")
    keys = [f"library_{name}_{field}" for name in ("kav", "url", "up", "contchk", "trace") for field in fields]
    selection = Selection(overrides={key: Override(enabled=False) for key in keys})
    async with simulated(selection=selection) as (simulator, run):
        await run.poll("libraries")
        await run.poll("libraries")
        assert [call.path for call in simulator.fault_injector.calls] == ["/v1/status/insidelib"]


async def test_entities_without_a_call_stay_disabled_and_unknown() -> None:
    async with simulated(selection=Selection(), throughput={"interfaces": ["eth0"]}) as (_, run):
        await run.poll()
        state = run.state(NAME)
        skipped = ("log_block", "log_record", "user_rank", "app_rank", "online_user_pc")
        assert {key: state[key] for key in skipped} == dict.fromkeys(skipped)
        assert state["throughput_eth0_send"] is not None


async def test_interface_disabled_is_not_called_for() -> None:
    disabled = {f"throughput_eth0_{way}": Override(enabled=False) for way in ("send", "recv")}
    interfaces = {"interfaces": ["eth0", "eth1"]}
    async with simulated(selection=Selection(overrides=disabled), throughput=interfaces) as (simulator, run):
        await run.poll("status")
        filters = [call.body["filter"] for call in simulator.fault_injector.calls if "throughput" in call.path]
        assert [each.get("interface") for each in filters] == [None, "eth1"]


async def test_read_back_makes_no_call_for_what_is_disabled() -> None:
    async with simulated(watch=WATCH, selection=Selection(entities=Detail.MINIMAL)) as (simulator, run):
        await run.poll()
        simulator.fault_injector.calls.clear()
        await run.read(PAIR)
        assert paths(simulator) == {"bindinfo/user-bindinfo"}
