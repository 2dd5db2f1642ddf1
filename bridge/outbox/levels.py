"""How full the outbox is: figures that anyone may read at any moment, without touching the disk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from bridge.outbox.records import Limits


@dataclass(slots=True, kw_only=True)
class Levels:
    """As of the last commit. A transaction works on a copy, which takes the place of the old one only afterwards.

    `seq` is the last number given; `held` counts all events, `depth` and `size` those the broker has not acknowledged;
    `refused` counts events for which there was no room, `displaced` dead letters that had to go. Within a transaction
    `oldest` is None once it may have changed; `minute` is the newest that was tallied.
    """

    seq: int
    first_seq: int
    held: int
    depth: int
    size: int
    oldest: datetime | None
    seen: int
    dead: int
    refused: int = 0
    displaced: int = 0
    minute: int = 0


def measure(db: sqlite3.Connection) -> Levels:
    """The figures of a file just opened."""
    (seq,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
    depth, size = db.execute("SELECT count(*), coalesce(sum(size), 0) FROM pending").fetchone()
    levels = Levels(
        seq=seq,
        first_seq=0,
        held=_count(db, "event"),
        depth=depth,
        size=size,
        oldest=None,
        seen=_count(db, "seen"),
        dead=_count(db, "dead_letter"),
    )
    _find_first(db, levels)
    _find_oldest(db, levels)
    return levels


def settle(db: sqlite3.Connection, levels: Levels, limits: Limits) -> None:
    """Drops what is beyond the bounds, at the end of a transaction."""
    excess = levels.held - levels.depth - limits.history_rows
    if excess > 0:
        db.execute(
            "DELETE FROM event WHERE seq IN (SELECT seq FROM event"
            " WHERE NOT EXISTS (SELECT 1 FROM pending WHERE pending.seq = event.seq) ORDER BY seq LIMIT ?)",
            (excess,),
        )
        levels.held -= excess
        _find_first(db, levels)
        db.execute("DELETE FROM standing WHERE NOT open AND seq < ?", (levels.first_seq,))
    if levels.depth == 0:
        levels.oldest = None
    elif levels.oldest is None:
        _find_oldest(db, levels)
    if levels.seen > limits.seen_rows:
        # What is still held keeps its identity, or it would be taken in once more.
        gone = db.execute(
            "DELETE FROM seen WHERE seq IN (SELECT seq FROM seen WHERE seq < ? ORDER BY seq LIMIT ?)",
            (levels.first_seq, levels.seen - limits.seen_rows),
        )
        levels.seen -= gone.rowcount


def _find_first(db: sqlite3.Connection, levels: Levels) -> None:
    (first,) = db.execute("SELECT min(seq) FROM event").fetchone()
    levels.first_seq = levels.seq + 1 if first is None else first


def _find_oldest(db: sqlite3.Connection, levels: Levels) -> None:
    row = db.execute(
        "SELECT json_extract(CAST(body AS TEXT), '$.received_at') FROM event WHERE seq = (SELECT min(seq) FROM pending)"
    ).fetchone()
    levels.oldest = None if row is None else datetime.fromisoformat(row[0])


def _count(db: sqlite3.Connection, table: str) -> int:
    (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - the callers are above
    return int(count)
