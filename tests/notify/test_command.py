"""`fleet2mqtt notify test`: each target gets a message and has a line, without its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from tests.commandline import fleet2mqtt, write

if TYPE_CHECKING:
    from pathlib import Path


async def test_each_target_is_reported(tmp_path: Path) -> None:
    taken = []

    async def receive(request: web.Request) -> web.Response:
        taken.append((await request.json())["message"])
        return web.Response(status=200 if request.path == "/good" else 403)

    application = web.Application()
    application.router.add_post("/{tail:.*}", receive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"json://127.0.0.1:{runner.addresses[0][1]}"
        targets = {"good": {"url": f"{url}/good"}, "bad": {"url": f"{url}/Token99Secret"}}
        ended = await fleet2mqtt("notify", "test", "-c", write(tmp_path, notify=targets, backends={}))
    finally:
        await runner.cleanup()
    assert (ended.code, ended.output) == (1, "good: ok\nbad: HTTP 403\n")
    assert taken == ["This is a test of notify.good.", "This is a test of notify.bad."]
    assert "Secret" not in ended.errors
