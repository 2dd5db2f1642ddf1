"""Whose turn it is to be described to Home Assistant, which takes its time over each description.

A hub that is flooded loses messages (docs/performance.md), and Home Assistant loses the new components of a second
description that comes while it is still busy with the first. So descriptions are paced, none follows another of the
same device within MIN_DISCOVERY_INTERVAL seconds, and new devices wait until their backend has told all it has to tell
at first.
"""

from __future__ import annotations

from collections.abc import Iterable

MIN_DISCOVERY_INTERVAL = 5.0
"""Seconds between two descriptions of one device."""
CATCH_UP = 0.05
"""Seconds of descriptions that may be made up for at once when the loop was late."""


class DiscoveryQueue:
    """A queue of device ids; times are the event loop's, in seconds."""

    def __init__(self, rate: float) -> None:
        """`rate` is how many devices a second."""
        self._rate = rate
        self._next = 0.0
        self._due: dict[str, None] = {}
        self._later: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._held: dict[str, dict[str, None]] = {}

    def __contains__(self, device: str) -> bool:
        return device in self._due or device in self._later

    def __bool__(self) -> bool:
        """Whether a device waits for nothing but its turn."""
        return bool(self._due or self._later)

    def hold(self, backend: str) -> None:
        """Let the new devices of this backend wait."""
        self._held.setdefault(backend, {})

    def release(self, backend: str) -> None:
        """Let them come."""
        self._due |= self._held.pop(backend, {})

    def put(self, device: str, backend: str, now: float) -> None:
        """Describe this device, as soon as may be."""
        last = self._last.get(device)
        if last is None and backend in self._held:
            self._held[backend][device] = None
        elif last is not None and now < last + MIN_DISCOVERY_INTERVAL:
            self._later[device] = last + MIN_DISCOVERY_INTERVAL
        else:
            self._due[device] = None

    def put_all(self, devices: Iterable[str]) -> None:
        """Describe all of these afresh, but those that are held."""
        held = {device for waiting in self._held.values() for device in waiting}
        self._later.clear()
        self._last.clear()
        self._due |= dict.fromkeys(device for device in devices if device not in held)

    def drop(self, device: str) -> None:
        """It is gone."""
        for waiting in (self._due, self._later, self._last, *self._held.values()):
            waiting.pop(device, None)  # type: ignore[attr-defined]

    def take(self, now: float) -> str | None:
        """The next device, if it may be described now."""
        for device in [device for device, when in self._later.items() if when <= now]:
            del self._later[device]
            self._due[device] = None
        if not self._due or now < self._next:
            return None
        self._next = max(self._next, now - CATCH_UP) + 1 / self._rate
        return next(iter(self._due))

    def done(self, device: str, now: float) -> None:
        """It has been described."""
        self._due.pop(device, None)
        self._later.pop(device, None)
        self._last[device] = now

    def described(self, device: str) -> bool:
        """Whether it has been, on this connection."""
        return device in self._last

    def wait(self, now: float) -> float:
        """Seconds until the next may be taken."""
        if self._due:
            return max(0.0, self._next - now)
        return max(0.0, min(self._later.values(), default=now) - now)
