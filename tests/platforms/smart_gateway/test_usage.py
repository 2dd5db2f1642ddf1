"""SIM usage: metering, periods, restarts and the file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
import voluptuous as vol

from fleet2mqtt.platforms.smart_gateway import SCHEMA
from fleet2mqtt.platforms.smart_gateway.billing import periods
from fleet2mqtt.platforms.smart_gateway.meter import Meter
from fleet2mqtt.platforms.smart_gateway.models import Channel, Usage
from fleet2mqtt.platforms.smart_gateway.schemas import DATA_SIZES
from fleet2mqtt.platforms.smart_gateway.usage import BYTES, SAVE_INTERVAL, Units, UsageStore
from tests.platforms.context import Shared
from tests.platforms.smart_gateway.connected import GATEWAY, NAME, SIM, SN, USB, simulated

if TYPE_CHECKING:
    from pathlib import Path

ZONE = ZoneInfo("Asia/Shanghai")
GB = 1_000_000  # kB
UNITS = Units("kB", "GB")


@dataclass(slots=True)
class Clock:
    """A clock that tests set."""

    now: float = 0.0

    def set(self, text: str) -> None:
        self.now = datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Metered:
    """A store of meters, and one channel of it."""

    path: Path
    clock: Clock = field(default_factory=Clock)
    reset_day: int = 1
    units: Units = UNITS
    store: UsageStore = field(init=False)

    async def start(self) -> None:
        self.store = UsageStore(path=self.path, zone=ZONE, reset_day=self.reset_day, units=self.units, clock=self.clock)
        await self.store.load()

    async def restart(self) -> None:
        await self.store.save(now=True)
        await self.start()

    def at(self, text: str, /, *, pulled: bool = False, **fields: Any) -> Usage:
        self.clock.set(text)
        usage = self.store.apply(SN, "0", Channel.model_validate(fields), pulled=pulled)
        assert usage is not None
        return usage

    def amounts(self, text: str, /, **fields: Any) -> tuple[float | None, float | None]:
        usage = self.at(text, **fields)
        return usage.today, usage.month


@pytest.fixture
async def metered(tmp_path: Path) -> Metered:
    made = Metered(tmp_path / "branch.usage.json")
    await made.start()
    return made


async def test_usage_is_counted_from_the_first_reading(metered: Metered) -> None:
    assert metered.amounts("2026-11-10T10:00", used=50 * GB) == (0, 0)
    assert metered.amounts("2026-11-10T11:00", used=52 * GB) == (2, 2)
    assert metered.amounts("2026-11-11T00:00", used=52 * GB) == (0, 2)
    assert metered.amounts("2026-11-11T01:00", used=53 * GB) == (1, 3)
    assert metered.amounts("2026-12-01T00:00", used=53 * GB) == (0, 0)
    usage = metered.at("2026-12-01T08:00", used=54 * GB)
    assert (usage.today, usage.month) == (1, 1)
    assert (usage.since, usage.until) == ("2026-12-01T00:00:00+08:00", "2027-01-01T00:00:00+08:00")


async def test_billing_month_starts_on_its_day(metered: Metered) -> None:
    metered.reset_day = 31
    await metered.start()
    metered.at("2026-02-27T10:00", used=0)
    assert metered.amounts("2026-02-27T23:00", used=GB) == (1, 1)
    assert metered.amounts("2026-02-28T00:00", used=GB) == (0, 0)


async def test_amount_over_midnight_is_shared_by_time(metered: Metered) -> None:
    metered.at("2026-11-30T22:00", used=10 * GB)
    assert metered.amounts("2026-12-01T02:00", used=14 * GB) == (2, 2)


@pytest.mark.parametrize(
    ("reading", "today"),
    [
        (GB, 6),  # the vendor's counter started again
        (14.5 * GB, 5),  # it was corrected: what it counted before is not undone
        ("", 5),  # it is not known, and goes on from where it was
    ],
)
async def test_counter_that_falls(metered: Metered, reading: Any, today: float) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB)
    metered.at("2026-11-10T11:00", used=15 * GB)
    assert metered.at("2026-11-10T12:00", used=reading).today == today
    again = 15 * GB if reading == "" else reading
    assert metered.at("2026-11-10T13:00", used=again + GB).today == today + 1


async def test_vendor_that_resets_at_midnight_counts_from_there(metered: Metered) -> None:
    """A list without `used` leaves the flow of today, which is in GB and starts again each day."""
    metered.at("2026-11-10T10:00", todayUsedFlow=1)
    assert metered.amounts("2026-11-10T23:59", todayUsedFlow=4) == (3, 3)
    assert metered.amounts("2026-11-11T00:01", todayUsedFlow=0.25) == (0.25, 3.25)


async def test_another_card_in_the_slot_starts_anew(metered: Metered) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB, ICCID="8986001")
    assert metered.amounts("2026-11-10T11:00", used=12 * GB, ICCID="8986001") == (2, 2)
    await metered.restart()
    assert "8986001" not in metered.path.read_text()  # a hash is enough to tell
    assert metered.amounts("2026-11-10T11:30", used=13 * GB, ICCID="8986001") == (3, 3)
    usage = metered.at("2026-11-10T12:00", used=90 * GB, ICCID="8986002")
    assert (usage.today, usage.month, usage.since) == (0, 0, "2026-11-10T12:00:00+08:00")
    assert metered.amounts("2026-11-10T13:00", used=91 * GB, ICCID="8986002") == (1, 1)


async def test_empty_slot_is_unknown_and_the_next_card_begins_where_it_is(metered: Metered) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB)
    assert metered.at("2026-11-10T11:00", pulled=True) == Usage()
    assert metered.amounts("2026-11-10T12:00", used=70 * GB) == (0, 0)


async def test_forecast_is_the_present_rate_until_the_month_ends(metered: Metered) -> None:
    metered.at("2026-11-01T00:00", used=0)
    assert metered.at("2026-11-01T23:00", used=GB).forecast is None
    assert metered.at("2026-11-11T00:00", used=10 * GB).forecast == 30
    assert metered.at("2026-11-11T00:59", used=10 * GB).forecast == 30  # not another one with each poll
    assert metered.at("2026-11-21T00:00", used=10 * GB).forecast == 15


async def test_forecast_of_a_month_that_was_counted_in_part(metered: Metered) -> None:
    metered.at("2026-11-21T00:00", used=50 * GB)
    usage = metered.at("2026-11-26T00:00", used=60 * GB)
    assert (usage.month, usage.forecast, usage.since) == (10, 60, "2026-11-21T00:00:00+08:00")


@pytest.mark.parametrize(
    ("fields", "remaining"),
    [
        ({"remain": 5 * GB, "remainFlow": 9, "total": 100 * GB}, 5),
        ({"remainFlow": 9, "total": 100 * GB}, 9),
        ({"total": 100 * GB}, None),  # what was used before counting is not known
        ({}, None),
    ],
)
async def test_remaining_volume_is_the_vendors(metered: Metered, fields: dict[str, Any], remaining: float) -> None:
    assert metered.at("2026-11-10T10:00", used=0, **fields).remaining == remaining


async def test_remaining_volume_of_a_plan_in_a_whole_month(metered: Metered) -> None:
    metered.at("2026-11-10T10:00", used=0)
    metered.at("2026-12-01T00:00", used=0)
    assert metered.at("2026-12-02T00:00", used=30 * GB, total=100 * GB).remaining == 70
    assert metered.at("2026-12-03T00:00", used=30 * GB, initFlow=50).remaining == 20
    assert metered.at("2026-12-04T00:00", used=90 * GB, initFlow=50).remaining == 0


@pytest.mark.parametrize(
    ("units", "today", "unit"),
    [
        (Units("MB", "GB"), 2, "GB"),
        (Units("GiB", "GiB"), 2000, "GiB"),
        (Units(None, "GB"), 2000, None),
        (Units("MB", None), 2000, "MB"),
        (Units(None, None), 2000, None),
    ],
)
async def test_units(tmp_path: Path, units: Units, today: float, unit: str | None) -> None:
    metered = Metered(tmp_path / "file", units=units)
    await metered.start()
    metered.at("2026-11-10T10:00", used=0)
    usage = metered.at("2026-11-10T11:00", used=2000, remainFlow=7)
    assert (usage.today, units.usage) == (today, unit)
    assert usage.remaining == (7 if units.counts_flow else None)


def test_every_unit_has_a_size() -> None:
    assert set(BYTES) >= set(DATA_SIZES)


# The clock


async def test_clock_that_is_not_set_counts_nothing(metered: Metered) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB)
    metered.clock.set("1970-01-01T08:00")
    assert metered.store.apply(SN, "0", Channel(used=11 * GB), pulled=False) == Usage()
    assert metered.amounts("2026-11-10T10:00", used=12 * GB) == (2, 2)


async def test_clock_that_was_ahead_costs_no_later_day(metered: Metered) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB)
    metered.at("2030-01-10T10:00", used=10 * GB)
    assert metered.amounts("2026-11-10T11:00", used=12 * GB) == (2, 2)
    assert metered.amounts("2026-11-11T00:00", used=12 * GB) == (0, 2)


# Restarts and the file


async def test_restart_counts_what_was_used_meanwhile(metered: Metered) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB)
    metered.at("2026-11-10T11:00", used=12 * GB)
    await metered.restart()
    assert metered.amounts("2026-11-10T14:00", used=15 * GB) == (5, 5)


async def test_crash_loses_nothing_that_the_vendor_still_counts(metered: Metered) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB)
    await metered.store.save(now=True)
    metered.at("2026-11-10T11:00", used=12 * GB)
    await metered.start()
    assert metered.amounts("2026-11-10T12:00", used=13 * GB) == (3, 3)


async def test_file_is_written_now_and_then(metered: Metered) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB)
    await metered.store.save()
    written = metered.path.read_bytes()
    metered.at("2026-11-10T10:01", used=11 * GB)
    await metered.store.save()
    assert metered.path.read_bytes() == written
    metered.clock.now += SAVE_INTERVAL
    await metered.store.save()
    assert metered.path.read_bytes() != written
    assert metered.path.stat().st_mode & 0o777 == 0o600
    metered.path.unlink()
    await metered.store.save(now=True)
    assert not metered.path.exists()  # nothing new


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-20],
        lambda _: "[]",
        lambda _: "null",
        lambda text: text.replace('"version":1', '"version":2'),
        lambda text: text.replace('["used",', "["),
        lambda text: text.replace('["used",', "[7,"),
        lambda text: text.replace('"meters":{', '"meters":[{').replace("}}}", "}}]}"),
    ],
)
async def test_damaged_file_is_set_aside_with_an_error(
    metered: Metered, caplog: pytest.LogCaptureFixture, change: Any
) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB)
    await metered.store.save(now=True)
    metered.path.write_text(change(metered.path.read_text()))
    await metered.start()
    (message,) = [one.message for one in caplog.records if one.levelname == "ERROR"]
    assert message.startswith(f"{metered.path} cannot be used (not a file of SIM usage")
    assert len(list(metered.path.parent.glob("*.corrupt-*"))) == 1
    assert metered.amounts("2026-11-10T11:00", used=12 * GB) == (0, 0)
    await metered.restart()
    assert metered.amounts("2026-11-10T12:00", used=13 * GB) == (1, 1)


async def test_file_that_cannot_be_written_is_logged_once(
    metered: Metered, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    metered.at("2026-11-10T10:00", used=10 * GB)
    with monkeypatch.context() as patch:
        patch.setattr("fleet2mqtt.storage.atomic_file.replace", full)
        await metered.store.save(now=True)
        await metered.store.save(now=True)
    assert [one.levelname for one in caplog.records if "cannot be written" in one.message] == ["ERROR"]
    await metered.store.save(now=True)
    assert metered.path.exists()


async def test_another_billing_day_counts_the_month_anew(metered: Metered, caplog: pytest.LogCaptureFixture) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB)
    metered.at("2026-11-10T11:00", used=12 * GB)
    metered.reset_day = 15
    await metered.restart()
    usage = metered.at("2026-11-10T12:00", used=13 * GB)
    assert (usage.today, usage.month, usage.since) == (3, 1, "2026-11-10T11:00:00+08:00")
    assert "another billing day" in caplog.text
    assert metered.amounts("2026-11-15T00:00", used=13 * GB) == (0, 0)


async def test_other_units_count_anew(metered: Metered, caplog: pytest.LogCaptureFixture) -> None:
    metered.at("2026-11-10T10:00", used=10 * GB)
    metered.units = Units("MB", "GB")
    await metered.restart()
    assert "other units" in caplog.text
    assert metered.amounts("2026-11-10T11:00", used=11_000) == (0, 0)


# The platform


@pytest.mark.parametrize(("day", "valid"), [(1, True), (31, True), (0, False), (32, False), ("1", False)])
def test_billing_day_is_one_of_a_month(day: Any, *, valid: bool) -> None:
    schema = vol.Schema(dict(SCHEMA))
    if valid:
        assert schema({"billing_day": day})["billing_day"] == day
        return
    with pytest.raises(vol.Invalid):
        schema({"billing_day": day})


async def test_channel_shows_its_usage_across_a_restart(tmp_path: Path) -> None:
    shared = Shared(folder=tmp_path)
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("devices")
        assert run.state(SIM)["usage_today"] == run.state(SIM)["usage_month"] == 0
        simulator.set_channel(SN, "0", used=522681 + 2 * GB, remain=3 * GB)
        await run.poll("devices")
        state = run.state(SIM)
        assert (state["usage_month"], state["usage_remaining"]) == (2, 3)
        assert run.devices[SIM].attributes["usage_month"].keys() == {"since", "until"}
        simulator.pull_sim(SN, "4")
        await run.poll("devices")
        assert run.state(USB)["usage_month"] is None
    async with simulated(shared=shared) as (simulator, run):
        simulator.set_channel(SN, "0", used=522681 + 3 * GB)
        await run.poll("devices")
        assert run.state(SIM)["usage_month"] == 3


async def test_reload_goes_on_with_what_the_replaced_backend_saves_when_it_ends(tmp_path: Path) -> None:
    """A changed backend is connected before the one that it replaces is closed."""
    shared = Shared(folder=tmp_path)
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("devices")
        simulator.set_channel(SN, "0", used=522681 + 2 * GB)
        await run.poll("devices")
        replacing = simulated(shared=shared)
        other, later = await replacing.__aenter__()
    other.set_channel(SN, "0", used=522681 + 3 * GB)
    await later.poll("devices")
    assert later.state(SIM)["usage_month"] == 3
    await replacing.__aexit__(None, None, None)


async def test_removed_gateway_is_forgotten_and_usage_that_nobody_sees_is_not_counted(tmp_path: Path) -> None:
    shared = Shared(folder=tmp_path)
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("devices")
        simulator.remove_gateway(SN)
        await run.poll("devices")
    meters = json.loads((tmp_path / f"{NAME}.usage.json").read_text())["meters"]
    assert meters
    assert SN not in meters
    async with simulated(publishes=lambda entity: not entity.key.startswith("usage_")) as (_, run):
        await run.poll("devices")
        assert "usage_today" not in run.state(SIM)
        assert run.state(GATEWAY)["running"] == "ON"


def test_amounts_never_fall_within_a_period_and_start_at_0_with_the_next() -> None:
    """Home Assistant's state class `total_increasing` asks for that."""
    rng, zone = Random(7), ZoneInfo("Asia/Shanghai")  # noqa: S311
    at = datetime(2026, 11, 3, tzinfo=UTC).timestamp()
    now = periods(at, zone, 5)
    meter = Meter(counter="", reading=None, read_at=at, day_start=now.day[0], month_start=now.month[0], since=at)
    reading, days, months = 1000.0, 0, 0
    for _ in range(3000):
        at += rng.uniform(60, 3000)
        now, before = periods(at, zone, 5), (meter.day_start, meter.month_start, meter.day, meter.month)
        meter.begin_periods(now)
        days += (new_day := meter.day_start != before[0])
        months += (new_month := meter.month_start != before[1])
        assert not new_day or meter.day == 0
        assert not new_month or meter.month == 0
        reading = rng.choice((reading + rng.uniform(0, 5), reading * 0.95, rng.uniform(0, 2)))
        meter.read("used", reading, at)
        assert new_day or meter.day >= before[2]
        assert new_month or meter.month >= before[3]
    assert days > 30
    assert months >= 1
