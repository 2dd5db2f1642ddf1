"""A vendor's Retry-After is respected."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import RateLimited
from fleet2mqtt.sdk.http_client import Envelope, open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = datetime.now(UTC)
IN_A_DAY, YESTERDAY = (
    pytest.param(
        format_datetime(NOW + timedelta(days=days), usegmt=True), id=name
    )  # as each worker has to name it alike
    for days, name in ((1, "in a day"), (-1, "yesterday"))
)


@asynccontextmanager
async def after_a_refusal(status: int, retry_after: str | None) -> AsyncIterator[RateLimiter]:
    """The rate limiter of a vendor that has just answered so."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={} if retry_after is None else {"Retry-After": retry_after})

    app, rate_limiter = web.Application(), RateLimiter()
    app.router.add_get("/", refuse)
    async with TestServer(app) as server:
        options = {"url": str(server.make_url("")), "timeout": PATIENCE, "headers": {}, "verify_tls": True, "ca": None}
        async with open_http_client(options, envelope=Envelope(), rate_limiter=rate_limiter) as api:
            with pytest.raises(RateLimited):
                await api.call("GET", "")
            yield rate_limiter


async def is_free(rate_limiter: RateLimiter) -> bool:
    """Return True if a call would start at once: its slot does not depend on the clock."""

    async def call() -> None:
        async with rate_limiter.slot():
            pass

    task = asyncio.create_task(call())
    for _ in range(5):
        await asyncio.sleep(0)
    free = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return free


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", ["3600", "9" * 400, IN_A_DAY])
async def test_call_waits_for_retry_after(status: int, retry_after: str) -> None:
    async with after_a_refusal(status, retry_after) as rate_limiter:
        assert not await is_free(rate_limiter)


@pytest.mark.parametrize("retry_after", [None, "", "0", "soon", "-5", "²", YESTERDAY, "Wed, 99 Foo 2026"])
async def test_response_without_retry_after_does_not_delay(retry_after: str | None) -> None:
    async with after_a_refusal(429, retry_after) as rate_limiter:
        assert await is_free(rate_limiter)
