"""Queries of the database, each for one connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection

from fleet2mqtt.devices.model import Severity
from fleet2mqtt.outbox.models import AlarmEvent, DeadLetter, EndedAlarm, restore

_EVENT = "SELECT seq, active, alarm_key, body FROM event"
_DEAD_LETTER = "SELECT id, backend, kind, error, at, body, count FROM dead_letter"


async def _rows(connection: AsyncConnection, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query, arguments, binary=True)
    return await cursor.fetchall()


async def _events(connection: AsyncConnection, query: str, *arguments: Any) -> list[AlarmEvent]:
    return [restore(*row) for row in await _rows(connection, query, *arguments)]


async def unpublished(connection: AsyncConnection, after: int, limit: int) -> list[AlarmEvent]:
    """Return the first events after a number that the broker has not acknowledged, oldest first."""
    return await _events(
        connection,
        "SELECT event.seq, active, alarm_key, body FROM pending JOIN event USING (seq)"
        " WHERE pending.seq > %s ORDER BY pending.seq LIMIT %s",
        after,
        limit,
    )


async def history(connection: AsyncConnection, after: int, limit: int) -> tuple[list[AlarmEvent], bool]:
    """Return the first events after a number, oldest first, and True if there are more."""
    events = await _events(
        connection, f"{_EVENT} WHERE seq > %s AND body IS NOT NULL ORDER BY seq LIMIT %s", after, limit + 1
    )
    return events[:limit], len(events) > limit


async def raised_before(
    connection: AsyncConnection, before: int, first: int, limit: int, device: str
) -> tuple[list[AlarmEvent], dict[int, str]]:
    """Return the last raise events before a number, newest first, and when their alarms ended, ISO 8601 by number.

    Those of active alarms are left out, but for some that were raised within the last second. `first` is the lowest
    number that has a body; `device` is an id, "" for all devices.
    """
    events = await _events(
        connection,
        f"{_EVENT} WHERE seq < %s AND seq >= %s AND type = 'raised' AND body IS NOT NULL AND %s IN ('', device)"
        " AND NOT EXISTS (SELECT FROM standing WHERE open AND standing.seq = event.seq) ORDER BY seq DESC LIMIT %s",
        before,
        first,
        device,
        limit,
    )
    if not events:
        return [], {}
    ends: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for seq, id_, key, at in await _rows(
        connection,
        "SELECT seq, device, alarm_key, raised FROM event WHERE seq > %s AND type IN ('cleared', 'closed')"
        " AND alarm_key <> '' AND body IS NOT NULL AND %s IN ('', device) ORDER BY seq",
        events[-1].seq,
        device,
    ):
        ends.setdefault((id_, key), []).append((seq, at))
    ended = {}
    for event in events:
        of_alarm = ends.get((event.device, event.alarm_key), ())
        at = next((at for seq, at in of_alarm if seq > event.seq), None)
        if at is not None:
            ended[event.seq] = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return events, ended


async def active_alarms(connection: AsyncConnection) -> list[AlarmEvent]:
    """Return the raise events of active alarms, oldest first."""
    return await _events(connection, "SELECT seq, true, alarm_key, body FROM standing WHERE open ORDER BY seq")


async def active_alarms_of(connection: AsyncConnection, devices: Sequence[str]) -> list[AlarmEvent]:
    """Return the raise events of active alarms of these devices, oldest first."""
    return await _events(
        connection,
        "SELECT seq, true, alarm_key, body FROM standing WHERE open AND device = ANY(%s::text[]) ORDER BY seq",
        list(devices),
    )


async def ended_alarms(connection: AsyncConnection) -> list[EndedAlarm]:
    """Return the last end of each alarm that is not active, oldest first."""
    rows = await _rows(connection, "SELECT device, alarm, at, id, backend FROM standing WHERE NOT open ORDER BY seq")
    return [
        EndedAlarm(device=device, key=key, at=datetime.fromtimestamp(at, UTC), id=id_, backend=backend)
        for device, key, at, id_, backend in rows
    ]


async def last(connection: AsyncConnection) -> dict[str, AlarmEvent]:
    """Return each device's newest raise event, by device id."""
    events = await _events(connection, "SELECT seq, active, alarm_key, body FROM last")
    return {event.device: event for event in events}


