"""Capabilities: a system that refuses what it lacks with the document's 未知错误 (part 四), as a BBC centre may."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import Rejected
from tests.platforms.sangfor_ac.connected import NAME, connected

POLICY = {"policy_info": {"name": "p1", "status": True}, "user_info": {}}


def _system(paths: list[str], *, policies: bool) -> web.Application:
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        if policies and request.path == "/v1/policy/netpolicy":
            return web.json_response({"code": 0, "message": "Successfully", "data": [POLICY]})
        return web.json_response({"code": 1, "message": "未知错误,获取数据失败!"})

    app.router.add_route("*", "/{path:.*}", answer)
    return app


async def test_status_refused_net_policies_are_polled() -> None:
    paths = list[str]()
    async with TestServer(_system(paths, policies=True)) as server, connected(str(server.make_url(""))) as run:
        await run.poll("status")
        assert run.state(f"{NAME}_net_policy_p1") == {"status": "ON"}
        paths.clear()
        await run.poll("status")
        assert paths == ["/v1/policy/netpolicy"]


async def test_rejection_of_all_calls_fails() -> None:
    async with TestServer(_system([], policies=False)) as server, connected(str(server.make_url(""))) as run:
        with pytest.raises(Rejected, match="未知错误"):
            await run.poll("status")
