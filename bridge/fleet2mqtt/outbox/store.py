"""The outbox's thread: one database connection, and transactions that carry the jobs of many callers."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any, TypeVar

import orjson

from fleet2mqtt.errors import OutboxError, OutboxFull
from fleet2mqtt.outbox.models import (
    AlarmEvent,
    Counters,
    DeadLetter,
    EventDraft,
    OutboxLimits,
    Stored,
    complete,
    measure,
    restore,
    settle,
)
from fleet2mqtt.outbox.schema import open_database

TALLY_MINUTES = 25 * 60
ROWS_A_STATEMENT = 64  # keeps the number of variables and of prepared statements small
_SEEN = "SELECT seq, id, cleared FROM seen WHERE id IN (SELECT value FROM json_each(?))"
_LAST = """
ON CONFLICT (device) DO UPDATE SET
    at = excluded.at, seq = excluded.seq, active = excluded.active, standing = excluded.standing, body = excluded.body
WHERE (excluded.at, excluded.seq) > (last.at, last.seq)
"""


# An event older than the newest one of its alarm changes nothing, whatever the order of arrival; of two at the same
# time the later arrival counts, except that a clear always ends the event with its own id.
_STANDS = """
ON CONFLICT (device, standing) DO UPDATE SET
    open = 1, id = excluded.id, at = excluded.at, seq = excluded.seq, severity = excluded.severity,
    name = excluded.name, body = excluded.body
WHERE excluded.at >= standing.at AND (standing.open OR excluded.id != standing.id)
"""
_ENDS = """
ON CONFLICT (device, standing) DO UPDATE SET
    open = 0, id = excluded.id, at = max(standing.at, excluded.at), seq = excluded.seq, body = excluded.body
WHERE excluded.at >= standing.at OR excluded.id = standing.id
"""
_TALLY = "ON CONFLICT (minute, severity) DO UPDATE SET n = n + excluded.n"


class AlarmWriter:
    """Writes the alarms of one transaction: `accept` once a caller, then `store` once."""

    def __init__(
        self, db: sqlite3.Connection, counters: Counters, limits: OutboxLimits, drafts: Iterable[EventDraft]
    ) -> None:
        self._db = db
        self._counters = counters
        self._limits = limits
        ids = orjson.dumps([draft.id for draft in drafts]).decode()
        self._seen = {(id_, bool(cleared)): seq for seq, id_, cleared in db.execute(_SEEN, (ids,))}
        self._rows: list[tuple[int, EventDraft]] = []

    def accept(self, drafts: Sequence[EventDraft]) -> Stored | OutboxFull:
        """Number the events that are new, and complete stored ones of which the drafts know more.

        Returns OutboxFull if the new ones do not all fit; then none of them is accepted.
        """
        new: dict[tuple[str, bool], EventDraft] = {}
        again: list[EventDraft] = []
        for draft in drafts:
            if draft.identity in self._seen:
                again.append(draft)
            else:
                new.setdefault(draft.identity, draft)
        if refusal := self._number(tuple(new.values())):
            return refusal
        accepted = self._rows[len(self._rows) - len(new) :] if new else []
        completed = tuple(event for draft in again if (event := self._complete(draft)) is not None)
        return Stored(new=tuple(draft.event(seq) for seq, draft in accepted), completed=completed)

    def _number(self, drafts: Sequence[EventDraft]) -> OutboxFull | None:
        counters = self._counters
        pending = [draft for draft in drafts if self._is_announced(draft)]
        size = sum(len(draft.data) for draft in pending)
        if pending and (counters.depth + len(pending) > self._limits.rows or counters.size + size > self._limits.bytes):
            counters.refused += len(drafts)
            return OutboxFull(
                f"the outbox holds {counters.depth} events, {counters.size} bytes: no room for {len(pending)}"
            )
        numbered = tuple(enumerate(drafts, counters.seq + 1))
        self._seen.update((draft.identity, seq) for seq, draft in numbered)
        self._rows.extend(numbered)
        counters.seq += len(drafts)
        counters.stored += len(drafts)
        counters.seen += len(drafts)
        counters.depth += len(pending)
        counters.size += size
        return None

    def _is_announced(self, draft: EventDraft) -> bool:
        return self._limits.announce_backlog or not draft.backlog

    def _complete(self, draft: EventDraft) -> AlarmEvent | None:
        """Add facts to a stored event, wherever it is stored; None if the draft knows no more, or it is gone."""
        seq = self._seen[draft.identity]
        row = self._db.execute("SELECT active, standing, body FROM event WHERE seq = ?", (seq,)).fetchone()
        if row is None:  # written in this transaction, or beyond the history's bound
            return None
        active, alarm_key, data = row
        body = complete(orjson.loads(data), draft)
        if body is None:
            return None
        data = orjson.dumps({**body, "seq": 0})
        for table in ("event", "standing", "last"):
            self._db.execute(f"UPDATE {table} SET body = ? WHERE seq = ? AND body != x''", (data, seq))  # noqa: S608
        return restore(seq, active, alarm_key, data)

    def store(self) -> None:
        """Write what was accepted."""
        rows = self._rows
        if not rows:
            return
        insert = partial(_insert, self._db)
        insert("event (seq, active, standing, body)", [(seq, d.active, d.alarm_key, d.data) for seq, d in rows])
        if pending := [(seq, len(draft.data)) for seq, draft in rows if self._is_announced(draft)]:
            insert("pending (seq, size)", pending)
        insert("seen (seq, id, cleared)", [(seq, *draft.identity) for seq, draft in rows])
        self._store_standing()
        self._store_raised([(seq, draft) for seq, draft in rows if not (draft.cleared or draft.change)])

    def _store_standing(self) -> None:
        rows = [(seq, draft) for seq, draft in self._rows if draft.cleared or (draft.active and not draft.change)]
        for cleared, run in groupby(rows, key=lambda row: row[1].cleared):
            _insert(
                self._db,
                "standing (device, standing, name, open, id, at, seq, severity, body)",
                [
                    (d.device, d.alarm_key or d.id, d.alarm_key, not cleared, d.id, d.raised, seq, d.severity, d.data)
                    for seq, d in run
                ],
                _ENDS if cleared else _STANDS,
            )

    def _store_raised(self, rows: list[tuple[int, EventDraft]]) -> None:
        if not rows:
            return
        newest: dict[str, tuple[int, EventDraft]] = {}
        for seq, draft in rows:
            if draft.device not in newest or draft.raised >= newest[draft.device][1].raised:
                newest[draft.device] = seq, draft
        _insert(
            self._db,
            "last (device, at, seq, active, standing, body)",
            [(d.device, d.raised, seq, d.active, d.alarm_key, d.data) for seq, d in newest.values()],
            _LAST,
        )
        counts = Counter((minute(_counted_at(draft)), draft.severity) for _, draft in rows)
        _insert(self._db, "tally (minute, severity, n)", [(*key, n) for key, n in counts.items()], _TALLY)
        newest_minute, _ = max(counts)
        if newest_minute != self._counters.minute:
            self._counters.minute = newest_minute
            self._db.execute("DELETE FROM tally WHERE minute < ?", (newest_minute - TALLY_MINUTES,))


def _counted_at(draft: EventDraft) -> float:
    """Return the epoch seconds at which the summary counts an event: when it was raised, but never ahead of time."""
    return min(draft.raised, draft.received_at.timestamp())


def minute(timestamp: float) -> int:
    """Return the minute, counted from the epoch, that a summary counts by."""
    return int(timestamp // 60)


def _insert(db: sqlite3.Connection, into: str, rows: Sequence[tuple[Any, ...]], conflict: str = "") -> None:
    # One statement for many rows: each step lets go of the interpreter, and a busy event loop is slow to hand it back.
    row = f"({', '.join('?' * len(rows[0]))})"
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        part = rows[start : start + ROWS_A_STATEMENT]
        db.execute(
            f"INSERT INTO {into} VALUES {', '.join([row] * len(part))} {conflict}",  # noqa: S608 - constants of this module
            list(chain.from_iterable(part)),
        )


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One caller's part of a transaction: alarms to accept, acknowledged numbers, or any other write.

    `checkpoints` are written with the drafts, by backend and device, and so are texts of alarm management (`managed`).
    """

    drafts: Sequence[EventDraft] = ()
    checkpoints: Mapping[tuple[str, str], str] = field(default_factory=dict)
    managed: Mapping[str, str | None] = field(default_factory=dict)
    published: Sequence[int] = ()
    work: Callable[[sqlite3.Connection, Counters], Any] | None = None


