"""The backfill reads the alarm log down to known ids, whatever the clocks say (faults 1.3, 1.6)."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.platforms.context import Shared
from tests.platforms.thingscloud.alarms import NOW, OLD, ago, ids, log_item, project_with_logs
from tests.platforms.thingscloud.connected import FIRST, NAME, SECOND, Run, calls, restartable, scripted
from tests.platforms.thingscloud.project import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

HOUR = 3_600_000
DAY = 24 * HOUR
PER_PAGE = 10


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("ahead", [HOUR, 8 * HOUR, 400 * DAY])
async def test_alarms_after_a_vendor_clock_was_ahead_are_reported(ahead: int, restart: bool) -> None:
    """The vendor's clock is hours ahead, then right (faults 1.3)."""
    shared = Shared()
    async with restartable(shared) as (simulator, start):
        async with start() as run:
            await run.poll("alarms")
            early = simulator.raise_alarm(FIRST, 1, push=False, ago=-ahead)["id"]
            await run.poll("alarms")
            assert early in ids(run)
            late = [simulator.raise_alarm(FIRST, 2, push=False, ago=at)["id"] for at in (3000, 2000)]
            if not restart:
                await run.poll("alarms")
                assert set(late) <= set(ids(run))
        async with start() as run:
            late += [simulator.raise_alarm(SECOND, 3, push=False, ago=at)["id"] for at in (1000, 0)]
            await run.poll("alarms")
            new = set(late[2:] if not restart else late)
            assert new <= set(ids(run))
            assert early not in ids(run)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("logged", [False, True])
