"""Recording of HTTP exchanges with a vendor's system, for fixtures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its response, as they were sent: nothing is redacted. `endpoint` is its name in health."""

    endpoint: str
    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    status: int
    response: bytes


@dataclass(slots=True)
class Exchanges:
    """The exchanges made while they are recorded."""

    made: list[Exchange] = field(default_factory=list)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the exchanges made inside."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[Exchanges | None] = ContextVar("exchanges", default=None)


def current_exchanges() -> Exchanges | None:
    """Return where exchanges are recorded, None where they are not."""
    return _current.get()
