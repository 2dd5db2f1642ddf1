"""Adding alarms: one statement that fences, recognises, bounds, numbers and stores what many callers wait for."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import islice
from struct import pack
from typing import Any

import orjson
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import AsyncRowFactory, tuple_row

from fleet2mqtt.errors import OutboxError, OutboxFenced, OutboxFull
from fleet2mqtt.outbox.models import AlarmEvent, EventDraft, OutboxLimits, Stored, complete, restore
from fleet2mqtt.outbox.postgres.session import Session

ROWS_A_BATCH = 1_000
CHANNEL = "fleet2mqtt_outbox"

# `FOR SHARE` makes a takeover, which updates the unit's row, wait until this statement has ended. Without it one that
# began before the takeover could be committed after it. Number 0 is that of callers without a fence.
FENCE = """
fence AS (
    SELECT f.n FROM unit
    JOIN unnest(%(units)s::text[], %(epochs)s::bigint[]) WITH ORDINALITY AS f (name, epoch, n)
    ON unit.name = f.name AND unit.epoch = f.epoch
    ORDER BY unit.name FOR SHARE OF unit
),
allowed AS (
    SELECT n FROM (SELECT 0 AS n UNION ALL SELECT n FROM fence) AS fences
    WHERE NOT %(replicated)s OR current_setting('synchronous_standby_names') <> ''
)"""

# Parameters are named here, and sent by their position: for those psycopg needs no look at the text of the statement.
_NAME = re.compile(r"%\((\w+)\)s")
_EXTRAS = re.compile(r",\n-- Extras:.*?(?=\nSELECT NULL::bigint AS n)", re.DOTALL)
_DISTINCT = "SELECT DISTINCT ON (id, type, nonce) * FROM draft WHERE seq IS NULL ORDER BY id, type, nonce, n"
_ALL = "SELECT * FROM draft WHERE seq IS NULL"


@cache
def _positional(statement: str, *, extras: bool = True, distinct: bool = False) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with parameters by position, and their names. Each part costs, even one without rows.

    `extras` is False without checkpoints, texts and stored pushes, `distinct` is True if no draft is there twice.
    """
    if not extras:
        statement = _EXTRAS.sub("", statement)
    if distinct:
        statement = statement.replace(_DISTINCT, _ALL)
    names = tuple(dict.fromkeys(_NAME.findall(statement)))
    return _NAME.sub(lambda found: f"${names.index(found[1]) + 1}", statement).encode(), names


