"""Waiting with an end to it."""

from __future__ import annotations

import asyncio


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event is set wait_for_event so many seconds.

    Not asyncio.wait_for: before Python 3.12 that one may swallow a cancellation which comes together with the event,
    and the task would wait for ever after.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
