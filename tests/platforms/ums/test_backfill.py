"""Backfill of alarms from a UMS that rejects, fails, or orders its history differently."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web

from fleet2mqtt.devices.selection import Detail, Selection
from fleet2mqtt.errors import InvalidResponse, RateLimited, Unreachable
from fleet2mqtt.platforms.ums.backfill import Backfill
from fleet2mqtt.sdk.vendor_json import iso
from fleet2mqtt.unit import unpolled_sources
from tests.platforms.context import Shared
from tests.platforms.ums.connected import NAME, Run, connected, scripted

ZONE = ZoneInfo("Asia/Shanghai")
HISTORY = "/s1/device/metric_history"
Answer = dict[str, Any] | int


def alarm(id_: str, mac: str = "A1", *, minutes: float = 0, **members: Any) -> dict[str, Any]:
    """A record raised that long ago."""
    at = datetime.now(ZONE) - timedelta(minutes=minutes)
    return {"id": id_, "metric_history_producer": mac, "metric_history_time": f"{at:%Y-%m-%d %H:%M:%S}"} | members


class Vendor:
    """Its newest alarms, and of each MAC its history, newest first unless `backwards`, or its response instead."""

    def __init__(self, *newest: dict[str, Any]) -> None:
        self.newest = list(newest)
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.instead: dict[str, Answer] = {}
        self.macs: list[str] = []
        self.requested: list[str] = []
        self.counted = 0
        self.has_total = True
        self.cap: int | None = None
        """Most items on a page, whatever was requested."""

    def __call__(self, request: web.Request) -> Answer:
        query = request.query
        if request.path == f"{HISTORY}/statistics":
            self.counted += 1
            counts = [{"metric_history_producer": mac, "all": str(len(self.history.get(mac, ())))} for mac in self.macs]
            return {"meta": {"totalResults": len(counts)}, "metricHistoryStatistics": counts}
        if request.path != HISTORY:
            return self._page(request, "devices", [{"device_mac": mac} for mac in self.macs])
        if "all" not in query:
            return self._page(request, "metricHistorys", self.newest)
        mac = query["metric_history_producer"]
        self.requested.append(mac)
        if mac in self.instead:
            return self.instead[mac]
        return self._page(request, "metricHistorys", self.history.get(mac, []))

    def _page(self, request: web.Request, container: str, rows: list[dict[str, Any]]) -> Answer:
        offset, limit = int(request.query["offset"]), min(int(request.query["limit"]), self.cap or 1000)
        meta = {"totalResults": len(rows)} if self.has_total else {}
        return {"meta": meta, container: rows[offset : offset + limit]}


def seen(run: Run) -> list[str]:
    return [id_.removeprefix(f"{NAME}:") for id_ in run.alarms]


async def test_rejected_history_reports_newest_without_checkpoint() -> None:
    vendor, shared = Vendor(alarm("new"), alarm("other", "B2")), Shared()
    vendor.history = {"A1": [alarm("new"), alarm("old", minutes=5)], "B2": [alarm("other", "B2")]}
    vendor.instead = {"A1": {"code": 9, "status": "不支持"}}
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert seen(run) == ["new", "other"]
        assert set(shared.checkpoints) == {"", "B2"}
        vendor.instead.clear()
        await run.poll("alarms")
        assert seen(run) == ["new", "other", "old"]
        assert set(shared.checkpoints) == {"", "A1", "B2"}


async def test_rejection_of_every_history_is_no_error() -> None:
    vendor = Vendor(alarm("new"))
    vendor.instead = {"A1": {"code": 9, "status": "不支持"}}
    async with scripted(vendor) as run:
        await run.poll("alarms")
        assert seen(run) == ["new"]


async def test_invalid_history_does_not_affect_other_gateways() -> None:
    vendor, shared = Vendor(alarm("new"), alarm("other", "B2")), Shared()
    vendor.history = {"B2": [alarm("other", "B2"), alarm("more", "B2", minutes=2)]}
    vendor.instead = {"A1": 500}
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert seen(run) == ["new", "more", "other"]
        assert "A1" not in shared.checkpoints


async def test_invalid_histories_of_all_gateways_raise() -> None:
    vendor = Vendor(alarm("new"))
    vendor.instead = {"A1": 500}
    async with scripted(vendor) as run:
        with pytest.raises(InvalidResponse):
            await run.poll("alarms")
        assert seen(run) == ["new"]


async def test_rate_limited_history_does_not_affect_other_gateways() -> None:
    """Faults 2.1: a gateway whose history is refused for now starves nobody, and is read once it can be."""
    vendor, shared = Vendor(alarm("new"), alarm("other", "B2")), Shared()
    vendor.history = {"A1": [alarm("new"), alarm("old", minutes=3)], "B2": [alarm("other", "B2")]}
    vendor.instead = {"A1": 503}
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert seen(run) == ["new", "other"]
        vendor.newest.clear()  # 48 hours later
        vendor.instead.clear()
        await run.poll("alarms")
        assert seen(run) == ["new", "other", "old"]


async def test_vendor_that_fails_whole_ends_the_poll_early() -> None:
    vendor = Vendor(*(alarm(f"new-{mac}", mac) for mac in ("A1", "B2", "C3", "D4", "E5")))
    vendor.instead = dict.fromkeys(("A1", "B2", "C3", "D4", "E5"), 503)
    async with scripted(vendor, Shared(primary_fails=True)) as run:
        with pytest.raises(RateLimited):
            await run.poll("alarms")
        assert vendor.requested == ["A1", "B2", "C3"]


def known(*ids: str, minutes: float = 0, total: int | None = None) -> str:
    """A checkpoint whose newest alarm was raised so long ago."""
    at = datetime.now(ZONE) - timedelta(minutes=minutes)
    return json.dumps({"ids": ids, "at": iso(at), "total": total})


@pytest.mark.parametrize("backwards", [False, True], ids=["newest-first", "oldest-first"])
async def test_history_is_read_down_to_the_known_alarms(*, backwards: bool) -> None:
    """Faults 1.6: in either order, from the new end on."""
    vendor, shared = Vendor(alarm("a0")), Shared(checkpoints={"A1": known("a4", "a5", minutes=120)})
    vendor.history["A1"] = [alarm(f"a{n}", minutes=n * 30) for n in range(40)][:: -1 if backwards else 1]
    async with scripted(vendor, shared, page_size=3) as run:
        await run.poll("alarms")
        assert seen(run) == ["a3", "a2", "a1", "a0"]
        assert len(vendor.requested) == 2 + backwards
        assert json.loads(shared.checkpoints["A1"])["ids"][:5] == ["a0", "a1", "a2", "a3", "a4"]


@pytest.mark.parametrize("has_total", [True, False])
async def test_new_alarm_of_a_long_history_listed_oldest_first_costs_few_calls(*, has_total: bool) -> None:
    """Faults 1.6: it was 231 calls for each new alarm."""
    vendor, shared = Vendor(), Shared()
    vendor.has_total = has_total
    vendor.history["A1"] = [alarm(f"a{n}", minutes=1000 - n) for n in range(462)]
    vendor.newest = vendor.history["A1"][-1:]
    async with scripted(vendor, shared, page_size=2) as run:
        await run.poll("alarms")
        costs = []
        for n in range(462, 466):
            vendor.history["A1"].append(alarm(f"a{n}", minutes=1000 - n))
            vendor.newest = vendor.history["A1"][-1:]
            vendor.requested.clear()
            await run.poll("alarms")
            assert seen(run)[-1] == f"a{n}"
            costs.append(len(vendor.requested))
        assert max(costs) <= (2 if has_total else 3)


@pytest.mark.parametrize("cap", [None, 3])
@pytest.mark.parametrize("has_total", [True, False])
@pytest.mark.parametrize("backwards", [False, True], ids=["newest-first", "oldest-first"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
async def test_every_alarm_is_found_whatever_the_pages_are(
    size: int, *, backwards: bool, has_total: bool, cap: int | None
) -> None:
    vendor, shared = Vendor(), Shared(checkpoints={"": json.dumps(baseline(days=9))})
    vendor.has_total, vendor.cap = has_total, cap
    step = -1 if backwards else 1
    history = [alarm(f"a{n}", minutes=n) for n in range(11, 0, -1)]
    for count in (3, 4, 4, 9, 11):
        vendor.newest = history[count - 1 : count]
        vendor.history["A1"] = history[:count][::-step]
        async with scripted(vendor, shared, page_size=size) as run:
            await run.poll("alarms")
            shared.folder = Path(f"{shared.folder}:{','.join(seen(run))}")
    assert str(shared.folder) == ".:a11,a10,a9:a8::a7,a6,a5,a4,a3:a2,a1"


async def test_history_without_total_ends_with_an_empty_page() -> None:
    vendor = Vendor(alarm("a0"))
    vendor.has_total = False
    vendor.history["A1"] = [alarm(f"a{n}", minutes=n) for n in range(5)]
    async with scripted(vendor, page_size=2) as run:
        await run.poll("alarms")
        assert seen(run) == ["a4", "a3", "a2", "a1", "a0"]
        assert len(vendor.requested) == 4


async def test_history_out_of_order_is_read_completely() -> None:
    vendor, shared = Vendor(alarm("a0")), Shared(checkpoints={"A1": known("x", minutes=100)})
    ages = (0, 5000, 3000, 5, 4000)
    vendor.history["A1"] = [alarm(f"a{minutes}", minutes=minutes) for minutes in ages]
    async with scripted(vendor, shared, page_size=3) as run:
        await run.poll("alarms")
        assert seen(run) == ["a5", "a0"]


async def test_deleted_known_alarm_does_no_harm() -> None:
    """Faults 1.3: several recent ids are known."""
    vendor, shared = Vendor(alarm("a0")), Shared(checkpoints={"A1": known("a2", "a3", "a4", minutes=60, total=40)})
    vendor.history["A1"] = [alarm(f"a{n}", minutes=n * 30) for n in range(40) if n != 2]
    async with scripted(vendor, shared, page_size=5) as run:
        await run.poll("alarms")
        assert seen(run) == ["a1", "a0"]


async def test_newest_alarm_missing_in_history_is_reported() -> None:
    vendor = Vendor(alarm("new"))
    vendor.history["A1"] = [alarm("old", minutes=3)]
    async with scripted(vendor) as run:
        await run.poll("alarms")
        assert seen(run) == ["old", "new"]


async def test_alarms_without_time_are_reported() -> None:
    vendor, shared = Vendor(alarm("new", metric_history_time="")), Shared()
    vendor.history["A1"] = [
        alarm("new", metric_history_time=""),
        alarm("b", minutes=1),
        alarm("a", metric_history_time="?"),
    ]
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert sorted(seen(run)) == ["a", "b", "new"]
        assert json.loads(shared.checkpoints["A1"])["ids"] == ["new", "b", "a"]
        vendor.newest = [alarm("newer")]
        vendor.history["A1"].insert(0, alarm("newer"))
        await run.poll("alarms")
        assert "newer" in seen(run)


async def test_alarm_without_producer_belongs_to_the_backend() -> None:
    vendor, shared = Vendor(alarm("new", mac="")), Shared()
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert run.alarms[f"{NAME}:new"].device == NAME
        assert set(shared.checkpoints) == {""}


async def test_long_history_is_split_and_checkpoint_saved_last() -> None:
    vendor, shared = Vendor(alarm("a0")), Shared()
    vendor.history["A1"] = [alarm(f"a{n}", minutes=n) for n in range(450)]
    async with scripted(vendor, shared) as run:
        updates = await run.poll("alarms")
        assert [len(update.alarms) for update in updates] == [200, 200, 50]
        assert seen(run)[0] == "a449"
        assert seen(run)[-1] == "a0"


# Clocks that were wrong (faults 1.3)


@pytest.mark.parametrize("restarted", [False, True])
async def test_alarms_after_the_vendors_clock_was_ahead_are_reported(*, restarted: bool) -> None:
    """Faults 1.3: the clock was 8 hours ahead, then right: newer alarms are listed behind older ones."""
    vendor, shared = Vendor(alarm("ahead", minutes=-8 * 60)), Shared()
    vendor.history["A1"] = [alarm("ahead", minutes=-8 * 60)]
    raised = [alarm(f"a{minutes}", minutes=minutes) for minutes in (2, 20, 40, 60)]
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(scripted(vendor, shared))
        await run.poll("alarms")
        vendor.history["A1"] += raised
        if restarted:
            run = await stack.enter_async_context(scripted(vendor, shared))
        await run.poll("alarms")
        assert [id_ for id_ in seen(run) if id_ != "ahead"] == ["a60", "a40", "a20", "a2"]
        assert not any(alarm.backlog for alarm in run.alarms.values() if alarm.id != f"{NAME}:ahead")


@pytest.mark.parametrize("restarted", [False, True])
async def test_alarms_at_the_end_of_summer_time_are_reported(*, restarted: bool) -> None:
    """Faults 1.3: in the hour that comes twice a later alarm has an earlier time, so another one stays the newest."""
    vendor, shared = Vendor(), Shared(checkpoints={"": json.dumps(baseline(days=9))})
    vendor.macs = ["A1"]
    vendor.history["A1"] = [alarm("summer", minutes=10), alarm("before", minutes=90)]
    vendor.newest = vendor.history["A1"][:1]
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(scripted(vendor, shared))
        await run.poll("devices", "statistics", "alarms")
        vendor.history["A1"][1:1] = [alarm("winter", minutes=30), alarm("earlier", minutes=40)]
        if restarted:
            run = await stack.enter_async_context(scripted(vendor, shared))
        await run.poll("devices", "statistics", "alarms")
        assert {"winter", "earlier"} <= set(seen(run))


async def test_first_run_with_a_clock_ahead_loses_no_alarm_of_later_gateways() -> None:
    """Faults 1.3: a first run or a last poll in the future is not believed."""
    ahead = baseline(days=-1000)
    shared = Shared(checkpoints={"": json.dumps(ahead | {"polled": ahead["baseline"]})})
    vendor = Vendor(alarm("c2", minutes=1))
    vendor.macs = ["A1", "B2"]
    vendor.history = {"A1": [alarm("c2", minutes=1), alarm("c1", minutes=60), alarm("c0", minutes=120)]}
    vendor.history["B2"] = [alarm("b0", "B2", minutes=100)]  # not among the newest, and the first run is not known
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert sorted(seen(run)) == ["b0", "c0", "c1", "c2"]
        assert not any(alarm.backlog for alarm in run.alarms.values())
        stored = json.loads(shared.checkpoints[""])
        assert (
            datetime.fromisoformat(stored["baseline"]) <= datetime.fromisoformat(stored["polled"]) <= datetime.now(ZONE)
        )


async def test_first_run_with_a_clock_that_was_not_set_reads_no_years_of_history() -> None:
    """Faults 1.4: a first run in 1970 is not believed either."""
    shared = Shared(checkpoints={"": json.dumps({"baseline": "1970-01-01T00:00:07+00:00", "polled": None})})
    vendor = Vendor(alarm("new", minutes=1))
    vendor.history["A1"] = [alarm("new", minutes=1), *(alarm(f"{day}d", minutes=day * 1440) for day in range(5, 700))]
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert seen(run) == ["new"]


async def test_alarm_older_than_the_known_ones_is_reported_if_it_is_the_newest() -> None:
    """The gateway's clock was set back: what it raised since has earlier times."""
    vendor, shared = Vendor(alarm("late", minutes=60)), Shared(checkpoints={"A1": known("first")})
    vendor.history["A1"] = [alarm("first", minutes=0), alarm("late", minutes=60)]
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert seen(run) == ["late"]
        assert json.loads(shared.checkpoints["A1"])["ids"] == ["late", "first"]


