"""The rate limiter: bounds concurrent calls and the interval between them; commands overtake polls."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

FIRST_CALLS = 4
"""So many calls of a command (a reading, the write, its read-back) come before those of the commands after it, so that
a queue ends in results one after another; then it has had its chance, and waits with its next read-back behind them."""


@dataclass(slots=True)
class CommandPriority:
    """Priority of one command: calls started, and its number among the commands of this vendor."""

    started: int = 0
    number: int | None = None


_urgency: ContextVar[CommandPriority | None] = ContextVar("urgency", default=None)


@contextmanager
def command_priority(urgency: CommandPriority | None = None) -> Iterator[CommandPriority]:
    """Let calls made inside overtake waiting polls; nested ones belong to the outer one, unless one is given."""
    urgency = urgency or _urgency.get() or CommandPriority()
    token = _urgency.set(urgency)
    try:
        yield urgency
    finally:
        _urgency.reset(token)


class RateLimiter:
    """At most `concurrency` calls at once, each starting at least `spacing` seconds after the last one started.

    With `idle` that is after the last ended: the vendor sees them that far apart however long the way to it takes.
    """

    def __init__(self, *, concurrency: int = 1, spacing: float = 0.0, idle: bool = False) -> None:
        self.concurrency = concurrency
        self.spacing = spacing
        self._idle = idle
        self._running = 0
        self._next = 0.0
        self._order = itertools.count()
        self._waiting: list[tuple[tuple[bool, bool, int], int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and occupy it; commands (`command_priority`) come before polls, each in order."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        urgency = _urgency.get()
        heapq.heappush(self._waiting, (self._rank(urgency), next(self._order), granted))
        self._grant()
        try:
            await granted
            if urgency is not None:
                urgency.started += 1
            yield
        finally:
            if granted.done() and not granted.cancelled():
                self._running -= 1
                if self._idle:
                    self.pause(self.spacing)
            self._grant()

    def pause(self, seconds: float) -> None:
        """Start no call for some seconds."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)

    def _rank(self, urgency: CommandPriority | None) -> tuple[bool, bool, int]:
        if urgency is None:
            return True, False, 0
        if urgency.number is None:
            urgency.number = next(self._order)
        return False, urgency.started >= FIRST_CALLS, urgency.number

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
