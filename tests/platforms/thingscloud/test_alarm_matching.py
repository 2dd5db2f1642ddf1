"""Alarm matching: the same alarm by webhook and by log, in any order, across restarts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.platforms.context import Shared, once
from tests.platforms.thingscloud.alarms import NOW, OLD, log_item, project_with_logs, webhook
from tests.platforms.thingscloud.connected import FIRST, NAME, SECOND, Run, restartable, simulated
from tests.platforms.thingscloud.project import Project, running
from tests.platforms.thingscloud.simulated import push_receiver

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.simulators.thingscloud import Simulator


def push_logged(simulator: Simulator, run: Run, *at: int) -> None:
    """Deliver what the simulator would have pushed: the newest rows of its log, as webhooks."""
    for index in at:
        row = list(simulator.alarm_logs)[index]
        info = row["alarm_info"]
        rule = {"id": info["rule_id"], "name": info["rule_name"], "notify_text": info["notify_text"]}
        status, level = row["alarm_status"], row["alarm_level"]
        run.push("alarm", webhook(row["device_id"], status=status, level=level, ts=row["create_time"], rule=rule))


@pytest.mark.parametrize(
    "order", ["webhook, log", "log, webhook", "webhook, webhook, log", "log, webhook, log, webhook"]
)
@pytest.mark.parametrize("restart", [False, True])
async def test_alarm_by_webhook_and_log_in_any_order_is_one_event(order: str, restart: bool, tmp_path: Path) -> None:
    steps = order.split(", ")
    events: set[tuple[str, bool]] = set()
    async with restartable(Shared(folder=tmp_path)) as (simulator, start):
        async with start() as run:
            await run.poll("alarms")
            before = set(run.alarm_ids())
        simulator.raise_alarm(FIRST, 2, push=False)
        simulator.recover(FIRST, push=False)
        for life in [[step] for step in steps] if restart else [steps]:
            async with start() as run:
                for step in life:
                    if step == "log":
                        await run.poll("alarms")
                    else:
                        push_logged(simulator, run, -2, -1)
                events |= set(run.alarm_ids())
    assert sorted(cleared for _, cleared in events - before) == [False, True]


async def test_simulator_that_pushes_and_logs_makes_each_alarm_once() -> None:
    async with push_receiver() as (url, received), simulated(push_url=url) as (simulator, run):
        await run.poll("devices", "alarms")
        before = len(run.alarms)
        for _ in range(3):
            simulator.raise_alarm(FIRST, 2)
            simulator.recover(FIRST)
        await simulator.settle()
        for path, body in received:
            run.push(path.rsplit("/", 1)[-1], body)
        assert len(run.alarms) > before
        await run.poll("alarms")
        await run.poll("alarms")
        assert len(run.alarms) == before + 6


async def test_times_that_differ_by_seconds_match() -> None:
    project = project_with_logs(log_item("1", ts=NOW + 4_000), OLD)
    async with running(project) as run:
        (raised,) = run.push("alarm", webhook(ts=NOW)).alarms
        await run.poll("alarms")
        assert set(run.alarms) == {(raised.id, False)}
        project.responses["alarm_logs"]["items"].insert(0, log_item("2", ts=NOW + 12_000))
        await run.poll("alarms")
        assert len(run.alarms) == 2


@pytest.mark.parametrize(
    "different",
    [
        {"device": SECOND},
        {"status": 0},
        {"level": 2},
        {"info": {"rule_id": "r2"}},
        {"ts": NOW + 11_000},
        {"ts": NOW - 11_000},
    ],
)
async def test_alarm_that_differs_in_a_member_is_another(different: dict[str, Any]) -> None:
    async with running(project_with_logs(log_item("1", **different), OLD)) as run:
        run.push("alarm", webhook(ts=NOW))
        await run.poll("alarms")
        assert len(run.alarms) == 2


@pytest.mark.parametrize(
    "same", [{"level": None}, {"level": 0}, {"info": {}}, {"info": {"rule_name": "高温"}}, {"ts": NOW // 1000}]
)
async def test_member_missing_on_one_side_matches(same: dict[str, Any]) -> None:
    async with running(project_with_logs(log_item("1", **same), OLD)) as run:
        run.push("alarm", webhook(ts=NOW))
        await run.poll("alarms")
        assert len(run.alarms) == 1


async def test_several_candidates_are_matched_once_nearest_first() -> None:
    """Three alarms in the log within seconds; the webhook told the first and the last."""
    rows = [log_item(str(at), ts=NOW + at * 3_000, info={}) for at in range(3)]
    async with running(project_with_logs(*rows, OLD)) as run:
        first = run.push("alarm", webhook(ts=NOW)).alarms[0].id
        last = run.push("alarm", webhook(ts=NOW + 6_000)).alarms[0].id
        await run.poll("alarms")
        assert set(run.alarms) == {(first, False), (last, False), (f"{NAME}:1", False)}
        again = run.push("alarm", webhook(ts=NOW + 3_500)).alarms[0].id
        assert again == f"{NAME}:1"
        assert run.push("alarm", webhook(ts=NOW + 3_500)).alarms[0].id == again
        assert run.push("alarm", webhook(ts=NOW + 4_000)).alarms[0].id not in {again, first, last}


async def test_two_rules_at_the_same_time_are_two_alarms() -> None:
    rules = [{"rule_id": "a", "rule_name": "A"}, {"rule_id": "b", "rule_name": "B"}]
    async with running(project_with_logs(log_item("1", info=rules[1]), log_item("2", info=rules[0]), OLD)) as run:
        told = [run.push("alarm", webhook(rule={"id": id_})).alarms[0] for id_ in ("a", "b")]
        await run.poll("alarms")
        assert {id_ for id_, _ in run.alarms} == {alarm.id for alarm in told}


async def test_webhook_older_than_the_checkpoint_is_ignored() -> None:
    async with running(project_with_logs(log_item("1", ts=NOW), OLD)) as run:
        await run.poll("alarms")
        assert run.push("alarm", webhook(ts=NOW - 3_600_000)).alarms == ()
        assert len(run.push("alarm", webhook(ts=NOW + 60_000)).alarms) == 1


@pytest.mark.parametrize("ways", [("webhook", "log"), ("log", "webhook"), ("webhook", "webhook")])
async def test_alarm_after_a_crash_is_not_reported_again(ways: tuple[str, str]) -> None:
    """On disk is what was taken in with the alarm itself, and nothing that was to be written afterwards."""
    project = project_with_logs(log_item("1", ts=NOW + 3_000), OLD)
    told: set[tuple[str, bool]] = set()
    shared = Shared()
    for way in ways:
        async with running(project, shared) as run:
            if way == "webhook":
                told |= {(alarm.id, alarm.cleared) for alarm in run.push("alarm", webhook(ts=NOW)).alarms}
            else:
                async with once(run.backend, "alarms") as updates:
                    async for update in updates:
                        run.accept(update)
                        if update.alarms:
                            break
                told |= set(run.alarm_ids())
            shared = Shared(checkpoints=dict(shared.checkpoints))  # of the run that goes on, nothing counts any more
    assert len(told) == 1


async def test_checkpoint_that_was_not_saved_is_reported_again() -> None:
    shared = Shared()
    async with running(Project(), shared) as run:
        update = run.kind("alarm").accept(json.dumps(webhook()).encode())
        assert not shared.checkpoints  # nobody took it
        await run.poll("alarms")
        assert shared.checkpoints[FIRST] == update.checkpoints[FIRST]


async def test_checkpoint_of_the_log_follows_its_alarms() -> None:
    async with running(project_with_logs(log_item("1"), OLD), Shared()) as run:
        *taken, last = await run.poll("alarms")
        assert [alarm.id for update in taken for alarm in update.alarms] == [f"{NAME}:1"]
        assert not any("" in update.checkpoints for update in taken)
        assert json.loads(last.checkpoints[""])["mark"] == NOW / 1000
        assert await run.poll("alarms") == []
