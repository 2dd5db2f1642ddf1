"""How fast a vendor may be called: so many at once, so far apart, commands before polls."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_urgent: ContextVar[bool] = ContextVar("urgent", default=False)


@contextmanager
def urgently() -> Iterator[None]:
    """Calls made inside overtake the polls that wait."""
    token = _urgent.set(True)
    try:
        yield
    finally:
        _urgent.reset(token)


class Pace:
    """A gate for calls: at most `concurrency` at once, each starting at least `spacing` seconds after the last."""

    def __init__(self, *, concurrency: int = 1, spacing: float = 0.0) -> None:
        self.concurrency = concurrency
        self.spacing = spacing
        self._running = 0
        self._next = 0.0
        self._order = itertools.count()
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it; commands (`urgently`) come before polls, each in order."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (not _urgent.get(), next(self._order), granted))
        self._grant()
        try:
            await granted
            yield
        finally:
            if granted.done() and not granted.cancelled():
                self._running -= 1
            self._grant()

    def _grant(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._running < self.concurrency:
            if self._waiting[0][2].cancelled():
                heapq.heappop(self._waiting)
                continue
            wait = self._next - loop.time()
            if wait > 0:
                if self._timer is None:
                    self._timer = loop.call_later(wait, self._on_time)
                return
            granted = heapq.heappop(self._waiting)[2]
            self._running += 1
            self._next = loop.time() + self.spacing
            granted.set_result(None)

    def _on_time(self) -> None:
        self._timer = None
        self._grant()
