"""Subscriptions: messages of a vendor's MQTT broker are pushes, and a lost connection polls at once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.errors import AuthenticationError, InvalidResponse, Rejected, Unreachable
from fleet2mqtt.push import subscriber
from fleet2mqtt.push.receiver import PushReceiver
from fleet2mqtt.push.subscriber import SubscriptionRunner, probe
from fleet2mqtt.sdk.api import Backend, Push, Subscription
from tests.broker import HOST
from tests.mqtt.fake_broker import SUBACK, FakeBroker, Peer, read_packet
from tests.mqtt.proxy import Proxy
from tests.waiting import PATIENCE, wait_until
from tests.websocket_broker import websocket_broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY, SECRET = "view-key-1", "view-secret-1"
KINDS = {"k/+/attributes": "attributes", "k/+/online": "online"}


@dataclass(slots=True)
class Vendor:
    """Calls of a runner: bodies accepted by kind, dead letters, changes of the connection, sources to poll."""

    subscription: Subscription
    accepted: list[tuple[str, bytes]] = field(default_factory=list)
    letters: list[tuple[str, str, bytes]] = field(default_factory=list)
    connections: list[bool] = field(default_factory=list)
    polled: list[tuple[str, ...]] = field(default_factory=list)
    receiver: PushReceiver | None = None
    backend: Backend[Any] | None = None

    async def accept(self, update: Any, stored_push: int | None = None) -> None:
        assert stored_push is None
        self.accepted.append(update)

    async def add_dead_letter(self, backend: str, kind: str, reason: str, body: bytes, stored_push: int | None) -> int:
        assert (backend, stored_push) == ("things", None)
        self.letters.append((kind, reason, body))
        return len(self.letters)

    def push(self, kind: str) -> Push:
        def accept(body: bytes) -> Any:
            if body == b"garbage":
                raise InvalidResponse("not JSON")
            return kind, body

        return Push(kind=kind, accept=accept, success=b"", failure=str.encode)


def vendor_at(url: str, kinds: dict[str, str] | None = None) -> Vendor:
    changes: list[bool] = []
    subscription = Subscription(
        url=url,
        username=KEY,
        password=SECRET,
        kinds=kinds or KINDS,
        set_connected=changes.append,
        refresh=("devices", "attributes"),
    )
    vendor = Vendor(subscription)
    vendor.connections = changes
    hub: Any = vendor

    async def read(device: Any) -> Any:
        raise AssertionError(device)

    pushes = (vendor.push("attributes"), vendor.push("online"))
    vendor.backend = Backend(
        name="things", platform="x", client=None, sources=(), read=read, pushes=pushes, subscription=subscription
    )
    vendor.receiver = PushReceiver(hub, hub, {"things": vendor.backend}, {})
    return vendor


@asynccontextmanager
async def running(vendor: Vendor) -> AsyncIterator[Vendor]:
    assert vendor.backend is not None
    assert vendor.receiver is not None
    runner = SubscriptionRunner(
        vendor.backend,
        vendor.subscription,
        vendor.receiver,
        changed=lambda: None,
        request_poll=vendor.polled.append,
    )
    tasks = [asyncio.ensure_future(runner.run()), asyncio.ensure_future(runner.accept())]
    try:
        yield vendor
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def connected(vendor: Vendor) -> None:
    await wait_until(lambda: vendor.subscription.status.connected, "a connection", PATIENCE)


async def test_messages_are_accepted_in_order_and_bad_ones_are_dead_letters(tmp_path: Path) -> None:
    async with websocket_broker(tmp_path, users={KEY: SECRET}) as (broker, url), running(vendor_at(url)) as vendor:
        await connected(vendor)
        await broker.publish("k/a/attributes", b"1")
        await broker.publish("k/a/online", b"garbage")
        await broker.publish("k/a/online", b"2")
        await wait_until(lambda: len(vendor.accepted) == 2, "the messages", PATIENCE)
        status = vendor.subscription.status
        assert (status.messages, status.dropped, status.error) == (3, 0, None)
        assert status.last_message is not None
    assert vendor.accepted == [("attributes", b"1"), ("online", b"2")]
    assert vendor.letters == [("online", "not JSON", b"garbage")]
    assert vendor.receiver is not None
    assert vendor.receiver.counted == {"accepted": 2, "malformed": 1}


async def test_dead_letter_of_a_message_can_be_retried_without_a_push_section() -> None:
    vendor = vendor_at("ws://127.0.0.1:9")
    assert vendor.receiver is not None
    await vendor.receiver.retry("things", "online", b"2")
    assert vendor.accepted == [("online", b"2")]


async def test_lost_connection_polls_at_once_and_is_made_again(tmp_path: Path) -> None:
    async with (
        websocket_broker(tmp_path) as (broker, url),
        Proxy(int(url.rsplit(":", 1)[1])) as proxy,
        running(vendor_at(f"ws://{HOST}:{proxy.port}")) as vendor,
    ):
        await connected(vendor)
        proxy.drop()
        await wait_until(lambda: vendor.polled == [("devices", "attributes")], "a poll", PATIENCE)
        await connected(vendor)
        await broker.publish("k/a/attributes", b"1")
        await wait_until(lambda: vendor.accepted == [("attributes", b"1")], "a message", PATIENCE)
        assert vendor.connections == [True, False, True]
        assert vendor.subscription.status.failures == 0
    assert vendor.connections == [True, False, True, False]


async def test_wrong_key_is_shown_and_named_without_its_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with websocket_broker(tmp_path, users={KEY: "another"}) as (_, url), running(vendor_at(url)) as vendor:
        status = vendor.subscription.status
        await wait_until(lambda: status.error is not None, "an error", PATIENCE)
        assert isinstance(status.error, AuthenticationError)
        assert status.next_try is not None
        assert not vendor.connections
        with pytest.raises(AuthenticationError):
            await probe(vendor.subscription)
    assert "things: no connection to the vendor's MQTT broker" in caplog.text
    assert KEY not in caplog.text
    assert SECRET not in caplog.text
    assert KEY not in repr(vendor.subscription)


async def test_broker_that_is_away_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with Proxy(9) as proxy:
        proxy.closed = True
        async with running(vendor_at(f"ws://{HOST}:{proxy.port}")) as vendor:
            status = vendor.subscription.status
            await wait_until(lambda: status.failures >= 2, "two attempts", PATIENCE)
            assert isinstance(status.error, Unreachable)
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 1


async def test_partly_refused_subscription_is_logged_and_fails_a_probe(caplog: pytest.LogCaptureFixture) -> None:
    async def talk(peer: Peer) -> None:
        await peer.greet()
        subscribe = await read_packet(peer.reader)
        await peer.send(SUBACK, subscribe.mid + b"\0\x80")
        await peer.serve()

    async with FakeBroker(talk) as broker, running(vendor_at(f"mqtt://{HOST}:{broker.port}")) as vendor:
        await connected(vendor)
        with pytest.raises(Rejected, match=r"the subscription of online; check subscribe\.topics"):
            await probe(vendor.subscription)
    assert "refuses the subscription of online; check subscribe.topics" in caplog.text


async def test_messages_beyond_the_bounds_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscriber, "MAX_BODY", 10)
    async with websocket_broker(tmp_path) as (broker, url), running(vendor_at(url)) as vendor:
        await connected(vendor)
        await broker.publish("k/a/attributes", b"x" * 11)
        await broker.publish("k/a/attributes", b"1")
        await wait_until(lambda: len(vendor.accepted) == 1, "a message", PATIENCE)
        assert vendor.subscription.status.dropped == 1
    assert "messages of the vendor's MQTT broker are dropped: one of 11 bytes is too large" in caplog.text
