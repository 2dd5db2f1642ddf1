"""The unit's files in the database: inventory, tokens, meters. The next owner starts from them.

Components read and write files in the data directory, as without a cluster; this copies what changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Never

from psycopg import AsyncConnection

from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.postgres.session import Session
from fleet2mqtt.storage import atomic_file

_LOG = logging.getLogger(__name__)

PATTERN = "*.json"
INTERVAL = 1.0
"""Seconds between two looks at the files."""

_Version = tuple[int, int, int]
"""Inode, size and time of change of a file; each replacement has another inode."""


def read_documents(folder: Path) -> dict[str, bytes]:
    """Return the files of a data directory that belong to the unit, by name. Raises OSError."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob(PATTERN))}


class Documents:
    """Copies files between a data directory and the database."""

    def __init__(self, session: Session, folder: Path, unit: str, epoch: int) -> None:
        self._session = session
        self._folder = folder
        self._fence = {"unit": unit, "epoch": epoch}
        self._saved: dict[str, _Version] = {}

    async def restore(self) -> None:
        """Make the files in the folder those of the database, if it has any. Raises OutboxError, OSError."""
        rows = await self._rows("SELECT name, body FROM document", {})
        if rows:
            await asyncio.to_thread(self._replace_files, {name: bytes(body) for name, body in rows})

    def _replace_files(self, bodies: Mapping[str, bytes]) -> None:
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


_SAVE = """
WITH fence AS (SELECT 1 FROM unit WHERE name = %(unit)s AND epoch = %(epoch)s FOR SHARE),
saved AS (
    INSERT INTO document (name, body) SELECT name, body
    FROM unnest(%(names)s::text[], %(bodies)s::bytea[]) AS t (name, body), fence
    ON CONFLICT (name) DO UPDATE SET body = excluded.body
),
deleted AS (DELETE FROM document USING fence WHERE name = ANY(%(gone)s::text[]))
SELECT count(*) FROM fence
"""
