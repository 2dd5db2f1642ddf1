"""Queries of the outbox's database; each runs between two transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import orjson

from fleet2mqtt.devices.model import Severity
from fleet2mqtt.outbox.models import AlarmEvent, DeadLetter, EndedAlarm, restore

_UNPUBLISHED = """
SELECT seq, active, alarm_key, body FROM event WHERE seq IN (
    SELECT seq FROM (SELECT seq FROM pending WHERE seq > :after ORDER BY seq LIMIT :limit)
    UNION ALL
    SELECT seq FROM (
        SELECT seq FROM event WHERE announced
        AND seq > max(:after, (SELECT CAST(text AS INTEGER) FROM setting WHERE key = 'derived'))
        ORDER BY seq LIMIT :limit
    )
) ORDER BY seq LIMIT :limit
"""
_DEAD_LETTER = "SELECT id, backend, kind, error, at, body, count FROM dead_letter"


def unpublished(db: sqlite3.Connection, after: int, limit: int) -> list[AlarmEvent]:
    """Return the first events after a number that the broker has not acknowledged, oldest first."""
    rows = db.execute(_UNPUBLISHED, {"after": after, "limit": limit})
    return [restore(*row) for row in rows]


def history(db: sqlite3.Connection, after: int, limit: int) -> tuple[list[AlarmEvent], bool]:
    """Return the first events after a number, oldest first, and True if there are more."""
    rows = db.execute(
        "SELECT seq, active, alarm_key, body FROM event WHERE seq > ? AND body IS NOT NULL ORDER BY seq LIMIT ?",
        (after, limit + 1),
    ).fetchall()
    return [restore(*row) for row in rows[:limit]], len(rows) > limit


def raised_before(
    db: sqlite3.Connection, before: int, first: int, limit: int, device: str
) -> tuple[list[AlarmEvent], dict[int, str]]:
    """Return the last raise events before a number, newest first, and when their alarms ended, ISO 8601 by number.

    Those of active alarms are left out, but for some that were raised within the last second. `first` is the lowest
    number that has a body; `device` is an id, "" for all devices.
    """
    rows = db.execute(
        "SELECT seq, active, alarm_key, body FROM event WHERE seq < ? AND seq >= ? AND type = 'raised'"
        " AND body IS NOT NULL AND (? = '' OR device = ?)"
        " AND seq NOT IN (SELECT seq FROM standing WHERE open) ORDER BY seq DESC LIMIT ?",
        (before, first, device, device, limit),
    )
    events = [restore(*row) for row in rows]
    if not events:
        return [], {}
    ends: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for seq, id_, key, at in db.execute(
        "SELECT seq, device, alarm_key, raised FROM event WHERE seq > ? AND type IN ('cleared', 'closed')"
        " AND alarm_key != '' AND body IS NOT NULL AND (? = '' OR device = ?) ORDER BY seq",
        (events[-1].seq, device, device),
    ):
        ends.setdefault((id_, key), []).append((seq, at))
    ended = {}
    for event in events:
        of_alarm = ends.get((event.device, event.alarm_key), ())
        at = next((at for seq, at in of_alarm if seq > event.seq), None)
        if at is not None:
            ended[event.seq] = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return events, ended


def active_alarms(db: sqlite3.Connection) -> list[AlarmEvent]:
    """Return the raise events of active alarms, oldest first."""
    rows = db.execute("SELECT seq, 1, name, body FROM standing WHERE open ORDER BY seq")
    return [restore(*row) for row in rows]


def ended_alarms(db: sqlite3.Connection) -> list[EndedAlarm]:
    """Return the last end of each alarm that is not active, oldest first."""
    rows = db.execute(
        "SELECT device, standing, at, id, json_extract(iif(length(body), CAST(body AS TEXT), '{}'), '$.backend')"
        " FROM standing WHERE NOT open ORDER BY seq"
    )
    return [
        EndedAlarm(device=device, key=key, at=datetime.fromtimestamp(at, UTC), id=id_, backend=backend or "")
        for device, key, at, id_, backend in rows
    ]


def last(db: sqlite3.Connection) -> dict[str, AlarmEvent]:
    """Return each device's newest raise event, by device id."""
    rows = db.execute("SELECT seq, active, standing, body FROM last").fetchall()
    return {event.device: event for event in (restore(*row) for row in rows)}


