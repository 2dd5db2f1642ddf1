"""How a backend fares: what its sources last said, as `backend/<backend>/health` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fleet2mqtt.contract.payloads import stamp
from fleet2mqtt.errors import BackendError
from fleet2mqtt.sdk.api import Backend

DOWN_AFTER = 3
"""Failures of the primary sources in a row before a backend counts as unavailable."""


@dataclass(slots=True)
class SourceHealth:
    """One source: failures in a row, when it last worked, and when it runs next."""

    failures: int = 0
    last_success: datetime | None = None
    error: BackendError | None = None
    next_try: datetime | None = None


@dataclass(slots=True)
class BackendHealth:
    """One backend. Down is debounced, up is at once; data that stands still is no better than none."""

    backend: Backend
    sources: dict[str, SourceHealth] = field(default_factory=dict)
    available: bool = False
    stale_since: datetime | None = None

    def json(self) -> dict[str, Any]:
        """As published; nothing in it is secret."""
        failing = [source for source in self.sources.values() if source.error is not None]
        newest = max((source.last_success for source in self.sources.values() if source.last_success), default=None)
        nearest = min((source.next_try for source in self.sources.values() if source.next_try), default=None)
        return {
            "available": self.available,
            "last_success": stamp(newest) if newest else None,
            "error": _error(failing[0].error) if failing else None,
            "next_try": stamp(nearest) if nearest else None,
            "stale_since": stamp(self.stale_since) if self.stale_since else None,
            "sources": {name: _source(source) for name, source in self.sources.items()},
            "endpoints": {
                name: {"calls": count.calls, "failures": count.failures}
                for name, count in sorted(self.backend.calls.items())
            },
            "quota": dict(self.backend.quota),
        }


def _source(source: SourceHealth) -> dict[str, Any]:
    return {
        "failures": source.failures,
        "last_success": stamp(source.last_success) if source.last_success else None,
        "error": _error(source.error),
        "next_try": stamp(source.next_try) if source.next_try else None,
    }


def _error(error: BackendError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"class": error.kind, "code": error.code, "text": str(error), "endpoint": error.endpoint}
