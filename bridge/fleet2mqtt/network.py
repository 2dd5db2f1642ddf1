"""Network addresses: their form in text, and probing one of this machine."""

from __future__ import annotations

import socket


def authority(host: str, port: int) -> str:
    """Return host and port as a URL has them: an IPv6 address is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_in_use(host: str, port: int) -> bool:
    """Return True if another process listens on an address of this machine, or it cannot be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
        return False
