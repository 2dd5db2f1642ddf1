"""TLS: the broker's certificate and the client's."""

from __future__ import annotations

import shutil
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.mqtt import TlsFiles
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
    subject = start(broker.port, tls=TlsFiles(ca=str(certificates.ca)))
    await subject.connected()
    await subject.mqtt.publish("a", bytes(500_000))


async def test_broker_certificate_of_another_authority_is_refused(
    start_broker: StartBroker, start: Start, certificates: Certificates, tmp_path: Path
) -> None:
    broker = await start_broker(certificates=certificates)
    other = make_certificates(tmp_path / "other")

    for trust in (TlsFiles(ca=str(other.ca)), TlsFiles()):
        await failure(start(broker.port, tls=trust), "the broker's certificate does not hold: self-signed certificate")
    await start(broker.port, tls=TlsFiles(ca=str(other.ca), verify=False)).connected()


async def test_broker_certificate_with_another_name_is_refused(
    start_broker: StartBroker, start: Start, certificates: Certificates
) -> None:
    broker = await start_broker(certificates=certificates)
    async with Proxy(broker.port, host="127.0.0.2") as proxy:
        subject = start(proxy.port, host=proxy.host, tls=TlsFiles(ca=str(certificates.ca)))
        await failure(subject, "IP address mismatch")
        await subject.stop()


async def test_client_certificate_is_presented(
    start_broker: StartBroker, start: Start, certificates: Certificates
) -> None:
    broker = await start_broker(certificates=certificates, client_certificates=True)
    trust = TlsFiles(
        ca=str(certificates.ca), certificate=str(certificates.client_certificate), key=str(certificates.client_key)
    )
    await start(broker.port, tls=trust).connected()

    bare = start(broker.port, tls=TlsFiles(ca=str(certificates.ca)), client_id="bare")
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
        subject = start(broker.port, tls=TlsFiles(ca=str(certificates.ca)))
        await wait_until(lambda: len(subject.messages) == 50, lambda: f"50 messages; {len(subject.messages)} came")


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"ca": "none.pem"}, r"mqtt\.tls\.ca: .*none\.pem: no such file"),
        ({"certificate": "client.pem", "key": "other.key"}, r"mqtt\.tls\.certificate and key: .*key values mismatch"),
    ],
)
def test_unusable_file_is_named(tmp_path: Path, files: dict[str, str], text: str) -> None:
    make_certificates(tmp_path)
    make_certificates(tmp_path / "new").client_key.rename(tmp_path / "other.key")
    paths: dict[str, Any] = {option: str(tmp_path / name) for option, name in files.items()}
    with pytest.raises(OSError, match=text):
        TlsFiles(**paths).load()


def copy(source: Certificates, target: Path) -> None:
    """Renew the files in a directory."""
    for path in (source.ca, source.client_certificate, source.client_key):
        shutil.copy(path, target / path.name)


async def test_renewed_files_are_read_at_the_next_connection(
    start_broker: StartBroker, start: Start, certificates: Certificates, tmp_path: Path
) -> None:
    used, old = tmp_path / "used", make_certificates(tmp_path / "old")
    used.mkdir()
    copy(old, used)
    broker = await start_broker(certificates=certificates, client_certificates=True)
    files = TlsFiles(
        ca=str(used / "ca.pem"), certificate=str(used / "client.pem"), key=str(used / "client.key"), verify=True
    )
    subject = start(broker.port, tls=files)
    await failure(subject, "the broker's certificate does not hold")

    (used / "ca.pem").unlink()
    await failure(subject, f"mqtt.tls.ca: {used / 'ca.pem'}: no such file")

    shutil.copy(certificates.ca, used / "ca.pem")
    await failure(subject, "it refuses mqtt.tls.certificate: unknown ca")

    copy(certificates, used)
    await subject.connected()


async def test_expired_client_certificate_is_named(start: Start, tmp_path: Path) -> None:
    expired = make_certificates(tmp_path / "expired", client_until=datetime(2020, 1, 1, tzinfo=UTC))
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(expired.ca))
    served.load_cert_chain(expired.server_certificate, expired.server_key)
    served.verify_mode = ssl.CERT_REQUIRED

    async def talk(peer: Peer) -> None:
        await peer.greet()

    files = TlsFiles(ca=str(expired.ca), certificate=str(expired.client_certificate), key=str(expired.client_key))
    async with FakeBroker(talk, tls=served) as broker:
        subject = start(broker.port, tls=files)
        # The alert may be lost when the broker closes the connection behind it.
        said = ("it refuses mqtt.tls.certificate: certificate expired", "does it accept mqtt.tls.certificate")
        await wait_until(
            lambda: any(text in (subject.mqtt.last_error or "") for text in said), lambda: str(subject.mqtt.last_error)
        )
