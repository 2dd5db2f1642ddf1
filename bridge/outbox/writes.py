"""The lesser writes: what the broker acknowledged, forgotten devices, watermarks, dead letters and settings."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson

from bridge.outbox.records import Event, restore

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from bridge.outbox.levels import Levels
    from bridge.outbox.records import DeadLetter, Limits


def publish(db: sqlite3.Connection, levels: Levels, seqs: Sequence[int]) -> None:
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


def forget(db: sqlite3.Connection, devices: Sequence[str]) -> list[Event]:
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


def keep(db: sqlite3.Connection, backend: str, device: str, text: str) -> None:
    """Writes a watermark; the same one again costs no write, an empty one is none."""
    if not text:
        db.execute("DELETE FROM watermark WHERE (backend, device) = (?, ?)", (backend, device))
        return
    db.execute(
        "INSERT INTO watermark (backend, device, text) VALUES (?, ?, ?)"
        " ON CONFLICT (backend, device) DO UPDATE SET text = excluded.text WHERE text != excluded.text",
        (backend, device, text),
    )


def bury(db: sqlite3.Connection, levels: Levels, limits: Limits, letter: DeadLetter) -> int:
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


def discard(db: sqlite3.Connection, levels: Levels, letter: int) -> bool:
    """Drops a dead letter; False when there is none with this id."""
    gone = db.execute("DELETE FROM dead_letter WHERE id = ?", (letter,)).rowcount > 0
    levels.dead -= gone
    return gone


def put_setting(db: sqlite3.Connection, key: str, text: str) -> str:
    """Writes a setting unless there is one; gives the one that holds."""
    db.execute("INSERT INTO setting (key, text) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, text))
    (kept,) = db.execute("SELECT text FROM setting WHERE key = ?", (key,)).fetchone()
    return str(kept)
