"""Alarms: none is lost and each has one id, by push, by poll, missed while the bridge was down, or all of it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from aiohttp.test_utils import TestServer

from fleet2mqtt.devices.model import Severity, Update, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.simulators.ums.app import SIMULATOR, Simulator, create
from tests.platforms.context import Shared
from tests.platforms.ums.connected import NAME, Run, connected, simulated

Start = Callable[..., AbstractAsyncContextManager[Run]]

OM50, MX100G = "000EA93D022E", "000EA9610BCC"
ZONE = ZoneInfo("Asia/Shanghai")
HISTORY = "/s1/device/metric_history"


def ago(**span: float) -> datetime:
    return datetime.now(ZONE) - timedelta(**span)


def ids(*records: dict[str, Any]) -> list[str]:
    return [f"{NAME}:{record['id']}" for record in records]


@asynccontextmanager
async def restartable(shared: Shared, devices: int = 2) -> AsyncIterator[tuple[Simulator, Start]]:
    """Start a simulator; yield it and a way to connect to it again with what is on disk."""
    async with AsyncExitStack() as stack:
        app = create(devices=devices)
        server = await stack.enter_async_context(TestServer(app))
        yield app[SIMULATOR], lambda **own: connected(str(server.make_url("")), shared, **own)


def histories(simulator: Simulator) -> list[str]:
    """Return the MACs whose history was requested, in order."""
    queries = [call.query for call in simulator.fault_injector.calls if call.path == HISTORY]
    return [query["metric_history_producer"] for query in queries if "all" in query]


async def test_polled_alarm_has_all_members() -> None:
    async with simulated() as (simulator, run):
        raised = simulator.raise_alarm(OM50, at=ago(minutes=1), push=False)
        await run.poll("alarms")
        alarm = run.alarms[ids(raised)[0]]
        assert (alarm.device, alarm.backend, alarm.source) == (f"{NAME}_000ea93d022e", NAME, UpdateOrigin.POLL)
        assert alarm.code == raised["event_id"]
        assert alarm.category == raised["event_type"]
        assert alarm.name == raised["metric_history_name"]
        assert alarm.description == raised["metric_history_desc"]
        assert alarm.description_en == raised["metric_history_desc_en"]
        assert f"{alarm.raised_at:%Y-%m-%d %H:%M:%S}" == raised["metric_history_time"]
        assert alarm.raised_at.utcoffset() == timedelta(hours=8)
        assert not alarm.active


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        ("serious", Severity.CRITICAL),
        ("warning", Severity.MAJOR),
        ("normal", Severity.MINOR),
        ("unknown", Severity.INDETERMINATE),
        ("Catastrophic", Severity.INDETERMINATE),
        (None, Severity.INDETERMINATE),
    ],
)
async def test_vendor_level_maps_to_severity(level: str | None, severity: Severity) -> None:
    async with simulated() as (_, run):
        alarm = push(run, id="1", metric_history_level=level)
        assert (alarm.severity, alarm.level) == (severity, level or "")


def push(run: Run, **members: Any) -> Any:
    return run.push("event", {"metric_history_producer": OM50} | members).alarms[0]


async def test_pushed_alarm_has_line_and_tags() -> None:
    async with simulated() as (_, run):
        alarm = push(run, id="1", line_id="4", tag1="一", tag3="三", metric_history_time="2021-03-09 17:55:40")
        assert (alarm.line, alarm.tags, alarm.source) == ("4", ("一", "", "三"), UpdateOrigin.PUSH)
        assert alarm.raised_at == datetime(2021, 3, 9, 17, 55, 40, tzinfo=ZONE)
        assert push(run, id="2", line_id="").line is None


@pytest.mark.parametrize("time", [None, "", "soon", "0000-00-00 00:00:00", 0])
async def test_alarm_without_readable_time_is_raised_now(time: Any) -> None:
    async with simulated() as (_, run):
        before = datetime.now(ZONE)
        alarm = push(run, id="1", metric_history_time=time)
        assert before <= alarm.raised_at <= datetime.now(ZONE)


async def test_alarm_without_id_gets_a_hash_of_its_members() -> None:
    async with simulated() as (_, run):
        members = {"event_id": 33, "metric_history_time": "2021-03-09 17:55:40", "line_id": "4"}
        first, again, other = (
            push(run, **members),
            push(run, id=" ", **members),
            push(run, **members | {"line_id": "5"}),
        )
        assert first.id == again.id
        assert first.id != other.id
        assert first.id.startswith(f"{NAME}:hash-")


@pytest.mark.parametrize(
    "body", [{"id": "1"}, {"metric_history_producer": OM50}, {"id": "", "metric_history_time": ""}]
)
async def test_push_without_identifying_members_is_refused(body: dict[str, Any]) -> None:
    async with simulated() as (_, run):
        with pytest.raises(InvalidResponse, match="missing"):
            run.push("event", body)


async def test_alarms_between_two_polls_are_all_reported() -> None:
    async with simulated() as (simulator, run):
        await run.poll("alarms")
        run.alarms.clear()
        first = simulator.raise_alarm(OM50, at=ago(seconds=40), push=False)
        second = simulator.raise_alarm(OM50, at=ago(seconds=20), push=False)
        third = simulator.raise_alarm(OM50, at=ago(seconds=20), push=False)
        await run.poll("alarms")
        new = [id_ for id_ in run.alarms if id_ in ids(first, second, third)]
        assert new == ids(first, second, third)


async def test_poll_without_new_alarms_reads_no_history() -> None:
    async with simulated() as (simulator, run):
        simulator.raise_alarm(OM50, at=ago(seconds=40), push=False)
        await run.poll("alarms")
        simulator.fault_injector.calls.clear()
        assert await run.poll("alarms") == []
        assert histories(simulator) == []


async def test_alarms_raised_while_down_are_backfilled() -> None:
    shared = Shared()
    async with restartable(shared) as (simulator, start):
        simulator.raise_alarm(OM50, at=ago(minutes=30), push=False)
        async with start() as run:
            await run.poll("alarms")
        missed = [simulator.raise_alarm(OM50, at=ago(minutes=20 - n), push=False) for n in range(12)]
        async with start(page_size=5) as run:
            await run.poll("alarms")
            assert [id_ for id_ in run.alarms if id_ in ids(*missed)] == ids(*missed)


async def test_push_of_newer_alarm_keeps_missed_one_in_backfill() -> None:
    shared = Shared()
    async with restartable(shared) as (simulator, start):
        async with start() as run:
            await run.poll("alarms")
        missed = simulator.raise_alarm(OM50, at=ago(minutes=20), push=False)
        newer = simulator.raise_alarm(OM50, at=ago(minutes=1), push=False)
        async with start() as run:
            run.push("event", newer)
            await run.poll("alarms")
            assert set(ids(missed, newer)) <= run.alarms.keys()


async def test_alarm_by_push_and_poll_has_one_id() -> None:
    async with simulated() as (simulator, run):
        raised = simulator.raise_alarm(OM50, at=ago(minutes=1), push=False)
        for _ in range(2):
            run.push("event", raised)
        await run.poll("alarms")
        assert [alarm.id for update in run.updates for alarm in update.alarms].count(ids(raised)[0]) == 3
        assert run.alarms[ids(raised)[0]].source is UpdateOrigin.PUSH


async def test_alarms_not_on_disk_are_reported_again() -> None:
    async with simulated() as (simulator, run):
        raised = simulator.raise_alarm(OM50, at=ago(minutes=1), push=False)

        async def offered() -> list[str]:
            """One poll, cut off while its first update is taken in: the disk was full."""
            polled = cast("AsyncGenerator[Update, None]", run.source("alarms").poll())
            async with aclosing(polled) as updates:
                async for update in updates:
                    return [alarm.id for alarm in update.alarms]
            return []

        assert ids(raised)[0] in await offered()
        assert ids(raised)[0] in await offered()
        await run.poll("alarms")
        assert await offered() == []


async def test_first_run_reads_history_of_48_hours() -> None:
    async with simulated() as (simulator, run):
        old = simulator.raise_alarm(MX100G, at=ago(days=30), push=False)
        within = simulator.raise_alarm(MX100G, at=ago(hours=40), push=False)
        newest = simulator.raise_alarm(MX100G, at=ago(hours=1), push=False)
        await run.poll("alarms")
        assert set(ids(within, newest)) <= run.alarms.keys()
        assert ids(old)[0] not in run.alarms


async def test_gateway_with_first_alarms_after_baseline_reports_all_of_them() -> None:
    """Without a checkpoint, also longer ago than 48 h: what it raised since the first run is reported."""
    shared = Shared(checkpoints={"": checkpoints(baseline=ago(days=9), polled=ago(minutes=1))})
    async with restartable(shared) as (simulator, start):
        before = simulator.raise_alarm(MX100G, at=ago(days=12), push=False)
        early = simulator.raise_alarm(MX100G, at=ago(days=8), push=False)
        newest = simulator.raise_alarm(MX100G, at=ago(hours=1), push=False)
        async with start() as run:
            await run.poll("alarms")
            assert set(ids(early, newest)) <= run.alarms.keys()
            assert ids(before)[0] not in run.alarms


def checkpoints(*, baseline: datetime, polled: datetime) -> str:
    return json.dumps({"baseline": baseline.isoformat(), "polled": polled.isoformat()})


async def test_downtime_beyond_48_hours_reads_every_history() -> None:
    """The device raised an alarm and fell silent, both while the bridge was away: no list names it."""
    shared = Shared(checkpoints={"": checkpoints(baseline=ago(days=30), polled=ago(days=6))})
    async with restartable(shared, devices=3) as (simulator, start):
        missed = simulator.raise_alarm(MX100G, at=ago(days=4), push=False)
        async with start() as run:
            await run.poll("alarms")
            assert ids(missed)[0] in run.alarms
            assert MX100G in shared.checkpoints
            assert len(set(histories(simulator))) == 3
            simulator.fault_injector.calls.clear()
            await run.poll("alarms")
            assert histories(simulator) == []
