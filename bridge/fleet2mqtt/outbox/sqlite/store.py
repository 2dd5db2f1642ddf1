"""The outbox's thread: one database connection, and transactions that carry the jobs of many callers."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import orjson

from fleet2mqtt.errors import OutboxError, OutboxFull
from fleet2mqtt.outbox.models import (
    AlarmEvent,
    DeadLetter,
    EventDraft,
    OutboxLimits,
    Stored,
    complete,
    restore,
)
from fleet2mqtt.outbox.sqlite.counters import Counters, measure
from fleet2mqtt.outbox.sqlite.derivation import create_trigger, derive
from fleet2mqtt.outbox.sqlite.schema import open_database

Identity = tuple[str, str, str]
"""Id, type and nonce of an event."""

ROWS_A_STATEMENT = 64  # keeps the number of variables and of prepared statements small
_EVENT = (
    "INSERT INTO event (seq, id, type, nonce, device, severity, raised, received, active, alarm_key, announced, body)"
    " VALUES "
)
_KNOWN = "SELECT seq, id, type, nonce FROM event WHERE id IN (SELECT value FROM json_each(?))"


def find_known(db: sqlite3.Connection, ids: Sequence[str]) -> dict[Identity, int]:
    """Return the numbers of the events with these ids that are stored already, by identity."""
    if not ids:
        return {}
    rows = db.execute(_KNOWN, (orjson.dumps(ids).decode(),))
    return {(id_, type_, nonce): seq for seq, id_, type_, nonce in rows}


class AlarmWriter:
    """Accepts the alarms of one transaction, `accept` once a caller; `store` then writes all of them.

    `known` are the numbers of the events that are stored already, by identity.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        counters: Counters,
        limits: OutboxLimits,
        known: Mapping[Identity, int],
    ) -> None:
        self._db = db
        self._counters = counters
        self._limits = limits
        self._known = dict(known)
        self._rows: list[tuple[int, EventDraft]] = []
        self._values: list[Any] = []

    def accept(self, drafts: Sequence[EventDraft]) -> Stored | OutboxFull:
        """Number the events that are new, and complete stored ones of which the drafts know more.

        Returns OutboxFull if the new ones do not all fit; then none of them is accepted.
        """
        new: dict[Identity, EventDraft] = {}
        again: list[EventDraft] = []
        for draft in drafts:
            if draft.identity in self._known:
                again.append(draft)
            else:
                new.setdefault(draft.identity, draft)
        if refusal := self._number(tuple(new.values())):
            return refusal
        accepted = self._rows[len(self._rows) - len(new) :] if new else []
        self._known.update((draft.identity, seq) for seq, draft in accepted)
        completed = tuple(event for draft in again if (event := self._complete(draft)) is not None)
        return Stored(new=tuple(draft.event(seq) for seq, draft in accepted), completed=completed)

    def accept_new(self, jobs: Sequence[Sequence[EventDraft]]) -> list[Stored] | None:
        """Number the events of several callers, each of which is known to be another; None if they do not all fit."""
        if self._number([draft for drafts in jobs for draft in drafts]) is not None:
            return None
        rows = iter(self._rows)
        return [Stored(new=tuple([draft.event(seq) for seq, draft in islice(rows, len(drafts))])) for drafts in jobs]

    def _number(self, drafts: Sequence[EventDraft]) -> OutboxFull | None:
        counters, announce_backlog = self._counters, self._limits.announce_backlog
        pending = drafts if announce_backlog else [draft for draft in drafts if not draft.backlog]
        size = sum(len(draft.data) for draft in pending)
        if pending and (counters.depth + len(pending) > self._limits.rows or counters.size + size > self._limits.bytes):
            counters.refused += len(drafts)
            return OutboxFull(
                f"the outbox holds {counters.depth} events, {counters.size} bytes: no room for {len(pending)}"
            )
        if pending and not counters.depth:
            counters.oldest = pending[0].received_at
        numbered = tuple(enumerate(drafts, counters.seq + 1))
        self._rows.extend(numbered)
        for seq, draft in numbered:
            # No bool and no bytes, for which sqlite3 looks up an adapter each time.
            announced = 1 if announce_backlog or not draft.backlog else 0
            self._values += (seq, *draft.columns, announced, bytearray(draft.data))
        counters.seq += len(drafts)
        counters.stored += len(drafts)
        counters.seen += len(drafts)
        counters.depth += len(pending)
        counters.size += size
        counters.new_depth += len(pending)
        counters.new_size += size
        return None

    def _complete(self, draft: EventDraft) -> AlarmEvent | None:
        """Add facts to a stored event, wherever it is stored; None if the draft knows no more, or it is gone."""
        seq = self._known[draft.identity]
        if self._rows and seq >= self._rows[0][0]:
            self.store()  # it came by another caller of this transaction
        found = "SELECT active, alarm_key, body, announced FROM event WHERE seq = ? AND body IS NOT NULL"
        row = self._db.execute(found, (seq,)).fetchone()
        if row is None:  # beyond the history's bound
            return None
        active, alarm_key, before, announced = row
        body = complete(orjson.loads(before), draft)
        if body is None:
            return None
        data = orjson.dumps({**body, "seq": 0})
        if announced and seq > self._counters.derived:  # its row of `pending` is made from the completed one
            self._counters.size += len(data) - len(before)
            self._counters.new_size += len(data) - len(before)
        for table in ("event", "standing", "last"):
            self._db.execute(f"UPDATE {table} SET body = ? WHERE seq = ? AND body != x''", (data, seq))  # noqa: S608
        return restore(seq, active, alarm_key, data)

    def store(self) -> None:
        """Write what was accepted."""
        # One statement for many rows: each lets go of the interpreter, and a busy event loop is slow to hand it back.
        for start in range(0, len(self._rows), ROWS_A_STATEMENT):
            values = self._values[start * _COLUMNS : (start + ROWS_A_STATEMENT) * _COLUMNS]
            self._db.execute(_EVENT + ", ".join([_ROW] * (len(values) // _COLUMNS)), values)
        self._rows, self._values = [], []


_COLUMNS = 12
_ROW = f"({', '.join('?' * _COLUMNS)})"


T = TypeVar("T")


@dataclass(slots=True, kw_only=True)  # made for each event: frozen takes three times as long
class Job:
    """One caller's part of a transaction: alarms to accept, acknowledged numbers, or any other write.

    `checkpoints` are written with the drafts, by backend and device, and so are texts of alarm management (`managed`).
    """

    drafts: Sequence[EventDraft] = ()
    checkpoints: Mapping[tuple[str, str], str] = field(default_factory=dict)
    managed: Mapping[str, str | None] = field(default_factory=dict)
    published: Sequence[int] = ()
    work: Callable[[sqlite3.Connection, Counters], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedInsert:
    """New alarms that are added in one statement: `results` and `counters` hold once it was carried out.

    It can be carried out as long as `base` are the store's counters: at closing another commit may be in between.
    """

    base: Counters
    writer: AlarmWriter
    counters: Counters
    results: Sequence[Any]


class Store:
    """The database. Made and used on one thread only; `counters`, `commits` and `unwritten` may be read from any.

    `unwritten` counts the alarms that could not be written because the disk failed.
    """

    def __init__(self, path: Path, limits: OutboxLimits) -> None:
        self._path = path
        self._limits = limits
        self._db = open_database(path)
        create_trigger(self._db)
        self.counters = measure(self._db)
        self.commits = 0
        self.unwritten = 0

    @property
    def settled(self) -> bool:
        """True if the derived tables have every event."""
        return self.counters.derived == self.counters.seq

    def prepare(self, jobs: Sequence[Job]) -> PreparedInsert | None:
        """Return how to add alarms in one statement that is the whole transaction; None if it takes more than that.

        It takes more to look up alarms that are known, to refuse some, and for anything else than alarms. Runs on the
        event loop while nothing is committed, so that the outbox's thread, which the loop has to wait for, does little.
        """
        drafts = [draft for job in jobs for draft in job.drafts]
        if len(drafts) > ROWS_A_STATEMENT or any(not job.drafts or job.checkpoints or job.managed for job in jobs):
            return None
        if len({draft.identity for draft in drafts}) < len(drafts):
            return None
        counters = replace(self.counters)
        writer = AlarmWriter(self._db, counters, self._limits, {})
        results = writer.accept_new([job.drafts for job in jobs])
        if results is None:
            return None
        return PreparedInsert(base=self.counters, writer=writer, counters=counters, results=results)

    def commit(self, jobs: Sequence[Job], prepared: PreparedInsert | None = None) -> list[Any]:
        """Run all jobs in one transaction; return the result of each, an OutboxError if it failed.

        When the disk refuses, each job is tried alone, so that one that is too large does not fail the others.
        """
        try:
            if prepared is not None and prepared.base is self.counters and self._insert(prepared):
                return list(prepared.results)
            return self._transaction(jobs)
        except sqlite3.Error as error:
            if len(jobs) > 1:
                return [self.commit([job])[0] for job in jobs]
            self.unwritten += len(jobs[0].drafts)
            failure = OutboxError(f"{self._path}: {error}")
            failure.__cause__ = error
            return [failure]

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query. Raises OutboxError."""
        try:
            return query(self._db)
        except sqlite3.Error as error:
            raise OutboxError(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _insert(self, prepared: PreparedInsert) -> bool:
        """Add new alarms; return False if one of them is known: then none was added."""
        try:
            prepared.writer.store()
        except sqlite3.IntegrityError:
            return False
        self.counters = prepared.counters
        self.commits += 1
        return True

    def _transaction(self, jobs: Sequence[Job]) -> list[Any]:
        counters = replace(self.counters)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            acknowledged = tuple([seq for job in jobs for seq in job.published])
            derive(self._db, counters, self._limits, acknowledged)  # first what makes room, then what needs it
            results = self._run(jobs, counters)
            if any(draft.active or draft.cleared or draft.nonce for job in jobs for draft in job.drafts):
                derive(self._db, counters, self._limits)  # an alarm that has ended is among the past ones at once
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.counters = counters
        self.commits += 1
        return results

    def _run(self, jobs: Sequence[Job], counters: Counters) -> list[Any]:
        known = find_known(self._db, [draft.id for job in jobs for draft in job.drafts])
        writer = AlarmWriter(self._db, counters, self._limits, known)
        results = []
        for job in jobs:
            if job.work is None:
                results.append(self._accept(job, writer))
            else:  # it finds what callers before it have added
                writer.store()
                derive(self._db, counters, self._limits)
                results.append(job.work(self._db, counters))
        writer.store()
        return results

    def _accept(self, job: Job, writer: AlarmWriter) -> Stored | OutboxFull:
        taken = writer.accept(job.drafts)
        if not isinstance(taken, OutboxFull):
            for (backend, device), text in job.checkpoints.items():
                save_checkpoint(self._db, backend, device, text)
            if taken.new or not job.drafts:  # else the text is about an event that is known: something came since
                save_managed(self._db, job.managed)
        return taken


def forget(db: sqlite3.Connection, devices: Sequence[str]) -> list[AlarmEvent]:
    """End the active alarms of these devices and delete their last alarms; return the events that were active."""
    listed = (orjson.dumps(devices).decode(),)
    rows = db.execute(
        "SELECT seq, 1, name, body FROM standing"
        " WHERE open AND device IN (SELECT value FROM json_each(?)) ORDER BY seq",
        listed,
    ).fetchall()
    db.execute(
        "UPDATE standing SET open = 0, body = x'' WHERE open AND device IN (SELECT value FROM json_each(?))", listed
    )
    db.execute("DELETE FROM last WHERE device IN (SELECT value FROM json_each(?))", listed)
    return [restore(*row) for row in rows]


def save_checkpoint(db: sqlite3.Connection, backend: str, device: str, text: str) -> None:
    """Write a checkpoint; the same one again costs no write, an empty one deletes it."""
    if not text:
        db.execute("DELETE FROM watermark WHERE (backend, device) = (?, ?)", (backend, device))
        return
    db.execute(
        "INSERT INTO watermark (backend, device, text) VALUES (?, ?, ?)"
        " ON CONFLICT (backend, device) DO UPDATE SET text = excluded.text WHERE text != excluded.text",
        (backend, device, text),
    )


def save_managed(db: sqlite3.Connection, texts: Mapping[str, str | None]) -> None:
    """Write texts of alarm management by key; None deletes one."""
    for key, text in texts.items():
        if text is None:
            db.execute("DELETE FROM managed WHERE key = ?", (key,))
        else:
            db.execute(
                "INSERT INTO managed (key, text) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET text = excluded.text",
                (key, text),
            )


def add_dead_letter(db: sqlite3.Connection, counters: Counters, limits: OutboxLimits, letter: DeadLetter) -> int:
    """Store a dead letter in place of the oldest, or count it once more; return its id."""
    digest = hashlib.sha256(letter.body.encode()).hexdigest()
    key = (letter.backend, letter.kind, digest)
    stored = db.execute("SELECT id FROM dead_letter WHERE (backend, kind, digest) = (?, ?, ?)", key).fetchone()
    if stored is not None:
        db.execute(
            "UPDATE dead_letter SET count = count + 1, error = ?, at = ? WHERE id = ?",
            (letter.error, letter.at.timestamp(), *stored),
        )
        return int(stored[0])
    excess = counters.dead + 1 - limits.dead_letters
    if excess > 0:
        db.execute(
            "DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter ORDER BY at, id LIMIT ?)", (excess,)
        )
        counters.dead -= excess
        counters.displaced += excess
    row = db.execute(
        "INSERT INTO dead_letter (backend, kind, digest, error, at, count, body) VALUES (?, ?, ?, ?, ?, 1, ?)",
        (*key, letter.error, letter.at.timestamp(), letter.body),
    )
    counters.dead += 1
    return int(row.lastrowid or 0)


def discard(db: sqlite3.Connection, counters: Counters, letter: int) -> bool:
    """Delete a dead letter; return False if there is none with this id."""
    gone = db.execute("DELETE FROM dead_letter WHERE id = ?", (letter,)).rowcount > 0
    counters.dead -= gone
    return gone


def put_setting(db: sqlite3.Connection, key: str, text: str) -> str:
    """Write a setting unless there is one; return the one that is stored."""
    db.execute("INSERT INTO setting (key, text) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, text))
    (saved,) = db.execute("SELECT text FROM setting WHERE key = ?", (key,)).fetchone()
    return str(saved)
