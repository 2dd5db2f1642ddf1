"""Import of a SQLite outbox into an empty database, so that nothing is announced or numbered again."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg import AsyncConnection

from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.models import OutboxLimits
from fleet2mqtt.outbox.postgres.migrations import SCHEMA, migrate
from fleet2mqtt.outbox.postgres.session import connection_string
from fleet2mqtt.outbox.sqlite.snapshot import copy
from fleet2mqtt.outbox.sqlite.store import Job, Store

ROWS_AT_ONCE = 1_000
_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Numbers of what was imported; `files` are documents, `last_seq` is the last number given."""

    events: int
    unpublished: int
    identities: int
    checkpoints: int
    dead_letters: int
    last_seq: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table: its columns, the query of its rows in SQLite, and what a row becomes."""

    name: str
    columns: tuple[str, ...]
    query: str
    build: Callable[[_Row], _Row] = tuple


def _backend(body: bytes | None) -> str:
    return "" if not body else str(orjson.loads(body).get("backend") or "")


def _event(row: _Row) -> _Row:
    *values, active, body = row
    return (*values, bool(active), _backend(body), body)


def _last(row: _Row) -> _Row:
    device, at, seq, active, alarm_key, body = row
    return device, at, seq, bool(active), alarm_key, _backend(body), body


def _standing(row: _Row) -> _Row:
    device, alarm, is_open, *values, body = row
    return (device, alarm, bool(is_open), *values, _backend(body), body)


_TABLES = (
    _Table(
        name="event",
        columns=("seq", "id", "type", "nonce", "device", "severity", "raised", "received", "alarm_key", "active",
                 "backend", "body"),
        query="SELECT seq, id, type, nonce, device, severity, raised, received, alarm_key, active, body FROM event",
        build=_event,
    ),
    _Table(name="pending", columns=("seq", "size"), query="SELECT seq, size FROM pending"),
    _Table(
        name="standing",
        columns=("device", "alarm", "open", "id", "at", "seq", "severity", "alarm_key", "backend", "body"),
        query="SELECT device, standing, open, id, at, seq, severity, name, body FROM standing",
        build=_standing,
    ),
    _Table(
        name="last",
        columns=("device", "at", "seq", "active", "alarm_key", "backend", "body"),
        query="SELECT device, at, seq, active, standing, body FROM last",
        build=_last,
    ),
    _Table(name="tally", columns=("minute", "severity", "n"), query="SELECT minute, severity, n FROM tally"),
    _Table(
        name="checkpoint",
        columns=("backend", "device", "text"),
        query="SELECT backend, device, text FROM watermark",
    ),
    _Table(name="managed", columns=("key", "text"), query="SELECT key, text FROM managed"),
    _Table(
        name="dead_letter",
        columns=("id", "backend", "kind", "digest", "error", "at", "count", "body"),
        query="SELECT id, backend, kind, digest, error, at, count, body FROM dead_letter",
        build=lambda row: tuple(value.replace("\0", "?") if isinstance(value, str) else value for value in row),
    ),
    _Table(name="setting", columns=("key", "text"), query="SELECT key, text FROM setting WHERE key != 'derived'"),
)  # fmt: skip


async def import_outbox(
    path: Path, dsn: str, limits: OutboxLimits, documents: Mapping[tuple[str, str], bytes] | None = None
) -> Imported:
    """Copy the outbox in the file at `path`, and documents by unit and name, into an empty database, all or nothing.

    The file stays as it is. Raises OutboxError when a bridge has it open, it is missing or damaged, or the database is
    not empty.
    """
    with tempfile.TemporaryDirectory(prefix="fleet2mqtt-import-") as folder, _held(path):
        store = _open_copy(path, Path(folder), limits)
        try:
            async with _empty_database(dsn) as connection:
                return await _copy(store, connection, documents or {})
        except psycopg.Error as error:
            raise OutboxError(f"database: {' '.join(str(error).split())}") from error
        finally:
            store.close()


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keep every bridge from opening the file."""
    if not path.exists():
        raise OutboxError(f"{path}: there is no such file: no bridge has run with this data_dir")
    try:
        with closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as connection:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        raise OutboxError(f"{path}: in use; stop the bridge that runs with this data_dir ({error})") from error
    except sqlite3.DatabaseError as error:
        raise OutboxError(f"{path}: is damaged: {error}") from error


def _open_copy(path: Path, folder: Path, limits: OutboxLimits) -> Store:
    store = Store(copy(path, folder), limits)  # migrates a file of an earlier version
    if any(folder.glob("*.corrupt-*")):
        store.close()
        raise OutboxError(f"{path}: is damaged; start the bridge without cluster: once, which sets it aside")
    store.commit([Job()])  # brings the derived tables up to the last event
    return store


@asynccontextmanager
async def _empty_database(dsn: str) -> AsyncIterator[AsyncConnection]:
    async with await AsyncConnection.connect(connection_string(dsn), autocommit=True) as connection:
        await connection.execute(f"SET search_path = {SCHEMA}")
        await connection.execute("SET synchronous_commit = on")
        await migrate(connection)
        async with connection.transaction():
            # Nodes that run may not add anything meanwhile.
            await connection.execute("LOCK TABLE level, event, setting IN EXCLUSIVE MODE")
            found = await connection.execute(
                "SELECT seq > 0 OR EXISTS (SELECT FROM setting) OR EXISTS (SELECT FROM checkpoint) FROM level"
            )
            if await found.fetchone() != (False,):
                raise OutboxError(
                    f"database {connection.info.dbname}: is in use; import into an empty one, before a node is started"
                )
            yield connection


async def _copy(store: Store, connection: AsyncConnection, documents: Mapping[tuple[str, str], bytes]) -> Imported:
    counts: dict[str, int] = {}
    for table in _TABLES:
        rows = map(table.build, store.read(lambda db, query=table.query: _read(db, query)))  # type: ignore[misc]
        counts[table.name] = await _write(connection, table.name, table.columns, rows)
    if documents:
        listed = [(unit, name, body) for (unit, name), body in documents.items()]
        await _write(connection, "document", ("unit", "name", "body"), listed)
        await _write(connection, "unit", ("name",), [(unit,) for unit in sorted({unit for unit, _, _ in listed})])
    counters = store.counters
    await connection.execute(
        "UPDATE level SET seq = %s, depth = %s, size = %s", (counters.seq, counters.depth, counters.size)
    )
    await connection.execute(
        "UPDATE derivation SET seq = %s, first_seq = %s, stored = %s, seen = %s",
        (counters.derived, counters.first_seq, counters.stored, counters.seen),
    )
    await connection.execute(
        "SELECT setval(pg_get_serial_sequence('dead_letter', 'id'), max(id)) FROM dead_letter HAVING count(*) > 0"
    )
    return Imported(
        events=counters.stored,
        unpublished=counters.depth,
        identities=counts["event"],
        checkpoints=counts["checkpoint"],
        dead_letters=counts["dead_letter"],
        last_seq=counters.seq,
        files=len(documents),
    )


def _read(db: sqlite3.Connection, query: str) -> Iterator[_Row]:
    with closing(db.execute(query)) as cursor:
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            yield from rows


async def _write(connection: AsyncConnection, table: str, columns: tuple[str, ...], rows: Iterable[_Row]) -> int:
    written = 0
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    async with connection.cursor() as cursor, cursor.copy(statement) as target:
        for row in rows:
            await target.write_row(row)
            written += 1
    return written
