"""The subscriber against a real mosquitto with a websocket listener, and against what is none."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import AuthenticationError, BackendError, Rejected, Unreachable
from fleet2mqtt.mqtt import Subscriber, SubscriberSettings
from tests.broker import HOST, Broker, free_port
from tests.certificates import make_certificates
from tests.mqtt.fake_broker import SUBACK, FakeBroker, Peer, read_packet
from tests.mqtt.proxy import Proxy
from tests.waiting import PATIENCE, wait_until
from tests.websocket_broker import websocket_broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY, PASSWORD = "view-key-1", "view-secret-1"


def settings(url: str, *filters: str, **more: object) -> SubscriberSettings:
    given = {"username": KEY, "password": PASSWORD, "filters": filters or ("k/+/attributes",)} | more
    return SubscriberSettings(url=url, **given)  # type: ignore[arg-type]


@asynccontextmanager
async def opened(given: SubscriberSettings, seen: list[tuple[str, bytes]]) -> AsyncIterator[Subscriber]:
    subscriber = Subscriber(given, lambda topic_filter, body: seen.append((topic_filter, body)))
    try:
        assert await subscriber.open() == []
        yield subscriber
    finally:
        subscriber.close()


async def error_of(given: SubscriberSettings) -> BackendError:
    subscriber = Subscriber(given, lambda *_: None)
    try:
        with pytest.raises(BackendError) as raised:
            await subscriber.open()
    finally:
        subscriber.close()
    return raised.value


async def test_messages_arrive_by_websocket_with_the_filter_that_they_match(tmp_path: Path) -> None:
    async with websocket_broker(tmp_path, users={KEY: PASSWORD}) as (broker, url):
        seen: list[tuple[str, bytes]] = []
        async with opened(settings(url, "k/+/attributes", "k/+/online"), seen) as subscriber:
            run = asyncio.ensure_future(subscriber.run())
            bodies = [b"%d" % number * 100 for number in range(300)]  # 300 packets, several in one segment
            for body in bodies:
                await broker.publish("k/a/attributes", body, qos=0)
            await broker.publish("k/b/online", b"x" * 200_000)
            await wait_until(lambda: len(seen) == 301, "all messages", PATIENCE)
            run.cancel()
    assert seen == [*(("k/+/attributes", body) for body in bodies), ("k/+/online", b"x" * 200_000)]


async def test_tls_certificate_is_verified(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "tls")
    async with websocket_broker(tmp_path, certificates=certificates) as (broker, url):
        seen: list[tuple[str, bytes]] = []
        async with opened(settings(url, ca=str(certificates.ca)), seen) as subscriber:
            run = asyncio.ensure_future(subscriber.run())
            for number in range(200):
                await broker.publish("k/a/attributes", b"%d" % number, qos=0)
            await wait_until(lambda: len(seen) == 200, "all messages", PATIENCE)
            run.cancel()
        async with opened(settings(url, verify=False), seen):
            pass
        error = await error_of(settings(url))
    assert isinstance(error, Unreachable)
    assert "check ca and verify_tls" in str(error)


async def test_wrong_credentials_are_named_without_their_text(tmp_path: Path) -> None:
    async with websocket_broker(tmp_path, users={KEY: "another-secret"}) as (_, url):
        error = await error_of(settings(url))
    assert isinstance(error, AuthenticationError)
    assert "check subscribe.key and subscribe.secret" in str(error)
    assert KEY not in str(error)
    assert PASSWORD not in str(error)


async def test_refused_filters_are_returned_and_none_left_is_an_error() -> None:
    async def talk(peer: Peer) -> None:
        await peer.greet()
        subscribe = await read_packet(peer.reader)
        codes = b"\x80" * (subscribe.body.count(b"other"))
        await peer.send(SUBACK, subscribe.mid + b"\0" * (subscribe.body.count(b"k/+")) + codes)
        await peer.serve()

    async with FakeBroker(talk) as broker:
        url = f"mqtt://{HOST}:{broker.port}"
        subscriber = Subscriber(settings(url, "k/+/attributes", "other/#"), lambda *_: None)
        assert await subscriber.open() == ["other/#"]
        subscriber.close()
        error = await error_of(settings(url, "other/#"))
    assert isinstance(error, Rejected)
    assert error.code == "subscriptions_refused"


async def test_lost_connection_raises_unreachable(tmp_path: Path) -> None:
    async with websocket_broker(tmp_path) as (broker, url), Proxy(int(url.rsplit(":", 1)[1])) as proxy:
        async with opened(settings(f"ws://{HOST}:{proxy.port}"), []) as subscriber:
            run = asyncio.ensure_future(subscriber.run())
            proxy.drop()
            with pytest.raises(Unreachable, match="closed the connection"):
                await run
        async with opened(settings(url), []) as subscriber:
            run = asyncio.ensure_future(subscriber.run())
            await broker.stop()
            with pytest.raises(Unreachable, match="closed the connection"):
                await run


async def test_broker_that_falls_silent_is_noticed(tmp_path: Path) -> None:
    async with websocket_broker(tmp_path) as (broker, url), opened(settings(url, keepalive=1), []) as subscriber:
        broker.freeze()
        with pytest.raises(Unreachable):
            await subscriber.run()
        broker.thaw()


async def test_port_without_a_listener_is_unreachable() -> None:
    error = await error_of(settings(f"ws://{HOST}:{free_port()}"))
    assert isinstance(error, Unreachable)
    assert "refused" in str(error)


async def test_plain_http_server_is_no_websocket() -> None:
    async with TestServer(web.Application()) as server:
        error = await error_of(settings(f"ws://{server.host}:{server.port}/mqtt"))
    assert isinstance(error, Unreachable)
    assert "check subscribe.url and its path" in str(error)


async def test_mqtt_without_a_websocket_works_by_its_scheme(tmp_path: Path) -> None:
    async with Broker(directory=tmp_path) as broker:
        seen: list[tuple[str, bytes]] = []
        async with opened(settings(f"mqtt://{HOST}:{broker.port}"), seen) as subscriber:
            run = asyncio.ensure_future(subscriber.run())
            await broker.publish("k/a/attributes", b"1")
            await wait_until(lambda: seen == [("k/+/attributes", b"1")], "a message", PATIENCE)
            run.cancel()