# One statement, so one round trip, and no transaction that a client which is stopped could leave open. The row of
# `level` stays locked until the commit: numbers have no gap, and become visible in their order. A batch that adds
# nothing updates it, too, so that no answer is given about an event whose own commit has not reached the standby.
# ON CONFLICT goes on with the row as it is after waiting for it. An UPDATE would evaluate it once more (EvalPlanQual),
# for which PostgreSQL sets up the whole statement again: a third of its processor time when several nodes write.
# LATERAL with LIMIT keeps the look-up on the index, whatever the planner believes the size of the table to be.
_ADD = f"""
WITH {FENCE},
draft AS (
    SELECT t.*, e.seq, e.batch, e.stored_active, e.stored_key, e.stored
    FROM unnest(
        %(fence)s::bigint[], %(call)s::bigint[], %(id)s::text[], %(type)s::text[], %(nonce)s::text[],
        %(backend)s::text[], %(device)s::text[], %(severity)s::text[], %(raised)s::float8[], %(received)s::float8[],
        %(active)s::boolean[], %(alarm_key)s::text[], %(announced)s::boolean[], %(body)s::bytea[]
    ) WITH ORDINALITY AS t (
        fence, call, id, type, nonce, backend, device, severity, raised, received, active, alarm_key, announced, body, n
    )
    LEFT JOIN LATERAL (
        SELECT event.seq, batch, event.active AS stored_active, event.alarm_key AS stored_key, event.body AS stored
        FROM event WHERE event.id = t.id AND event.type = t.type AND event.nonce = t.nonce LIMIT 1
    ) AS e ON true
    WHERE t.fence IN (SELECT n FROM allowed)
),
new AS ({_DISTINCT}),
total AS (
    SELECT count(*) AS events, count(*) FILTER (WHERE announced) AS announced,
        coalesce(sum(octet_length(body)) FILTER (WHERE announced), 0) AS size
    FROM new
),
counted AS (
    INSERT INTO level (seq, depth, size) SELECT events, announced, size FROM total WHERE EXISTS (SELECT FROM allowed)
    ON CONFLICT (one) DO UPDATE SET seq = level.seq + excluded.seq, depth = level.depth + excluded.depth,
        size = level.size + excluded.size
    WHERE excluded.depth = 0 OR (
        SELECT level.depth - depth + excluded.depth <= %(rows)s AND level.size - size + excluded.size <= %(bytes)s
        FROM acknowledged
    )
    RETURNING seq - (SELECT events FROM total) AS base, seq, (SELECT events FROM total) AS events, depth, size
),
numbered AS (SELECT new.*, base + row_number() OVER (ORDER BY n) AS number FROM new, counted),
events AS (
    INSERT INTO event (
        seq, id, type, nonce, backend, device, severity, raised, received, active, alarm_key, batch, body
    )
    SELECT number, id, type, nonce, backend, device, severity, raised, received, active, alarm_key,
        %(batch)s::uuid, body
    FROM numbered
),
unpublished AS (INSERT INTO pending (seq, size) SELECT number, octet_length(body) FROM numbered WHERE announced),
-- Extras: what most batches have none of.
-- Of two texts for one key the later call's stays, of which an INSERT may not have both.
checkpoints AS (
    SELECT DISTINCT ON (t.backend, t.device) t.* FROM unnest(
        %(c_fence)s::bigint[], %(c_call)s::bigint[], %(c_backend)s::text[], %(c_device)s::text[], %(c_text)s::text[]
    ) AS t (fence, call, backend, device, text), counted
    WHERE t.fence IN (SELECT n FROM allowed) ORDER BY t.backend, t.device, t.call DESC
),
saved AS (
    INSERT INTO checkpoint AS c (backend, device, text)
    SELECT backend, device, text FROM checkpoints WHERE text <> ''
    ON CONFLICT (backend, device) DO UPDATE SET text = excluded.text WHERE c.text <> excluded.text
),
unsaved AS (
    DELETE FROM checkpoint AS c USING checkpoints AS t
    WHERE t.text = '' AND c.backend = t.backend AND c.device = t.device
),
-- A text comes with an alarm; if that is known, something came since.
texts AS (
    SELECT DISTINCT ON (t.key) t.key, t.text FROM unnest(
        %(m_fence)s::bigint[], %(m_call)s::bigint[], %(m_bare)s::boolean[], %(m_key)s::text[], %(m_text)s::text[]
    ) AS t (fence, call, bare, key, text), counted
    WHERE t.fence IN (SELECT n FROM allowed) AND (t.bare OR t.call IN (SELECT call FROM numbered))
    ORDER BY t.key, t.call DESC
),
managed_saved AS (
    INSERT INTO managed (key, text) SELECT key, text FROM texts WHERE text IS NOT NULL
    ON CONFLICT (key) DO UPDATE SET text = excluded.text
),
managed_deleted AS (DELETE FROM managed USING texts WHERE texts.text IS NULL AND managed.key = texts.key),
-- A push of the inbox ends with what it brought; one of a former owner stays for the next one.
processed AS (
    DELETE FROM inbox USING unnest(%(p_fence)s::bigint[], %(p_number)s::bigint[]) AS t (fence, number), counted
    WHERE inbox.n = t.number AND t.fence IN (SELECT n FROM allowed)
)
SELECT NULL::bigint AS n, counted.seq, (SELECT array_agg(n) FROM allowed)::text AS text, counted.depth, total.events,
    counted.size, NULL::boolean AS stored_active, NULL::bytea AS stored,
    CASE WHEN %(notify)s AND counted.events > 0 THEN pg_notify('{CHANNEL}', '')::text END AS notified
FROM total LEFT JOIN counted ON true
UNION ALL
SELECT n, seq, stored_key, CASE WHEN batch = %(batch)s::uuid THEN 1 END, NULL, NULL, stored_active, stored, NULL
FROM draft WHERE seq IS NOT NULL
ORDER BY n NULLS FIRST
"""  # noqa: S608 - constants of this module

