"""SIM usage of all channels of a backend, on disk across restarts.

The file is not the source of truth of an amount: a meter is saved with the reading that it ends with, so that a crash
loses nothing that the vendor still counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from fleet2mqtt.platforms.smart_gateway.billing import Periods, periods
from fleet2mqtt.platforms.smart_gateway.meter import Meter
from fleet2mqtt.platforms.smart_gateway.models import Channel, Usage
from fleet2mqtt.storage import atomic_file

_LOG = logging.getLogger(__name__)

VERSION = 1
SAVE_INTERVAL = 300.0
"""Seconds between two savings while the bridge runs."""
_CLOCK_IS_SET = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
_GATEWAYS_AT_ONCE = 500
"""Gateways whose meters are collected before the event loop has a turn."""
_DAY = 86_400.0
_HOUR = 3_600.0
_FIELDS = ("counter", "reading", "read_at", "day_start", "month_start", "since", "day", "month", "sim")
_DECIMAL = {prefix: 1000**power for power, prefix in enumerate(("", "k", "M", "G", "T", "P", "E", "Z", "Y"))}
_BINARY = {f"{prefix}i": 1024**power for power, prefix in enumerate(("K", "M", "G", "T", "P", "E", "Z", "Y"), start=1)}
BYTES: Mapping[str, float] = MappingProxyType(
    {f"{prefix}B": float(size) for prefix, size in (_DECIMAL | _BINARY).items()}
    | {f"{prefix}bit": size / 8 for prefix, size in _DECIMAL.items()}
)
"""Bytes by unit of data size."""


@dataclass(frozen=True, slots=True)
class Units:
    """The vendor's units: `traffic` of used, remain and total, `flow` of the other counters; None for no unit."""

    traffic: str | None
    flow: str | None

    @property
    def usage(self) -> str | None:
        """The unit of usage: `flow`, in which a plan is bought, where both are known."""
        return self.traffic if self.flow is None or self.traffic is None else self.flow

    @property
    def counts_flow(self) -> bool:
        """True if `flow` is the unit of usage."""
        return self.flow is not None and self.traffic is not None

    @property
    def scale(self) -> float:
        """Factor from `traffic` to `usage`."""
        return 1.0 if self.traffic is None or self.usage is None else BYTES[self.traffic] / BYTES[self.usage]

    def counter(self, channel: Channel) -> tuple[str, float] | None:
        """Return the counter to read, and its value as usage; None while the vendor sends none."""
        if channel.used is not None:
            return "used", channel.used * self.scale
        if channel.todayUsedFlow is not None and self.counts_flow:
            return "todayUsedFlow", channel.todayUsedFlow
        return None

    def remaining(self, channel: Channel) -> float | None:
        """Return the remaining volume that the vendor reports."""
        if channel.remain is not None:
            return channel.remain * self.scale
        return channel.remainFlow if self.counts_flow else None

    def plan(self, channel: Channel) -> float | None:
        """Return the size of the plan."""
        if channel.total is not None:
            return channel.total * self.scale
        return channel.initFlow if self.counts_flow and self.flow == "GB" else None