class Store:
    """The database. Made and used on one thread only; `counters`, `commits` and `unwritten` may be read from any.

    `unwritten` counts the alarms that could not be written because the disk failed.
    """

    def __init__(self, path: Path, limits: OutboxLimits) -> None:
        self._path = path
        self._limits = limits
        self._db = open_database(path)
        self.counters = measure(self._db)
        self.commits = 0
        self.unwritten = 0

    def commit(self, jobs: Sequence[Job]) -> list[Any]:
        """Run all jobs in one transaction; return the result of each, an OutboxError if it failed.

        When the disk refuses, each job is tried alone, so that one that is too large does not fail the others.
        """
        try:
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

    def _transaction(self, jobs: Sequence[Job]) -> list[Any]:
        counters = replace(self.counters)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            results = self._run(jobs, counters)
            settle(self._db, counters, self._limits)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.counters = counters
        self.commits += 1
        return results

    def _run(self, jobs: Sequence[Job], counters: Counters) -> list[Any]:
        # First what makes room, then what needs it.
        publish(self._db, counters, [seq for job in jobs for seq in job.published])
        writer = AlarmWriter(self._db, counters, self._limits, [draft for job in jobs for draft in job.drafts])
        results = [job.work(self._db, counters) if job.work else self._accept(job, writer) for job in jobs]
        writer.store()
        return results

    def _accept(self, job: Job, writer: AlarmWriter) -> Stored | OutboxFull:
        taken = writer.accept(job.drafts)
        if not isinstance(taken, OutboxFull):
            for (backend, device), text in job.checkpoints.items():
                save_checkpoint(self._db, backend, device, text)
            save_managed(self._db, job.managed)
        return taken


def publish(db: sqlite3.Connection, counters: Counters, seqs: Sequence[int]) -> None:
    """Record the acknowledgement of events; one that was acknowledged before changes nothing."""
    if not seqs:
        return
    listed = (orjson.dumps(seqs).decode(),)
    count, size = db.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM pending WHERE seq IN (SELECT value FROM json_each(?))", listed
    ).fetchone()
    db.execute("DELETE FROM pending WHERE seq IN (SELECT value FROM json_each(?))", listed)
    counters.depth -= count
    counters.size -= size
    counters.oldest = None  # it may be another one now: looked up at the end of the transaction


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
