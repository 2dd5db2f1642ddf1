"""The query window: the two times that lists of lattices and of authorisations require."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

Bound = date | datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryWindow:
    """A window around everything, from `start` (a date) to so many days from now.

    The pages' samples have dates, `2024-03-07`; with `as_time` the bounds are sent as times in UTC.
    """

    start: str
    future_days: int
    as_time: bool = False

    def bounds(self, start: Bound | None = None, end: Bound | None = None) -> dict[str, str]:
        """Return `startTime` and `endTime`, the window's own where none is given; they are the same all day long."""
        latest = datetime.now(UTC).date() + timedelta(days=self.future_days)
        return {
            "startTime": self._text(date.fromisoformat(self.start) if start is None else start, time.min),
            "endTime": self._text(latest if end is None else end, time.max),
        }

    def _text(self, bound: Bound, clock: time) -> str:
        if not self.as_time:
            return f"{bound:%Y-%m-%d}"
        moment = bound if isinstance(bound, datetime) else datetime.combine(bound, clock)
        return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def period_text(bound: Bound | None) -> str | None:
    """Return a limit of an authorisation's period: a date as it is, a time as the pages show times."""
    if bound is None or not isinstance(bound, datetime):
        return None if bound is None else f"{bound:%Y-%m-%d}"
    return f"{bound:%Y-%m-%d %H:%M:%S}"
