"""The engines of the outbox, behind one way to open it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from fleet2mqtt.outbox.postgres import open_database
from fleet2mqtt.outbox.sqlite import open_outbox
from tests.sample_alarms import RAISED

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


async def contents(outbox: Outbox) -> dict[str, Any]:
    """Return the content of an outbox, without times of storing."""

    def told(event: Any) -> Any:
        return event.seq, {key: value for key, value in event.body.items() if key != "received_at"}

    return {
        "history": [told(event) for event in (await outbox.history(0, 1_000))[0]],
        "unpublished": [event.seq for event in await outbox.unpublished(0)],
        "active": [told(event) for event in await outbox.active_alarms()],
        "ended": [(each.device, each.key, each.at, each.id, each.backend) for each in await outbox.ended_alarms()],
        "last": {device: told(event) for device, event in (await outbox.last()).items()},
        "summary": await outbox.summary(RAISED + timedelta(minutes=30)),
        "checkpoints": [outbox.checkpoint("hq", f"d{n}") for n in range(1, 9)],
        "figures": (outbox.depth, outbox.first_seq, outbox.last_seq),
    }
