"""Days and billing months."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from fleet2mqtt.platforms.smart_gateway.billing import periods

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("today", "reset_day", "start", "end"),
    [
        ("2026-11-28", 1, "2026-11-01", "2026-12-01"),
        ("2026-12-31", 1, "2026-12-01", "2027-01-01"),
        ("2026-11-15", 15, "2026-11-15", "2026-12-15"),
        ("2026-01-14", 15, "2025-12-15", "2026-01-15"),
        # months that are shorter than the day
        ("2026-02-27", 31, "2026-01-31", "2026-02-28"),
        ("2026-02-28", 31, "2026-02-28", "2026-03-31"),
        ("2028-02-29", 30, "2028-02-29", "2028-03-30"),
        ("2026-04-30", 31, "2026-04-30", "2026-05-31"),
        ("2026-12-31", 31, "2026-12-31", "2027-01-31"),
    ],
)
def test_billing_month_starts_on_the_reset_day(today: str, reset_day: int, start: str, end: str) -> None:
    moment = datetime.fromisoformat(f"{today}T12:00").replace(tzinfo=SHANGHAI).timestamp()
    found = periods(moment, SHANGHAI, reset_day)
    assert [datetime.fromtimestamp(each, SHANGHAI).isoformat() for each in found.month] == [
        f"{start}T00:00:00+08:00",
        f"{end}T00:00:00+08:00",
    ]


def test_day_is_that_of_the_time_zone() -> None:
    moment = datetime.fromisoformat("2026-03-28T23:30+00:00").timestamp()  # the next day, which has 23 hours, in Berlin
    start, end = periods(moment, BERLIN, 1).day
    assert datetime.fromtimestamp(start, BERLIN).isoformat() == "2026-03-29T00:00:00+01:00"
    assert end - start == 23 * 3600
