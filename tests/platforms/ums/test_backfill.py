"""Backfill of alarms from a UMS that rejects, fails, or orders its history differently."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web

from fleet2mqtt.errors import InvalidResponse, RateLimited, Unreachable
from fleet2mqtt.sdk.vendor_json import iso
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
    """Its newest alarms, and of each MAC its history, newest first unless `backwards`, or what it answers instead."""

    def __init__(self, *newest: dict[str, Any]) -> None:
        self.newest = list(newest)
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.instead: dict[str, Answer] = {}
        self.macs: list[str] = []
        self.asked: list[str] = []
        self.tells_total = True

    def __call__(self, request: web.Request) -> Answer:
        query = request.query
        if request.path != HISTORY:
            return self._page(request, "devices", [{"device_mac": mac} for mac in self.macs])
        if "all" not in query:
            return self._page(request, "metricHistorys", self.newest)
        mac = query["metric_history_producer"]
        self.asked.append(mac)
        if mac in self.instead:
            return self.instead[mac]
        return self._page(request, "metricHistorys", self.history.get(mac, []))

    def _page(self, request: web.Request, container: str, rows: list[dict[str, Any]]) -> Answer:
        offset, limit = int(request.query["offset"]), int(request.query["limit"])
        meta = {"totalResults": len(rows)} if self.tells_total else {}
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


async def test_rate_limited_history_ends_the_poll() -> None:
    vendor = Vendor(alarm("new"), alarm("other", "B2"))
    vendor.instead = {"A1": 503, "B2": 503}
    async with scripted(vendor) as run:
        with pytest.raises(RateLimited):
            await run.poll("alarms")
        assert vendor.asked == ["A1"]


async def test_history_is_read_down_to_the_checkpoint() -> None:
    vendor, shared = Vendor(alarm("a0")), Shared()
    vendor.history["A1"] = [alarm(f"a{n}", minutes=n * 30) for n in range(40)]
    mark = {"id": "a4", "at": iso(datetime.now(ZONE) - timedelta(minutes=120))}
    shared.checkpoints["A1"] = json.dumps(mark)
    async with scripted(vendor, shared, page_size=3) as run:
        await run.poll("alarms")
        assert seen(run) == ["a4", "a3", "a2", "a1", "a0"]
        assert len(vendor.asked) == 2
        assert json.loads(shared.checkpoints["A1"])["id"] == "a0"


async def test_history_without_total_ends_with_a_short_page() -> None:
    vendor = Vendor(alarm("a0"))
    vendor.tells_total = False
    vendor.history["A1"] = [alarm(f"a{n}", minutes=n) for n in range(5)]
    async with scripted(vendor, page_size=2) as run:
        await run.poll("alarms")
        assert seen(run) == ["a4", "a3", "a2", "a1", "a0"]
        assert len(vendor.asked) == 3


async def test_history_out_of_order_is_read_completely() -> None:
    vendor, shared = Vendor(alarm("a0")), Shared()
    ages = (0, 500, 300, 5, 400)
    vendor.history["A1"] = [alarm(f"a{minutes}", minutes=minutes) for minutes in ages]
    shared.checkpoints["A1"] = json.dumps({"id": "x", "at": iso(datetime.now(ZONE) - timedelta(minutes=100))})
    async with scripted(vendor, shared, page_size=3) as run:
        await run.poll("alarms")
        assert seen(run) == ["a5", "a0"]


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
        assert json.loads(shared.checkpoints["A1"]) == {"id": "new", "at": None}
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


async def test_newest_alarm_older_than_checkpoint_is_reported() -> None:
    """The gateway's clock was set back: what it raised since lies before the mark."""
    vendor, shared = Vendor(alarm("late", minutes=60)), Shared()
    vendor.history["A1"] = [alarm("first", minutes=0), alarm("late", minutes=60)]
    shared.checkpoints["A1"] = json.dumps({"id": "first", "at": iso(datetime.now(ZONE))})
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert seen(run) == ["late", "first"]
        assert json.loads(shared.checkpoints["A1"])["id"] == "late"


def away() -> Shared:
    """Kept by a bridge that then was away for days."""
    now = datetime.now(ZONE)
    baseline, polled = (now - timedelta(days=days) for days in (30, 6))
    return Shared(checkpoints={"": json.dumps({"baseline": baseline.isoformat(), "polled": polled.isoformat()})})


async def test_overdue_history_is_read_until_it_succeeds() -> None:
    vendor, shared = Vendor(), away()
    kept = shared.checkpoints[""]
    vendor.macs = ["A1", "B2", "C3", "D4"]
    vendor.history = {"A1": [alarm("missed", minutes=4 * 24 * 60)]}
    vendor.instead = {"A1": 500, "B2": {"code": 9, "status": "不支持"}}
    async with scripted(vendor, shared) as run:
        await run.poll("alarms")
        assert shared.checkpoints[""] == kept
        vendor.instead.clear()
        vendor.asked.clear()
        await run.poll("alarms")
        assert seen(run) == ["missed"]
        assert vendor.asked == ["A1"]
        assert shared.checkpoints[""] != kept
        await run.poll("alarms")
        assert vendor.asked == ["A1"]


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
    rows = [alarm("new"), alarm("old", minutes=1)]
    async with scripted(lambda _: {"meta": {}, "metricHistorys": rows}, shared, page_size=2) as run:
        with pytest.raises(InvalidResponse, match="repeat"):
            await run.poll("alarms")
        assert sorted(seen(run)) == ["new", "old"]
        assert set(shared.checkpoints) == {""}
