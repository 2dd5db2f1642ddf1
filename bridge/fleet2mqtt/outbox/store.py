"""The outbox as its own thread sees it: one connection, and transactions made of many callers' jobs."""

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
    measure,
    restore,
    settle,
)
from fleet2mqtt.outbox.schema import open_database

TALLY_MINUTES = 25 * 60
ROWS_A_STATEMENT = 64  # keeps the number of variables and of prepared statements small
_KNOWN = "SELECT id, cleared FROM seen WHERE id IN (SELECT value FROM json_each(?))"
_LAST = """
ON CONFLICT (device) DO UPDATE SET
    at = excluded.at, seq = excluded.seq, active = excluded.active, standing = excluded.standing, body = excluded.body
WHERE (excluded.at, excluded.seq) > (last.at, last.seq)
"""


# What is older than what stands or has ended changes nothing, whatever the order of arrival; of two at the same time
# the later arrival counts, except that a clearing always ends the event with its own id.
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
    """The alarms of one transaction: `accept` call by call, then `store` once."""

    def __init__(
        self, db: sqlite3.Connection, levels: Counters, limits: OutboxLimits, drafts: Iterable[EventDraft]
    ) -> None:
        self._db = db
        self._levels = levels
        self._limits = limits
        ids = orjson.dumps([draft.id for draft in drafts]).decode()
        self._known = {(id_, bool(cleared)) for id_, cleared in db.execute(_KNOWN, (ids,))}
        self._rows: list[tuple[int, EventDraft]] = []

    def accept(self, drafts: Sequence[EventDraft]) -> tuple[AlarmEvent, ...] | OutboxFull:
        """The new ones, numbered; or, when they do not all fit, none of them."""
        new: dict[tuple[str, bool], EventDraft] = {}
        for draft in drafts:
            if draft.identity not in self._known:
                new.setdefault(draft.identity, draft)
        if not new:
            return ()
        fresh = tuple(new.values())
        levels = self._levels
        size = sum(len(draft.data) for draft in fresh)
        if levels.depth + len(fresh) > self._limits.rows or levels.size + size > self._limits.bytes:
            levels.refused += len(fresh)
            return OutboxFull(f"the outbox holds {levels.depth} events, {levels.size} bytes: no room for {len(fresh)}")
        numbered = tuple(enumerate(fresh, levels.seq + 1))
        self._known.update(new)
        self._rows.extend(numbered)
        levels.seq += len(fresh)
        levels.depth += len(fresh)
        levels.held += len(fresh)
        levels.seen += len(fresh)
        levels.size += size
        return tuple(draft.event(seq) for seq, draft in numbered)

    def store(self) -> None:
        """Writes what was accepted."""
        rows = self._rows
        if not rows:
            return
        insert = partial(_insert, self._db)
        insert("event (seq, active, standing, body)", [(seq, d.active, d.alarm_key, d.data) for seq, d in rows])
        insert("pending (seq, size)", [(seq, len(draft.data)) for seq, draft in rows])
        insert("seen (seq, id, cleared)", [(seq, *draft.identity) for seq, draft in rows])
        self._store_standing()
        self._store_raised([(seq, draft) for seq, draft in rows if not draft.cleared])

    def _store_standing(self) -> None:
        rows = [(seq, draft) for seq, draft in self._rows if draft.cleared or draft.active]
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
        counts = Counter((minute(draft.received_at.timestamp()), draft.severity) for _, draft in rows)
        _insert(self._db, "tally (minute, severity, n)", [(*key, n) for key, n in counts.items()], _TALLY)
        newest_minute, _ = max(counts)
        if newest_minute != self._levels.minute:
            self._levels.minute = newest_minute
            self._db.execute("DELETE FROM tally WHERE minute < ?", (newest_minute - TALLY_MINUTES,))


