"""What a vendor's answers become that are none."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.sdk.http_client import Envelope, open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirection_is_not_followed_and_says_where_it_leads(status: int) -> None:
    followed = []

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/list":
            return web.Response(status=status, headers={"Location": "/elsewhere?sign=4711canary"})
        followed.append(request.path)
        return web.json_response({"code": 0})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        options = {"url": str(server.make_url("")), "timeout": 5.0, "headers": {}, "verify_tls": True, "ca": None}
        async with open_http_client(options, envelope=Envelope(), pace=RateLimiter()) as api:
            with pytest.raises(InvalidResponse, match="redirected to /elsewhere; is the backend's url right") as caught:
                await api.call("POST", "/list")
    assert caught.value.code == status
    assert "4711canary" not in str(caught.value)
    assert not followed
