"""Capabilities: calls that a system lacks (a BBC centre, old firmware) are left out, and tried again from time to time.

A call that is there but fails costs the others nothing. After several poll cycles in a row without it, its values are
not known any more.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from fleet2mqtt.errors import BackendError, InvalidResponse, Unreachable
from fleet2mqtt.platforms.sangfor_ac.transport import is_missing
from fleet2mqtt.sdk.sweep import DIFFERENT_ITEMS, MISSED_SWEEPS, Sweep

_LOG = logging.getLogger(__name__)

RETRY_INTERVAL = 3600.0
"""Seconds until a call that is missing is tried again."""

ResultT = TypeVar("ResultT")


@dataclass(slots=True, kw_only=True)
class Capabilities:
    """The calls that the system of a backend lacks, and those that fail.

    `is_reachable` is True if it is an AC at all: it has answered something.
    """

    backend: str
    clock: Callable[[], float] = time.monotonic
    is_reachable: bool = False
    _missing_until: dict[str, float] = field(default_factory=dict)
    _misses: Counter[str] = field(default_factory=Counter)
    _logged: set[str] = field(default_factory=set)

    def is_missing(self, name: str) -> bool:
        """Return True if the system lacks this call and it is not yet to be tried again."""
        return self.clock() < self._missing_until.get(name, float("-inf"))

    def is_unavailable(self, name: str) -> bool:
        """Return True if the values of this call cannot be had: it is missing, or failed in several cycles in a row."""
        return name in self._missing_until or self._misses[name] >= MISSED_SWEEPS

    def mark_supported(self, name: str) -> None:
        """Record that this call was answered; log it if it was not before."""
        self.is_reachable = True
        self._misses.pop(name, None)
        if self._missing_until.pop(name, None) is not None or name in self._logged:
            self._logged.discard(name)
            _LOG.info("%s: %s is answered again", self.backend, name)

    def mark_missing(self, errors: Mapping[str, BackendError]) -> None:
        """Record that these calls are missing; log it once."""
        new = [name for name in errors if name not in self._missing_until]
        self._missing_until |= dict.fromkeys(errors, self.clock() + RETRY_INTERVAL)
        if new:
            _LOG.warning("%s: the system has no %s, left out: %s", self.backend, ", ".join(new), errors[new[0]])

    def record_failure(self, name: str) -> None:
        """Record that this call failed in a poll cycle."""
        self._misses[name] += 1

    def log_failures(self, errors: Mapping[str, BackendError]) -> None:
        """Log the calls that failed while others were answered, each once."""
        for name, error in errors.items():
            if name not in self._logged:
                self._logged.add(name)
                _LOG.warning("%s: %s fails: %s", self.backend, name, error)

    def reset(self) -> None:
        """Forget what is missing: nothing answers, so it may be no AC at all, or not now."""
        self.is_reachable = False
        self._missing_until.clear()


@dataclass(slots=True, kw_only=True)
class PollCycle:
    """One poll that makes several different calls, of which some may be missing, and some may fail."""

    capabilities: Capabilities
    sweep: Sweep
    missing: dict[str, BackendError] = field(default_factory=dict)
    failed: dict[str, BackendError] = field(default_factory=dict)
    answered: int = 0

    def order(self, names: Iterable[str]) -> list[str]:
        """Begin the cycle: return the calls, beginning after the one that the cycle before ended with.

        Calls that are missing are left out: the figures of the poll would show them as never read.
        """
        return self.sweep.order(name for name in names if not self.capabilities.is_missing(name))

    async def call(self, name: str, read: Callable[[], Awaitable[ResultT]]) -> ResultT | None:
        """Return a call's response data; None where it is missing or fails. Raises BackendError to end the cycle."""
        if self.capabilities.is_missing(name):
            return None
        try:
            result = await read()
        except BackendError as error:
            if is_missing(error):
                self.missing[name] = error
            else:
                self.failed[name] = error
                self.capabilities.record_failure(name)
                if not isinstance(error, InvalidResponse):  # which came from the system: it is there
                    self.sweep.record_failure(name, error)
                if isinstance(error, Unreachable):  # the host: every other call would wait as long
                    raise
            return None
        self.answered += 1
        self.sweep.record_success(name)
        self.capabilities.mark_supported(name)
        return result

    def close(self) -> None:
        """End the cycle. Raises an error if no call was answered."""
        if self.missing and not self.capabilities.is_reachable:
            raise next(iter(self.missing.values()))
        self.capabilities.mark_missing(self.missing)
        if self.failed and not self.answered:
            raise next(iter(self.failed.values()))
        self.capabilities.log_failures(self.failed)


@dataclass(slots=True, kw_only=True)
class ItemSweep:
    """Sweeps of one call over watched items: a failing item costs the others nothing, nor does a missing call.

    The call counts as missing only if no item was answered: a single item may be refused in the same words.
    """

    name: str
    capabilities: Capabilities
    sweep: Sweep
    complete: bool = True
    """True if the last sweep got an answer for every item."""

    async def run(
        self, items: Iterable[str], read: Callable[[str], Awaitable[ResultT]]
    ) -> AsyncIterator[tuple[str, ResultT | BackendError]]:
        """Yield each item with what `read` returned, or with its error. Raises BackendError to end the sweep."""
        self.complete = False
        if self.capabilities.is_missing(self.name):
            return
        missing: dict[str, BackendError] = {}
        answered = failed = 0
        for item in self.sweep.order(items):
            try:
                result = await read(item)
            except BackendError as error:
                if is_missing(error):
                    missing[item] = error
                    if len(missing) >= DIFFERENT_ITEMS and not answered:
                        break
                    continue
                failed += 1
                self.sweep.record_failure(item, error)
                yield item, error
            else:
                answered += 1
                self.sweep.record_success(item)
                self.capabilities.mark_supported(self.name)
                yield item, result
        if missing and not answered and not failed:
            self._close_missing(missing)
            return
        for item, refusal in missing.items():
            self.sweep.record_failure(item, refusal)
            yield item, refusal
        self.sweep.close()
        self.complete = not (missing or failed)

    def is_missed(self, item: str) -> bool:
        """Return True if so many sweeps in a row missed an item that its values are not known any more."""
        return self.sweep.is_missed(item)

    def _close_missing(self, missing: Mapping[str, BackendError]) -> None:
        error = next(iter(missing.values()))
        if not self.capabilities.is_reachable:
            raise error
        self.capabilities.mark_missing({self.name: error})
