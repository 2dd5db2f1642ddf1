"""Days and billing months in the backend's time zone."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DECEMBER = 12


@dataclass(frozen=True, slots=True)
class Periods:
    """The day and the billing month that a moment is in, each from its start to before its end; seconds since 1970."""

    day: tuple[float, float]
    month: tuple[float, float]


def periods(moment: float, zone: ZoneInfo, reset_day: int) -> Periods:
    """Return the periods of a moment.

    In a month that is shorter than `reset_day` the billing month starts on the last day.
    """
    today = datetime.fromtimestamp(moment, zone).date()
    start = _reset_date(today.year, today.month, reset_day)
    if start > today:
        start = _reset_date(*_month_before(today), reset_day)
    end = _reset_date(*_month_after(start), reset_day)
    return Periods(
        day=(_midnight(today, zone), _midnight(today + timedelta(days=1), zone)),
        month=(_midnight(start, zone), _midnight(end, zone)),
    )


def _reset_date(year: int, month: int, reset_day: int) -> date:
    return date(year, month, min(reset_day, monthrange(year, month)[1]))


def _month_before(day: date) -> tuple[int, int]:
    return (day.year - 1, DECEMBER) if day.month == 1 else (day.year, day.month - 1)


def _month_after(day: date) -> tuple[int, int]:
    return (day.year + 1, 1) if day.month == DECEMBER else (day.year, day.month + 1)


def _midnight(day: date, zone: ZoneInfo) -> float:
    return datetime.combine(day, time(), zone).timestamp()
