"""A real HAProxy with the configuration that the project delivers, before nodes on free ports."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import ClientError, ClientSession

from tests.broker import HOST
from tests.process import running
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

PACKAGED = Path(__file__).parents[2] / "packaging" / "haproxy.cfg"


@asynccontextmanager
async def behind_haproxy(folder: Path, port: int, push_ports: Sequence[int]) -> AsyncIterator[None]:
    """Run HAProxy on a port as packaging/haproxy.cfg has it, with these nodes, of which it names three."""
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    assert program is not None, "the tests need a real haproxy: run scripts/setup test"
    text = PACKAGED.read_text("utf-8").replace("bind :8098", f"bind {HOST}:{port}")
    for number, push_port in enumerate(push_ports, 1):
        text = text.replace(f"10.0.0.1{number}:8098", f"{HOST}:{push_port}")
    assert "10.0.0." not in text
    file = folder / "haproxy.cfg"
    await asyncio.to_thread(file.write_text, text)
    async with running(program, "-db", "-f", str(file), measured=False) as process:
        await wait_for_answer(lambda: _is_healthy(port), lambda: f"HAProxy to answer: {process.output}")
        yield


async def _is_healthy(port: int) -> bool:
    try:
        async with ClientSession() as session, session.get(f"http://{HOST}:{port}/healthz") as response:
            return response.status == 200
    except (ClientError, OSError):
        return False