def minute(timestamp: float) -> int:
    """The minute, counted from the epoch, that a summary counts by."""
    return int(timestamp // 60)


def _insert(db: sqlite3.Connection, into: str, rows: Sequence[tuple[Any, ...]], conflict: str = "") -> None:
    # One statement for many rows: each step lets go of the interpreter, and a busy event loop is slow to hand it back.
    row = f"({', '.join('?' * len(rows[0]))})"
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        part = rows[start : start + ROWS_A_STATEMENT]
        db.execute(
            f"INSERT INTO {into} VALUES {', '.join([row] * len(part))} {conflict}",  # noqa: S608 - our own words
            list(chain.from_iterable(part)),
        )


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One caller's share of a transaction: alarms to take in, acknowledged numbers, or any other write.

    `marks` are watermarks that are written with the drafts, by backend and device.
    """

    drafts: Sequence[EventDraft] = ()
    checkpoints: Mapping[tuple[str, str], str] = field(default_factory=dict)
    published: Sequence[int] = ()
    work: Callable[[sqlite3.Connection, Counters], Any] | None = None


class Store:
    """To be made and used on one thread only; `levels`, `commits` and `unwritten` may be read from any.

    `unwritten` counts the alarms that a fault of the disk kept out.
    """

    def __init__(self, path: Path, limits: OutboxLimits) -> None:
        self._path = path
        self._limits = limits
        self._db = open_database(path)
        self.levels = measure(self._db)
        self.commits = 0
        self.unwritten = 0

    def commit(self, jobs: Sequence[Job]) -> list[Any]:
        """Carries out all jobs in one transaction; gives what each results in, an OutboxError if it failed.

        When the disk refuses, each is tried alone, so that one that is too much does not fail the others.
        """
        try:
            return self._transaction(jobs)
        except sqlite3.Error as error:
            if len(jobs) > 1:
                return [self.commit([job])[0] for job in jobs]
            self.unwritten += len(jobs[0].drafts)
            fault = OutboxError(f"{self._path}: {error}")
            fault.__cause__ = error
            return [fault]

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Asks something. Raises OutboxError."""
        try:
            return query(self._db)
        except sqlite3.Error as error:
            raise OutboxError(f"{self._path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def _transaction(self, jobs: Sequence[Job]) -> list[Any]:
        levels = replace(self.levels)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            results = self._carry_out(jobs, levels)
            settle(self._db, levels, self._limits)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.levels = levels
        self.commits += 1
        return results

    def _carry_out(self, jobs: Sequence[Job], levels: Counters) -> list[Any]:
        # First what makes room, then what needs it.
        publish(self._db, levels, [seq for job in jobs for seq in job.published])
        intake = AlarmWriter(self._db, levels, self._limits, [draft for job in jobs for draft in job.drafts])
        results = [job.work(self._db, levels) if job.work else self._take_in(job, intake) for job in jobs]
        intake.store()
        return results

    def _take_in(self, job: Job, intake: AlarmWriter) -> tuple[AlarmEvent, ...] | OutboxFull:
        taken = intake.accept(job.drafts)
        if not isinstance(taken, OutboxFull):
            for (backend, device), text in job.checkpoints.items():
                save_checkpoint(self._db, backend, device, text)
        return taken


def publish(db: sqlite3.Connection, levels: Counters, seqs: Sequence[int]) -> None:
    """These have been acknowledged; those that already were change nothing."""
    if not seqs:
        return
    listed = (orjson.dumps(seqs).decode(),)
    count, size = db.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM pending WHERE seq IN (SELECT value FROM json_each(?))", listed
    ).fetchone()
    db.execute("DELETE FROM pending WHERE seq IN (SELECT value FROM json_each(?))", listed)
    levels.depth -= count
    levels.size -= size
    levels.oldest = None  # it may be another one now: looked up at the end of the transaction


def forget(db: sqlite3.Connection, devices: Sequence[str]) -> list[AlarmEvent]:
    """Ends what stands for these devices, which it gives, and drops their last alarms."""
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
    """Writes a watermark; the same one again costs no write, an empty one is none."""
    if not text:
        db.execute("DELETE FROM watermark WHERE (backend, device) = (?, ?)", (backend, device))
        return
    db.execute(
        "INSERT INTO watermark (backend, device, text) VALUES (?, ?, ?)"
        " ON CONFLICT (backend, device) DO UPDATE SET text = excluded.text WHERE text != excluded.text",
        (backend, device, text),
    )


def add_dead_letter(db: sqlite3.Connection, levels: Counters, limits: OutboxLimits, letter: DeadLetter) -> int:
    """Keeps a dead letter in place of the oldest, or counts it once more; gives its id."""
    digest = hashlib.sha256(letter.body.encode()).hexdigest()
    key = (letter.backend, letter.kind, digest)
    held = db.execute("SELECT id FROM dead_letter WHERE (backend, kind, digest) = (?, ?, ?)", key).fetchone()
    if held is not None:
        db.execute(
            "UPDATE dead_letter SET count = count + 1, error = ?, at = ? WHERE id = ?",
            (letter.error, letter.at.timestamp(), *held),
        )
        return int(held[0])
    excess = levels.dead + 1 - limits.dead_letters
    if excess > 0:
        db.execute(
            "DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter ORDER BY at, id LIMIT ?)", (excess,)
        )
        levels.dead -= excess
        levels.displaced += excess
    row = db.execute(
        "INSERT INTO dead_letter (backend, kind, digest, error, at, count, body) VALUES (?, ?, ?, ?, ?, 1, ?)",
        (*key, letter.error, letter.at.timestamp(), letter.body),
    )
    levels.dead += 1
    return int(row.lastrowid or 0)


def discard(db: sqlite3.Connection, levels: Counters, letter: int) -> bool:
    """Drops a dead letter; False when there is none with this id."""
    gone = db.execute("DELETE FROM dead_letter WHERE id = ?", (letter,)).rowcount > 0
    levels.dead -= gone
    return gone


def put_setting(db: sqlite3.Connection, key: str, text: str) -> str:
    """Writes a setting unless there is one; gives the one that holds."""
    db.execute("INSERT INTO setting (key, text) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, text))
    (kept,) = db.execute("SELECT text FROM setting WHERE key = ?", (key,)).fetchone()
    return str(kept)
