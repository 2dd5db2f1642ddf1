"""Writes other than alarms, each one statement that the unit's fence is part of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection

from fleet2mqtt.errors import OutboxError, OutboxFenced
from fleet2mqtt.outbox.models import DeadLetter
from fleet2mqtt.outbox.postgres.alarm_writer import FENCE, Fence, fence_parameters

_ALLOWED = "WITH " + FENCE + ", granted AS (SELECT n FROM allowed WHERE n = %(granted)s)"  # noqa: S608 - constants, as below
_GRANTED = "EXISTS (SELECT FROM granted)"
_SAVE_CHECKPOINTS = f"""
{_ALLOWED},
given AS (SELECT * FROM unnest(%(devices)s::text[], %(texts)s::text[]) AS given (device, text) WHERE {_GRANTED}),
saved AS (
    INSERT INTO checkpoint AS c (backend, device, text)
    SELECT %(backend)s::text, device, text FROM given WHERE text <> ''
    ON CONFLICT (backend, device) DO UPDATE SET text = excluded.text WHERE c.text <> excluded.text
),
deleted AS (
    DELETE FROM checkpoint WHERE backend = %(backend)s AND device IN (SELECT device FROM given WHERE text = '')
)
SELECT {_GRANTED}, NULL, NULL
"""  # noqa: S608
_FORGET = f"""
{_ALLOWED},
ended AS (
    UPDATE standing SET open = false, backend = '', body = '' WHERE {_GRANTED} AND open
    AND device = ANY(%(devices)s::text[])
),
deleted AS (DELETE FROM last WHERE {_GRANTED} AND device = ANY(%(devices)s::text[]))
SELECT {_GRANTED}, NULL, NULL
"""  # noqa: S608
_ADD_DEAD_LETTER = f"""
{_ALLOWED},
repeated AS (
    UPDATE dead_letter SET count = count + 1, error = %(error)s, at = %(at)s
    WHERE {_GRANTED} AND backend = %(backend)s AND kind = %(kind)s AND digest = %(digest)s RETURNING id
),
added AS (
    INSERT INTO dead_letter AS d (backend, kind, digest, error, at, count, body)
    SELECT %(backend)s::text, %(kind)s::text, %(digest)s::text, %(error)s::text, %(at)s::float8, 1, %(body)s::text
    WHERE {_GRANTED} AND NOT EXISTS (SELECT FROM repeated)
    ON CONFLICT (backend, kind, digest) DO UPDATE SET count = d.count + 1 RETURNING id
),
displaced AS (
    DELETE FROM dead_letter WHERE EXISTS (SELECT FROM added) AND id IN (
        SELECT id FROM dead_letter ORDER BY at, id
        LIMIT greatest(0, (SELECT count(*) FROM dead_letter) + 1 - %(limit)s::bigint)
    ) RETURNING id
),
processed AS (DELETE FROM inbox WHERE {_GRANTED} AND n = %(stored_push)s::bigint)
SELECT {_GRANTED}, coalesce((SELECT id FROM added), (SELECT id FROM repeated)), (SELECT count(*) FROM displaced)
"""  # noqa: S608
_DISCARD = f"""
{_ALLOWED},
deleted AS (DELETE FROM dead_letter WHERE {_GRANTED} AND id = %(id)s RETURNING id)
SELECT {_GRANTED}, (SELECT id FROM deleted), NULL
"""  # noqa: S608
_PUT_SETTING = f"""
{_ALLOWED},
saved AS (
    INSERT INTO setting (key, text) SELECT %(key)s::text, %(text)s::text WHERE {_GRANTED} ON CONFLICT (key) DO NOTHING
)
SELECT {_GRANTED}, NULL, NULL
"""
# Without a fence: that the broker has acknowledged an event holds whoever published it.
_PUBLISHED = """
WITH gone AS (DELETE FROM pending WHERE seq = ANY(%(seqs)s::bigint[]) RETURNING size)
UPDATE acknowledged SET depth = depth + t.n, size = acknowledged.size + t.size
FROM (SELECT count(*) AS n, coalesce(sum(size), 0) AS size FROM gone) AS t WHERE t.n > 0 RETURNING t.n
"""


class Writes:
    """Writes of one unit; each returns once it is committed, and raises OutboxFenced for an epoch that has passed."""

    def __init__(self, fence: Fence | None, *, require_replication: bool) -> None:
        self._fence = fence
        self._parameters = {
            **fence_parameters([fence] if fence else [], require_replication=require_replication),
            "granted": 1 if fence else 0,
        }

    async def save_checkpoints(self, connection: AsyncConnection, backend: str, texts: Mapping[str, str]) -> None:
        """Write checkpoints of a backend by device; an empty text deletes one."""
        await self._execute(
            connection, _SAVE_CHECKPOINTS, backend=backend, devices=list(texts), texts=list(texts.values())
        )

    async def forget(self, connection: AsyncConnection, devices: Sequence[str]) -> None:
        """End the active alarms of these devices and delete their last alarms."""
        await self._execute(connection, _FORGET, devices=list(devices))

    async def add_dead_letter(
        self, connection: AsyncConnection, letter: DeadLetter, limit: int, stored_push: int | None
    ) -> tuple[int, int]:
        """Store a dead letter in place of the oldest, or count it once more; return its id and how many made room."""
        _, id_, displaced = await self._execute(
            connection,
            _ADD_DEAD_LETTER,
            backend=letter.backend,
            kind=letter.kind,
            digest=hashlib.sha256(letter.body.encode()).hexdigest(),
            error=letter.error,
            at=letter.at.timestamp(),
            body=letter.body,
            limit=limit,
            stored_push=stored_push,
        )
        return int(id_), int(displaced)

    async def discard(self, connection: AsyncConnection, letter: int) -> bool:
        """Delete a dead letter; return False if there is none with this id."""
        _, id_, _ = await self._execute(connection, _DISCARD, id=letter)
        return id_ is not None

    async def put_setting(self, connection: AsyncConnection, key: str, text: str) -> None:
        """Write a setting unless there is one."""
        await self._execute(connection, _PUT_SETTING, key=key, text=text)

    async def _execute(self, connection: AsyncConnection, statement: str, **parameters: Any) -> tuple[Any, ...]:
        cursor = await connection.execute(statement, {**self._parameters, **parameters})
        row = await cursor.fetchone()
        if row is not None and row[0]:
            return row
        if self._fence is None or self._parameters["replicated"]:
            names = await (await connection.execute("SHOW synchronous_standby_names")).fetchone()
            if self._fence is None or names == ("",):
                raise OutboxError("the database has no synchronous standby")
        raise OutboxFenced(f"unit {self._fence.unit} was taken over by another node")


async def publish(connection: AsyncConnection, seqs: Sequence[int]) -> int:
    """Record the acknowledgement of events; return how many of them were not acknowledged before."""
    cursor = await connection.execute(_PUBLISHED, {"seqs": list(seqs)})
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
