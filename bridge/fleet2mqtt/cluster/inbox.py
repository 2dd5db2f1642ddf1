"""The push inbox: pushes accepted by a node that does not own their backend, until the owner has processed them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from psycopg import AsyncConnection

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.errors import OutboxError, OutboxFull
from fleet2mqtt.outbox.postgres.session import Session
from fleet2mqtt.push.receiver import StoredPush

_LOG = logging.getLogger(__name__)

CHANNEL = "fleet2mqtt_inbox"
MAX_ROWS = 100_000
"""Pushes that may wait; more get 503 and are sent again."""
PAGE = 200
NOBODYS = ""
LOOK_INTERVAL = 1.0
"""Seconds between two looks at the inbox without a notification."""


Process = Callable[[Sequence[StoredPush]], Awaitable[Sequence[bool]]]
"""Processes pushes of a backend in their order, and deletes each from the inbox together with what it stores.

Does so as the owner of the backend. Returns for each False if it has to be tried again later.
"""


class Inbox:
    """Pushes in the database."""

    def __init__(self, session: Session, *, require_replication: bool) -> None:
        self._session = session
        self._require_replication = require_replication
        self._waiting: list[tuple[tuple[str, str, bytes], asyncio.Future[None]]] = []
        self._busy = False
        self._depth = 0
        self.arrived = asyncio.Event()
        """Set by a notification that there may be new pushes."""
        self.processors: dict[str, Process] = {}
        """By backend what processes its pushes on this node; that of "" processes those of backends without a unit."""
        self.processed = 0
        """Pushes that this node took out of the inbox."""

    @property
    def depth(self) -> int:
        """The number of pushes that wait, as of the last look."""
        return self._depth

    async def add(self, backend: str, kind: str, body: bytes) -> None:
        """Store a push; those that wait together are one commit. Raises OutboxFull, OutboxError."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((backend, kind, body), done))
        self._start()
        await done

    def _start(self) -> None:
        if self._busy or not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        self._busy = True
        parameters = {
            "batch": uuid.uuid4(),
            "backends": [backend for (backend, _, _), _ in batch],
            "kinds": [kind for (_, kind, _), _ in batch],
            "bodies": [body for (_, _, body), _ in batch],
            "most": MAX_ROWS,
            "replicated": self._require_replication,
        }

        async def work(connection: AsyncConnection) -> tuple[Any, ...]:
            row = await (await connection.execute(_ADD, parameters)).fetchone()
            return row[:2] if row else (0, 0)

        future = self._session.submit(work)
        future.add_done_callback(lambda future: self._finish([done for _, done in batch], future))

    def _finish(self, waiting: Sequence[asyncio.Future[None]], future: asyncio.Future[tuple[Any, ...]]) -> None:
        self._busy = False
        self._start()
        failure: Exception | None = None
        if (error := future.exception()) is not None:
            failure = error if isinstance(error, OutboxError) else OutboxError(str(error))
        else:
            self._depth, allowed = future.result()
            if not allowed:
                failure = OutboxError("the database has no synchronous standby")
            elif self._depth > MAX_ROWS:
                failure = OutboxFull(f"{MAX_ROWS} pushes wait for their owner already")
        for done in waiting:
            if done.done():
                continue
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(failure)

    async def run(self, units: Callable[[], Sequence[str]]) -> None:
        """Process pushes in their order until cancelled; what has to wait holds up its own backend only.

        `units` returns the names of all units: a push of none of them is processed as one of "".
        """
        while True:
            self.arrived.clear()
            try:
                again = bool(self.processors) and await self._drain(units())
            except OutboxError as error:
                _LOG.debug("the push inbox cannot be read: %s", error)
                again = False
            if not again:
                await wait_for_event(self.arrived, LOOK_INTERVAL)

    async def _drain(self, units: Sequence[str]) -> bool:
        """Process a page; return True if there may be more that can be processed now."""
        pushes = await self.waiting(units)
        by_backend: dict[str, list[StoredPush]] = {}
        for push in pushes:
            by_backend.setdefault(push.backend, []).append(push)
        works = [
            process(of_backend)
            for backend, of_backend in by_backend.items()
            if (process := self.processors.get(backend if backend in units else NOBODYS)) is not None
        ]
        ended = sum(sum(found) for found in await asyncio.gather(*works))
        self.processed += ended
        return len(pushes) == PAGE and ended > 0

    async def waiting(self, units: Sequence[str]) -> list[StoredPush]:
        """Return the first pushes that wait for a processor of this node. Raises OutboxError."""
        parameters = {
            "page": PAGE,
            "own": [name for name in self.processors if name != NOBODYS],
            "all": list(units) if NOBODYS in self.processors else None,
        }

        async def work(connection: AsyncConnection) -> tuple[list[tuple[Any, ...]], int]:
            rows = await (await connection.execute(_READ, parameters)).fetchall()
            (depth,) = await (await connection.execute("SELECT count(*) FROM inbox")).fetchone() or (0,)
            return rows, depth

        rows, self._depth = await self._session.run(work)
        return [
            StoredPush(number=number, backend=backend, kind=kind, body=bytes(body))
            for number, backend, kind, body in rows
        ]


# The batch's id makes an attempt after a lost answer the same pushes again.
_ADD = f"""
WITH allowed AS (
    SELECT 1 WHERE NOT %(replicated)s OR current_setting('synchronous_standby_names') <> ''
), full_inbox AS (SELECT count(*) AS depth FROM inbox),
added AS (
    INSERT INTO inbox (batch, place, backend, kind, body)
    SELECT %(batch)s, place, backend, kind, body
    FROM unnest(%(backends)s::text[], %(kinds)s::text[], %(bodies)s::bytea[])
        WITH ORDINALITY AS t (backend, kind, body, place), allowed, full_inbox
    WHERE full_inbox.depth < %(most)s
    ON CONFLICT DO NOTHING RETURNING n
)
SELECT CASE WHEN depth < %(most)s THEN depth + (SELECT count(*) FROM added) ELSE depth + 1 END,
    (SELECT count(*) FROM allowed), pg_notify('{CHANNEL}', '')::text
FROM full_inbox
"""  # noqa: S608 - constants of this module
_READ = """
SELECT n, backend, kind, body FROM inbox
WHERE backend = ANY(%(own)s::text[]) OR NOT backend = ANY(%(all)s::text[])
ORDER BY n LIMIT %(page)s
"""