# Back-dated alarms (faults 1.6)


async def test_back_dated_alarm_is_found_by_the_alarm_counts() -> None:
    """Faults 1.6: it is not the newest of its gateway, but the UMS counts one more."""
    vendor, shared = Vendor(alarm("new", minutes=1)), Shared(checkpoints={"": json.dumps(baseline(days=9))})
    vendor.macs = ["A1"]
    vendor.history["A1"] = [alarm("new", minutes=1), *(alarm(f"a{n}", minutes=n * 60) for n in range(1, 100))]
    async with scripted(vendor, shared, page_size=5) as run:
        await run.poll("devices", "statistics", "alarms")
        vendor.requested.clear()
        vendor.history["A1"].insert(60, alarm("back-dated", minutes=60 * 60 - 30))
        await run.poll("statistics", "alarms")
        assert seen(run)[-1] == "back-dated"
        vendor.requested.clear()
        await run.poll("statistics", "alarms")
        assert vendor.requested == []


async def test_counts_are_read_once_an_hour_while_their_entities_are_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    vendor, shared = Vendor(alarm("new", minutes=1)), Shared(checkpoints={"": json.dumps(baseline(days=9))})
    vendor.macs = ["A1"]
    vendor.history["A1"] = [alarm("new", minutes=1), *(alarm(f"a{n}", minutes=n * 60) for n in range(1, 100))]
    async with scripted(vendor, shared, page_size=5) as run:
        backfill = Backfill(
            replace(shared.context(NAME, dict(run.options)), is_enabled=lambda _: False), run.backend.client
        )

        async def found() -> list[str]:
            return [alarm.id.removeprefix(f"{NAME}:") async for update in backfill.poll() for alarm in update.alarms]

        await found()
        assert vendor.counted == 0, "the device list is not read for it"
        await run.poll("devices")
        await found()
        vendor.history["A1"].insert(60, alarm("back-dated", minutes=60 * 60 - 30))
        assert ("back-dated" in await found(), vendor.counted) == (False, 1)
        monkeypatch.setattr("fleet2mqtt.platforms.ums.backfill.COUNT_INTERVAL", 0.0)
        assert ("back-dated" in await found(), vendor.counted) == (True, 2)


