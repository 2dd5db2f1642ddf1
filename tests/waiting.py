"""Waiting for what a test cannot make happen itself: polling with a deadline, never a sleep that hopes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds until a test gives up on what takes a moment: far more than a machine under load needs."""


async def wait_until(probe: Callable[[], T | None], what: str | Callable[[], str], patience: float = PATIENCE) -> T:
    """The first truthy value of `probe`; TimeoutError naming `what` after `patience` seconds without one."""

    async def ask() -> T | None:
        return probe()

    return await wait_for_answer(ask, what, patience)


async def wait_for_answer(
    ask: Callable[[], Awaitable[T | None]], what: str | Callable[[], str], patience: float = PATIENCE
) -> T:
    """Wait as wait_until does, for a value that is requested over the network."""
    deadline = time.monotonic() + patience
    while not (value := await ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:g} s in vain for {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.01)
    return value
