"""Alarms by webhook and by log, and the backfill of those that were missed."""

from __future__ import annotations

import json
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from fleet2mqtt.devices.model import Severity, Update, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse
from tests.platforms.context import Shared
from tests.platforms.thingscloud.alarms import NOW, OLD, ago, ids, log_item, project_with_logs, webhook
from tests.platforms.thingscloud.connected import DEVICE, FIRST, NAME, OTHER, SECOND, calls, restartable, simulated
from tests.platforms.thingscloud.project import Project, running

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


# What an alarm says


async def test_log_item_becomes_an_alarm() -> None:
    async with simulated() as (simulator, run):
        row = simulator.raise_alarm(FIRST, 2, push=False)
        await run.poll("devices", "alarms")
        alarm = run.alarms[f"{NAME}:{row['id']}", False]
        assert (alarm.device, alarm.backend, alarm.source) == (DEVICE, NAME, UpdateOrigin.POLL)
        assert (alarm.severity, alarm.level) == (Severity.MAJOR, "2")
        assert (alarm.active, alarm.cleared) == (True, False)
        info = row["alarm_info"]
        assert (alarm.name, alarm.code, alarm.alarm_key) == (info["rule_name"], info["rule_id"], info["rule_id"])
        assert alarm.description == info["notify_text"]
        assert alarm.raised_at.utcoffset() == timedelta(hours=8)
        assert abs(alarm.raised_at.timestamp() * 1000 - row["create_time"]) < 1000
        over = simulator.recover(FIRST, push=False)
        await run.poll("alarms")
        ended = run.alarms[f"{NAME}:{over['id']}", True]
        assert (ended.cleared, ended.active, ended.alarm_key) == (True, True, alarm.alarm_key)


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        (3, Severity.CRITICAL),
        ("2", Severity.MAJOR),
        (1, Severity.MINOR),
        (7, Severity.INDETERMINATE),
        (None, Severity.CRITICAL),
    ],
)
async def test_level_becomes_a_severity(level: Any, severity: Severity) -> None:
    async with running(Project()) as run:
        (alarm,) = run.push("alarm", webhook(level=level)).alarms
        assert (alarm.severity, alarm.level) == (severity, str(level or 3))
        assert (alarm.name, alarm.code, alarm.description) == ("高温", "r1", "太热了")
        (alarm,) = run.push("alarm", webhook(level=None, rule={}, ts=NOW - 60_000)).alarms
        assert (alarm.severity, alarm.level, alarm.name) == (Severity.INDETERMINATE, "", "alarm")


@pytest.mark.parametrize(
    "info", [{}, [], None, {"rule": {"id": "r1", "name": "高温"}}, {"alarm_rule": {"name": "高温"}}]
)
async def test_alarm_info_of_any_shape_is_accepted(info: Any) -> None:
    row = log_item("1") | {"alarm_info": info}
    async with running(project_with_logs(row, OLD)) as run:
        await run.poll("alarms")
        (alarm,) = run.alarms.values()
        assert alarm.name == ("高温" if info else "alarm")
        assert alarm.alarm_key == {"rule": "r1", "alarm_rule": "高温"}.get(next(iter(info or {}), ""), "device")


@pytest.mark.parametrize("time", [None, "", "soon", 0])
async def test_log_item_without_time_is_raised_now(time: Any) -> None:
    async with running(project_with_logs(log_item("1", ts=time), OLD)) as run:
        before = datetime.now(UTC)
        await run.poll("alarms")
        await run.poll("alarms")
        (alarm,) = run.alarms.values()
        assert before <= alarm.raised_at <= datetime.now(UTC)


async def test_log_item_without_device_or_id_is_ignored() -> None:
    nameless = log_item("1", device=None) | {"device": {"id": FIRST}}
    async with running(project_with_logs(nameless, log_item("", ts=NOW), log_item("2", device=""), "x", OLD)) as run:
        await run.poll("alarms")
        assert ids(run) == ["1"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        webhook(ts=None),
        webhook("") | {"device": {}},
        webhook() | {"device": None},
        webhook() | {"alarm": []},
        {},
    ],
)
async def test_invalid_webhook_is_refused(body: Any) -> None:
    async with running(Project()) as run:
        push = run.kind("alarm")
        with pytest.raises(InvalidResponse) as refused:
            run.push("alarm", body)
        assert json.loads(push.failure(str(refused.value))) == {"result": False, "message": str(refused.value)}
        assert json.loads(push.success) == {"result": True}


async def test_webhook_with_device_key_and_text_time_is_accepted() -> None:
    async with running(Project({"id": FIRST, "device_key": "K"})) as run:
        await run.poll("devices")
        said = webhook(ts=None) | {"device": {"device_key": "K"}}
        said["alarm"]["ts_text"] = "2026-03-01 12:00:00"
        (alarm,) = run.push("alarm", said).alarms
        assert (alarm.device, alarm.raised_at.isoformat()) == (DEVICE, "2026-03-01T12:00:00+08:00")