async def test_counts_are_not_polled_twice_and_not_where_they_are_off() -> None:
    vendor, shared = Vendor(), Shared()
    vendor.macs = ["A1"]
    async with scripted(vendor, shared) as run:
        off = {**run.options, "scan_interval": {**run.options["scan_interval"], "statistics": None}}
        for options, is_enabled in ((dict(run.options), True), (off, False)):
            selection = Selection(entities=Detail.FULL if is_enabled else Detail.MINIMAL)
            context = replace(shared.context(NAME, options), is_enabled=selection.is_enabled)
            assert [update async for update in Backfill(context, run.backend.client).poll()] == []
        assert vendor.counted == 0
        assert "statistics" in unpolled_sources(run.backend.sources, Selection())


async def test_back_dated_alarm_is_found_by_the_full_check() -> None:
    """Faults 1.6: one gateway after another is checked, also where the UMS does not count alarms."""
    shared = Shared(checkpoints={"": json.dumps(baseline(days=9))})
    vendor = Vendor()
    vendor.macs = ["A1", "B2"]
    vendor.history = {mac: [alarm(f"{mac}-{n}", mac, minutes=3000 + n) for n in range(30)] for mac in vendor.macs}
    async with scripted(vendor, shared, page_size=10) as run:
        await run.poll("devices")
        backfill = Backfill(shared.context(NAME, dict(run.options)), run.backend.client, 0.0)
        for mac in ("A1", "B2"):
            vendor.history[mac].insert(17, alarm(f"{mac}-back-dated", mac, minutes=3016.5))
            vendor.requested.clear()
            found = [alarm.id async for update in backfill.poll() for alarm in update.alarms]
            assert f"{NAME}:{mac}-back-dated" in found
            assert set(vendor.requested) == {mac}


