"""The derived tables: last alarms, standing alarms and the tally; and the bounds of the history.

They are brought up to the last event behind the additions, by whichever node is first, from the events alone.
"""

from __future__ import annotations

from psycopg import AsyncConnection, sql

from fleet2mqtt.outbox.models import OutboxLimits

EVENTS_AT_ONCE = 5_000
TALLY_MINUTES = 25 * 60

# One statement for the client, so that one that is stopped holds no lock; several for the server, each of which sees
# what was committed before it. So the events after the number that the locked row has are all there, without a gap.
# Standing alarms follow event by event: what an event changes depends on those before it.
_DERIVE = sql.SQL(
    """
DO $$
DECLARE
    done record;
    top bigint;
    added record;
    excess bigint;
    changed bigint;
    e record;
BEGIN
    SELECT * INTO done FROM derivation FOR UPDATE;
    SELECT least(seq, done.seq + {events}) INTO top FROM level;
    IF top > done.seq THEN
        INSERT INTO last AS l (device, at, seq, active, alarm_key, backend, body)
        SELECT DISTINCT ON (device) device, raised, seq, active, alarm_key, backend, body FROM event
        WHERE seq > done.seq AND seq <= top AND type = 'raised' ORDER BY device, raised DESC, seq DESC
        ON CONFLICT (device) DO UPDATE SET at = excluded.at, seq = excluded.seq, active = excluded.active,
            alarm_key = excluded.alarm_key, backend = excluded.backend, body = excluded.body
        WHERE (excluded.at, excluded.seq) > (l.at, l.seq);
        FOR e IN
            SELECT * FROM event WHERE seq > done.seq AND seq <= top
            AND (type IN ('cleared', 'closed') OR type = 'raised' AND active) ORDER BY seq
        LOOP
            INSERT INTO standing AS s (device, alarm, open, id, at, seq, severity, alarm_key, backend, body)
            VALUES (e.device, coalesce(nullif(e.alarm_key, ''), e.id), e.type = 'raised', e.id, e.raised, e.seq,
                e.severity, e.alarm_key, e.backend, e.body)
            ON CONFLICT (device, alarm) DO UPDATE SET open = excluded.open, id = excluded.id,
                at = greatest(s.at, excluded.at), seq = excluded.seq, severity = excluded.severity,
                alarm_key = excluded.alarm_key, backend = excluded.backend, body = excluded.body
            WHERE CASE WHEN excluded.open
                THEN (excluded.at >= s.at OR convert_from(excluded.body, 'UTF8')::json ->> 'source' = 'condition')
                    AND (s.open OR excluded.id <> s.id)
                ELSE excluded.at >= s.at OR excluded.id = s.id END;
        END LOOP;
        INSERT INTO tally AS t (minute, severity, n)
        SELECT floor(least(raised, received) / 60), severity, count(*) FROM event
        WHERE seq > done.seq AND seq <= top AND type = 'raised' GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (minute, severity) DO UPDATE SET n = t.n + excluded.n;
        DELETE FROM tally WHERE minute < (SELECT max(minute) FROM tally) - {minutes};
        SELECT count(*) AS events, count(body) AS bodies INTO added FROM event WHERE seq > done.seq AND seq <= top;
        done.seq := top;
        done.seen := done.seen + added.events;
        done.stored := done.stored + added.bodies;
    END IF;
    SELECT done.stored - (level.depth - acknowledged.depth) - {history} INTO excess FROM level, acknowledged;
    IF excess > 0 THEN
        UPDATE event SET body = NULL, device = '', severity = '', alarm_key = '' WHERE seq IN (
            SELECT seq FROM event WHERE seq >= done.first_seq AND seq <= done.seq AND body IS NOT NULL
            AND NOT EXISTS (SELECT FROM pending WHERE pending.seq = event.seq) ORDER BY seq LIMIT excess
        );
        GET DIAGNOSTICS changed = ROW_COUNT;
        done.stored := done.stored - changed;
        SELECT coalesce(min(seq), done.seq + 1) INTO done.first_seq FROM event
        WHERE seq >= done.first_seq AND body IS NOT NULL;
        DELETE FROM standing WHERE NOT open AND seq < done.first_seq;
    END IF;
    IF done.seen > {seen} THEN
        -- What is still stored keeps its identity, or it would be accepted once more.
        DELETE FROM event WHERE seq IN (
            SELECT seq FROM event WHERE seq < done.first_seq ORDER BY seq LIMIT done.seen - {seen}
        );
        GET DIAGNOSTICS changed = ROW_COUNT;
        done.seen := done.seen - changed;
    END IF;
    UPDATE derivation SET seq = done.seq, first_seq = done.first_seq, stored = done.stored, seen = done.seen
    WHERE (seq, first_seq, stored, seen) <> (done.seq, done.first_seq, done.stored, done.seen);
END $$
"""
)
_BEHIND = "SELECT level.seq > derivation.seq FROM level, derivation"


async def derive(connection: AsyncConnection, limits: OutboxLimits) -> None:
    """Bring the derived tables up to the last event, and delete what is beyond the bounds."""
    statement = _DERIVE.format(
        events=sql.Literal(EVENTS_AT_ONCE),
        minutes=sql.Literal(TALLY_MINUTES),
        history=sql.Literal(limits.history_rows),
        seen=sql.Literal(limits.seen_rows),
    )
    behind: tuple[bool] | None = (True,)
    while behind == (True,):
        await connection.execute(statement)
        behind = await (await connection.execute(_BEHIND)).fetchone()


async def derive_if_behind(connection: AsyncConnection, limits: OutboxLimits) -> None:
    """Bring the derived tables up to the last event, unless they are there."""
    if await (await connection.execute(_BEHIND)).fetchone() == (True,):
        await derive(connection, limits)
