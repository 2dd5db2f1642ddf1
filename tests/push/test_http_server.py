"""The HTTP server: order of responses, who is let finish, how many connections there are and for how long."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from fleet2mqtt.push.http_server import HttpServer, start_http_server
from tests.bridge_under_test import MAC, SECRET, open_site
from tests.broker import HOST
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def order(name: str) -> bytes:
    return f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@dataclass(slots=True)
class Kitchen:
    """Serves `<name>.` for `GET /<name>` once it is let."""

    begun: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def respond(self, request: web.BaseRequest) -> web.Response:
        name = request.path[1:]
        self.begun.append(name)
        await self.gate.wait()
        if name == "poison":
            raise RuntimeError("the cook fell over")
        return web.Response(text=f"{name}.")


@asynccontextmanager
async def open_kitchen(
    idle_timeout: float = PATIENCE, max_connections: int = 100
) -> AsyncIterator[tuple[Kitchen, HttpServer]]:
    kitchen = Kitchen()
    listener = await start_http_server(
        kitchen.respond, HOST, 0, idle_timeout=idle_timeout, max_connections=max_connections
    )
    try:
        yield kitchen, listener
    finally:
        kitchen.gate.set()
        await listener.cleanup()


@dataclass(slots=True)
class Guest:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def hear(self, wanted: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(wanted)

    async def gone(self) -> bytes:
        """Read until the connection is closed; return the rest."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:  # it was closed before this machine wrote to it
                return b""


@asynccontextmanager
async def guest(listener: HttpServer) -> AsyncIterator[Guest]:
    reader, writer = await asyncio.open_connection(*listener.addresses[0][:2])
    try:
        yield Guest(reader, writer)
    finally:
        writer.transport.abort()


async def test_pipelined_requests_get_their_responses_in_order() -> None:
    async with open_kitchen() as (kitchen, listener), guest(listener) as hasty:
        hasty.writer.write(order("soup"))
        await wait_until(lambda: kitchen.begun, "the first to be under way")
        hasty.writer.write(order("fish"))
        kitchen.gate.set()
        await hasty.hear(b"soup.")
        await hasty.hear(b"fish.")
        assert kitchen.begun == ["soup", "fish"]


async def test_response_in_progress_ends_before_the_server_closes() -> None:
    async with open_kitchen() as (kitchen, listener), guest(listener) as late, guest(listener) as silent:
        late.writer.write(order("soup"))
        await wait_until(lambda: kitchen.begun, "it to be under way")
        closing = asyncio.create_task(listener.cleanup(), name="closing")
        assert await silent.gone() == b""
        kitchen.gate.set()
        assert (await late.gone()).endswith(b"soup.")
        await closing


async def test_client_that_disconnects_early_does_no_harm() -> None:
    async with open_kitchen() as (kitchen, listener):
        async with guest(listener) as early:
            early.writer.write(order("soup"))
            await wait_until(lambda: kitchen.begun, "it to be under way")
        kitchen.gate.set()
        async with guest(listener) as next_one:
            next_one.writer.write(order("fish"))
            await next_one.hear(b"fish.")


async def test_exception_in_one_request_leaves_the_service_running(caplog: pytest.LogCaptureFixture) -> None:
    async with open_kitchen() as (kitchen, listener), guest(listener) as unlucky, guest(listener) as next_one:
        kitchen.gate.set()
        unlucky.writer.write(order("poison"))
        assert (await unlucky.gone()).startswith(b"HTTP/1.1 500 ")
        assert "the cook fell over" in caplog.text
        next_one.writer.write(order("fish"))
        await next_one.hear(b"fish.")


async def test_idle_connection_is_closed_after_the_timeout() -> None:
    async with (
        open_kitchen(idle_timeout=0.2) as (kitchen, listener),
        guest(listener) as regular,
        guest(listener) as mute,
    ):
        kitchen.gate.set()
        regular.writer.write(order("soup"))
        assert (await regular.gone())[-5:] in (b"soup.", b"")  # nothing, where this machine took so long to ask
        assert await mute.gone() == b""


async def test_oldest_connection_above_the_bound_is_closed_after_its_response() -> None:
    async with open_kitchen(max_connections=2) as (kitchen, listener), guest(listener) as busy:
        busy.writer.write(order("soup"))
        await wait_until(lambda: kitchen.begun, "it to be under way")
        async with guest(listener) as idle, guest(listener) as third, guest(listener) as fourth:
            assert await idle.gone() == b""
            kitchen.gate.set()
            assert (await busy.gone()).endswith(b"soup.")
            for each, name in ((third, "fish"), (fourth, "tea")):
                each.writer.write(order(name))
                await each.hear(f"{name}.".encode())


def written(head: str, body: bytes) -> bytes:
    return head.replace("\n", "\r\n").encode() + b"\r\n" + body


WRITINGS = {
    "plain": "POST {} HTTP/1.1\nHost: x\nContent-Length: {}\n",
    "small letters, content type last": "POST {} HTTP/1.1\nhost: x\ncontent-length: {}\ncontent-type: text/plain\n",
    "a slash behind": "POST {}/ HTTP/1.1\nHost: x\nContent-Length: {}\n",
    "kept alive": "POST {} HTTP/1.1\nHost: x\nConnection: keep-alive\nUser-Agent: eEMS (Java)\nContent-Length: {}\n",
    "closing": "POST {} HTTP/1.1\nHost: x\nConnection: close\nContent-Length: {}\n",
    "HTTP/1.0": "POST {} HTTP/1.0\nContent-Length: {}\n",
    "a field that nobody knows": "POST {} HTTP/1.1\nHost: x\nX-Trace: 1\nContent-Length: {}\n",
    "expecting": "POST {} HTTP/1.1\nHost: x\nExpect: 100-continue\nContent-Length: {}\n",
    "in chunks": "POST {} HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n",
    "quoted": "POST {} HTTP/1.1\nHost: x\nContent-Length: {}\n",
}


@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_push_in_any_valid_form_is_accepted(tmp_path: Path, pieces: int) -> None:
    async with open_site(tmp_path) as site, site.bridge(branch=None) as bridge:
        for name, head in WRITINGS.items():
            body = json.dumps({"id": f"{name} {pieces}", "metric_history_producer": MAC}).encode()
            path = f"/push/hq_voip/{SECRET}/{'%65vent' if name == 'quoted' else 'event'}"
            if name == "in chunks":
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            said = written(head.format(path, len(body)), body)
            reader, writer = await asyncio.open_connection(HOST, site.push_port)
            step = -(-len(said) // pieces)
            for at in range(0, len(said), step):
                writer.write(said[at : at + step])
                await writer.drain()
                await asyncio.sleep(0)
            async with asyncio.timeout(PATIENCE):
                answer = await reader.readuntil("成功".encode())
            assert b" 200 OK\r\n" in answer, name
            writer.transport.abort()
        await bridge.event_count(len(WRITINGS))
