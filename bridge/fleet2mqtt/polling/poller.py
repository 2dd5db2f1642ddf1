"""One loop per source: poll, take in, wait; back off with jitter when the vendor fails; say so on the edges."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.contract.payloads import now
from fleet2mqtt.errors import AuthenticationError, BackendError, OutboxError, Unreachable
from fleet2mqtt.hub import Hub
from fleet2mqtt.polling.health import DOWN_AFTER, BackendHealth, SourceHealth
from fleet2mqtt.sdk.api import Backend, Source

_LOG = logging.getLogger(__name__)

FIRST_RETRY = 5.0
LONGEST_RETRY = 30.0
DENIED_RETRY = 300.0
"""Seconds between tries while the vendor refuses our credentials: more often would lock the account."""


class Poller:
    """Polls the sources of one backend and judges from them whether it is available."""

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
        self.health = BackendHealth(backend, {source.name: SourceHealth() for source in backend.sources})
        self._hub = hub
        self._stale_after = stale_after
        self._changed = changed
        self._on_all_polled = on_all_polled
        self._pokes = {source.name: asyncio.Event() for source in backend.sources}
        self._next = {source.name: asyncio.Event() for source in backend.sources}
        """Set once the poll that begins next is over."""
        self._fresh: dict[str, tuple[Any, float]] = {}
        self._unheard = {source.name for source in backend.sources}
        self._unheard_primary = {source.name for source in backend.sources if source.primary}
        self._first = asyncio.Event()
        """Set when the primary sources have said whether there is a backend at all; the others wait for that."""
        hub.unsettled[backend.name] = {source.name for source in backend.sources}

    async def refresh(self, sources: tuple[str, ...] | None = None) -> dict[str, BackendError | None]:
        """Poll these sources (or all) now and wait; gives each one's error, if any."""
        names = [name for name in self._pokes if sources is None or name in sources]
        for name in names:
            self._pokes[name].set()
        await asyncio.gather(*(self._next[name].wait() for name in names))
        return {name: self.health.sources[name].error for name in names}

    def request_poll(self, sources: tuple[str, ...]) -> None:
        """Poll these sources as soon as may be."""
        for name in sources:
            if name in self._pokes:
                self._pokes[name].set()

    async def run(self, source: Source) -> None:
        """Poll one source until cancelled."""
        if self._unheard_primary and not source.primary:
            await self._first.wait()
        while True:
            self._pokes[source.name].clear()
            ran, self._next[source.name] = self._next[source.name], asyncio.Event()
            health = self.health.sources[source.name]
            try:
                await self._poll(source)
            except (BackendError, OutboxError) as error:
                wait = self._failed(source, health, error)
            else:
                wait = self._succeeded(source, health)
            health.next_try = now() + timedelta(seconds=wait)
            self._unheard.discard(source.name)
            self._unheard_primary.discard(source.name)
            if not self._unheard_primary:
                self._first.set()
            if not self._unheard:
                self._on_all_polled()
            self._changed(self.health)
            ran.set()
            await wait_for_event(self._pokes[source.name], wait)

    async def _poll(self, source: Source) -> None:
        async with aclosing(source.poll()) as updates:  # type: ignore[type-var]
            async for update in updates:
                await self._hub.accept(update)

    def _succeeded(self, source: Source, health: SourceHealth) -> float:
        if health.error is not None:
            _LOG.info("%s: %s answers again", self.backend.name, source.name)
        was_away = isinstance(health.error, Unreachable)
        health.failures = 0
        health.error = None
        health.last_success = now()
        if was_away:  # the vendor is back, and the other sources may have backed off for long
            self.request_poll(
                tuple(name for name, each in self.health.sources.items() if isinstance(each.error, Unreachable))
            )
        self._hub.unsettled[self.backend.name].discard(source.name)
        self._watch_freshness(source)
        self._judge()
        return source.interval * random.uniform(0.95, 1.0)  # noqa: S311 - jitter is no secret

    def _failed(self, source: Source, health: SourceHealth, error: BackendError | OutboxError) -> float:
        if not isinstance(error, BackendError):
            error = BackendError(str(error), code="outbox")
        if type(health.error) is not type(error) and not self._is_known(error):
            _LOG.warning("%s: %s fails: %s", self.backend.name, source.name, error)
        health.failures += 1
        health.error = error
        self._hub.unsettled[self.backend.name].add(source.name)
        self._judge()
        return _back_off(source.interval, health.failures, error)

    def _is_known(self, error: BackendError) -> bool:
        """Whether another source was denied already: that is one fault of one backend."""
        others = (source.error for source in self.health.sources.values())
        return isinstance(error, AuthenticationError) and any(
            isinstance(other, AuthenticationError) for other in others
        )

    def _judge(self) -> None:
        """Up as soon as every primary source works and moves; down when one failed often enough, or was denied."""
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

    def _watch_freshness(self, source: Source) -> None:
        """Answers that say the same old thing for `stale_after` seconds come from a vendor that stands still."""
        if source.fresh is None or not self._stale_after:
            return
        value, clock = source.fresh(), asyncio.get_running_loop().time()
        if value is None:
            return
        known = self._fresh.get(source.name)
        if known is None or known[0] != value:
            self._fresh[source.name] = (value, clock)
            if self.health.stale_since is not None:
                _LOG.info("%s: %s moves again", self.backend.name, source.name)
                self.health.stale_since = None
        elif clock - known[1] >= self._stale_after and self.health.stale_since is None:
            _LOG.warning(
                "%s: what %s says has not moved for %g s: taken as stale",
                self.backend.name,
                source.name,
                clock - known[1],
            )
            self.health.stale_since = now() - timedelta(seconds=clock - known[1])


def _back_off(interval: float, failures: int, error: BackendError) -> float:
    if isinstance(error, AuthenticationError):
        return max(interval, DENIED_RETRY)
    longest = max(interval, LONGEST_RETRY)
    wait = min(longest, min(interval, FIRST_RETRY) * 2.0 ** min(failures - 1, 10))
    return wait * random.uniform(0.8, 1.2)  # noqa: S311 - jitter is no secret