async def test_alarm_sets_problem() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "alarms")
        assert run.state()["problem"] == "OFF"
        run.push("alarm", webhook(ts=ago(minutes=5)))
        assert run.state()["problem"] == "ON"
        run.push("alarm", webhook(ts=ago(hours=1), status=0))  # older than the raise
        assert run.state()["problem"] == "ON"
        run.push("alarm", webhook(ts=ago(minutes=1), status=0))
        assert run.state()["problem"] == "OFF"
        simulator.raise_alarm(FIRST, 1, push=False)
        await run.poll("alarms")
        assert run.state()["problem"] == "ON"


# None lost


async def test_alarm_that_was_not_saved_is_reported_again() -> None:
    async with simulated() as (simulator, run):
        simulator.raise_alarm(FIRST, 2, push=False)
        source = run.source("alarms")
        async with aclosing(cast("AsyncGenerator[Update, None]", source.poll())) as updates:
            async for lost in updates:
                assert lost.alarms  # the outbox is full: nobody comes back for more
                break
        await run.poll("alarms")
        assert {alarm.id for alarm in lost.alarms} <= {id_ for id_, _ in run.alarms}
        before = len(run.updates)
        await run.poll("alarms")
        assert not any(update.alarms for update in run.updates[before:])


async def test_first_poll_reads_two_days() -> None:
    project = project_with_logs(log_item("recent", ts=ago(hours=47)), log_item("old", ts=ago(hours=49)))
    async with running(project) as run:
        await run.poll("alarms")
        assert ids(run) == ["recent"]
        assert [alarm.backlog for alarm in run.alarms.values()] == [True]  # from before the bridge's time (faults 3.13)
        project.responses["alarm_logs"]["items"].insert(0, log_item("new", info={"rule_id": "r2"}))
        await run.poll("alarms")
        assert run.alarms[f"{NAME}:new", False].backlog is False
        assert [path for _, path, _ in project.requests] == ["access_token", "alarm_logs", "alarm_logs"]


async def test_alarms_during_downtime_are_read(tmp_path: Path) -> None:
    async with restartable(Shared(folder=tmp_path)) as (simulator, start):
        async with start() as run:
            await run.poll("alarms")
        missed = [simulator.raise_alarm(FIRST, 3, push=False), simulator.recover(FIRST, push=False)]
        own = f"device/{FIRST}/alarm_logs"
        before = len(calls(simulator, own))
        async with start() as run:
            await run.poll("alarms")
            assert {f"{NAME}:{row['id']}" for row in missed} <= {id_ for id_, _ in run.alarms}
        assert len(calls(simulator, own)) == before  # the log reached back far enough


async def test_truncated_log_is_completed_from_device_logs(tmp_path: Path) -> None:
    async with restartable(Shared(folder=tmp_path), devices=25) as (simulator, start):
        vendor_ids = list(simulator.devices)
        async with start() as run:
            await run.poll("alarms")
            for _ in range(2):
                await run.poll("alarms")
            assert all(len(calls(simulator, f"device/{vendor_id}/alarm_logs")) <= 1 for vendor_id in vendor_ids)
        missed = [simulator.raise_alarm(vendor_id, 1, push=False)["id"] for vendor_id in vendor_ids]
        simulator.alarm_logs_shown = 3
        async with start() as run:
            await run.poll("alarms")
            first = {id_.removeprefix(f"{NAME}:") for id_, _ in run.alarms} & set(missed)
            assert 20 <= len(first) < 25
        async with start() as run:  # it was not over, so it begins again
            for _ in range(3):
                await run.poll("alarms")
            assert {f"{NAME}:{id_}" for id_ in missed} <= {id_ for id_, _ in run.alarms}
            asked = len(simulator.fault_injector.calls)
            await run.poll("alarms")
            assert len(simulator.fault_injector.calls) - asked == 1


async def test_failed_device_log_is_read_again_but_a_refused_one_is_not() -> None:
    async with simulated(devices=4) as (simulator, run):
        third = list(simulator.devices)[2]
        simulator.alarm_logs_shown = 1
        simulator.fault_injector.inject("malformed", f"*/{FIRST}/alarm_logs", times=1)
        simulator.fault_injector.inject("error", f"*/{third}/alarm_logs", code=404)
        await run.poll("alarms")
        await run.poll("alarms")
        assert len(calls(simulator, f"device/{FIRST}/alarm_logs")) == 2
        assert len(calls(simulator, f"device/{third}/alarm_logs")) == 1
        newest = next(row for row in reversed(simulator.alarm_logs) if row["device_id"] == FIRST)
        assert newest["id"] in ids(run)


