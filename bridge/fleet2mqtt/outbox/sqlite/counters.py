"""Figures of the outbox, which each transaction keeps."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True, kw_only=True)
class Counters:
    """Figures of the outbox as of the last commit. A transaction works on a copy, which replaces them afterwards.

    `seq` is the last number given, `derived` the last that is in the derived tables; `stored` counts all events that
    have a body, `depth` and `size` those that the broker has not acknowledged, `new_depth` and `new_size` those of
    them that are not in the derived tables; `seen` counts all identities, `refused` events for which there was no room,
    `displaced` dead letters that made room.
    """

    seq: int
    derived: int
    first_seq: int
    stored: int
    depth: int
    size: int
    new_depth: int
    new_size: int
    oldest: datetime | None
    seen: int
    dead: int
    refused: int = 0
    displaced: int = 0


def measure(db: sqlite3.Connection) -> Counters:
    """Return the figures of a file that was just opened. Raises sqlite3.Error."""
    (derived,) = db.execute("SELECT CAST(text AS INTEGER) FROM setting WHERE key = 'derived'").fetchone()
    last, first, seen, stored = db.execute(
        "SELECT coalesce(max(seq), 0), min(seq) FILTER (WHERE body IS NOT NULL), count(*), count(body) FROM event"
    ).fetchone()
    depth, size = db.execute("SELECT count(*), coalesce(sum(size), 0) FROM pending").fetchone()
    new_depth, new_size = db.execute(
        "SELECT count(*), coalesce(sum(length(body)), 0) FROM event WHERE seq > ? AND announced", (derived,)
    ).fetchone()
    (dead,) = db.execute("SELECT count(*) FROM dead_letter").fetchone()
    seq = max(last, derived)
    return Counters(
        seq=seq,
        derived=derived,
        first_seq=seq + 1 if first is None else first,
        stored=stored,
        depth=depth + new_depth,
        size=size + new_size,
        new_depth=new_depth,
        new_size=new_size,
        oldest=_oldest(db, derived),
        seen=seen,
        dead=dead,
    )


def _oldest(db: sqlite3.Connection, derived: int) -> datetime | None:
    row = db.execute(
        "SELECT json_extract(CAST(body AS TEXT), '$.received_at') FROM event WHERE seq = coalesce("
        "(SELECT min(seq) FROM pending), (SELECT min(seq) FROM event WHERE seq > ? AND announced))",
        (derived,),
    ).fetchone()
    return None if row is None else datetime.fromisoformat(row[0])
