"""Many connections that post one numbered message after another, and when each came out at the broker."""

from __future__ import annotations

import asyncio
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from benchmarks.ground import HOST
from benchmarks.mqtt import subscribed

MARK = re.compile(rb"bench-(\d{8})")
"""Stands once in each body, and once in what the broker gets of it."""
_MARK_BYTES = 14
_QUIET = 3.0
"""Seconds without a message after which those that are missing are given up."""
_LONGEST_DRAIN = 10.0
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_GOOD = (b"200", b"204")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """An address to post bodies to, and the topic on which they are published."""

    port: int
    path: str
    topic: str
    body: Callable[[int], bytes]
    content_type: str = "application/json"

    def request(self, number: int) -> bytes:
        """A whole HTTP request."""
        body = self.body(number)
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(slots=True)
class Run:
    """One round of posting: when each message was posted, answered and delivered, in seconds of `perf_counter`."""

    until: float
    first: int
    interval: float = 0.0
    """Seconds between two posts, on all connections together; 0 for as fast as they are answered."""
    most: int | None = None
    """Messages after which it is over."""
    posted: dict[int, float] = field(default_factory=dict)
    answered: int = 0
    refused: int = 0
    delivered: dict[int, float] = field(default_factory=dict)
    _tail: bytes = b""
    _due: float = 0.0

    def wait(self) -> float:
        """Return the seconds until the next message is due."""
        now = perf_counter()
        self._due = max(self._due + self.interval, now)
        return self._due - now

    def next(self) -> int | None:
        """The number of the next message, None when it is over."""
        now = perf_counter()
        if now >= self.until or len(self.posted) == self.most:
            return None
        number = self.first + len(self.posted)
        self.posted[number] = now
        return number

    def take(self, data: bytes) -> None:
        """Record the time of each message in the data that a subscriber received."""
        now = perf_counter()
        for found in MARK.finditer(self._tail + data):
            self.delivered.setdefault(int(found[1]), now)
        self._tail = data[-_MARK_BYTES + 1 :]

    def latencies(self) -> list[float]:
        """From post to subscriber, seconds, sorted."""
        return sorted(at - self.posted[number] for number, at in self.delivered.items() if number in self.posted)

    def duration(self) -> float:
        """Seconds from the first post to the last delivery."""
        return max(self.delivered.values()) - min(self.posted.values()) if self.delivered else 0.0

    def rate(self) -> float:
        """Messages a second, from the first post to the last delivery."""
        arrived = [at for number, at in self.delivered.items() if number in self.posted]
        return len(arrived) / (max(arrived) - min(self.posted.values())) if arrived else 0.0


class _Poster(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, door: Door, run: Run) -> None:
        self._door = door
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type
        self._transport = transport
        self._post()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end + 2)
        if len(self._buffer) < end + 4 + (int(length[1]) if length else 0):
            return
        good = self._buffer[9:12] in _GOOD
        self._run.answered += good
        self._run.refused += not good
        self._buffer = b""
        self._post()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _post(self) -> None:
        if self._run.interval:
            self._loop.call_later(self._run.wait(), self._send)
        else:
            self._send()

    def _send(self) -> None:
        assert self._transport is not None  # noqa: S101 - for the type
        number = self._run.next()
        if number is None:
            self._transport.close()
        else:
            self._transport.write(self._door.request(number))


async def post(  # noqa: PLR0913, PLR0917 - what a load is
    door: Door,
    broker: int,
    connections: int,
    seconds: float,
    first: int,
    interval: float = 0.0,
    most: int | None = None,
) -> Run:
    """Post for so long on so many connections at once, then wait for what is still on its way."""
    run = Run(perf_counter() + seconds, first, interval, most)
    loop = asyncio.get_running_loop()
    async with subscribed(broker, door.topic, run.take):
        run.until = perf_counter() + seconds
        posters = [
            await loop.create_connection(lambda: _Poster(door, run), HOST, door.port) for _ in range(connections)
        ]
        async with asyncio.timeout(seconds + 30):
            await asyncio.gather(*(poster.done for _, poster in posters))
        await _drained(run)
    return run


async def _drained(run: Run) -> None:
    deadline, quiet, seen = perf_counter() + _LONGEST_DRAIN, perf_counter() + _QUIET, len(run.delivered)
    while len(run.delivered) < run.answered and perf_counter() < min(deadline, quiet):
        await asyncio.sleep(0.02)
        if len(run.delivered) != seen:
            seen, quiet = len(run.delivered), perf_counter() + _QUIET


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie."""
    if not values:
        return float("nan")
    return values[min(len(values) - 1, int(share * len(values)))]


def median(values: list[float]) -> float:
    """The middle one; nan of none."""
    return statistics.median(values) if values else float("nan")