async def summary(connection: AsyncConnection, now: datetime) -> dict[str, dict[str, int]]:
    """Return raise events by severity: of the last hour, of the last day, and active."""
    this = int(now.timestamp() // 60)
    since = "SELECT severity, sum(n)::bigint FROM tally WHERE minute >= %s GROUP BY severity"
    active = "SELECT severity, count(*) FROM standing WHERE open GROUP BY severity"
    return {
        "last_hour": _by_severity(await _rows(connection, since, this - 60)),
        "last_day": _by_severity(await _rows(connection, since, this - 24 * 60)),
        "active": _by_severity(await _rows(connection, active)),
    }


async def checkpoints(connection: AsyncConnection) -> dict[tuple[str, str], str]:
    """Return all checkpoints, by backend and device."""
    rows = await _rows(connection, "SELECT backend, device, text FROM checkpoint")
    return {(backend, device): text for backend, device, text in rows}


async def managed(connection: AsyncConnection) -> dict[str, str]:
    """Return the texts of alarm management, by key."""
    return dict(await _rows(connection, "SELECT key, text FROM managed ORDER BY key"))


async def event_of(connection: AsyncConnection, id_: str) -> AlarmEvent | None:
    """Return the raise event with an id, or else its clear event; None if it is no longer here."""
    events = await _events(
        connection,
        f"{_EVENT} WHERE id = %s AND type IN ('raised', 'cleared') AND body IS NOT NULL"
        " ORDER BY type = 'cleared' LIMIT 1",
        id_,
    )
    return events[0] if events else None


async def acknowledgements(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, AlarmEvent]:
    """Return the last event of each alarm that acknowledged it or took that back, by the id of its raise event."""
    events = await _events(
        connection,
        f"{_EVENT} WHERE id = ANY(%s::text[]) AND type IN ('acknowledged', 'unacknowledged') AND body IS NOT NULL"
        " ORDER BY seq",
        list(ids),
    )
    return {event.id: event for event in events}


async def changes_of(connection: AsyncConnection, raised: AlarmEvent) -> list[AlarmEvent]:
    """Return the events of an alarm that are still here, its raise event first: up to its clear, or its next raise."""
    by_id = await _events(connection, f"{_EVENT} WHERE id = %s AND body IS NOT NULL ORDER BY seq", raised.id)
    found = {event.seq: event for event in by_id}
    if raised.alarm_key:  # a vendor's clear has an id of its own
        others = await _events(
            connection,
            f"{_EVENT} WHERE seq > %s AND device = %s AND alarm_key = %s AND body IS NOT NULL ORDER BY seq",
            raised.seq,
            raised.device,
            raised.alarm_key,
        )
        for event in others:
            if event.cleared:
                found.setdefault(event.seq, event)
            if event.cleared or not event.changes_alarm:
                break
    return [found[seq] for seq in sorted(found)]


async def dead_letters(connection: AsyncConnection, after: int, limit: int) -> list[DeadLetter]:
    """Return the first dead letters after an id, oldest first."""
    rows = await _rows(connection, f"{_DEAD_LETTER} WHERE id > %s ORDER BY id LIMIT %s", after, limit)
    return [_letter(row) for row in rows]


async def dead_letter(connection: AsyncConnection, letter: int) -> DeadLetter | None:
    """Return the dead letter with an id, None if there is none."""
    rows = await _rows(connection, f"{_DEAD_LETTER} WHERE id = %s", letter)
    return _letter(rows[0]) if rows else None


async def setting(connection: AsyncConnection, key: str) -> str | None:
    """Return the setting with a key, None if there is none."""
    rows = await _rows(connection, "SELECT text FROM setting WHERE key = %s", key)
    return str(rows[0][0]) if rows else None


def _by_severity(rows: Iterable[tuple[Any, ...]]) -> dict[str, int]:
    counts = {str(severity): int(n) for severity, n in rows}
    return {severity.value: counts.get(severity, 0) for severity in Severity if severity is not Severity.CLEARED}


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    id_, backend, kind, error, at, body, count = row
    return DeadLetter(
        id=id_, backend=backend, kind=kind, error=error, at=datetime.fromtimestamp(at, UTC), body=body, count=count
    )
