"""The entity `problem`: the list's status where it has one, else the active alarms (faults 3.1, 3.2)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.platforms.context import Shared
from tests.platforms.thingscloud.alarms import NOW, OLD, ago, log_item, project_with_logs, webhook
from tests.platforms.thingscloud.connected import DEVICE, FIRST, OTHER, restartable, simulated
from tests.platforms.thingscloud.project import Project, running


def raise_(rule: str, ts: int = NOW, **members: Any) -> dict[str, Any]:
    return webhook(rule={"id": rule}, ts=ts, **members)


async def test_problem_stays_while_another_alarm_is_active() -> None:
    """The list prints `alarm: {}`; A and B are raised, B is cleared (faults 3.1)."""
    async with simulated() as (simulator, run):
        await run.poll("devices", "alarms")
        for rule in ("A", "B"):
            simulator.raise_alarm(FIRST, 3, push=False, rule=rule)
        simulator.recover(FIRST, push=False, rule="B")
        await run.poll("alarms", "devices")
        assert run.state()["problem"] == "ON"
        simulator.recover(FIRST, push=False, rule="A")
        await run.poll("alarms", "devices")
        assert run.state()["problem"] == "OFF"


async def test_problem_by_webhooks_stays_while_another_alarm_is_active() -> None:
    async with running(Project()) as run:
        await run.poll("devices")
        run.push("alarm", raise_("A"))
        run.push("alarm", raise_("B", NOW + 1))
        run.push("alarm", raise_("B", NOW + 2, status=0))
        assert run.state()["problem"] == "ON"
        await run.poll("devices")
        assert run.state()["problem"] == "ON"


@pytest.mark.parametrize("reported_by", ["webhook", "log"])
async def test_problem_after_a_restart_comes_from_the_alarms_on_disk(reported_by: str) -> None:
    """A is raised, the bridge restarts, the list prints `alarm: {}` (faults 3.1)."""
    shared = Shared()
    async with restartable(shared) as (simulator, start):
        async with start() as run:
            await run.poll("devices", "alarms")
            if reported_by == "webhook":
                run.push("alarm", webhook(ts=NOW - 60))
            else:
                simulator.raise_alarm(FIRST, 3, push=False)
                await run.poll("alarms")
        async with start() as run:
            await run.poll("devices")
            assert (run.state()["problem"], run.state(OTHER)["problem"]) == ("ON", "ON")
            simulator.recover(FIRST, push=False) if reported_by == "log" else run.push("alarm", webhook(status=0))
            await run.poll("alarms")
            assert run.state()["problem"] == "OFF"


async def test_problem_is_unknown_until_the_log_or_the_list_told() -> None:
    async with running(project_with_logs(OLD)) as run:
        await run.poll("devices")
        assert run.state()["problem"] is None
        await run.poll("alarms")
        assert run.state()["problem"] == "OFF"


async def test_problem_of_an_alarm_before_the_list_was_read() -> None:
    async with running(project_with_logs(log_item("1"), OLD)) as run:
        await run.poll("alarms", "devices")
        assert run.state()["problem"] == "ON"


@pytest.mark.parametrize("emptied", [{}, [], None, ""])
async def test_problem_ends_when_the_list_empties_alarm(emptied: Any) -> None:
    """The list said `{status: 1}` and later `{}` (faults 3.2)."""
    project = Project({"id": FIRST, "name": "甲", "alarm": {"status": 1}})
    async with running(project) as run:
        await run.poll("devices")
        assert run.state()["problem"] == "ON"
        project.item = {"id": FIRST, "name": "甲", "alarm": emptied}
        await run.poll("devices")
        assert run.state()["problem"] == "OFF"


@pytest.mark.parametrize("only_active", [False, True])
async def test_problem_follows_the_status_of_the_list(only_active: bool) -> None:
    async with simulated() as (simulator, run):
        simulator.quirks.alarm_status, simulator.quirks.alarm_only_active = True, only_active
        simulator.raise_alarm(FIRST, 2, push=False)
        await run.poll("devices")
        assert run.state()["problem"] == "ON"
        simulator.recover(FIRST, push=False)
        await run.poll("devices")
        assert run.state()["problem"] == "OFF"


async def test_problem_follows_a_push_until_the_list_is_read_again() -> None:
    project = Project({"id": FIRST, "alarm": {"status": 0}})
    async with running(project) as run:
        await run.poll("devices")
        run.push("alarm", webhook(ts=ago(seconds=5)))
        assert run.state()["problem"] == "ON"
        run.push("alarm", webhook(ts=ago(seconds=4), status=0))
        assert run.state()["problem"] == "OFF"
        run.push("alarm", webhook(ts=ago(seconds=3)))
        await run.poll("devices")
        assert run.devices[DEVICE].state["problem"] == "OFF"
