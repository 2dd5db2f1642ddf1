"""TLS: the broker's certificate and the client's."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.mqtt import tls_context
from tests.certificates import Certificates, make_certificates
from tests.mqtt.fake_broker import SUBACK, FakeBroker, Peer, read_packet
from tests.mqtt.proxy import Proxy
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartBroker
    from tests.mqtt.conftest import Start
    from tests.mqtt.subject import Subject


async def failure(subject: Subject, text: str) -> None:
    await wait_until(lambda: text in (subject.mqtt.last_error or ""), lambda: f"{text}; {subject.mqtt.last_error}")
    assert subject.ups == 0


async def test_broker_certificate_of_the_configured_authority_is_accepted(
    start_broker: StartBroker, start: Start, certificates: Certificates
) -> None:
    broker = await start_broker(certificates=certificates)
    subject = start(broker.port, tls=tls_context(ca=str(certificates.ca)))
    await subject.connected()
    await subject.mqtt.publish("a", bytes(500_000))


async def test_broker_certificate_of_another_authority_is_refused(
    start_broker: StartBroker, start: Start, certificates: Certificates, tmp_path: Path
) -> None:
    broker = await start_broker(certificates=certificates)
    other = make_certificates(tmp_path / "other")

    for trust in (tls_context(ca=str(other.ca)), tls_context()):
        await failure(start(broker.port, tls=trust), "the broker's certificate does not hold: self-signed certificate")
    await start(broker.port, tls=tls_context(ca=str(other.ca), verify=False)).connected()


async def test_broker_certificate_with_another_name_is_refused(
    start_broker: StartBroker, start: Start, certificates: Certificates
) -> None:
    broker = await start_broker(certificates=certificates)
    async with Proxy(broker.port, host="127.0.0.2") as proxy:
        subject = start(proxy.port, host=proxy.host, tls=tls_context(ca=str(certificates.ca)))
        await failure(subject, "IP address mismatch")
        await subject.stop()


async def test_client_certificate_is_presented(
    start_broker: StartBroker, start: Start, certificates: Certificates
) -> None:
    broker = await start_broker(certificates=certificates, client_certificates=True)
    trust = tls_context(
        ca=str(certificates.ca), certificate=str(certificates.client_certificate), key=str(certificates.client_key)
    )
    await start(broker.port, tls=trust).connected()

    bare = start(broker.port, tls=tls_context(ca=str(certificates.ca)), client_id="bare")
    await failure(bare, "does it ask for a client certificate?")


async def test_messages_in_one_tls_record_arrive_at_once(start: Start, certificates: Certificates) -> None:
    """TLS decrypts more than was asked for, of which the selector knows nothing."""
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificates.server_certificate, certificates.server_key)
    message = b"\x30\x0f" + b"\0\x0bfleet/set/x" + b"\0" + b"1"

    async def talk(peer: Peer) -> None:
        await peer.greet()
        packet = await read_packet(peer.reader)
        await peer.send(SUBACK, packet.mid + b"\0\1")
        peer.writer.write(message * 50)
        await peer.serve()

    async with FakeBroker(talk, tls=served) as broker:
        subject = start(broker.port, tls=tls_context(ca=str(certificates.ca)))
        await wait_until(lambda: len(subject.messages) == 50, lambda: f"50 messages; {len(subject.messages)} came")


def test_missing_ca_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tls_context(ca=str(tmp_path / "none.pem"))
