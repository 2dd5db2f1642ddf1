"""The rate limiter: bounds concurrent calls and the interval between them.

Commands overtake polls, and polls overtake calls that are deferred because others are more urgent for now.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

FIRST_CALLS = 4
"""So many calls of a command (a reading, the write, its read-back) come before those of the commands after it, so that
a queue ends in results one after another; then it has had its chance, and waits with its next read-back behind them."""
CATCH_UP = 0.1
"""Share of the spacing by which a call may follow earlier where the one before it was late."""
DEFERRED_EVERY = 10
"""While other polls wait, one call in so many is a deferred one, so that what is deferred goes on."""


@dataclass(slots=True)
class CommandPriority:
    """Priority of one command: calls started, and its number among the commands of this vendor."""

    started: int = 0
    number: int | None = None


_urgency: ContextVar[CommandPriority | None] = ContextVar("urgency", default=None)
_is_deferred: ContextVar[bool] = ContextVar("is_deferred", default=False)


@contextmanager
def command_priority(urgency: CommandPriority | None = None) -> Iterator[CommandPriority]:
    """Let calls made inside overtake waiting polls; nested ones belong to the outer one, unless one is given."""
    urgency = urgency or _urgency.get() or CommandPriority()
    token = _urgency.set(urgency)
    try:
        yield urgency
    finally:
        _urgency.reset(token)


@contextmanager
def deferred() -> Iterator[None]:
    """Let other polls overtake calls made inside, all but one in `DEFERRED_EVERY`."""
    token = _is_deferred.set(True)
    try:
        yield
    finally:
        _is_deferred.reset(token)


class RateLimiter:
    """At most `concurrency` calls at once, one every `spacing` seconds.

    A call that starts late, because this machine was busy, lets the next one follow up to `CATCH_UP` of that time
    earlier: the rate is kept, and not exceeded. With `idle` a call starts `spacing` seconds after the last one ended:
    the vendor sees them that far apart however long the way to it takes.
    """

    def __init__(self, *, concurrency: int = 1, spacing: float = 0.0, idle: bool = False) -> None:
        self.concurrency = concurrency
        self.spacing = spacing
        self._idle = idle
        self._running = 0
        self._next = 0.0
        self._order = itertools.count()
        self._waiting: list[tuple[tuple[bool, bool, int], int, asyncio.Future[None]]] = []
        self._deferred: deque[asyncio.Future[None]] = deque()
        self._overtaken = 0
        """Calls started since the last deferred one, while one was waiting."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return len(self._waiting) + len(self._deferred)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and occupy it: commands (`command_priority`) first, then polls, then what is `deferred`."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        urgency = _urgency.get()
        if urgency is None and _is_deferred.get():
            self._deferred.append(granted)
        else:
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
        while self._discard_cancelled() and self._running < self.concurrency:
            wait = self._next - loop.time()
            if wait > 0:
                if self._timer is None:
                    self._timer = loop.call_later(wait, self._on_time)
                return
            granted = self._take_next()
            self._running += 1
            self._next = max(self._next, loop.time() - CATCH_UP * self.spacing) + self.spacing
            granted.set_result(None)

    def _discard_cancelled(self) -> bool:
        """Forget calls that are not wanted any more; return True if one waits."""
        while self._waiting and self._waiting[0][2].cancelled():
            heapq.heappop(self._waiting)
        while self._deferred and self._deferred[0].cancelled():
            self._deferred.popleft()
        return bool(self._waiting or self._deferred)

    def _take_next(self) -> asyncio.Future[None]:
        """Take the call that comes next from those that wait."""
        is_poll = bool(self._waiting) and self._waiting[0][0][0]
        if self._deferred and (not self._waiting or (is_poll and self._overtaken >= DEFERRED_EVERY - 1)):
            self._overtaken = 0
            return self._deferred.popleft()
        self._overtaken = self._overtaken + 1 if self._deferred else 0
        return heapq.heappop(self._waiting)[2]

    def _on_time(self) -> None:
        self._timer = None
        self._grant()
