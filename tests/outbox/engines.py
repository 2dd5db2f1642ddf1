"""The engines of the outbox, behind one way to open it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fleet2mqtt.outbox.postgres import open_database
from fleet2mqtt.outbox.sqlite import open_outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fleet2mqtt.outbox import Outbox, OutboxLimits


class Store(Protocol):
    """A place where an outbox is; what one that was opened there has stored, the next one finds."""

    def open(self, limits: OutboxLimits | None = None) -> AbstractAsyncContextManager[Outbox]: ...


@dataclass(frozen=True, slots=True)
class SQLiteStore:
    path: Path

    def open(self, limits: OutboxLimits | None = None) -> AbstractAsyncContextManager[Outbox]:
        return open_outbox(self.path, limits)


@dataclass(frozen=True, slots=True)
class PostgresStore:
    dsn: str

    @asynccontextmanager
    async def open(self, limits: OutboxLimits | None = None) -> AsyncIterator[Outbox]:
        async with open_database(self.dsn, limits, deadline=60) as database:
            yield await database.outbox()
