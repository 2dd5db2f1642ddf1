"""Health of a backend: how its sources fared, as `backend/<backend>/health` publishes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fleet2mqtt.contract.payloads import now, stamp
from fleet2mqtt.errors import AuthenticationError, BackendError
from fleet2mqtt.sdk.api import Backend, SubscriptionStatus
from fleet2mqtt.sdk.poll_figures import PollFigures

DOWN_AFTER = 3
"""Failures in a row before a backend (its primary sources), or the devices of another source, are unavailable."""


@dataclass(slots=True)
class SourceHealth:
    """One source: its interval in seconds, failures in a row, when it last succeeded, when it runs next, and figures.

    `stale_since` is when its data stopped moving, None while it moves. `available` is whether the entities that the
    source owns are available, None before it was tried.
    """

    interval: float
    failures: int = 0
    last_success: datetime | None = None
    error: BackendError | None = None
    next_try: datetime | None = None
    stale_since: datetime | None = None
    available: bool | None = None
    slow_polls: int = 0
    """Polls in a row that took longer than the interval."""
    figures: PollFigures = field(default_factory=PollFigures)

    def json(self) -> dict[str, Any]:
        """Return the source's part of the health payload; `age` is seconds since the last success."""
        figures = self.figures
        return {
            "available": self.available,
            "failures": self.failures,
            "last_success": stamp(self.last_success) if self.last_success else None,
            "age": round((now() - self.last_success).total_seconds()) if self.last_success else None,
            "error": _error(self.error),
            "next_try": stamp(self.next_try) if self.next_try else None,
            "stale_since": stamp(self.stale_since) if self.stale_since else None,
            "interval": self.interval,
            "items": figures.items,
            "calls": figures.calls,
            "duration": None if figures.duration is None else round(figures.duration, 3),
            "oldest_age": None if figures.oldest_age is None else round(figures.oldest_age),
        }


@dataclass(slots=True)
class BackendHealth:
    """One backend. Unavailable is debounced, available is not; stale data counts as none."""

    backend: Backend
    sources: dict[str, SourceHealth] = field(default_factory=dict)
    available: bool = False

    @property
    def stale_since(self) -> datetime | None:
        """Time since which nothing in any primary source has moved; None while something does, or nobody can tell."""
        judged = [
            self.sources[source.name].stale_since
            for source in self.backend.sources
            if source.primary and source.freshness is not None
        ]
        since = [moment for moment in judged if moment is not None]
        return max(since) if since and len(since) == len(judged) else None

    @property
    def status(self) -> str | None:
        """`ok`, `unreachable`, `denied` or `stale`; None until the backend was available or failed often enough."""
        if self.stale_since is not None:
            return "stale"
        if self.available:
            return "ok"
        primary = [self.sources[source.name] for source in self.backend.sources if source.primary]
        if any(isinstance(source.error, AuthenticationError) for source in primary):
            return "denied"
        return "unreachable" if any(source.failures >= DOWN_AFTER for source in primary) else None

    def json(self) -> dict[str, Any]:
        """Return the health payload; it contains no secret."""
        failing = [source for source in self.sources.values() if source.error is not None]
        newest = max((source.last_success for source in self.sources.values() if source.last_success), default=None)
        nearest = min((source.next_try for source in self.sources.values() if source.next_try), default=None)
        return {
            "available": self.available,
            "last_success": stamp(newest) if newest else None,
            "error": _error(failing[0].error) if failing else None,
            "next_try": stamp(nearest) if nearest else None,
            "stale_since": stamp(self.stale_since) if self.stale_since else None,
            "sources": {name: source.json() for name, source in self.sources.items()},
            "endpoints": {
                name: {"calls": count.calls, "failures": count.failures}
                for name, count in sorted(self.backend.calls.items())
            },
            "quota": dict(self.backend.quota),
            **({"subscription": _subscription(self.backend.subscription.status)} if self.backend.subscription else {}),
        }


def _subscription(status: SubscriptionStatus) -> dict[str, Any]:
    """Return the part of the health payload about the connection to the vendor's MQTT broker."""
    return {
        "connected": status.connected,
        "since": stamp(status.since) if status.since else None,
        "failures": status.failures,
        "messages": status.messages,
        "dropped": status.dropped,
        "last_message": stamp(status.last_message) if status.last_message else None,
        "error": _error(status.error),
        "next_try": stamp(status.next_try) if status.next_try else None,
    }


def _error(error: BackendError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"class": error.kind, "code": error.code, "text": str(error), "endpoint": error.endpoint}