async def test_log_with_page_total_is_read_to_its_end() -> None:
    project = project_with_logs(log_item("1"), total=1, page_total=2)
    async with running(project) as run:
        await run.poll("alarms")
        assert [path for _, path, _ in project.requests if "alarm_logs" in path] == ["alarm_logs"] * 2
        assert ids(run) == ["1"]


async def test_empty_log_keeps_the_checkpoint() -> None:
    shared = Shared()
    async with running(project_with_logs(log_item("1"), OLD), shared) as run:
        await run.poll("alarms")
    checkpoints = dict(shared.checkpoints)
    project = project_with_logs()
    async with running(project, shared) as run:
        await run.poll("alarms")
        assert shared.checkpoints == checkpoints
        project.responses["alarm_logs"] = {"items": [log_item("2", ts=NOW + 60_000), log_item("1")]}
        await run.poll("alarms")
        assert "2" in ids(run)


# What stands


@pytest.mark.parametrize("info", [{}, {"rule_name": "高温"}, {"rule_id": "r1"}])
async def test_alarm_raised_by_webhook_is_cleared_by_log(info: dict[str, Any]) -> None:
    shared = Shared()
    async with running(Project(), shared) as run:
        (raised,) = run.push("alarm", webhook(ts=NOW)).alarms
    async with running(project_with_logs(log_item("over", status=0, ts=NOW + 60_000, info=info), OLD), shared) as run:
        await run.poll("alarms")
        (ended,) = run.alarms.values()
        assert (ended.cleared, ended.alarm_key) == (True, raised.alarm_key)
        assert raised.alarm_key == "r1"


async def test_alarm_without_rule_is_cleared_by_one_with_rule() -> None:
    project = project_with_logs(log_item("1", info={}), OLD)
    async with running(project) as run:
        await run.poll("alarms")
        (ended,) = run.push("alarm", webhook(status=0, ts=NOW + 60_000)).alarms
        assert (run.alarms[f"{NAME}:1", False].alarm_key, ended.alarm_key) == ("device", "device")
        (nothing,) = run.push("alarm", webhook(status=0, ts=NOW + 120_000)).alarms
        assert nothing.alarm_key == "r1"


async def test_alarms_of_several_rules_are_cleared_separately() -> None:
    async with running(Project()) as run:
        for at, rule in enumerate(("a", "b")):
            run.push("alarm", webhook(rule={"id": rule}, ts=NOW + at))
        (ended,) = run.push("alarm", webhook(rule={"id": "b"}, status=0, ts=NOW + 60_000)).alarms
        assert ended.alarm_key == "b"
        (oldest,) = run.push("alarm", webhook(rule={}, status=0, ts=NOW + 70_000)).alarms
        assert oldest.alarm_key == "a"


async def test_alarm_raised_and_cleared_within_a_second_is_not_active() -> None:
    """The log is listed newest first, with times in seconds: the clear must not be taken for the earlier one."""
    both = [log_item("2", status=0, ts=NOW // 1000), log_item("1", ts=NOW // 1000)]
    async with running(project_with_logs(*both, OLD)) as run:
        await run.poll("devices", "alarms")
        assert [(id_, cleared) for id_, cleared in run.alarms] == [(f"{NAME}:1", False), (f"{NAME}:2", True)]
        assert run.state()["problem"] == "OFF"


async def test_log_item_that_changes_to_cleared_clears_its_alarm() -> None:
    project = project_with_logs(log_item("1", ts=ago(hours=1)), OLD)
    async with running(project) as run:
        await run.poll("alarms")
        newer = log_item("2", ts=NOW, info={"rule_id": "r2"})
        project.responses["alarm_logs"]["items"] = [newer, log_item("1", ts=ago(hours=1), status=0), OLD]
        await run.poll("alarms")
        assert run.alarm_ids() == [(f"{NAME}:1", False), (f"{NAME}:1", True), (f"{NAME}:2", False)]
        ended = run.alarms[f"{NAME}:1", True]
        assert ended.alarm_key == run.alarms[f"{NAME}:1", False].alarm_key
        await run.poll("alarms")
        assert len(run.alarms) == 3


async def test_alarm_of_an_unlisted_device_is_reported() -> None:
    async with simulated(types=["none"]) as (simulator, run):
        simulator.raise_alarm(SECOND, 3, push=False)
        await run.poll("devices", "alarms")
        assert OTHER not in run.devices
        assert OTHER in {alarm.device for alarm in run.alarms.values()}


async def test_old_entries_are_trimmed() -> None:
    project = project_with_logs(log_item("1", ts=NOW), OLD)
    shared = Shared()
    async with running(project, shared) as run:
        for at in range(40):
            run.push("alarm", webhook(rule={"id": f"r{at}"}, ts=NOW - 3_600_000 - at, status=0))
        await run.poll("alarms")
        assert len(json.loads(shared.checkpoints[FIRST])["entries"]) == 1
