"""Ports that several demos started at once do not share."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HOST = "127.0.0.1"
_TRIES = 100


@contextmanager
def reserved_port(preferred: int, host: str = HOST) -> Iterator[int]:
    """Yield a port that is free and that no other demo has chosen: `preferred`, else any other; 0 is any.

    Between the choice and the moment at which a server listens there is time in which another demo chooses the port or
    the system gives it to a client that connects. A locked file for each chosen port prevents the first, a socket that
    stays bound to it the second. Both allow a server that binds with SO_REUSEADDR, as servers do.
    """
    with ExitStack() as stack:
        for port in (preferred, *(0 for _ in range(_TRIES))):
            try:
                held = _bind(host, port)
            except OSError:
                continue
            with held:
                chosen: int = held.getsockname()[1]
                if _lock(chosen, stack):
                    yield chosen
                    return
        raise OSError(f"there is no free port on {host}")


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound and does not listen. Raises OSError if another process listens on the port."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except OSError:
        held.close()
        raise
    return held


def _lock(port: int, stack: ExitStack) -> bool:
    path = Path(tempfile.gettempdir()) / f"fleet2mqtt-demo-{os.getuid()}-port-{port}.lock"
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    stack.callback(file.close)
    stack.callback(path.unlink, missing_ok=True)
    return True