def summary(db: sqlite3.Connection, now: datetime) -> dict[str, dict[str, int]]:
    """Return raise events by severity: of the last hour, of the last day, and active."""
    this = int(now.timestamp() // 60)
    since = "SELECT severity, sum(n) FROM tally WHERE minute >= ? GROUP BY severity"
    return {
        "last_hour": _by_severity(db.execute(since, (this - 60,))),
        "last_day": _by_severity(db.execute(since, (this - 24 * 60,))),
        "active": _by_severity(db.execute("SELECT severity, count(*) FROM standing WHERE open GROUP BY severity")),
    }


def checkpoints(db: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Return all checkpoints, by backend and device."""
    rows = db.execute("SELECT backend, device, text FROM watermark")
    return {(backend, device): text for backend, device, text in rows}


def managed(db: sqlite3.Connection) -> dict[str, str]:
    """Return the texts of alarm management, by key."""
    return dict(db.execute("SELECT key, text FROM managed").fetchall())


def event_of(db: sqlite3.Connection, id_: str) -> AlarmEvent | None:
    """Return the raise event with an id, or else its clear event; None if it is no longer here."""
    row = db.execute(
        "SELECT seq, active, alarm_key, body FROM event"
        " WHERE id = ? AND type IN ('raised', 'cleared') AND body IS NOT NULL ORDER BY type = 'cleared' LIMIT 1",
        (id_,),
    ).fetchone()
    return None if row is None else restore(*row)


def acknowledgements(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, AlarmEvent]:
    """Return the last event of each alarm that acknowledged it or took that back, by the id of its raise event."""
    rows = db.execute(
        "SELECT seq, active, alarm_key, body FROM event"
        " WHERE id IN (SELECT value FROM json_each(?)) AND type IN ('acknowledged', 'unacknowledged')"
        " AND body IS NOT NULL ORDER BY seq",
        (orjson.dumps(ids).decode(),),
    )
    return {event.id: event for event in (restore(*row) for row in rows)}


def changes_of(db: sqlite3.Connection, raised: AlarmEvent) -> list[AlarmEvent]:
    """Return the events of an alarm that are still here, its raise event first: up to its clear, or its next raise."""
    by_id = db.execute(
        "SELECT seq, active, alarm_key, body FROM event WHERE id = ? AND body IS NOT NULL ORDER BY seq", (raised.id,)
    ).fetchall()
    found = {event.seq: event for event in (restore(*row) for row in by_id)}
    if raised.alarm_key:  # a vendor's clear has an id of its own
        rows = db.execute(
            "SELECT seq, active, alarm_key, body FROM event"
            " WHERE seq > ? AND device = ? AND alarm_key = ? AND body IS NOT NULL ORDER BY seq",
            (raised.seq, raised.device, raised.alarm_key),
        )
        for event in (restore(*row) for row in rows):
            if event.cleared:
                found.setdefault(event.seq, event)
            if event.cleared or not event.changes_alarm:
                break
    return [found[seq] for seq in sorted(found)]


def dead_letters(db: sqlite3.Connection, after: int, limit: int) -> list[DeadLetter]:
    """Return the first dead letters after an id, oldest first."""
    rows = db.execute(f"{_DEAD_LETTER} WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    return [_letter(row) for row in rows]


def dead_letter(db: sqlite3.Connection, letter: int) -> DeadLetter | None:
    """Return the dead letter with an id, None if there is none."""
    row = db.execute(f"{_DEAD_LETTER} WHERE id = ?", (letter,)).fetchone()
    return None if row is None else _letter(row)


def setting(db: sqlite3.Connection, key: str) -> str | None:
    """Return the setting with a key, None if there is none."""
    row = db.execute("SELECT text FROM setting WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _by_severity(rows: Iterable[tuple[str, int]]) -> dict[str, int]:
    counts = dict(rows)
    return {severity.value: counts.get(severity, 0) for severity in Severity if severity is not Severity.CLEARED}


def _letter(row: tuple[int, str, str, str, float, str, int]) -> DeadLetter:
    id_, backend, kind, error, at, body, count = row
    return DeadLetter(
        id=id_,
        backend=backend,
        kind=kind,
        error=error,
        at=datetime.fromtimestamp(at, UTC),
        body=body,
        count=count,
    )
