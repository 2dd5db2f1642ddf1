"""Figures of the outbox, which each transaction keeps, and the bounds that it settles by them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from fleet2mqtt.outbox.models import OutboxLimits


@dataclass(slots=True, kw_only=True)
class Counters:
    """Figures of the outbox as of the last commit. A transaction works on a copy, which replaces them afterwards.

    `seq` is the last number given, `derived` the last that is in the derived tables; `stored` counts all events that
    have a body, `depth` and `size` those that the broker has not acknowledged, `seen` all identities; `refused` counts
    events for which there was no room, `displaced` dead letters that made room. Within a transaction `oldest` is None
    once it may have changed; `minute` is the newest in which the summary was cut.
    """

    seq: int
    derived: int
    first_seq: int
    stored: int
    depth: int
    size: int
    oldest: datetime | None
    seen: int
    dead: int
    refused: int = 0
    displaced: int = 0
    minute: int = 0


def measure(db: sqlite3.Connection) -> Counters:
    """Return the figures of a file that was just opened."""
    (derived,) = db.execute("SELECT CAST(text AS INTEGER) FROM setting WHERE key = 'derived'").fetchone()
    seq, seen, stored = db.execute("SELECT coalesce(max(seq), 0), count(*), count(body) FROM event").fetchone()
    depth, size = db.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM (SELECT size FROM pending"
        " UNION ALL SELECT length(body) FROM event WHERE seq > ? AND announced)",
        (derived,),
    ).fetchone()
    (dead,) = db.execute("SELECT count(*) FROM dead_letter").fetchone()
    counters = Counters(
        seq=max(seq, derived),
        derived=derived,
        first_seq=0,
        stored=stored,
        depth=depth,
        size=size,
        oldest=None,
        seen=seen,
        dead=dead,
    )
    _find_first(db, counters)
    _find_oldest(db, counters)
    return counters


def settle(db: sqlite3.Connection, counters: Counters, limits: OutboxLimits) -> None:
    """Delete what is beyond the bounds, at the end of a transaction, once the derived tables have it."""
    excess = counters.stored - counters.depth - limits.history_rows
    if excess > 0:
        db.execute(
            "UPDATE event SET body = NULL, device = '', severity = '', alarm_key = ''"
            " WHERE seq IN (SELECT seq FROM event WHERE seq >= ? AND body IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.seq = event.seq) ORDER BY seq LIMIT ?)",
            (counters.first_seq, excess),
        )
        counters.stored -= excess
        _find_first(db, counters)
        db.execute("DELETE FROM standing WHERE NOT open AND seq < ?", (counters.first_seq,))
    if counters.depth == 0:
        counters.oldest = None
    elif counters.oldest is None:
        _find_oldest(db, counters)
    if counters.seen > limits.seen_rows:
        # What is still stored keeps its identity, or it would be accepted once more.
        gone = db.execute(
            "DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE seq < ? ORDER BY seq LIMIT ?)",
            (counters.first_seq, counters.seen - limits.seen_rows),
        )
        counters.seen -= gone.rowcount


def _find_first(db: sqlite3.Connection, counters: Counters) -> None:
    (first,) = db.execute(
        "SELECT min(seq) FROM event WHERE seq >= ? AND body IS NOT NULL", (counters.first_seq,)
    ).fetchone()
    counters.first_seq = counters.seq + 1 if first is None else first


def _find_oldest(db: sqlite3.Connection, counters: Counters) -> None:
    row = db.execute(
        "SELECT json_extract(CAST(body AS TEXT), '$.received_at') FROM event WHERE seq = coalesce("
        "(SELECT min(seq) FROM pending), (SELECT min(seq) FROM event WHERE seq > ? AND announced))",
        (counters.derived,),
    ).fetchone()
    counters.oldest = None if row is None else datetime.fromisoformat(row[0])