_COMPLETE = f"""
WITH {FENCE},
completed AS (
    SELECT t.seq, t.body FROM unnest(%(fence)s::bigint[], %(seq)s::bigint[], %(body)s::bytea[]) AS t (fence, seq, body)
    WHERE t.fence IN (SELECT n FROM allowed)
),
standing_completed AS (
    UPDATE standing SET body = c.body FROM completed AS c WHERE standing.seq = c.seq AND length(standing.body) > 0
),
last_completed AS (UPDATE last SET body = c.body FROM completed AS c WHERE last.seq = c.seq)
UPDATE event SET body = c.body FROM completed AS c WHERE event.seq = c.seq AND event.body IS NOT NULL
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """A unit, and the epoch of the lease by which it may be written for."""

    unit: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """One caller's alarms, with the checkpoints and texts of alarm management that are stored with them.

    `stored_push` is the number of the push that they came by, if that waits in the push inbox: it ends there.
    """

    fence: Fence | None
    drafts: Sequence[EventDraft] = ()
    checkpoints: Mapping[tuple[str, str], str] = field(default_factory=dict)
    managed: Mapping[str, str | None] = field(default_factory=dict)
    stored_push: int | None = None


def fence_parameters(fences: Sequence[Fence | None], *, require_replication: bool) -> dict[str, Any]:
    """Return the parameters of the statement part FENCE; a fence has its number in the list, from 1."""
    return {
        "units": _array([fence.unit if fence else "" for fence in fences]),
        "epochs": _array([fence.epoch if fence else -1 for fence in fences]),
        "replicated": require_replication,
    }


class Cursors:
    """The cursor for batches: one for each connection, as a new cursor looks up how each type is sent."""

    def __init__(self) -> None:
        self._cursor: AsyncRawCursor[tuple[Any, ...]] | None = None

    def of(self, connection: AsyncConnection) -> AsyncRawCursor[tuple[Any, ...]]:
        """Return the cursor of a connection, which is the one that there is now."""
        if self._cursor is None or self._cursor.connection is not connection:
            self._cursor = AsyncRawCursor(connection, row_factory=_ROWS)
            self._cursor.adapters.register_dumper(_ByteaArray, _ByteaArrayDumper)
        return self._cursor


class Batch:
    """Additions of many callers that are stored in one statement.

    Once it was carried out, `last_seq` and `added` are the counters of what was ever added, `new` its new events, for
    each statement apart, as other nodes may have added some in between, `refused` the number of those for which there
    was no room, `oldest` the time of the first one. With `notify` other nodes are notified of new events.

    It has an id of its own: when the answer to its commit was lost, the same batch is carried out again, and finds its
    own events, which are then as new as they were.
    """

    def __init__(
        self, jobs: Sequence[Job], limits: OutboxLimits, cursors: Cursors, *, require_replication: bool, notify: bool
    ) -> None:
        self.jobs = jobs
        self.notify = notify
        self.last_seq = 0
        self.added = (0, 0)
        self.oldest: datetime | None = None
        self.new: list[list[AlarmEvent]] = []
        self.refused = 0
        self._limits = limits
        self._cursors = cursors
        self._require_replication = require_replication
        self._fences: list[Fence | None] = list(dict.fromkeys(each.fence for each in jobs if each.fence))
        self._drafts = [(number, draft) for number, each in enumerate(jobs) for draft in each.drafts]
        self._distinct = len({draft.id for _, draft in self._drafts}) == len(self._drafts)
        """True if no two drafts can be of the same event."""
        self._extras = any(each.checkpoints or each.managed or each.stored_push is not None for each in jobs)
        self._parameters = self._build_parameters()
        self._single: list[Batch] = []
        self._completed: dict[int, dict[int, AlarmEvent]] = {}

    async def __call__(self, connection: AsyncConnection) -> list[Stored | OutboxError]:
        """Store the jobs; return what became of each."""
        cursor = self._cursors.of(connection)
        statement, names = _positional(_ADD, extras=self._extras, distinct=self._distinct)
        await cursor.execute(statement, [self._parameters[name] for name in names], binary=True)
        (_, seq, numbers, depth, events, size, *_), *rows = await cursor.fetchall()
        allowed = {int(number) for number in numbers.strip("{}").split(",")} if numbers else set()
        if not allowed:
            return [OutboxError("the database has no synchronous standby")] * len(self.jobs)
        if seq is None and len(self.jobs) == 1:
            self.refused = events
            return [OutboxFull(f"the outbox has no room for {events} events")]
        if seq is None:
            return await self._one_by_one(connection)
        self.last_seq, self.added = seq, (depth, size)
        added = list[AlarmEvent]()
        new: list[list[AlarmEvent]] = [[] for _ in self.jobs]
        first = self._numbers(seq - events, allowed, {row[0]: row for row in rows})
        for position, number in first.items():
            call, draft = self._drafts[position - 1]
            event = draft.event(number)
            new[call].append(event)
            added.append(event)
            if self.oldest is None and (self._limits.announce_backlog or not draft.backlog):
                self.oldest = draft.received_at
        self.new = [added]
        known = [
            (position, number, active, alarm_key, data)
            for position, number, alarm_key, _, _, _, active, data, _ in rows
            if position not in first
        ]
        await self._complete(cursor, known + self._repeated(first))
        return [
            self._result(each, allowed, new[call], self._completed.get(call, {})) for call, each in enumerate(self.jobs)
        ]

    def _numbers(self, last: int, allowed: AbstractSet[int], stored: Mapping[int, tuple[Any, ...]]) -> dict[int, int]:
        """Return the numbers of the events that this batch has added, by the place of their draft.

        `last` is the number before its first new event, `stored` the rows of the drafts that were known before.
        """
        if self._distinct and not stored and len(allowed) == len(self._fences) + 1:
            return {position: last + position for position in range(1, len(self._drafts) + 1)}
        numbers: dict[int, int] = {}
        found = set[tuple[str, str, str]]()
        for position, (call, draft) in enumerate(self._drafts, 1):
            row = stored.get(position)
            known = row is not None and row[3] is None  # not by an attempt of this batch whose answer was lost
            if known or draft.identity in found or self._number(self.jobs[call].fence) not in allowed:
                continue
            found.add(draft.identity)
            if row is None:
                last += 1
            numbers[position] = last if row is None else row[1]
        return numbers

    @property
    def completed(self) -> list[AlarmEvent]:
        """Events that were stored before, and got facts that they lacked."""
        own = [event for events in self._completed.values() for event in events.values()]
        return own + [event for batch in self._single for event in batch.completed]

    def _result(
        self, job: Job, allowed: set[int], new: Sequence[AlarmEvent], completed: Mapping[int, AlarmEvent]
    ) -> Stored | OutboxError:
        if self._number(job.fence) not in allowed:
            return OutboxFenced(f"unit {job.fence.unit if job.fence else ''} was taken over by another node")
        return Stored(new=tuple(new), completed=tuple(completed.values()))

    def _repeated(self, first: Mapping[int, int]) -> list[tuple[int, int, bool, str, bytes]]:
        """Return the drafts of events that another draft of this batch has added: place, number and what is stored."""
        if len(self._drafts) == len(first):
            return []
        added = {self._drafts[position - 1][1].identity: (position, number) for position, number in first.items()}
        repeated = []
        for position, (_, draft) in enumerate(self._drafts, 1):
            place, number = added.get(draft.identity, (position, 0))
            if place != position:
                stored = self._drafts[place - 1][1]
                repeated.append((position, number, stored.active, stored.alarm_key, stored.data))
        return repeated

    async def _one_by_one(self, connection: AsyncConnection) -> list[Stored | OutboxError]:
        # Each of its own: what does not fit fails alone.
        results: list[Stored | OutboxError] = []
        self.new = []
        if not self._single:
            for job in self.jobs:
                batch = Batch(
                    [job],
                    self._limits,
                    self._cursors,
                    require_replication=self._require_replication,
                    notify=self.notify,
                )
                batch._parameters["batch"] = self._parameters["batch"]
                self._single.append(batch)
        for batch in self._single:
            results += await batch(connection)
            self.last_seq = max(self.last_seq, batch.last_seq)
            self.added = max(self.added, batch.added)
            self.new += batch.new
            self.refused += batch.refused
            self.oldest = self.oldest or batch.oldest
        return results

    async def _complete(self, cursor: Any, known: Sequence[tuple[int, int, bool, str, bytes | None]]) -> None:
        fences, seqs, bodies = [], [], []
        for position, seq, active, alarm_key, data in known:
            call, draft = self._drafts[position - 1]
            if data is None or seq in seqs:
                continue
            body = complete(orjson.loads(data), draft)
            if body is None:
                continue
            fences.append(self._number(self.jobs[call].fence))
            seqs.append(seq)
            bodies.append(orjson.dumps({**body, "seq": 0}))
            # Carried out again after a lost answer it finds nothing to complete.
            self._completed.setdefault(call, {})[seq] = restore(seq, active, alarm_key, bodies[-1])
        if seqs:
            fenced = fence_parameters(self._fences, require_replication=self._require_replication)
            statement, names = _positional(_COMPLETE)
            parameters = {"fence": fences, "seq": seqs, "body": bodies, **fenced}
            await cursor.execute(statement, [parameters[name] for name in names])

    def _number(self, fence: Fence | None) -> int:
        return 0 if fence is None else self._fences.index(fence) + 1

    def _build_parameters(self) -> dict[str, Any]:
        numbers = [self._number(each.fence) for each in self.jobs]
        drafts = [draft for _, draft in self._drafts]
        announced = self._limits.announce_backlog
        return {
            **fence_parameters(self._fences, require_replication=self._require_replication),
            "batch": uuid.uuid4(),
            "rows": self._limits.rows,
            "bytes": self._limits.bytes,
            "fence": _array([numbers[call] for call, _ in self._drafts]),
            "call": _array([call for call, _ in self._drafts]),
            "id": _array([draft.id for draft in drafts]),
            "type": _array([draft.body["type"] for draft in drafts]),
            "nonce": _array([draft.nonce for draft in drafts]),
            "backend": _array([draft.body["backend"] for draft in drafts]),
            "device": _array([draft.device for draft in drafts]),
            "severity": _array([draft.body["severity"] for draft in drafts]),
            "raised": _array([draft.raised for draft in drafts]),
            "received": _array([draft.received_at.timestamp() for draft in drafts]),
            "active": _array([draft.active for draft in drafts]),
            "alarm_key": _array([draft.alarm_key for draft in drafts]),
            "announced": _array([announced or not draft.backlog for draft in drafts]),
            "body": _ByteaArray([draft.data for draft in drafts]),
            "notify": self.notify,
            **(self._build_extras(numbers) if self._extras else {}),
        }

    def _build_extras(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Return the parameters of the statement's extras; `numbers` are those of the jobs' fences."""
        checkpoints = [
            (numbers[call], call, backend, device, text)
            for call, each in enumerate(self.jobs)
            for (backend, device), text in each.checkpoints.items()
        ]
        managed = [
            (numbers[call], call, not each.drafts, key, text)
            for call, each in enumerate(self.jobs)
            for key, text in each.managed.items()
        ]
        pushes = [
            (numbers[call], each.stored_push) for call, each in enumerate(self.jobs) if each.stored_push is not None
        ]
        return {
            **_columns(("c_fence", "c_call", "c_backend", "c_device", "c_text"), checkpoints),
            **_columns(("m_fence", "m_call", "m_bare", "m_key", "m_text"), managed),
            **_columns(("p_fence", "p_number"), pushes),
        }


