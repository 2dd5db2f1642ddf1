"""Network addresses in text."""

from __future__ import annotations


def authority(host: str, port: int) -> str:
    """Return host and port as a URL has them: an IPv6 address is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
