"""Vendors behind TLS: believed when the configured authority vouches for them, and not otherwise."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import Unreachable
from fleet2mqtt.sdk.http_client import Envelope, HttpClient, open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.certificates import Certificates


@asynccontextmanager
async def vendor(certificates: Certificates, name: str = "127.0.0.1", **options: Any) -> AsyncIterator[HttpClient]:
    """Serve a vendor over TLS; yield a client that reaches it under this name."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"code": 0})

    app, context = web.Application(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    app.router.add_get("/", answer)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    server = TestServer(app)
    await server.start_server(ssl=context)
    try:
        url = f"https://{name}:{server.port}"
        common = {"url": url, "timeout": PATIENCE, "headers": {}, "verify_tls": True, "ca": None}
        async with open_http_client(common | options, envelope=Envelope(), rate_limiter=RateLimiter()) as api:
            yield api
    finally:
        await server.close()


async def test_configured_ca_is_trusted(certificates: Certificates) -> None:
    async with vendor(certificates, ca=str(certificates.ca)) as api:
        assert await api.call("GET", "/") == {"code": 0}


async def test_vendor_with_untrusted_certificate_gets_no_request(certificates: Certificates) -> None:
    async with vendor(certificates) as api:
        with pytest.raises(Unreachable, match="the certificate is not trusted"):
            await api.call("GET", "/")


async def test_certificate_of_another_name_is_rejected(certificates: Certificates) -> None:
    async with vendor(certificates, "0.0.0.0", ca=str(certificates.ca)) as api:  # noqa: S104 - is called, not listened at
        with pytest.raises(Unreachable, match=r"certificate is not valid for '0\.0\.0\.0'"):
            await api.call("GET", "/")


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
async def test_certificate_is_not_verified_where_configured(certificates: Certificates, scheme: str) -> None:
    async with vendor(certificates, verify_tls=False) as api:
        options = {"url": api.base.replace("https", scheme), "timeout": PATIENCE, "headers": {}, "verify_tls": False}
        async with open_http_client(options, envelope=Envelope(), rate_limiter=RateLimiter()) as other:
            assert await other.call("GET", "/") == {"code": 0}
