"""Time that passes at once, for time-outs too long to wait for: a slow machine cannot make them expire too early."""

from __future__ import annotations

import asyncio


class LoopTime:
    """The clock of the running event loop, for what is made from now on. It can be advanced; other clocks cannot."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._advance = 0.0
        loop.time = self  # type: ignore[method-assign]

    def __call__(self) -> float:
        return self._time() + self._advance

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once: timers of the event loop that are due by then expire."""
        self._advance += seconds