_ROWS: AsyncRowFactory[tuple[Any, ...]] = tuple_row
_BYTEA, _BYTEA_ARRAY = 17, 1001  # type numbers, which are fixed


def _array(values: list[Any]) -> str | list[Any]:
    """Return values as the text of a PostgreSQL array, which JSON is but for its brackets; else the list itself.

    psycopg takes many times as long. Where JSON has escapes of control characters, an array has other ones.
    """
    text = orjson.dumps(values)
    return values if b"\\" in text else f"{{{text[1:-1].decode()}}}"


class _ByteaArray:
    """A PostgreSQL array of byte strings in binary format: in text format both sides look at each character."""

    __slots__ = ("data",)

    def __init__(self, values: Sequence[bytes]) -> None:
        parts = [pack(">iiIii", 1, 0, _BYTEA, len(values), 1) if values else pack(">iiI", 0, 0, _BYTEA)]
        for value in values:
            parts += (len(value).to_bytes(4, "big"), value)
        self.data = b"".join(parts)


class _ByteaArrayDumper(Dumper):
    format = Format.BINARY
    oid = _BYTEA_ARRAY

    def dump(self, obj: _ByteaArray) -> bytes:
        return obj.data


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    return {name: _array([row[number] for row in rows]) for number, name in enumerate(names)}


