"""The minimal script: a push comes in, is parsed, is published at QoS 1, and answered once the broker has it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiomqtt  # type: ignore[import-not-found]  # in the environment of the peers
from aiohttp import web


async def _main(port: int, broker: int) -> None:
    async with aiomqtt.Client("127.0.0.1", broker) as client:

        async def push(request: web.Request) -> web.Response:
            event: dict[str, Any] = json.loads(await request.read())
            await client.publish(f"script/{event['metric_history_producer']}", json.dumps(event), qos=1)
            return web.json_response({"code": 0, "status": "成功"})

        app = web.Application()
        app.router.add_post("/push", push)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
