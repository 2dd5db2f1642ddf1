"""The broker fixture."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.broker import HOST, Broker, executable

if TYPE_CHECKING:
    from tests.certificates import Certificates
    from tests.conftest import StartBroker


async def test_recording_returns_messages_on_its_filters_in_order(broker: Broker) -> None:
    async with broker.record("a/#") as seen:
        await broker.publish("a/b", {"x": 1}, qos=1)
        await broker.publish("b/a", "elsewhere")
        await broker.publish("a/b", "second", qos=0)
        await seen.wait(lambda message: message.payload == b"second")

    assert [(m.topic, m.payload, m.qos, m.retain) for m in seen.messages] == [
        ("a/b", b'{"x": 1}', 1, False),
        ("a/b", b"second", 0, False),
    ]
    assert seen.all("a/+")[0].json == {"x": 1}
    assert seen.latest("a/b") == seen.messages[1]
    assert seen.latest("b/a") is None


async def test_wait_without_a_match_raises_with_the_messages_received(broker: Broker) -> None:
    async with broker.record("#") as seen:
        await broker.publish("a/b", "other")
        await seen.wait(lambda message: message.topic == "a/b")
        with pytest.raises(TimeoutError, match=r"a/b b'other'"):
            await seen.wait(lambda message: message.topic == "never", patience=0.05)


async def test_retained_messages_after_a_restart_are_gone(broker: Broker) -> None:
    port = broker.port
    for number in range(2000):
        await broker.publish(f"kept/{number}", str(number), retain=True, qos=0)
    await broker.publish("passing", "by")

    retained = await broker.retained()
    assert {m.topic: m.text for m in retained.values()} == {f"kept/{n}": str(n) for n in range(2000)}

    await broker.restart()
    assert await broker.retained() == {}
    assert broker.port == port


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_broker_after_stop_or_kill_starts_again(broker: Broker, end: str) -> None:
    await getattr(broker, end)()
    with pytest.raises(AssertionError, match="not running"):
        await broker.publish("a", "b")
    await broker.start()
    await broker.publish("a", "b", retain=True)
    assert set(await broker.retained("a")) == {"a"}


async def test_wait_subscribed_returns_at_a_subscription_of_another_client(broker: Broker) -> None:
    async with broker.record("exactly/+/this"):
        await broker.wait_subscribed("exactly/+/this")
    with pytest.raises(TimeoutError, match="exactly"):
        await broker.wait_subscribed("exactly/other/this", patience=0.05)


async def test_broker_with_users_refuses_a_wrong_password(start_broker: StartBroker) -> None:
    broker = await start_broker(users={"bridge": "word", "other": "secret"})
    await broker.publish("a", "b", retain=True)
    assert set(await broker.retained("a")) == {"a"}

    broker.users = {"bridge": "wrong"}
    with pytest.raises(ConnectionError, match="not authorised"):
        async with broker.record("a"):
            pass


async def test_broker_with_certificates_speaks_tls(start_broker: StartBroker, certificates: Certificates) -> None:
    broker = await start_broker(certificates=certificates, client_certificates=True)
    await broker.publish("a", "b", retain=True)
    assert set(await broker.retained("a")) == {"a"}

    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(HOST, broker.port, ssl=ssl.create_default_context())


async def test_invalid_mosquitto_configuration_raises_with_its_log(start_broker: StartBroker) -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        await start_broker(extra="nonsense true")


def test_missing_mosquitto_raises_with_what_to_do() -> None:
    with pytest.raises(FileNotFoundError, match=r"run scripts/setup test"):
        executable("mosquitto-of-another-world")