_Waiting = tuple[Sequence[Job], asyncio.Future[list[Stored | OutboxError]]]


class GroupCommitter:
    """Stores the jobs that wait while a batch is committed in the next batch.

    `on_batch` is called after each, `notifies` says for each whether it is to notify other nodes.
    """

    def __init__(
        self,
        session: Session,
        limits: OutboxLimits,
        *,
        require_replication: bool,
        on_batch: Callable[[Batch], None],
        notifies: Callable[[], bool],
    ) -> None:
        self._session = session
        self._limits = limits
        self._cursors = Cursors()
        self._require_replication = require_replication
        self._on_batch = on_batch
        self._notifies = notifies
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._busy = False

    async def store(self, jobs: Sequence[Job]) -> list[Stored | OutboxError]:
        """Store jobs; return the result of each once it is committed. Raises OutboxError if none could be.

        A caller that is cancelled does not take its jobs back.
        """
        done: asyncio.Future[list[Stored | OutboxError]] = self._loop.create_future()
        self._waiting.append((jobs, done))
        if not self._busy:
            self._busy = True
            # Not at once: other calls of this turn of the event loop join the batch.
            self._loop.call_soon(self._start)
        return await done

    async def wait_for_earlier(self) -> None:
        """Wait until the jobs that are waiting, or being committed, are stored. Raises OutboxError."""
        if self._busy:
            await self.store(())

    async def drain(self) -> None:
        """Wait until nothing is waiting."""
        while self._waiting:
            _, done = self._waiting[-1]
            await asyncio.wait([done])

    def _start(self) -> None:
        waiting = self._next()
        self._busy = bool(waiting)
        if waiting:
            jobs = [job for each, _ in waiting for job in each]
            if not jobs:
                self._release(waiting)
                return
            batch = Batch(
                jobs,
                self._limits,
                self._cursors,
                require_replication=self._require_replication,
                notify=self._notifies(),
            )
            future = self._session.submit(batch)
            future.add_done_callback(lambda future: self._finish(batch, waiting, future))

    def _release(self, waiting: Sequence[_Waiting]) -> None:
        self._loop.call_soon(self._start)
        for _, done in waiting:
            if not done.done():
                done.set_result([])

    def _next(self) -> list[_Waiting]:
        rows = 0
        chosen: list[_Waiting] = []
        while self._waiting:
            jobs, _ = self._waiting[0]
            rows += sum(len(job.drafts) for job in jobs)
            if chosen and rows > ROWS_A_BATCH:
                break
            chosen.append(self._waiting.popleft())
        return chosen

    def _finish(self, batch: Batch, waiting: Sequence[_Waiting], future: asyncio.Future[Any]) -> None:
        self._start()
        failure = future.exception()
        results = iter(()) if failure is not None else iter(future.result())
        if failure is None:
            self._on_batch(batch)
        for jobs, done in waiting:
            mine = list(islice(results, len(jobs)))
            if done.done():
                continue  # its caller was cancelled
            if failure is not None:
                done.set_exception(failure)
            else:
                done.set_result(mine)