async def test_alarms_before_the_first_run_are_backlog() -> None:
    """Faults 3.13: they are in the history, but no events."""
    vendor, shared = Vendor(alarm("b", minutes=30)), Shared()
    vendor.history["A1"] = [alarm("b", minutes=30), alarm("a", minutes=600)]
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        vendor.newest = [alarm("c")]
        vendor.history["A1"].insert(0, alarm("c"))
        await run.poll("alarms")
        assert {alarm.id[-1]: alarm.backlog for alarm in run.alarms.values()} == {"a": True, "b": True, "c": False}


async def test_first_alarm_after_the_first_run_is_new_though_the_vendors_clock_is_behind() -> None:
    """Faults 1.3, 3.13: the first run has read all that there was; times do not tell what is backlog."""
    vendor, shared = Vendor(), Shared()
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        vendor.newest = [alarm("a", minutes=60)]
        vendor.history["A1"] = [alarm("a", minutes=60)]
        await run.poll("alarms")
        assert [alarm.backlog for alarm in run.alarms.values()] == [False]


def baseline(**ago: float) -> dict[str, str]:
    """First run so long ago, last poll a moment ago."""
    now = datetime.now(ZONE)
    return {"baseline": (now - timedelta(**ago)).isoformat(), "polled": now.isoformat()}


