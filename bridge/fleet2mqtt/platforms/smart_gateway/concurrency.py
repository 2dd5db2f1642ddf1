"""The number of calls at once that a server allows: a server that refuses gets one at a time, and another try later."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from fleet2mqtt.errors import Ambiguous, BackendError, RateLimited, Unreachable
from fleet2mqtt.sdk.rate_limiter import RateLimiter

_LOG = logging.getLogger(__name__)

RELEARN = 3600.0
"""Seconds after which a server that refused calls at once is tried again."""


@dataclass(slots=True, kw_only=True)
class Concurrency:
    """Calls at once to the server of `backend`: `wanted` of them until it refuses, one for an hour after that.

    `rate_limiter` is the rate limiter that all its calls pass.
    """

    backend: str
    rate_limiter: RateLimiter
    wanted: int
    clock: Callable[[], float] = time.monotonic
    _refused_at: float | None = None

    @property
    def limit(self) -> int:
        """Calls that may be made at once now."""
        if self._refused_at is not None and self.clock() >= self._refused_at + RELEARN:
            self._refused_at = None
            self.rate_limiter.concurrency = self.wanted
        return self.rate_limiter.concurrency

    def is_refused(self, error: BackendError) -> bool:
        """Return True for an error that calls at once may have caused; from then on there is one at a time."""
        lost = isinstance(error, Ambiguous) and error.code == "connection_lost"
        if self.limit == 1 or not (lost or isinstance(error, RateLimited | Unreachable)):
            return False
        _LOG.info("%s: one call at a time for %d min: %s", self.backend, RELEARN // 60, error)
        self._refused_at = self.clock()
        self.rate_limiter.concurrency = 1
        return True
