"""The poller: one loop per source that polls, reports, waits, and backs off with jitter when the vendor fails."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.contract.payloads import now
from fleet2mqtt.errors import AuthenticationError, BackendError, OutboxError, Unreachable
from fleet2mqtt.hub import Hub
from fleet2mqtt.polling.health import DOWN_AFTER, BackendHealth, SourceHealth
from fleet2mqtt.sdk.api import Backend, Source
from fleet2mqtt.tracing import span

_LOG = logging.getLogger(__name__)

FIRST_RETRY = 5.0
LONGEST_RETRY = 30.0
DENIED_RETRY = 300.0
"""Seconds between attempts while the vendor refuses our credentials: more often would lock the account."""
EARLIEST_TIME = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock before this is not set yet: a machine without a battery starts in 1970."""
CLOCK_CHECK = 1.0
SLOW_POLLS = 3
"""Polls in a row that take longer than their interval before that is logged."""


class Poller:
    """Polls the sources of one backend, and derives from them what is available."""

    def __init__(
        self,
        backend: Backend,
        hub: Hub,
        *,
        stale_after: float,
        changed: Callable[[BackendHealth], None],
        on_all_polled: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called whenever something in the health changed, `on_all_polled` once each source was polled."""
        self.backend = backend
        self.health = BackendHealth(
            backend, {source.name: SourceHealth(interval=source.interval) for source in backend.sources}
        )
        self._hub = hub
        self._stale_after = stale_after
        self._changed = changed
        self._on_all_polled = on_all_polled
        self._poll_requested = {source.name: asyncio.Event() for source in backend.sources}
        self._polled = {source.name: asyncio.Event() for source in backend.sources}
        """Set once the poll that begins next is over."""
        self._overruns: set[str] = set()
        """Sources whose overrun has been logged."""
        self._moved: dict[str, tuple[Any, float]] = {}
        """By source the newest freshness value, and the loop time at which it came."""
        self._untried = {source.name for source in backend.sources}
        self._untried_primary = {source.name for source in backend.sources if source.primary}
        self._primary_tried = asyncio.Event()
        """Set when the primary sources have been tried; the others wait for that."""
        hub.unsettled[backend.name] = {source.name for source in backend.sources}

    @property
    def primary_tried(self) -> bool:
        """True if each primary source was polled once."""
        return not self._untried_primary

    async def refresh(self, sources: tuple[str, ...] | None = None) -> dict[str, BackendError | None]:
        """Poll these sources (or all) now and wait for it; return each one's error, if any."""
        names = [name for name in self._poll_requested if sources is None or name in sources]
        for name in names:
            self._poll_requested[name].set()
        await asyncio.gather(*(self._polled[name].wait() for name in names))
        return {name: self.health.sources[name].error for name in names}

    def request_poll(self, sources: tuple[str, ...]) -> None:
        """Poll these sources as soon as possible."""
        for name in sources:
            if name in self._poll_requested:
                self._poll_requested[name].set()

    async def run(self, source: Source) -> None:
        """Poll one source until cancelled."""
        try:
            await self._run(source)
        finally:
            self._polled[source.name].set()  # nobody waits for a poll that will not come

    async def _run(self, source: Source) -> None:
        if self._untried_primary and not source.primary:
            await self._primary_tried.wait()
        if source.needs_clock:
            await self._wait_for_clock(source)
        while True:
            self._poll_requested[source.name].clear()
            polled, self._polled[source.name] = self._polled[source.name], asyncio.Event()
            try:
                wait = await self._poll_once(source)
            finally:
                polled.set()
            await wait_for_event(self._poll_requested[source.name], wait)

    async def _poll_once(self, source: Source) -> float:
        """Poll a source and record how that ended; return the seconds until the next poll."""
        health = self.health.sources[source.name]
        try:
            await self._poll(source, health)
        except (BackendError, OutboxError) as error:
            wait = self._record_failure(source, health, error)
        else:
            wait = self._record_success(source, health)
        health.next_try = now() + timedelta(seconds=wait)
        self._untried.discard(source.name)
        self._untried_primary.discard(source.name)
        if not self._untried_primary:
            self._primary_tried.set()
        if not self._untried:
            self._on_all_polled()
        self._changed(self.health)
        return wait

    async def _wait_for_clock(self, source: Source) -> None:
        """Wait until the machine's clock is set: a first run in 1970 would take the whole history for new."""
        if now() >= EARLIEST_TIME:
            return
        _LOG.warning(
            "%s: %s waits: this machine's clock says %s, which cannot be; set it (NTP)",
            self.backend.name,
            source.name,
            f"{now():%Y-%m-%d %H:%M}",
        )
        requested = self._poll_requested[source.name]
        while now() < EARLIEST_TIME:
            requested.clear()
            await wait_for_event(requested, CLOCK_CHECK)
        _LOG.info("%s: %s begins: the clock is set", self.backend.name, source.name)

    async def _poll(self, source: Source, health: SourceHealth) -> None:
        reported = 0
        with (
            span("poll", backend=self.backend.name, source=source.name) as note,
            health.figures.counting(),
        ):
            async with aclosing(source.poll()) as updates:  # type: ignore[type-var]
                async for update in updates:
                    reported += len(update.devices) + len(update.alarms)
                    await self._hub.accept(update)
                    if health.available is None:
                        self._set_source_available(source, available=True)
            health.figures.complete(reported)
            note("items", health.figures.items or 0)
            note("calls", health.figures.calls or 0)
        self._check_duration(source, health)

    def _check_duration(self, source: Source, health: SourceHealth) -> None:
        """Log once that a source cannot keep its interval, and which options change that.

        A single poll may be slow because the vendor or this machine is: the first one of a large fleet often is.
        """
        figures = health.figures
        slow = figures.duration is not None and figures.duration > source.interval
        health.slow_polls = health.slow_polls + 1 if slow else 0
        if health.slow_polls < SLOW_POLLS or source.name in self._overruns:
            return
        self._overruns.add(source.name)
        _LOG.warning(
            "%s: %s took %.0f s for %d items in %d calls, longer than its interval of %g s: "
            "raise scan_interval.%s, or leave out devices or entities (exclude, entities)",
            self.backend.name,
            source.name,
            figures.duration,
            figures.items,
            figures.calls,
            source.interval,
            source.name,
        )

    def _record_success(self, source: Source, health: SourceHealth) -> float:
        recovered, was_unreachable = health.error is not None, isinstance(health.error, Unreachable)
        health.failures = 0
        health.error = None
        health.last_success = now()
        if recovered:
            self._log_recovery(source)
        if was_unreachable:  # the vendor is back, and the other sources may have backed off for long
            self.request_poll(
                tuple(name for name, each in self.health.sources.items() if isinstance(each.error, Unreachable))
            )
        self._hub.unsettled[self.backend.name].discard(source.name)
        self._check_freshness(source, health)
        self._set_source_available(source, available=health.stale_since is None)
        self._derive_availability()
        return source.interval * random.uniform(0.95, 1.0)  # noqa: S311 - jitter is no secret

    def _record_failure(self, source: Source, health: SourceHealth, error: BackendError | OutboxError) -> float:
        if not isinstance(error, BackendError):
            error = BackendError(str(error), code="outbox")
        known = type(health.error) is type(error) or self._is_reported(source, error)
        level = logging.DEBUG if known else logging.WARNING
        _LOG.log(level, "%s: %s fails: %s", self.backend.name, source.name, error)
        health.failures += 1
        health.error = error
        self._hub.unsettled[self.backend.name].add(source.name)
        if health.failures >= DOWN_AFTER or isinstance(error, AuthenticationError):
            self._set_source_available(source, available=False)
        self._derive_availability()
        return _retry_after(source.interval, health.failures, error)

    def _is_reported(self, source: Source, error: BackendError) -> bool:
        """Return True if another source fails in the same way: that is one fault of one backend, and one line."""
        return any(
            type(other.error) is type(error) for name, other in self.health.sources.items() if name != source.name
        )

    def _log_recovery(self, source: Source) -> None:
        """Log the recovery of a source; once for a backend whose sources recover together."""
        failing = [name for name, other in self.health.sources.items() if other.error is not None]
        if failing:
            _LOG.debug("%s: %s answers again, %s not yet", self.backend.name, source.name, ", ".join(failing))
        else:
            _LOG.info("%s: %s answers again", self.backend.name, source.name)

    def _derive_availability(self) -> None:
        """Available as soon as every primary source works and moves; unavailable when one failed often enough."""
        primary = [self.health.sources[source.name] for source in self.backend.sources if source.primary]
        down = any(source.failures >= DOWN_AFTER or isinstance(source.error, AuthenticationError) for source in primary)
        up = all(source.error is None and source.last_success is not None for source in primary)
        if down or self.health.stale_since is not None:
            self._set_available(available=False)
        elif up:
            self._set_available(available=True)

    def _set_available(self, *, available: bool) -> None:
        if self.health.available is not available:
            self.health.available = available
            _LOG.log(
                logging.INFO if available else logging.WARNING,
                "%s is %s",
                self.backend.name,
                "available" if available else "unavailable",
            )

    def _set_source_available(self, source: Source, *, available: bool) -> None:
        """Show at the devices and entities of a source whether it works; primary sources decide about the backend."""
        health = self.health.sources[source.name]
        if health.available is available:
            return
        health.available = available
        if not source.primary:
            self._hub.set_source_available(self.backend.name, source.name, available=available)

    def _check_freshness(self, source: Source, health: SourceHealth) -> None:
        """Take responses that repeat the same old data for `stale_after` seconds for those of a vendor that stopped."""
        if source.freshness is None or not self._stale_after:
            return
        value, clock = source.freshness(), asyncio.get_running_loop().time()
        if value is None:
            return
        known = self._moved.get(source.name)
        if known is None or known[0] != value:
            self._moved[source.name] = (value, clock)
            if health.stale_since is not None:
                _LOG.info("%s: %s moves again", self.backend.name, source.name)
                health.stale_since = None
        elif clock - known[1] >= self._stale_after and health.stale_since is None:
            _LOG.warning(
                "%s: what %s says has not moved for %g s: taken as stale",
                self.backend.name,
                source.name,
                clock - known[1],
            )
            health.stale_since = now() - timedelta(seconds=clock - known[1])


def _retry_after(interval: float, failures: int, error: BackendError) -> float:
    if isinstance(error, AuthenticationError):
        return max(interval, DENIED_RETRY)
    longest = max(interval, LONGEST_RETRY)
    wait = min(longest, min(interval, FIRST_RETRY) * 2.0 ** min(failures - 1, 10))
    return wait * random.uniform(0.8, 1.2)  # noqa: S311 - jitter is no secret