def away() -> Shared:
    """Kept by a bridge that then was away for days."""
    now = datetime.now(ZONE)
    baseline, polled = (now - timedelta(days=days) for days in (30, 6))
    return Shared(checkpoints={"": json.dumps({"baseline": baseline.isoformat(), "polled": polled.isoformat()})})


async def test_overdue_history_is_read_until_it_succeeds() -> None:
    vendor, shared = Vendor(), away()
    stored = shared.checkpoints[""]
    vendor.macs = ["A1", "B2", "C3", "D4"]
    vendor.history = {"A1": [alarm("missed", minutes=4 * 24 * 60)]}
    vendor.instead = {"A1": 500, "B2": {"code": 9, "status": "不支持"}}
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert shared.checkpoints[""] == stored
        vendor.instead.clear()
        vendor.requested.clear()
        await run.poll("alarms")
        assert seen(run) == ["missed"]
        assert vendor.requested == ["A1"]
        assert shared.checkpoints[""] != stored
        await run.poll("alarms")
        assert vendor.requested == ["A1"]


async def test_time_of_last_poll_is_saved_hourly() -> None:
    shared = Shared()
    async with scripted(Vendor(), shared) as run:
        await run.poll("alarms")
        first = shared.checkpoints[""]
        await run.poll("alarms")
        assert shared.checkpoints[""] == first
        hours = json.loads(first)
        shared.checkpoints[""] = json.dumps(hours | {"polled": (datetime.now(ZONE) - timedelta(hours=2)).isoformat()})
        await run.poll("alarms")
        assert json.loads(shared.checkpoints[""])["polled"] >= hours["polled"]
        assert json.loads(shared.checkpoints[""])["baseline"] == hours["baseline"]


