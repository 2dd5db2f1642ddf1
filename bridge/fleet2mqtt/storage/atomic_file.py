"""Atomic files: written beside the old one, synced, and renamed into place."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

_LOG = logging.getLogger(__name__)


def replace(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace the file at `path`; after a power loss it has the old content or the new. Raises OSError."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def set_aside(path: Path, why: str) -> None:
    """Move a file that cannot be used out of the way, and log it."""
    aside = path.with_name(f"{path.name}.corrupt-{int(time.time())}")
    path.rename(aside)
    _LOG.error("%s cannot be used (%s): set aside as %s, starting without it", path, why, aside.name)
