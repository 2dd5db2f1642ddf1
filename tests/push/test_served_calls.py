"""Calls of a vendor that a platform serves on the push port: who may make them, and how they are counted."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from io import BytesIO
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer, TestClient

from fleet2mqtt.config.models import BackendConfig, PushConfig, Secret
from fleet2mqtt.push.receiver import MAX_BODY, PushReceiver
from fleet2mqtt.sdk.api import Backend, ServedCall
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

SECRET = "served-secret"
PATH = f"/assets/cabinets/{SECRET}/QueryAssets"


def respond(body: bytes, headers: Mapping[str, str]) -> bytes:
    return b'{"body": "' + body + b'", "token": "' + headers.get("token", "").encode() + b'"}'


@asynccontextmanager
async def served(allow: str = "127.0.0.0/8") -> AsyncIterator[tuple[PushReceiver, TestClient[Any, Any]]]:
    """A receiver of one backend that serves one call."""

    async def read(device: Any) -> Any:
        raise AssertionError(device)

    call = ServedCall(prefix="assets", name="QueryAssets", respond=respond)
    backend = Backend(name="cabinets", platform="x", client=None, sources=(), read=read, served=(call,))
    push = PushConfig(secret=Secret(SECRET), allow=(ip_network(allow),))
    config = BackendConfig(name="cabinets", platform="x", options={}, push=push)
    unused: Any = None
    receiver = PushReceiver(unused, unused, {"cabinets": backend}, {"cabinets": config})
    client: TestClient[Any, Any] = TestClient(RawTestServer(receiver.respond))
    async with client:
        yield receiver, client


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
async def test_served_call_is_answered_by_the_platform(path: str) -> None:
    async with served() as (receiver, client):
        async with client.post(path, data=b"a,b", headers={"token": "T"}) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            assert await response.json() == {"body": "a,b", "token": "T"}
        assert receiver.counted == {"served": 1}


@pytest.mark.parametrize(
    "path",
    [
        PATH.replace(SECRET, "other-secret"),
        PATH.replace("cabinets", "other"),
        PATH.replace("QueryAssets", "Other"),
        PATH.replace("assets", "other"),
        "/a/b/c/d",
    ],
)
async def test_any_wrong_path_gets_the_same_404(path: str) -> None:
    async with served() as (receiver, client):
        async with client.post(path, data=b"a") as response:
            assert (response.status, await response.text()) == (404, "404: Not Found")
        assert receiver.counted == {"refused": 1}


async def test_served_call_from_elsewhere_by_get_or_too_large_is_refused() -> None:
    async with served(allow="10.0.0.0/8") as (_, client), client.post(PATH, data=b"a") as response:
        assert response.status == 404
    async with served() as (receiver, client):
        async with client.get(PATH) as response:
            assert response.status == 405
        async with client.post(PATH, data=BytesIO(b"a" * (MAX_BODY + 1))) as response:
            assert response.status == 413
        assert receiver.counted == {"too_large": 1}


async def test_connection_that_is_closed_before_its_body_is_read_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as (receiver, _):

        async def respond_late(request: web.BaseRequest) -> web.Response:
            request.protocol.force_close()  # as the limit of connections does
            return await receiver.respond(request)

        async with RawTestServer(respond_late) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n".encode())
            assert await reader.read() == b""
            writer.close()
            await wait_until(lambda: receiver.counted == {"broken": 1}, lambda: str(receiver.counted))
    assert not caplog.records
