"""Vendor calls in progress, so that a backend is disconnected only after them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class CallsInProgress:
    """Counts the commands, reads and requests that use a backend now."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._idle: dict[str, asyncio.Event] = {}

    @contextmanager
    def of(self, backend: str) -> Iterator[None]:
        """Count the calls made inside as those of a backend."""
        self._counts[backend] += 1
        try:
            yield
        finally:
            self._counts[backend] -= 1
            if not self._counts[backend]:
                del self._counts[backend]
                if idle := self._idle.pop(backend, None):
                    idle.set()

    async def wait_idle(self, backend: str) -> None:
        """Wait until no call of a backend is in progress; each has a deadline of its own."""
        if self._counts[backend]:
            await self._idle.setdefault(backend, asyncio.Event()).wait()
