"""Ports that several demos started at once do not share."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fleet2mqtt.network import is_in_use

HOST = "127.0.0.1"
_TRIES = 100


@contextmanager
def reserved_port(preferred: int, host: str = HOST) -> Iterator[int]:
    """Yield a port that is free and that no other demo has chosen: `preferred`, else any other; 0 is any.

    Between the choice and the moment at which a server listens there is time in which another demo chooses. A locked
    file for each chosen port prevents that.
    """
    with ExitStack() as stack:
        for port in (preferred, *(0 for _ in range(_TRIES))):
            chosen = port or _any_free_port()
            if _lock(chosen, stack) and not is_in_use(host, chosen):
                yield chosen
                return
        raise OSError(f"there is no free port on {host}")


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


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