async def test_unreachable_vendor_keeps_first_baseline() -> None:
    shared = Shared()
    async with connected("http://127.0.0.1:9", shared) as run:
        with pytest.raises(Unreachable):
            await run.poll("alarms")
        first = shared.checkpoints[""]
        with pytest.raises(Unreachable):
            await run.poll("alarms")
        assert shared.checkpoints[""] == first


async def test_history_repeating_its_first_page_raises() -> None:
    shared = Shared()
    items = [alarm("new"), alarm("old", minutes=1)]
    async with scripted(lambda _: {"meta": {"totalResults": 9}, "metricHistorys": items}, shared, page_size=2) as run:
        with pytest.raises(InvalidResponse, match="repeat"):
            await run.poll("alarms")
        assert sorted(seen(run)) == ["new", "old"]
        assert set(shared.checkpoints) == {""}


async def test_alarms_raised_while_a_gateway_was_excluded_are_not_reported_later() -> None:
    """Its checkpoint moves on without a call; the slow full check does not read them either."""
    first, second, third = alarm("first", minutes=30), alarm("second", minutes=20), alarm("third", minutes=10)
    vendor, shared = Vendor(first), Shared()
    vendor.macs, vendor.history = ["A1"], {"A1": [first]}
    async with scripted(vendor, shared) as run:
        await run.poll("devices", "alarms")
    shared.selects = lambda device: device.vendor_id != "A1"
    async with scripted(vendor, shared) as run:
        vendor.newest, vendor.history["A1"] = [third], [third, second, first]
        vendor.requested.clear()
        await run.poll("devices", "alarms", "alarms")
        assert (seen(run), vendor.requested) == ([], [])
    shared.selects = lambda _: True
    async with scripted(vendor, shared) as run:
        await run.poll("devices", "alarms")
        assert seen(run) == []
        fourth = alarm("fourth")
        vendor.newest, vendor.history["A1"] = [fourth], [fourth, third, second, first]
        await run.poll("alarms")
        assert seen(run) == ["fourth"]
        backfill = run.source("alarms").poll.__self__  # type: ignore[attr-defined]
        backfill.full_check_interval = 0.0
        vendor.requested.clear()
        await run.poll("alarms")
        assert (seen(run), vendor.requested) == (["fourth"], ["A1"])
