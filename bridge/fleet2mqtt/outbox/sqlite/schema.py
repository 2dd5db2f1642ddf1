"""The outbox's file: its tables, and opening it whatever a crash or a bad disk left there."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.models import restore

logger = logging.getLogger(__name__)

VERSION = 3
COMPANIONS = ("-wal", "-shm", "-journal")
SMALLEST = 512  # bytes; SQLite takes a shorter file for a new one and writes over it
BUSY_TIMEOUT = 1.0  # seconds, for a predecessor that is just closing the file

# New alarms are written by one INSERT into this table alone: event, identity, and that it is to be published.
EVENT = """
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    type TEXT NOT NULL, -- raised, cleared, or the type of an event about an alarm
    nonce TEXT NOT NULL, -- of an event about an alarm
    device TEXT NOT NULL,
    severity TEXT NOT NULL,
    raised REAL NOT NULL, -- seconds since the epoch, as is received
    received REAL NOT NULL,
    active INTEGER NOT NULL, -- 1 if the vendor reports the clear
    alarm_key TEXT NOT NULL,
    announced INTEGER NOT NULL, -- 1 if it is published as an event, 0 for backlog
    body BLOB, -- JSON, its seq being 0; NULL beyond the bound of the history, where the row is only an identity
    UNIQUE (id, type, nonce)
);
"""
SCHEMA = """
-- What the broker has not acknowledged. A table of its own, so that an acknowledgement need not rewrite the event.
CREATE TABLE pending (seq INTEGER PRIMARY KEY, size INTEGER NOT NULL);
-- pending, standing, last and tally are derived from the events up to the setting `derived`, within a second. Of those
-- after it none is acknowledged: the transaction that records an acknowledgement derives them all.
-- A row stays a while after its end, so that a raised event that arrives after its clearing does not stand.
CREATE TABLE standing (
    device TEXT NOT NULL,
    standing TEXT NOT NULL,
    open INTEGER NOT NULL,
    id TEXT NOT NULL,
    at REAL NOT NULL,
    seq INTEGER NOT NULL,
    severity TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (device, standing)
);
CREATE INDEX ended ON standing (seq) WHERE NOT open;
CREATE TABLE last (
    device TEXT PRIMARY KEY,
    at REAL NOT NULL,
    seq INTEGER NOT NULL,
    active INTEGER NOT NULL,
    standing TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE tally (
    minute INTEGER NOT NULL,
    severity TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (minute, severity)
) WITHOUT ROWID;
CREATE TABLE watermark (
    backend TEXT NOT NULL,
    device TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (backend, device)
) WITHOUT ROWID;
CREATE TABLE dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    backend TEXT NOT NULL,
    kind TEXT NOT NULL,
    digest TEXT NOT NULL,
    error TEXT NOT NULL,
    at REAL NOT NULL,
    count INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (backend, kind, digest)
);
CREATE TABLE setting (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
"""
# Not in files of version 0.1.0.
MANAGED = "CREATE TABLE IF NOT EXISTS managed (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;"

# Version 1 had the identities in a table of their own, and wrote what is derived in the same transaction.
FROM_VERSION_1 = f"""
BEGIN;
ALTER TABLE event RENAME TO event_1;
{EVENT}
INSERT INTO event (seq, id, type, nonce, device, severity, raised, received, active, alarm_key, announced, body)
SELECT seq, id, iif(cleared, 'cleared', 'raised'), '', coalesce(json_extract(body, '$.device'), ''),
    coalesce(json_extract(body, '$.severity'), ''),
    coalesce((julianday(json_extract(body, '$.raised_at')) - 2440587.5) * 86400, 0),
    coalesce((julianday(json_extract(body, '$.received_at')) - 2440587.5) * 86400, 0),
    coalesce(active, 0), coalesce(standing, ''), coalesce(json_extract(body, '$.backlog'), 0) = 0, CAST(body AS BLOB)
FROM seen LEFT JOIN (SELECT seq, active, standing, CAST(body AS TEXT) AS body FROM event_1) USING (seq) ORDER BY seq;
INSERT INTO setting (key, text) SELECT 'derived', seq FROM sqlite_sequence WHERE name = 'event_1';
DROP TABLE event_1;
DROP TABLE seen;
{MANAGED}
PRAGMA user_version={VERSION};
COMMIT;
"""  # noqa: S608 - constants of this module
# Version 2 wrote what is to be published together with each event.
FROM_VERSION_2 = f"""
BEGIN;
DROP TRIGGER event_to_publish;
DELETE FROM pending WHERE seq > (SELECT CAST(text AS INTEGER) FROM setting WHERE key = 'derived');
PRAGMA user_version={VERSION};
COMMIT;
"""  # noqa: S608 - a constant of this module

# Everything that is ever read back; an error in it shall show at the start and not in the middle of the work.
EVENTS = (
    "SELECT seq, active, alarm_key, body FROM event WHERE body IS NOT NULL",
    "SELECT seq, active, standing, body FROM last",
    "SELECT seq, 1, name, body FROM standing WHERE open",
)
TEXTS = ("SELECT * FROM watermark", "SELECT * FROM setting", "SELECT * FROM dead_letter", "SELECT * FROM managed")


def open_database(path: Path) -> sqlite3.Connection:
    """Return a connection to a sound file at `path`, which is made anew if it is missing or damaged.

    A file of an earlier schema is migrated. A damaged one is set aside as `<name>.corrupt-<time>`. Raises OutboxError
    when the directory cannot be written, another process has the file open, or a newer version of the bridge wrote it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _open(path) if path.exists() else _create(path, first=1)
    except OSError as error:
        raise OutboxError(f"{path}: cannot be written: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise OutboxError(f"{path}: {_explain(error)}") from error


def _open(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        damage = _damage(connection, path)
        if damage is None:
            return connection
        # Before closing, which would fold the log into the file or drop it.
        aside = _set_aside(path)
    except BaseException:
        connection.close()
        raise
    connection.close()
    logger.error("%s is damaged (%s); set aside as %s, starting with an empty one", path, damage, aside)
    # Numbers must go on rising and the last one is lost; no outbox takes in an event a millisecond for years.
    return _create(path, first=time.time_ns() // 1_000_000)


def _create(path: Path, first: int) -> sqlite3.Connection:
    # What is left of a file that someone has removed would be taken for the new one's.
    for suffix in COMPANIONS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    connection = _connect(path)
    try:
        _configure(connection)
        connection.executescript(f"BEGIN; {EVENT} {SCHEMA} {MANAGED} PRAGMA user_version={VERSION};")
        connection.execute("INSERT INTO setting (key, text) VALUES ('derived', ?)", (str(first - 1),))
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, cached_statements=512)


def _configure(connection: sqlite3.Connection) -> None:
    # Exclusive: a second bridge on the same directory is told so, and no shared memory file is needed.
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    # Four times as many pages as by default before the log is written back: new alarms wait for that.
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    # What a transaction may have to undo, and what `derive` counts, need no file of their own.
    connection.execute("PRAGMA temp_store=MEMORY")
    # 16 MB, for the index of identities: vendors number at random, so that every insert hits another page.
    connection.execute("PRAGMA cache_size=-16000")


def _damage(connection: sqlite3.Connection, path: Path) -> str | None:
    """Return the damage of the file itself, if any. Raises OutboxError, sqlite3.Error, OSError for all else."""
    if path.is_file() and path.stat().st_size < SMALLEST:
        return "cut short"
    try:
        _configure(connection)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise OutboxError(f"{path}: written by a newer version (schema {version}, this one knows {VERSION})")
        if version < 1:
            return "no outbox"
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict == "ok" and _is_cut(connection, path):
            verdict = "cut short"
        if verdict != "ok":
            return str(verdict)
        if version < VERSION:
            _migrate(connection, version)
            logger.info("%s is migrated to schema %d", path, VERSION)
        _read_all(connection)
    except sqlite3.DatabaseError as error:
        # Without a code it was raised by Python's own module, over a text that is not UTF-8.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise
        return str(error)
    except (ValueError, KeyError, TypeError) as error:
        return f"unreadable row: {error!r}"
    return None


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a file to the schema of this version. Raises sqlite3.Error, ValueError, KeyError, TypeError."""
    if version == 1:
        _read(connection, ("SELECT seq, active, standing, body FROM event",))
        connection.executescript(FROM_VERSION_1)
    else:
        connection.executescript(FROM_VERSION_2)


def _is_cut(connection: sqlite3.Connection, path: Path) -> bool:
    """Return True if the last page is not whole and no log repairs it; SQLite would read zeros there."""
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    log = path.with_name(path.name + "-wal")
    return path.stat().st_size % page > 0 and not (log.exists() and log.stat().st_size)


def _read_all(connection: sqlite3.Connection) -> None:
    _read(connection, EVENTS)
    for query in TEXTS:
        with closing(connection.execute(query)) as cursor:
            for _ in cursor:
                pass


def _read(connection: sqlite3.Connection, events: Iterable[str]) -> None:
    for query in events:
        with closing(connection.execute(query)) as cursor:
            for row in cursor:
                restore(*row)


def _set_aside(path: Path) -> Path:
    stamp = f"corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    for suffix in COMPANIONS:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(f"{path.name}.{stamp}{suffix}"))
    return path.rename(path.with_name(f"{path.name}.{stamp}"))


def _explain(error: sqlite3.Error) -> str:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return "in use by another process; is a second bridge running with the same data_dir?"
    return f"cannot be opened: {error}"
