"""The queue of devices whose discovery message is due.

A hub that gets too many discovery messages at once loses some (docs/performance.md), and Home Assistant loses the new
components of a second discovery message that comes while it still processes the first. So discovery messages are
paced, two of one device are at least MIN_DISCOVERY_INTERVAL seconds apart, and the new devices of a backend wait until
all its sources have answered once.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

MIN_DISCOVERY_INTERVAL = 5.0
"""Seconds between two discovery messages of one device."""
MAX_BACKLOG = 0.05
"""Seconds whose discovery messages are sent at once when the event loop was late."""


class DiscoveryQueue:
    """A queue of device ids; times are those of the event loop, in seconds."""

    def __init__(self, rate: float) -> None:
        """`rate` is the number of devices per second."""
        self._rate = rate
        self._next = 0.0
        self._due: dict[str, None] = {}
        self._later: dict[str, float] = {}
        self._published: dict[str, float] = {}
        self._paused: dict[str, dict[str, None]] = {}

    def set_rate(self, rate: float) -> None:
        """Dequeue so many devices per second from now on."""
        self._rate = rate

    def __contains__(self, device: str) -> bool:
        return device in self._due or device in self._later

    def __bool__(self) -> bool:
        """Return True if a device waits for time only, not for its backend."""
        return bool(self._due or self._later)

    def pause_backend(self, backend: str) -> None:
        """Let the new devices of a backend wait for `resume_backend`."""
        self._paused.setdefault(backend, {})

    def resume_backend(self, backend: str) -> None:
        """Enqueue the new devices of a backend."""
        self._due |= self._paused.pop(backend, {})

    def enqueue(self, device: str, backend: str, now: float) -> None:
        """Append a device, due as soon as its last discovery message is old enough."""
        last = self._published.get(device)
        if last is None and backend in self._paused:
            self._paused[backend][device] = None
        elif last is not None and now < last + MIN_DISCOVERY_INTERVAL:
            self._later[device] = last + MIN_DISCOVERY_INTERVAL
        else:
            self._due[device] = None

    def enqueue_all(self, devices: Iterable[str]) -> None:
        """Append devices as if none had been published, except those that wait for their backend."""
        paused = {device for waiting in self._paused.values() for device in waiting}
        self._later.clear()
        self._published.clear()
        self._due |= dict.fromkeys(device for device in devices if device not in paused)

    def remove(self, device: str) -> None:
        """Remove a device that no longer exists."""
        tables: tuple[MutableMapping[str, Any], ...] = (self._due, self._later, self._published)
        for table in (*tables, *self._paused.values()):
            table.pop(device, None)

    def dequeue(self, now: float) -> str | None:
        """Return the next device if its discovery message may be sent now, else None. `record_published` removes it."""
        for device in [device for device, due in self._later.items() if due <= now]:
            del self._later[device]
            self._due[device] = None
        if not self._due or now < self._next:
            return None
        self._next = max(self._next, now - MAX_BACKLOG) + 1 / self._rate
        return next(iter(self._due))

    def record_published(self, device: str, now: float) -> None:
        """Record that a device's discovery message was sent."""
        self._due.pop(device, None)
        self._later.pop(device, None)
        self._published[device] = now

    def is_published(self, device: str) -> bool:
        """Return True if a device's discovery message was sent since the last announcement."""
        return device in self._published

    def delay(self, now: float) -> float:
        """Return the seconds until the next device can be dequeued."""
        if self._due:
            return max(0.0, self._next - now)
        return max(0.0, min(self._later.values(), default=now) - now)
