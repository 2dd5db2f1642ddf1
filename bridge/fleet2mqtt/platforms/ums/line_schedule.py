"""Line schedule: of which gateways a sweep reads the lines, and which of them come first.

The UMS returns the lines of one gateway a call, and most gateways of a fleet may have none. Those without lines to read
are checked again about once a day, at times that spread over hours, or when something suggests that they have some:
another product or version, a connection that was restored, an alarm that names a line.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import orjson

CHECK_INTERVAL = 86_400.0
"""Seconds after which a gateway without lines is checked again, at the latest."""
EARLIEST_CHECK = 0.75
"""Part of that time after which it may be checked: gateways that were checked together are not for long."""
SUGGESTION_INTERVAL = 3_600.0
"""Seconds after a check in which nothing suggests another one: alarms may name lines of another type all the time."""
SAVE_INTERVAL = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """A gateway without lines to read: when that was found, when it is checked again, and for which product it holds.

    With `is_excluded` it has lines, and the options exclude all of them. That is not stored, as options may change.
    """

    at: float
    due: float
    product: str
    is_excluded: bool = False


@dataclass(slots=True)
class LineSchedule:
    """The gateways without lines to read, and those whose lines come first, by MAC.

    `clock` returns seconds since 1970. `product` is the product of a gateway and its version in one text.
    """

    clock: Callable[[], float] = time.time
    _checks: dict[str, _Check] = field(default_factory=dict)
    _suggested: set[str] = field(default_factory=set)
    _first: dict[str, None] = field(default_factory=dict)
    _saved_at: float = 0.0
    _has_changed: bool = False

    @classmethod
    def parse(cls, text: str | None) -> LineSchedule:
        """Return the schedule in a stored text, an empty one for None."""
        stored = orjson.loads(text) if text else {}
        checks = {mac: _Check(at=at, due=due, product=product) for mac, (at, due, product) in stored.items()}
        return cls(_checks=checks)

    def is_due(self, mac: str, product: str) -> bool:
        """Return True for a gateway that has lines to read, as far as is known, or is to be checked again."""
        check = self._checks.get(mac)
        if check is None or check.product != product:
            return True
        now = self.clock()
        if not check.at <= now < check.due:  # or the clock was set back
            return True
        return mac in self._suggested and now - check.at >= SUGGESTION_INTERVAL

    def has_no_lines(self, mac: str, product: str) -> bool:
        """Return True for a gateway that was found to have no lines and is not due."""
        check = self._checks.get(mac)
        return check is not None and not check.is_excluded and not self.is_due(mac, product)

    def note_alarm(self, mac: str, line: str | None = None) -> None:
        """Let the lines of a gateway with a new alarm come first. One that names a line suggests that it has some."""
        self._first[mac] = None
        if line is not None:
            self._suggested.add(mac)

    def note_test(self, mac: str) -> None:
        """Let the lines of a gateway that were tested come first."""
        self._first[mac] = None

    def note_connection(self, mac: str) -> None:
        """Check a gateway again that is connected once more: it may have been given lines meanwhile."""
        self._suggested.add(mac)

    def first(self) -> Iterable[str]:
        """Return the gateways whose lines come first."""
        return self._first

    def begin_sweep(self, macs: Iterable[str], due: Iterable[str]) -> None:
        """Forget the gateways that are not listed any more, and which come first of those that are not read."""
        listed = set(macs)
        for mac in self._checks.keys() - listed:
            del self._checks[mac]
            self._has_changed = True
        self._suggested &= listed
        kept = self._first.keys() & set(due)
        self._first = {mac: None for mac in self._first if mac in kept}

    def begin_read(self, mac: str) -> None:
        """Record that the lines of a gateway are requested."""
        self._suggested.discard(mac)
        self._first.pop(mac, None)

    def record(self, mac: str, product: str, *, has_lines: bool, is_excluded: bool = False) -> None:
        """Record what a complete response says of a gateway's lines."""
        before = self._checks.get(mac)
        if has_lines and not is_excluded:
            self._checks.pop(mac, None)
        else:
            now = self.clock()
            due = now + CHECK_INTERVAL * random.uniform(EARLIEST_CHECK, 1.0)  # noqa: S311 - spreads calls
            self._checks[mac] = _Check(at=now, due=due, product=product, is_excluded=is_excluded)
        after = self._checks.get(mac)
        if (before and (before.product, before.is_excluded)) != (after and (after.product, after.is_excluded)):
            self._has_changed = True

    def text_to_save(self) -> str | None:
        """Return the text to store; None where only times changed and it was saved less than an hour ago."""
        now = self.clock()
        if not self._has_changed and (not self._checks or 0 <= now - self._saved_at < SAVE_INTERVAL):
            return None
        self._saved_at, self._has_changed = now, False
        checks = {mac: check for mac, check in self._checks.items() if not check.is_excluded}
        return orjson.dumps({mac: (int(each.at), int(each.due), each.product) for mac, each in checks.items()}).decode()
