"""Back-off: the growing pause between attempts after failures."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

_MOST_DOUBLINGS = 30


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Exponential back-off with jitter, in seconds: `first`, then doubled each time up to `longest`.

    `jitter` is the largest part of a pause that is added or taken off at random.
    """

    first: float
    longest: float
    jitter: float = 0.2
    failures: int = field(default=0, init=False)

    def record_failure(self) -> float:
        """Count a failure; return the seconds to wait before the next attempt."""
        self.failures += 1
        pause = min(self.longest, self.first * 2.0 ** min(self.failures - 1, _MOST_DOUBLINGS))
        return pause * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - jitter is no secret

    def record_success(self) -> None:
        """Begin again with the first pause after the next failure."""
        self.failures = 0
