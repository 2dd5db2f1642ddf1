"""A server that does nothing but read a request by aiohttp and answer 200: the least that a push costs."""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web


async def _respond(request: web.BaseRequest) -> web.Response:
    await request.read()
    return web.Response(body=b'{"code":0}', content_type="application/json")


async def _main(port: int) -> None:
    runner = web.ServerRunner(web.Server(_respond, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
