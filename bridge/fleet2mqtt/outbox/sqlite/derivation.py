"""The derived tables: what is to be published, last and standing alarms, the tally; and the bounds of the history.

One INSERT into a view brings all of them up to date, by a trigger. As statements of their own they would take longer:
each hands the interpreter to the event loop and has to wait until a busy one hands it back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

import orjson

from fleet2mqtt.outbox.models import OutboxLimits
from fleet2mqtt.outbox.sqlite.counters import Counters

# `acknowledged` are the numbers of the events that are recorded as published, as JSON, without those after `derived` up
# to `published`, which all are. The other columns are counters and limits; those of `outcome` are counters as they are
# afterwards.
_VIEW = """
CREATE TEMP TABLE outcome (depth, size, oldest, stored, first_seq, seen);
INSERT INTO outcome DEFAULT VALUES;
CREATE TEMP VIEW derivation AS SELECT
    NULL AS acknowledged, NULL AS published, NULL AS derived, NULL AS seq, NULL AS depth, NULL AS size, NULL AS stored,
    NULL AS history_rows, NULL AS first_seq, NULL AS seen, NULL AS seen_rows;
CREATE TEMP TRIGGER derive INSTEAD OF INSERT ON derivation BEGIN
"""
# Of the events after `derived` those that are acknowledged have no row of `pending`.
_PENDING = """
UPDATE outcome SET (depth, size) = (
    SELECT NEW.depth - count(*), NEW.size - coalesce(sum(size), 0)
    FROM pending WHERE seq IN (SELECT value FROM json_each(NEW.acknowledged))
);
DELETE FROM pending WHERE seq IN (SELECT value FROM json_each(NEW.acknowledged));
INSERT INTO pending (seq, size)
SELECT seq, length(body) FROM event
WHERE seq > NEW.published AND announced AND seq NOT IN (SELECT value FROM json_each(NEW.acknowledged));
UPDATE outcome SET (depth, size) = (
    SELECT outcome.depth + count(*), outcome.size + coalesce(sum(pending.size), 0)
    FROM pending WHERE seq > NEW.published
);
UPDATE outcome SET oldest = (
    SELECT json_extract(CAST(body AS TEXT), '$.received_at') FROM event WHERE seq = (SELECT min(seq) FROM pending)
);
"""
# In any order: the newest first changes the fewest rows.
_LAST = """
INSERT INTO last (device, at, seq, active, standing, body)
SELECT device, raised, seq, active, alarm_key, body
FROM event WHERE seq > NEW.derived AND type = 'raised' ORDER BY seq DESC
ON CONFLICT (device) DO UPDATE SET
    at = excluded.at, seq = excluded.seq, active = excluded.active, standing = excluded.standing, body = excluded.body
WHERE (excluded.at, excluded.seq) > (last.at, last.seq);
"""
# An event older than the newest one of its alarm changes nothing, whatever the order of arrival; of two at the same
# time the later arrival counts, except that a clear always ends the event with its own id. The bridge's own alarms come
# in their order, by whichever time: its clock may have been set back.
_STANDING = """
INSERT INTO standing (device, standing, name, open, id, at, seq, severity, body)
SELECT device, iif(alarm_key = '', id, alarm_key), alarm_key, type = 'raised', id, raised, seq, severity, body
FROM event WHERE seq > NEW.derived AND (type IN ('cleared', 'closed') OR (type = 'raised' AND active)) ORDER BY seq
ON CONFLICT (device, standing) DO UPDATE SET
    open = excluded.open, id = excluded.id, at = max(standing.at, excluded.at), seq = excluded.seq,
    severity = excluded.severity, name = excluded.name, body = excluded.body
WHERE iif(excluded.open,
    (excluded.at >= standing.at OR json_extract(CAST(excluded.body AS TEXT), '$.source') = 'condition')
        AND (standing.open OR excluded.id != standing.id),
    excluded.at >= standing.at OR excluded.id = standing.id);
"""
# An event counts when it was raised, but never ahead of time.
_TALLY = """
INSERT INTO tally (minute, severity, n)
SELECT CAST(min(raised, received) / 60 AS INTEGER), severity, count(*) FROM event
WHERE seq > NEW.derived AND type = 'raised' GROUP BY 1, 2
ON CONFLICT (minute, severity) DO UPDATE SET n = n + excluded.n;
"""
_BOUNDS = """
DELETE FROM tally WHERE minute < (SELECT max(minute) FROM tally) - 1500; -- 25 hours
UPDATE event SET body = NULL, device = '', severity = '', alarm_key = '' WHERE seq IN (
    SELECT seq FROM event WHERE seq >= NEW.first_seq AND body IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.seq = event.seq)
    ORDER BY seq LIMIT (SELECT max(0, NEW.stored - depth - NEW.history_rows) FROM outcome)
);
UPDATE outcome SET stored = NEW.stored - changes();
UPDATE outcome SET first_seq = coalesce(
    (SELECT min(seq) FROM event WHERE seq >= NEW.first_seq AND body IS NOT NULL), NEW.seq + 1
);
DELETE FROM standing WHERE NOT open AND seq < (SELECT first_seq FROM outcome);
-- What is still stored keeps its identity, or it would be accepted once more.
DELETE FROM event WHERE seq IN (
    SELECT seq FROM event WHERE seq < (SELECT first_seq FROM outcome)
    ORDER BY seq LIMIT max(0, NEW.seen - NEW.seen_rows)
);
UPDATE outcome SET seen = NEW.seen - changes();
UPDATE setting SET text = NEW.seq WHERE key = 'derived';
"""
_DERIVE = "INSERT INTO derivation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def create_trigger(db: sqlite3.Connection) -> None:
    """Create what `derive` uses, in the connection's temporary schema. Raises sqlite3.Error."""
    db.executescript(f"{_VIEW} {_PENDING} {_LAST} {_STANDING} {_TALLY} {_BOUNDS} END;")


def derive(db: sqlite3.Connection, counters: Counters, limits: OutboxLimits, acknowledged: Sequence[int] = ()) -> None:
    """Bring the derived tables up to the last event, and record the acknowledgement of events.

    What is beyond the bounds is deleted. An event that was acknowledged before changes nothing. Raises sqlite3.Error.
    """
    excess = counters.stored - counters.depth - limits.history_rows
    if not acknowledged and counters.derived == counters.seq and excess <= 0 and counters.seen <= limits.seen_rows:
        return
    # As a rule the broker acknowledges in order: then few numbers are left to be looked up.
    numbers = set(acknowledged)
    published = counters.derived
    while published + 1 in numbers:
        published += 1
    others = [seq for seq in acknowledged if not counters.derived < seq <= published]
    values = (
        orjson.dumps(others).decode(),
        published,
        counters.derived,
        counters.seq,
        counters.depth - counters.new_depth,
        counters.size - counters.new_size,
        counters.stored,
        limits.history_rows,
        counters.first_seq,
        counters.seen,
        limits.seen_rows,
    )
    db.execute(_DERIVE, values)
    counters.depth, counters.size, oldest, counters.stored, counters.first_seq, counters.seen = db.execute(
        "SELECT depth, size, oldest, stored, first_seq, seen FROM outcome"
    ).fetchone()
    counters.oldest = None if oldest is None else datetime.fromisoformat(oldest)
    counters.derived, counters.new_depth, counters.new_size = counters.seq, 0, 0
