"""Parts of the tests of the command line: a configuration file, a simulator as a process, and calls to it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

from tests.broker import HOST, free_port
from tests.process import BRIDGE, Ended, Process, ran, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

OM50 = "000EA93D022E"


async def fleet2mqtt(*arguments: str) -> Ended:
    """Run a command to its end; what is expected to go wrong never shows a traceback."""
    ended = await ran("env", "COLUMNS=200", *BRIDGE, *arguments)
    assert "Traceback" not in ended.errors
    return ended


def write(folder: Path, **options: Any) -> str:
    """A configuration of these options (None: without); the rest on free ports, with a backend where nobody answers."""
    nobody = {"platform": "ums", "url": f"http://{HOST}:{free_port()}"}
    whole = {
        "mqtt": {"host": HOST, "port": free_port()},
        "data_dir": "data",
        "push": {"host": HOST, "port": 0},
        "web": {"host": HOST, "port": 0},
        "backends": {"hq": nobody},
    }
    given = {name: value for name, value in (whole | options).items() if value is not None}
    path = folder / "fleet2mqtt.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return str(path)


@asynccontextmanager
async def simulator(platform: str, *arguments: str) -> AsyncIterator[tuple[str, Process]]:
    """A simulator as a process, and its URL as it prints it."""
    async with running(*BRIDGE, "simulate", platform, "--port", "0", *arguments) as process:
        line = await process.says("simulator on")
        yield line.split()[-1], process


async def get(url: str) -> Any:
    """Get a URL; return the JSON of the response."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def get_text(url: str) -> str:
    """Get a URL; return the text of the response."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return await response.text()


async def post(url: str, body: Any) -> Any:
    """Post to a URL; return the JSON of the response."""
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        assert response.status == 200, await response.text()
        return await response.json()
