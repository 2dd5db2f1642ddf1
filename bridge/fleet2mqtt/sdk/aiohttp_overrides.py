"""The one module that relies on private members of aiohttp; tests/sdk/test_aiohttp_overrides.py names them."""

from __future__ import annotations

import aiohttp


def disable_retries(session: aiohttp.ClientSession) -> None:
    """Keep a session from sending a PUT or DELETE again by itself after the server closed an idle connection."""
    session._retry_connection = False  # noqa: SLF001 - aiohttp has no option for it
