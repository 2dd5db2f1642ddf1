"""Many connections that post one numbered message after another, and when each came out at the broker.

One thread with blocking calls and `epoll`: the load has the same processors as what is measured, and asyncio would take
twice as much of them.
"""

from __future__ import annotations

import asyncio
import re
import select
import socket
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from benchmarks.ground import HOST, BenchError
from benchmarks.mqtt import connect

MARK = re.compile(rb"bench-(\d{8})")
"""Stands once in each body, and once in what the broker gets of it."""
_MARK_BYTES = 14
_QUIET = 3.0
"""Seconds without a message after which those that are missing are given up."""
_LONGEST_DRAIN = 10.0
_PATIENCE = 30.0
"""Seconds until an answer, after the end of the load or without any other."""
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_GOOD = (b"200", b"204")
_RECEIVED = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """An address to post bodies to, and the topic on which they are published."""

    port: int
    path: str
    topic: str
    body: Callable[[int], bytes]
    content_type: str = "application/json"

    @property
    def head(self) -> bytes:
        """The head of an HTTP request, up to the number of bytes of its body."""
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nContent-Type: {self.content_type}\r\n"
            "Content-Length: "
        ).encode()


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

    def wait(self, now: float) -> float:
        """Return the seconds until the next message is due, 0 if it is; the one after it is due an interval later."""
        if self._due > now:
            return self._due - now
        self._due = max(self._due + self.interval, now)
        return 0.0

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


class _Load:
    """Posts on some connections, one request at a time on each, and receives what the broker publishes."""

    def __init__(self, door: Door, broker: int, run: Run) -> None:
        self._door = door
        self._run = run
        self._head = door.head
        self._epoll = select.epoll()
        self._subscriber = connect(broker, door.topic)
        self._epoll.register(self._subscriber, select.EPOLLIN)
        self._posters: dict[int, socket.socket] = {}
        self._idle: deque[int] = deque()
        self._answers: dict[int, bytes] = {}

    def post(self, connections: int) -> None:
        """Post until the run is over and everything is answered. Raises BenchError."""
        for _ in range(connections):
            poster = socket.create_connection((HOST, self._door.port), _PATIENCE)
            poster.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poster.settimeout(None)  # with one, each call is two
            self._posters[poster.fileno()] = poster
            self._epoll.register(poster, select.EPOLLIN)
        self._idle.extend(self._posters)
        while self._posters:
            wait = self._send_due()
            ready = self._epoll.poll(wait)
            if not ready and wait == _PATIENCE and self._posters:
                raise BenchError(f"no answer from port {self._door.port} within {_PATIENCE:.0f} s")
            answered = [number for number, _ in ready if number in self._posters]
            if len(answered) < len(ready):
                self._receive()  # before all else, as its time is what is measured
            for number in answered:
                self._read_answer(number)

    def drain(self) -> None:
        """Wait until everything that was answered is delivered, or nothing more comes."""
        run = self._run
        deadline, quiet, seen = perf_counter() + _LONGEST_DRAIN, perf_counter() + _QUIET, len(run.delivered)
        while len(run.delivered) < run.answered and (now := perf_counter()) < min(deadline, quiet):
            if self._epoll.poll(min(deadline, quiet) - now):
                self._receive()
            if len(run.delivered) != seen:
                seen, quiet = len(run.delivered), perf_counter() + _QUIET

    def close(self) -> None:
        """Disconnect."""
        self._epoll.close()
        for each in (self._subscriber, *self._posters.values()):
            each.close()

    def _send_due(self) -> float:
        """Post on the idle connections what is due; return the seconds until something has to be done."""
        while self._idle:
            if self._run.interval and (wait := self._run.wait(perf_counter())):
                return wait
            poster = self._idle.popleft()
            number = self._run.next()
            if number is None:
                self._posters.pop(poster).close()
            else:
                body = self._door.body(number)
                self._posters[poster].sendall(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))
        return _PATIENCE if self._posters else 0.0

    def _read_answer(self, poster: int) -> None:
        data = self._posters[poster].recv(_RECEIVED)
        if not data:
            raise BenchError(f"port {self._door.port} closed a connection")
        answer = self._answers.pop(poster, b"") + data
        end = answer.find(b"\r\n\r\n")
        length = _LENGTH.search(answer, 0, end + 2) if end >= 0 else None
        if end < 0 or len(answer) < end + 4 + (int(length[1]) if length else 0):
            self._answers[poster] = answer
            return
        good = answer[9:12] in _GOOD
        self._run.answered += good
        self._run.refused += not good
        self._idle.append(poster)

    def _receive(self) -> None:
        data = self._subscriber.recv(_RECEIVED)
        if not data:
            raise BenchError("the broker closed the subscriber's connection")
        self._run.take(data)


async def post(  # noqa: PLR0913, PLR0917 - what a load is
    door: Door,
    broker: int,
    connections: int,
    seconds: float,
    first: int,
    interval: float = 0.0,
    most: int | None = None,
) -> Run:
    """Post for so long on so many connections at once, then wait for what is still on its way. Raises BenchError."""

    def work() -> Run:
        run = Run(0.0, first, interval, most)
        load = _Load(door, broker, run)
        try:
            run.until = perf_counter() + seconds
            load.post(connections)
            load.drain()
        finally:
            load.close()
        return run

    return await asyncio.to_thread(work)


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie."""
    if not values:
        return float("nan")
    return values[min(len(values) - 1, int(share * len(values)))]


def median(values: list[float]) -> float:
    """The middle one; nan of none."""
    return statistics.median(values) if values else float("nan")
