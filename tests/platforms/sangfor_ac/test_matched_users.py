"""Matched users: patterns of `watch.users`, expanded against the online users."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.selection import Rule, Selection
from fleet2mqtt.platforms.sangfor_ac.matched_users import KEPT, MatchedUsers, is_pattern, literal_part
from tests.platforms.sangfor_ac.connected import NAME, calls, simulated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleet2mqtt.simulators.sangfor_ac.app import Simulator
    from tests.platforms.context import Run

TODAY = date(2026, 11, 28)
ONLINE = "online-users"
SILENT = Selection()


def matched(*patterns: str, limit: int = 3) -> MatchedUsers:
    return MatchedUsers(backend="ac", patterns=patterns, limit=limit)


def apply(users: MatchedUsers, *online: str, day: date = TODAY, excluded: Iterable[str] = ()) -> frozenset[str] | None:
    return users.apply(online, day, lambda name: name not in excluded)


def log_in(simulator: Simulator, *names: str) -> None:
    for number, name in enumerate(names):
        simulator.log_in(f"10.8.{len(simulator.online)}.{number + 1}", name)


def online(run: Run) -> dict[str, Any]:
    return {device.vendor_id: device.state.get("online") for device in run.of("users")}


def test_pattern_is_a_name_with_wildcards() -> None:
    assert [is_pattern(name) for name in ("it-*", "it-?", "it-[ab]", "it-a", "张伟")] == [True] * 3 + [False] * 2


@pytest.mark.parametrize(
    ("pattern", "part"), [("it-*", "it-"), ("*-admin-?", "-admin-"), ("[ab]c", "c"), ("*", ""), ("a*bb*", "bb")]
)
def test_literal_part_is_the_longest_without_wildcards(pattern: str, part: str) -> None:
    assert literal_part(pattern) == part


def test_apply_compares_without_case_and_keeps_users_who_went_offline() -> None:
    users = matched("it-*")
    assert apply(users, "IT-bob", "sales-ann", "it-eve") == frozenset()
    assert apply(users, "it-eve") is None
    assert users.names == ("IT-bob", "it-eve")


def test_apply_beyond_the_limit_logs_once_and_watches_no_more(caplog: pytest.LogCaptureFixture) -> None:
    users = matched("*", limit=2)
    for _ in range(2):
        apply(users, "a", "b", "c", "d")
    assert users.names == ("a", "b")
    (record,) = caplog.records
    message = "ac: 2 online users match watch.users beyond the limit of 2 and are not watched: raise watch.max_users"
    assert record.getMessage().startswith(message)


def test_apply_forgets_users_who_were_not_online_for_long() -> None:
    users = matched("*", limit=2)
    apply(users, "a", "b")
    assert apply(users, "b", day=TODAY + KEPT) == frozenset()
    assert apply(users, "b", "c", day=TODAY + KEPT + timedelta(days=1)) == frozenset("a")
    assert users.names == ("b", "c")


def test_apply_excluded_user_does_not_count() -> None:
    users = matched("*", limit=1)
    apply(users, "a", "b", excluded=["a"])
    assert users.names == ("b",)


def test_load_restores_what_still_matches() -> None:
    users, later = matched("it-*", "hr-*"), matched("it-*")
    apply(users, "it-bob", "hr-ann")
    later.load(users.dump())
    assert later.names == ("it-bob",)
    later.load(None)
    assert not later.names


async def test_online_users_that_match_become_devices_and_stay_offline() -> None:
    async with simulated(watch={"users": ["a", "it-*"]}, selection=SILENT) as (simulator, run):
        log_in(simulator, "it-bob", "it-eve", "sales-ann")
        await run.poll("online_users")
        assert online(run) == {"a": "ON", "it-bob": "ON", "it-eve": "ON"}
        (listed, _) = calls(simulator, ONLINE)
        assert "filter" not in listed.body
        simulator.online.pop(next(ip for ip, item in simulator.online.items() if item["name"] == "it-bob"))
        await run.poll("online_users")
        assert online(run)["it-bob"] == "OFF"
        assert run.ids("users") == {f"{NAME}_user_a", run.named("users", "it-bob"), run.named("users", "it-eve")}


async def test_matched_user_offline_at_a_restart_stays() -> None:
    checkpoints: dict[str, str] = {}
    options: dict[str, Any] = {"watch": {"users": ["it-*"]}, "checkpoints": checkpoints, "selection": SILENT}
    async with simulated(**options) as (simulator, run):
        log_in(simulator, "it-bob")
        await run.poll("online_users")
    async with simulated(**options) as (_, run):
        await run.poll("online_users")
        assert online(run) == {"it-bob": "OFF"}
        assert run.ids("users") == {run.named("users", "it-bob")}
    async with simulated(**options | {"watch": {"users": ["hr-*"]}}) as (_, run):
        await run.poll("online_users")
        assert (online(run), run.ids("users")) == ({}, set())


async def test_truncated_list_is_searched_by_the_literal_part() -> None:
    async with simulated(devices=250, watch={"users": ["it-*"]}, selection=SILENT) as (simulator, run):
        log_in(simulator, "it-bob")
        await run.poll("online_users")
        assert online(run) == {"it-bob": "ON"}
        filters = [call.body["filter"] for call in calls(simulator, ONLINE) if "filter" in call.body]
        assert filters == [{"type": "user", "value": ["it-"]}]
        await run.poll("online_users")
        assert [call.body["filter"] for call in calls(simulator, ONLINE) if "filter" in call.body][1:] == [
            {"type": "user", "value": ["it-bob", "it-"]}
        ]


async def test_limit_of_the_option_bounds_devices(caplog: pytest.LogCaptureFixture) -> None:
    async with simulated(watch={"users": ["it-*"], "max_users": 2}, selection=SILENT) as (simulator, run):
        log_in(simulator, *(f"it-{number}" for number in range(5)))
        await run.poll("online_users")
        assert len(online(run)) == 2
        assert "beyond the limit of 2" in caplog.text


async def test_matched_users_excluded_are_not_called_for() -> None:
    selection = Selection(exclude=(Rule(kind="user", id="it-bot*"),))
    async with simulated(watch={"users": ["it-*"]}, selection=selection) as (simulator, run):
        log_in(simulator, "it-bob", "it-bot-1")
        await run.poll("online_users", "users")
        assert online(run) == {"it-bob": "ON"}
        assert [call.query["name"] for call in calls(simulator, "user")] == ["it-bob"]


async def test_kind_user_excluded_makes_patterns_cost_nothing() -> None:
    selection = Selection(exclude=(Rule(kind="user"),))
    async with simulated(watch={"users": ["it-*"]}, selection=selection) as (simulator, run):
        await run.poll("online_users", "users")
        assert [call.body["status"] for call in calls(simulator, ONLINE)] == ["frozen"]
