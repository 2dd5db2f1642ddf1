"""Folders written by `fleet2mqtt dump --fixture`, served as the vendor's system that they were recorded from."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

ROOT = Path(__file__).parent


def folders() -> list[Path]:
    """The fixtures of real systems, `tests/platforms/<platform>/recorded/<name>`."""
    return sorted(path.parent for path in ROOT.glob("*/recorded/*/dump.json"))


class Recorded:
    """Responds with the recorded response of the request that is most like the one that came."""

    def __init__(self, folder: Path) -> None:
        self.waiting = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("[0-9]*.json"))]
        self.served: list[dict[str, Any]] = []

    async def respond(self, request: web.Request) -> web.Response:
        text = await request.text()
        asked = {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "body": json.loads(text) if text else None,
        }
        found = self._next(self.waiting, asked) or self._next(self.served, asked)
        if found is None:
            raise web.HTTPNotFound
        if found in self.waiting:
            self.waiting.remove(found)
            self.served.append(found)
        body = found["text"] if "text" in found else json.dumps(found["json"], ensure_ascii=False)
        return web.Response(text=body, status=found["status"], content_type="application/json")

    def _next(self, exchanges: Iterable[dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any] | None:
        alike = [
            each
            for each in exchanges
            if (each["request"]["method"], each["request"]["path"]) == (asked["method"], asked["path"])
        ]
        return next((each for each in alike if each["request"] == asked), alike[0] if alike else None)


@asynccontextmanager
async def serve_recorded(folder: Path) -> AsyncIterator[str]:
    """Serve a fixture; yield its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", Recorded(folder).respond)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")