async def test_alarms_after_a_first_run_with_the_clock_ahead_are_reported(
    logged: bool, corrected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bridge's clock is 1,000 days ahead at its first run (faults 1.3)."""
    shared = Shared()
    real = time.time
    project = project_with_logs(*([log_item("before", ts=ago(minutes=30))] if logged else []))
    monkeypatch.setattr(time, "time", lambda: real() + 1000 * 86_400)
    async with running(project, shared) as run:
        await run.poll("alarms")
    if corrected:
        monkeypatch.setattr(time, "time", real)
    items = project.responses["alarm_logs"]["items"]
    async with running(project, shared) as run:
        for id_, minutes in (("1", 20), ("2", 10)):
            items.insert(0, log_item(id_, ts=ago(minutes=minutes), info={"rule_id": id_}))
            await run.poll("alarms")
        assert ids(run) == ["1", "2"]


@pytest.mark.parametrize("restart", [False, True])
async def test_back_dated_alarm_is_reported(restart: bool) -> None:
    """An alarm is logged with a time far below the newest (faults 1.6)."""
    shared = Shared()
    project = project_with_logs(log_item("1"), OLD)
    async with running(project, shared) as run:
        await run.poll("alarms")
        late = log_item("late", ts=ago(hours=5), info={"rule_id": "r2"})
        project.responses["alarm_logs"]["items"].insert(1, late)
        if not restart:
            await run.poll("alarms")
            assert ids(run) == ["1", "late"]
    async with running(project, shared) as run:
        await run.poll("alarms")
        assert ids(run) == (["late"] if restart else [])


async def test_deleted_log_item_does_not_hide_the_known_ones() -> None:
    """The newest known alarm is deleted at the vendor: others are known, too (faults 1.3)."""
    shared = Shared()
    rows = [log_item(str(at), ts=NOW - at * 60_000, info={"rule_id": str(at)}) for at in range(5)]
    project = project_with_logs(*rows)
    async with running(project, shared) as run:
        await run.poll("alarms")
    project.requests.clear()
    project.responses["alarm_logs"]["items"] = [log_item("new", ts=NOW + 60_000), *rows[2:]]
    async with running(project, shared) as run:
        await run.poll("alarms")
        assert ids(run) == ["new"]
    assert [path for _, path, _ in project.requests if "alarm_logs" in path] == ["alarm_logs"]


async def test_older_items_that_come_into_view_are_not_reported() -> None:
    """The vendor shows more of its log than before: alarms from before the first poll stay untold."""
    shared = Shared()
    project = project_with_logs(log_item("1", ts=NOW), log_item("2", ts=ago(hours=47)))
    async with running(project, shared) as run:
        await run.poll("alarms")
        project.responses["alarm_logs"]["items"] += [log_item("3", ts=ago(hours=49)), log_item("4", ts=ago(days=90))]
        await run.poll("alarms")
        assert ids(run) == ["2", "1"]


# Pages


@asynccontextmanager
async def paged(
    items: list[dict[str, Any]], shared: Shared, *, oldest_first: bool
) -> AsyncIterator[tuple[Run, list[int]]]:
    """A project whose alarm log has pages; yields the numbers of the pages that are requested, too."""
    pages: list[int] = []

    def respond(request: web.Request, _: Any) -> Any:
        if not request.path.endswith("/alarm_logs"):
            return None if request.path.endswith("access_token") else {"items": [], "total": 0, "page_total": 0}
        number = int(request.query.get("page", 1))
        pages.append(number)
        listed = items if oldest_first else items[::-1]
        shown = listed[(number - 1) * PER_PAGE : number * PER_PAGE]
        return {"items": shown, "total": len(items), "page_total": -(-len(items) // PER_PAGE)}

    async with scripted(respond, shared) as run:
        yield run, pages


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_log_in_pages_is_read_from_its_new_end(oldest_first: bool) -> None:
    """A new alarm in a long log costs few calls, in either order (faults 1.6)."""
    items = [log_item(str(at), ts=NOW - (400 - at) * HOUR, info={"rule_id": str(at)}) for at in range(400)]
    async with paged(items, Shared(), oldest_first=oldest_first) as (run, pages):
        await run.poll("alarms")
        assert ids(run) == [str(at) for at in range(353, 400)]
        assert len(pages) <= 7
        pages.clear()
        items += [log_item(str(at), ts=NOW + at, info={"rule_id": str(at)}) for at in range(400, 415)]
        await run.poll("alarms")
        assert ids(run)[47:] == [str(at) for at in range(400, 415)]
        assert len(pages) <= 4
        pages.clear()
        await run.poll("alarms")
        assert len(pages) <= 2


async def test_back_dated_alarm_on_a_later_page_is_found_by_the_full_check() -> None:
    items = [log_item(str(at), ts=NOW - (40 - at) * HOUR, info={"rule_id": str(at)}) for at in range(40)]
    async with paged(items, Shared(), oldest_first=False) as (run, pages):
        await run.poll("alarms")
        items.insert(3, log_item("late", ts=NOW - 37 * HOUR - 1, info={"rule_id": "late"}))
        await run.poll("alarms")
        assert "late" not in ids(run)
        backfill = getattr(run.source("alarms").poll, "__self__")  # noqa: B009 - the source is a bound method
        backfill.full_check_at = time.monotonic()
        pages.clear()
        await run.poll("alarms")
        assert "late" in ids(run)
        assert pages == [1, 2, 3, 4, 5]
        assert backfill.full_check_at > time.monotonic()


async def test_gap_is_filled_from_device_logs_with_a_failing_device() -> None:
    """A device whose log answers 503 costs the others nothing (faults 2.1)."""
    shared = Shared()
    async with restartable(shared, devices=8) as (simulator, start):
        async with start() as run:
            await run.poll("alarms")
        missed = {device: simulator.raise_alarm(device, 1, push=False)["id"] for device in simulator.devices}
        simulator.alarm_logs_shown = 1
        failing = sorted(simulator.devices)[1]
        simulator.fault_injector.inject("status", f"*/device/{failing}/alarm_logs", status=503)
        async with start() as run:
            await run.poll("alarms")
            assert {id_ for device, id_ in missed.items() if device != failing} <= set(ids(run))
            simulator.fault_injector.clear()
            await run.poll("alarms")
            assert missed[failing] in ids(run)
            assert len(calls(simulator, f"device/{failing}/alarm_logs")) == 2
        assert f"{NAME}:{missed[failing]}" in {id_ for id_, _ in run.alarms}
