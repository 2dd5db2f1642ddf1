"""The meter of one SIM card: usage per day and billing month, from a counter of the vendor that may start again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from fleet2mqtt.platforms.smart_gateway.billing import Periods

CORRECTION = 0.9
"""A counter that falls to less than this share has started again; one that falls less was corrected."""


@dataclass(slots=True, kw_only=True)
class Meter:
    """Usage of one channel. Times are seconds since 1970.

    `counter` is the vendor's field that is read, `reading` its last value (None: the next one is where counting
    starts) at `read_at`. `day` and `month` are the amounts of the periods that began at `day_start` and `month_start`,
    the month counted from `since`. `sim` is a hash of the SIM card's ICCID, "" until it is known.
    """

    counter: str
    reading: float | None
    read_at: float
    day_start: float
    month_start: float
    since: float
    day: float = 0.0
    month: float = 0.0
    sim: str = ""
    _iccid: str | None = field(default=None, compare=False, repr=False)

    def begin_periods(self, now: Periods) -> bool:
        """Start anew in the periods of now; return True if one is another than before.

        A start that lies ahead is that of a clock that was wrong: it is moved, and the amount is kept.
        """
        if (self.day_start, self.month_start) == (now.day[0], now.month[0]):
            return False
        if self.day_start < now.day[0]:
            self.day = 0.0
        if self.month_start < now.month[0]:
            self.month, self.since = 0.0, now.month[0]
        self.day_start, self.month_start = now.day[0], now.month[0]
        self.since = max(self.since, self.month_start)
        return True

    def insert(self, iccid: str, moment: float) -> bool:
        """Start anew where another SIM card is in the slot; return True if there is something new to save."""
        if iccid == self._iccid:
            return False
        self._iccid = iccid
        sim, before = hashlib.sha256(iccid.encode()).hexdigest()[:16], self.sim
        self.sim = sim
        if before and before != sim:
            self.reading, self.day, self.month, self.since = None, 0.0, 0.0, moment
        return before != sim

    def pull(self) -> bool:
        """Forget the reading of a slot that is empty; return True if there was one."""
        known, self.reading = self.reading is not None, None
        return known

    def read(self, counter: str, reading: float, moment: float) -> bool:
        """Add what was used since the last reading; return True if there is something new to save.

        Of an amount from before a period's start the period gets the share of the time since; of a counter that
        started again it gets everything.
        """
        if counter == self.counter and reading == self.reading:
            self.read_at = moment
            return False
        if counter == self.counter and self.reading is not None:
            self._add(self.reading, reading, moment)
        self.counter, self.reading, self.read_at = counter, reading, moment
        return True

    def _add(self, before: float, reading: float, moment: float) -> None:
        if reading >= before:
            self.day += (reading - before) * self._share(self.day_start, moment)
            self.month += (reading - before) * self._share(self.month_start, moment)
        elif reading < before * CORRECTION:
            self.day += reading
            self.month += reading

    def _share(self, start: float, moment: float) -> float:
        if self.read_at >= start or moment <= self.read_at:
            return 1.0
        return max(0.0, moment - start) / (moment - self.read_at)
