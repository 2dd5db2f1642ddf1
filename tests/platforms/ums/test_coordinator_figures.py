"""Figures: online counts, alarm counts, events of the last hour."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import orjson
import pytest
from aiohttp import web

from fleet2mqtt.config.loader import parse
from fleet2mqtt.devices.model import UpdateOrigin
from fleet2mqtt.errors import Rejected
from fleet2mqtt.platforms import ums
from fleet2mqtt.sdk.api import Platform
from tests.platforms.ums.connected import NAME, Run, scripted, simulated

OM50 = "000EA93D022E"
STATISTICS = "/s1/device/metric_history/statistics"
NOON = datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("Asia/Shanghai"))


async def test_status_poll_sets_fleet_figures() -> None:
    async with simulated() as (_, run):
        assert run.source("status").freshness is not None
        await run.poll("status")
        fleet = run.devices[NAME]
        assert (fleet.scope, fleet.vendor_id, fleet.via) == ("backend", NAME, None)
        assert fleet.state["total"] == 2
        assert fleet.state["online_rate"] == 50.0
        assert fleet.state["statistics_time"]


async def test_freshness_advances_with_statistics() -> None:
    async with simulated() as (simulator, run):
        fresh = run.source("status").freshness
        assert fresh is not None
        assert fresh() is None
        await run.poll("status")
        first = fresh()
        simulator.count_devices(datetime.now(NOON.tzinfo) + timedelta(minutes=5))
        await run.poll("status")
        assert fresh() >= first


def counts(*hours: int) -> list[dict[str, Any]]:
    return [{"total": hour, "statistics_time": f"2026-01-01 {hour:02}:00:00"} for hour in hours]


@pytest.mark.parametrize("hours", [(5, 4, 3, 2, 1), (1, 2, 3, 4, 5), (5,), (4, 5)])
@pytest.mark.parametrize("size", [2, 3, 100])
async def test_newest_status_is_found_in_any_order(hours: tuple[int, ...], size: int) -> None:
    def answer(request: web.Request) -> dict[str, Any]:
        offset = int(request.query["offset"])
        return {"meta": {"totalResults": len(hours)}, "states_statistics": counts(*hours)[offset : offset + size]}

    async with scripted(answer, page_size=size) as run:
        await run.poll("status")
        assert run.devices[NAME].state["total"] == 5


async def test_empty_status_yields_no_update() -> None:
    async with scripted(lambda _: {"meta": {"totalResults": 0}, "states_statistics": []}) as run:
        assert await run.poll("status") == []


async def test_alarm_counts_are_read_in_batches() -> None:
    async with simulated(devices=60) as (simulator, run):
        for _ in range(2):
            simulator.raise_alarm(OM50, level="warning", push=False)
        await run.poll("devices", "statistics")
        batches = [call.body["macs"].split(",") for call in simulator.fault_injector.calls if call.path == STATISTICS]
        assert [len(batch) for batch in batches] == [50, 10]
        gateway = run.devices[f"{NAME}_000ea93d022e"]
        assert gateway.state["alarms_major"] == 2
        assert gateway.state["alarms_total"] == sum(
            int(str(gateway.state[f"alarms_{kind}"])) for kind in ("critical", "major", "minor", "indeterminate")
        )
        assert gateway.state["connection_status"] == "ON"


async def test_counts_missing_in_a_response_are_requested_again() -> None:
    requested: list[list[str]] = []

    async with scripted(lambda request: respond_with_two(request, requested)) as run:
        await run.poll("statistics")
        assert requested == [["A1", "B2", "C3"], ["C3"]]
        assert run.devices[f"{NAME}_c3"].state["alarms_total"] == 7
        assert run.devices[f"{NAME}_c3"].attributes["alarms_total"] == {"interval": "30D"}


def respond_with_two(request: web.Request, requested: list[list[str]]) -> dict[str, Any]:
    """Respond with two counts at most, and with a page of three devices."""
    if request.path != STATISTICS:
        return {"meta": {"totalResults": 3}, "devices": [{"device_mac": mac} for mac in ("A1", "B2", "C3")]}
    macs = ["A1", "B2", "C3"] if not requested else ["C3"]
    requested.append(macs)
    rows = [{"metric_history_producer": mac, "all": "7"} for mac in macs[:2]]
    return {"meta": {"totalResults": len(macs), "interval": "30D"}, "metricHistoryStatistics": rows}


class Counting:
    """A vendor with these gateways that responds to their counts unless one of them is in `instead`."""

    def __init__(self, count: int) -> None:
        self.macs = [f"{number:012X}" for number in range(count)]
        self.instead: dict[str, int | dict[str, Any]] = {}
        self.left_out: set[str] = set()
        self.batches: list[list[str]] = []

    async def poll(self, run: Run) -> dict[str, Any]:
        """Poll the counts; return the total of each gateway."""
        self.batches.clear()
        await run.poll("statistics")
        return {
            id_.removeprefix(f"{NAME}_").upper(): device.state["alarms_total"] for id_, device in run.devices.items()
        }

    async def __call__(self, request: web.Request) -> int | dict[str, Any]:
        if request.path != STATISTICS:
            offset, limit = int(request.query["offset"]), int(request.query["limit"])
            devices = [{"device_mac": mac} for mac in self.macs[offset : offset + limit]]
            return {"meta": {"totalResults": len(self.macs)}, "devices": devices}
        macs = (await request.json())["macs"].split(",")
        self.batches.append(macs)
        for mac in macs:
            if mac in self.instead:
                return self.instead[mac]
        items = [{"metric_history_producer": mac, "all": "7"} for mac in macs if mac not in self.left_out]
        return {"meta": {"totalResults": len(items)}, "metricHistoryStatistics": items}


REJECTED = {"code": 2, "status": "设备不存在"}


async def test_gateway_the_vendor_rejects_costs_its_batch_nothing() -> None:
    """Faults 2.2: the batch is halved until the gateway is found."""
    vendor = Counting(60)
    async with scripted(vendor) as run:
        vendor.instead[vendor.macs[7]] = REJECTED
        totals = await vendor.poll(run)
        assert totals == dict.fromkeys((mac for mac in vendor.macs if mac != vendor.macs[7]), 7)
        assert len(vendor.batches) < 20


async def test_gateways_are_found_although_a_batch_fails() -> None:
    """Faults 2.1: an error that is about no gateway fails its batch only."""
    vendor = Counting(120)
    async with scripted(vendor) as run:
        vendor.instead[vendor.macs[0]] = 503
        totals = await vendor.poll(run)
        assert len(totals) == 70
        assert len(vendor.batches) == 3


async def test_vendor_that_rejects_every_batch_is_not_asked_for_each_gateway() -> None:
    vendor = Counting(1000)
    async with scripted(vendor) as run:
        vendor.instead = dict.fromkeys(vendor.macs, REJECTED)
        with pytest.raises(Rejected):
            await vendor.poll(run)
        assert len(vendor.batches) < 60


async def test_counts_missed_in_three_polls_are_unknown() -> None:
    """Faults 2.3: counts that are not read any more are not shown as the present ones."""
    vendor = Counting(2)
    async with scripted(vendor) as run:
        assert await vendor.poll(run) == dict.fromkeys(vendor.macs, 7)
        vendor.instead[vendor.macs[0]] = REJECTED
        for expected in (7, 7, None, None):
            assert await vendor.poll(run) == {vendor.macs[0]: expected, vendor.macs[1]: 7}
        vendor.instead.clear()
        assert await vendor.poll(run) == dict.fromkeys(vendor.macs, 7)


async def test_statistics_that_stand_still_are_never_stale_by_default() -> None:
    """Faults 2.4: the document says only that the UMS counts its devices periodically."""
    platform = cast("Platform", ums)
    text = "backends: {hq: {platform: ums, url: 'http://ums'%s}}"
    for option, seconds in (("", 0), (", stale_after: 60", 60)):
        config = parse(text % option, Path("fleet2mqtt.yaml"), {"ums": lambda: platform})
        assert config.backends["hq"].stale_after == seconds


async def test_events_poll_counts_the_last_hour() -> None:
    async with simulated() as (simulator, run):
        await run.poll("status", "events")
        before = run.devices[NAME].state["events_total"]
        assert isinstance(before, int)
        simulator.raise_alarm(OM50, push=False)
        await run.poll("events")
        assert simulator.fault_injector.calls[-1].body == {}
        assert simulator.fault_injector.calls[-1].query["event_type"] == "on"
        fleet = run.devices[NAME]
        assert fleet.state["events_total"] == before + 1
        assert sum(event["total"] for event in fleet.attributes["events_total"]["events"]) == before + 1
        assert fleet.state["total"] == 2  # what the other source brought stays
        row = fleet.entity("events_total")
        assert row is not None
        assert not row.enabled


async def test_events_beyond_what_the_recorder_takes_are_counted_only() -> None:
    """Faults 5.6: attributes over 16 KiB are a warning of Home Assistant's recorder."""
    events = [
        {"event_id": n, "total": n, **dict.fromkeys(("metric_history_name", "metric_history_desc"), f"eEMS_NOTIFY_{n}")}
        for n in range(200)
    ]
    async with scripted(lambda _: {"meta": {"totalResults": 200}, "events_statistics": events}, page_size=200) as run:
        await run.poll("events")
        attributes = run.devices[NAME].attributes["events_total"]
        assert [event["total"] for event in attributes["events"]] == list(range(199, 149, -1))
        assert attributes["omitted"] == 150
        assert len(orjson.dumps(attributes)) < 16 * 1024
        assert run.devices[NAME].state["events_total"] == sum(range(200))


async def test_counts_that_responses_leave_out_are_unknown_after_three_polls() -> None:
    """Faults 2.3."""
    vendor = Counting(2)
    async with scripted(vendor) as run:
        await vendor.poll(run)
        vendor.left_out.add(vendor.macs[0])
        for expected in (7, 7, None):
            assert await vendor.poll(run) == {vendor.macs[0]: expected, vendor.macs[1]: 7}


async def test_read_of_the_fleet_returns_newest_status() -> None:
    async with simulated() as (simulator, run):
        await run.poll("status")
        simulator.add_device()
        simulator.count_devices(datetime.now(NOON.tzinfo) + timedelta(minutes=5))
        update = run.apply(await run.backend.read(run.devices[NAME]))
        assert update.origin is UpdateOrigin.COMMAND
        assert run.devices[NAME].state["total"] == 3
