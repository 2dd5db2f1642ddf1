"""Snapshots: a copy of the outbox as it is, while the bridge that holds the file goes on writing it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from fleet2mqtt.errors import OutboxError

_LOG = logging.getLogger(__name__)

ATTEMPTS = 50
_WAL_HEADER = 32
"""Bytes at the start of SQLite's log; they change when the log begins again after what it had went into the file."""


def copy(path: Path, folder: Path) -> Path:
    """Copy an outbox into a folder; return the copy's path. Raises OutboxError.

    The running bridge has the file locked for itself, so SQLite's own backup cannot be used. It writes to the log, and
    to the file only when the log's content is moved there. If that did not happen between the first and the last look,
    the copied file is whole, and the copied log is a beginning of the log, of which SQLite takes whole transactions.
    """
    log = path.with_name(path.name + "-wal")
    target = folder / path.name
    for _ in range(ATTEMPTS):
        try:
            before = _state(path, log)
            shutil.copyfile(path, target)
            if log.exists():
                shutil.copyfile(log, folder / log.name)
            if before == _state(path, log):
                return target
        except FileNotFoundError as error:
            if not path.exists():
                raise OutboxError(f"{path}: there is no such file: no bridge has run with this data_dir") from error
        except OSError as error:
            raise OutboxError(f"{path}: cannot be read: {error.strerror or error}") from error
        (folder / log.name).unlink(missing_ok=True)
        _LOG.debug("%s changed while it was copied", path)
    raise OutboxError(f"{path}: changes all the time; it cannot be copied now")


def _state(path: Path, log: Path) -> tuple[int, int, bytes]:
    status = path.stat()
    header = b""
    if log.exists():
        with log.open("rb") as file:
            header = file.read(_WAL_HEADER)
    return status.st_mtime_ns, status.st_size, header
