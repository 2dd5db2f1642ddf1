"""Taking alarms in: which are new, whether there is room, and what follows from them; inside one transaction."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import orjson

from bridge.errors import OutboxFull

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from bridge.outbox.levels import Levels
    from bridge.outbox.records import Draft, Event, Limits

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


class Intake:
    """The alarms of one transaction: `accept` call by call, then `store` once."""

    def __init__(self, db: sqlite3.Connection, levels: Levels, limits: Limits, drafts: Iterable[Draft]) -> None:
        self._db = db
        self._levels = levels
        self._limits = limits
        ids = orjson.dumps([draft.id for draft in drafts]).decode()
        self._known = {(id_, bool(cleared)) for id_, cleared in db.execute(_KNOWN, (ids,))}
        self._rows: list[tuple[int, Draft]] = []

    def accept(self, drafts: Sequence[Draft]) -> tuple[Event, ...] | OutboxFull:
        """The new ones, numbered; or, when they do not all fit, none of them."""
        new: dict[tuple[str, bool], Draft] = {}
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
        insert("event (seq, active, standing, body)", [(seq, d.active, d.standing, d.data) for seq, d in rows])
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
                    (d.device, d.standing or d.id, d.standing, not cleared, d.id, d.raised, seq, d.severity, d.data)
                    for seq, d in run
                ],
                _ENDS if cleared else _STANDS,
            )

    def _store_raised(self, rows: list[tuple[int, Draft]]) -> None:
        if not rows:
            return
        newest: dict[str, tuple[int, Draft]] = {}
        for seq, draft in rows:
            if draft.device not in newest or draft.raised >= newest[draft.device][1].raised:
                newest[draft.device] = seq, draft
        _insert(
            self._db,
            "last (device, at, seq, active, standing, body)",
            [(d.device, d.raised, seq, d.active, d.standing, d.data) for seq, d in newest.values()],
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
