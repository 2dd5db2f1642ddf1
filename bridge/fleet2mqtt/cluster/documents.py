"""A unit's files in the database: inventory, tokens, meters. The next owner starts from them.

Components read and write files in a folder of the unit, as without a cluster in the data directory; this copies what
changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Never

from psycopg import AsyncConnection

from fleet2mqtt.cluster.membership import BRIDGE_UNIT
from fleet2mqtt.cluster.units import unit_of
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.postgres.session import Session
from fleet2mqtt.storage import atomic_file, inventory_file
from fleet2mqtt.storage.inventory_file import INVENTORY, Snapshot

_LOG = logging.getLogger(__name__)

PATTERN = "*.json"
INTERVAL = 1.0
"""Seconds between two looks at the files."""

_Version = tuple[int, int, int]
"""Inode, size and time of change of a file; each replacement has another inode."""


def read_documents(folder: Path, backends: Iterable[str]) -> dict[tuple[str, str], bytes]:
    """Return the files of a data directory without a cluster, by unit and name. Raises OSError.

    The inventory is divided; of other files each belongs to a backend, or to all units.
    """
    files = {path.name: path.read_bytes() for path in sorted(folder.glob(PATTERN))}
    if not files:
        return {}
    snapshot = Snapshot()
    if (inventory := files.pop(INVENTORY, None)) is not None:
        try:
            snapshot = inventory_file.parse(inventory)
        except inventory_file.UNREADABLE as error:
            _LOG.warning("%s cannot be read, and is left out: %s", folder / INVENTORY, error)
    units = {*backends, *(device.backend for device in snapshot.devices)} - {""}
    found = {
        (name or BRIDGE_UNIT, INVENTORY): inventory_file.dump(snapshot.of(partial(_belongs_to, name, units)))
        for name in (*units, None)
    }
    for name, body in files.items():
        backend = name.partition(".")[0]
        for unit in (backend,) if backend in units else (*units, BRIDGE_UNIT):
            found[unit, name] = body
    return found


def _belongs_to(unit: str | None, units: Container[str], id_: str) -> bool:
    return unit_of(id_, units) == unit


async def add_documents(session: Session, documents: Mapping[tuple[str, str], bytes]) -> None:
    """Store the first documents of a cluster, which has none. Raises OutboxError."""
    parameters = {
        "units": [unit for unit, _ in documents],
        "names": [name for _, name in documents],
        "bodies": list(documents.values()),
    }

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(_ADD, parameters)

    await session.run(work)


class Documents:
    """Copies files between the folder of a unit and the database."""

    def __init__(self, session: Session, folder: Path, unit: str, epoch: int) -> None:
        self._session = session
        self._folder = folder
        self._fence = {"unit": unit, "epoch": epoch}
        self._saved: dict[str, _Version] = {}

    async def restore(self) -> None:
        """Make the files in the folder those of the database. Raises OutboxError, OSError."""
        rows = await self._rows("SELECT name, body FROM document WHERE unit = %(unit)s", self._fence)
        await asyncio.to_thread(self._replace_files, {name: bytes(body) for name, body in rows})

    def _replace_files(self, bodies: Mapping[str, bytes]) -> None:
        self._folder.mkdir(exist_ok=True)
        for name in self._versions().keys() - bodies:
            (self._folder / name).unlink()
        for name, body in bodies.items():
            atomic_file.replace(self._folder / Path(name).name, body)
        self._saved = self._versions()

    async def save(self) -> bool:
        """Store the files that changed; return False if another node owns the unit. Raises OutboxError, OSError."""
        versions = await asyncio.to_thread(self._versions)
        changed = {name: version for name, version in versions.items() if self._saved.get(name) != version}
        gone = self._saved.keys() - versions
        if not changed and not gone:
            return True
        bodies = await asyncio.to_thread(self._read, tuple(changed))
        parameters = {**self._fence, "names": list(bodies), "bodies": list(bodies.values()), "gone": list(gone)}
        ((allowed,),) = await self._rows(_SAVE, parameters)
        for name in gone:
            del self._saved[name]
        self._saved |= {name: changed[name] for name in bodies}
        return bool(allowed)

    async def run(self) -> Never:
        """Store what changed, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.save()
            except (OutboxError, OSError) as error:
                _LOG.debug("files of %s are not in the database yet: %s", self._folder, error)

    def _versions(self) -> dict[str, _Version]:
        found = {}
        for path in self._folder.glob(PATTERN):
            try:
                status = path.stat()
            except FileNotFoundError:  # just replaced or deleted
                continue
            found[path.name] = (status.st_ino, status.st_size, status.st_mtime_ns)
        return found

    def _read(self, names: tuple[str, ...]) -> dict[str, bytes]:
        bodies = {}
        for name in names:
            try:
                bodies[name] = (self._folder / name).read_bytes()
            except FileNotFoundError:  # deleted since; the next look finds that
                continue
        return bodies

    async def _rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        async def work(connection: AsyncConnection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement.encode(), parameters)).fetchall()

        return await self._session.run(work)


_ADD = """
WITH added AS (
    INSERT INTO document (unit, name, body) SELECT unit, name, body
    FROM unnest(%(units)s::text[], %(names)s::text[], %(bodies)s::bytea[]) AS t (unit, name, body)
    WHERE NOT EXISTS (SELECT FROM document) ON CONFLICT DO NOTHING RETURNING unit
)
INSERT INTO unit (name) SELECT DISTINCT unit FROM added ON CONFLICT DO NOTHING
"""
_SAVE = """
WITH fence AS (SELECT 1 FROM unit WHERE name = %(unit)s AND epoch = %(epoch)s FOR SHARE),
saved AS (
    INSERT INTO document (unit, name, body) SELECT %(unit)s, name, body
    FROM unnest(%(names)s::text[], %(bodies)s::bytea[]) AS t (name, body), fence
    ON CONFLICT (unit, name) DO UPDATE SET body = excluded.body
),
deleted AS (DELETE FROM document USING fence WHERE unit = %(unit)s AND name = ANY(%(gone)s::text[]))
SELECT count(*) FROM fence
"""