@dataclass(slots=True, kw_only=True)
class UsageStore:
    """The meters of one backend, by serial number and channel. They count nothing before they are loaded."""

    path: Path
    zone: ZoneInfo
    reset_day: int
    units: Units
    clock: Callable[[], float] = time.time
    _meters: dict[str, dict[str, Meter]] = field(default_factory=dict)
    _periods: Periods | None = None
    _loaded: bool = False
    _changed: bool = False
    _saved_at: float = 0.0
    _save_fails: bool = False

    # Metering

    def apply(self, sn: str, key: str, channel: Channel, *, pulled: bool) -> Usage | None:
        """Read a channel's counters; return its usage, None for one that was never metered.

        `pulled` says that the slot is empty: what it counts next is another card's.
        """
        moment = self.clock()
        found, meter = self.units.counter(channel), self._meters.get(sn, {}).get(key)
        if not self._loaded or (meter is None and found is None):
            return None
        if moment < _CLOCK_IS_SET:
            return Usage()
        now = self._periods_of(moment)
        if meter is None:
            meter = Meter(
                counter="",
                reading=None,
                read_at=moment,
                day_start=now.day[0],
                month_start=now.month[0],
                since=moment,
            )
            self._meters.setdefault(sn, {})[key] = meter
        changed = meter.begin_periods(now)
        if pulled:
            self._changed |= meter.pull() or changed
            return Usage()
        if channel.ICCID is not None:
            changed = meter.insert(channel.ICCID, moment) or changed
        if found is not None:
            changed = meter.read(*found, moment) or changed
        self._changed |= changed
        return self._usage(meter, channel, now, moment)

    def _usage(self, meter: Meter, channel: Channel, now: Periods, moment: float) -> Usage:
        remaining, plan = self.units.remaining(channel), self.units.plan(channel)
        if remaining is None and plan is not None and meter.since == meter.month_start:
            remaining = max(0.0, plan - meter.month)
        return Usage(
            today=_rounded(meter.day),
            month=_rounded(meter.month),
            forecast=_rounded(_forecast(meter, now, moment)),
            remaining=_rounded(remaining),
            since=_iso(meter.since, self.zone),
            until=_iso(now.month[1], self.zone),
        )

    def _periods_of(self, moment: float) -> Periods:
        known = self._periods
        if known is None or not known.day[0] <= moment < known.day[1]:
            known = self._periods = periods(moment, self.zone, self.reset_day)
        return known

    def keep(self, serial_numbers: Iterable[str]) -> None:
        """Forget the gateways that are not among these."""
        for sn in self._meters.keys() - set(serial_numbers):
            del self._meters[sn]
            self._changed = True

    # File

    async def load(self) -> None:
        """Load the meters, once: with the first poll, when a backend that this one replaces has saved its own."""
        if not self._loaded:
            self._meters = await asyncio.to_thread(self._read_file)
            self._saved_at = self.clock()
            self._loaded = True

    async def save(self, *, now: bool = False) -> None:
        """Save the meters, if there is something new and the last saving is old enough."""
        if not self._loaded or not self._changed or (not now and abs(self.clock() - self._saved_at) < SAVE_INTERVAL):
            return
        self._changed, self._saved_at = False, self.clock()
        meters: dict[str, dict[str, list[Any]]] = {}
        for number, (sn, channels) in enumerate(tuple(self._meters.items())):
            if number % _GATEWAYS_AT_ONCE == 0:
                await asyncio.sleep(0)
            meters[sn] = {key: [getattr(meter, name) for name in _FIELDS] for key, meter in channels.items()}
        content = {"version": VERSION, "reset_day": self.reset_day, "units": self._units_text(), "meters": meters}
        try:
            await asyncio.to_thread(lambda: atomic_file.replace(self.path, orjson.dumps(content)))
        except OSError as error:
            self._changed = True
            if not self._save_fails:
                _LOG.error("%s cannot be written, a restart will forget SIM usage: %s", self.path, error)
            self._save_fails = True
        else:
            self._save_fails = False

    def _read_file(self) -> dict[str, dict[str, Meter]]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            return self._meters_of(orjson.loads(data))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            atomic_file.set_aside(self.path, f"not a file of SIM usage: {error}")
            return {}

    def _meters_of(self, content: Any) -> dict[str, dict[str, Meter]]:
        if content["version"] != VERSION:
            message = f"version {content['version']}, not {VERSION}"
            raise ValueError(message)
        if content["units"] != self._units_text():
            _LOG.warning("%s has usage in other units: SIM usage is counted anew", self.path)
            return {}
        meters = {
            sn: {key: _meter(values) for key, values in channels.items()} for sn, channels in content["meters"].items()
        }
        if content["reset_day"] != self.reset_day:
            _LOG.warning("%s is of another billing day: the usage of this month is counted anew", self.path)
            for meter in (meter for channels in meters.values() for meter in channels.values()):
                meter.month, meter.month_start, meter.since = 0.0, float("inf"), self.clock()
        return meters

    def _units_text(self) -> list[str | None]:
        return [self.units.traffic, self.units.flow]


def _meter(values: list[Any]) -> Meter:
    """Return a meter as it was saved. Raises ValueError, TypeError."""
    counter, reading, *numbers, sim = values
    if not isinstance(counter, str) or not isinstance(sim, str):
        message = "a meter's counter or SIM card is no text"
        raise TypeError(message)
    read_at, day_start, month_start, since, day, month = map(float, numbers)
    return Meter(
        counter=counter,
        reading=None if reading is None else float(reading),
        read_at=read_at,
        day_start=day_start,
        month_start=month_start,
        since=since,
        day=day,
        month=month,
        sim=sim,
    )


def _forecast(meter: Meter, now: Periods, moment: float) -> float | None:
    """Return the usage at the end of the billing month, at the present rate; None for less than a day of counting."""
    start, end = now.month
    counted = (moment - meter.since) // _HOUR * _HOUR  # so that it does not change with every poll
    return None if counted < _DAY else max(meter.month, meter.month / counted * (end - start))


@lru_cache(maxsize=16_384)
def _iso(moment: float, zone: ZoneInfo) -> str:
    """Return a time as ISO 8601; a meter's begin stays the same for a month."""
    return datetime.fromtimestamp(moment, zone).isoformat(timespec="seconds")


def _rounded(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 6)
