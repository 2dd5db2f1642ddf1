"""The MQTT client's settings, and the messages that it sends and receives."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a connection to the broker; times in seconds, sizes in bytes.

    `protocol` is "5", "3.1.1" or "auto": MQTT 5 if the broker speaks it, else 3.1.1. With MQTT 5 nothing is published
    on `will_topic` if a new connection is made within `will_delay`. `inflight` is the largest number of messages in
    flight. With `acknowledge_manually` (MQTT 5) a message received at QoS 1 is acknowledged by whoever processes it,
    and delivered again after a reconnection until then. After `ack_warning` without a PUBACK the client is not
    `acknowledging`, after `ack_timeout` it reconnects.
    """

    host: str
    port: int
    client_id: str
    will_topic: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: str = "auto"
    keepalive: int = 30
    tls: TlsFiles | None = None
    will_payload: bytes = b"offline"
    will_delay: int = 10
    max_payload: int = 1024 * 1024
    inflight: int = 64
    acknowledge_manually: bool = False
    ack_warning: float = 10.0
    ack_timeout: float = 30.0
    withhold_first: float = 60.0
    withhold_longest: float = 3600.0
    resubscribe_first: float = 30.0
    resubscribe_longest: float = 600.0
    backoff_first: float = 1.0
    backoff_max: float = 60.0
    stable_after: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that the broker delivered. `stale` is True if it waited at the broker for our connection (MQTT 5).

    `packet_id` and `duplicate` are those of its PUBLISH packet, None and False with MQTT 3.1.1. `acknowledge` tells the
    broker that it is processed, where the settings leave that to the receiver.

    With MQTT 5 `retain` is as published; with 3.1.1 it is set only on messages that were retained before we subscribed.
    """

    topic: str
    payload: bytes
    retain: bool
    qos: int
    response_topic: str | None = None
    correlation_data: bytes | None = None
    stale: bool = False
    packet_id: int | None = field(default=None, compare=False)
    duplicate: bool = False
    entry: Any = field(default=None, compare=False)
    """Journal entry of a command or request that is stored before it is processed."""
    acknowledge: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)


class TlsFilesError(OSError):
    """A file of TLS that cannot be read, or is not PEM."""


class _ClosingSocket(ssl.SSLSocket):
    """A socket that closes itself when the handshake fails; paho would leave it open."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's own signature
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """TLS towards the broker. `ca` is the authority that signed its certificate, the system's authorities if None.

    `certificate` and `key` are the client's own. All are paths of PEM files, which are read at each connection, so that
    renewed ones are used without a restart. `option` is what stands before their names in errors.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True
    option: str = "mqtt.tls."

    def load(self) -> ssl.SSLContext:
        """Read the files. Raises TlsFilesError, which names what cannot be read, or is not PEM."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise _named(f"{self.option}ca", self.ca, error) from error
        context.sslsocket_class = _ClosingSocket
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key)
            except OSError as error:
                option = f"{self.option}certificate" + ("" if self.key is None else " and key")
                raise _named(option, f"{self.certificate}, {self.key or 'no key'}", error) from error
        return context


def _named(option: str, path: str | None, error: OSError) -> TlsFilesError:
    reason = (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or str(error)
    return TlsFilesError(error.errno, f"{option}: {path}: {reason.lower().replace('_', ' ')}")


@dataclass(slots=True, kw_only=True)  # made for each event: frozen takes three times as long
class Outgoing:
    """A message to publish."""

    topic: str
    payload: bytes
    retain: bool = False
    qos: int = 1
    correlation: bytes | None = None
    expiry: int | None = None

    @property
    def packet_size(self) -> int:
        """Size of the MQTT 5 packet in bytes."""
        properties = (5 if self.expiry is not None else 0) + (
            0 if self.correlation is None else 3 + len(self.correlation)
        )
        remaining = 2 + len(self.topic.encode()) + (2 if self.qos else 0) + len(self.payload)
        remaining += _varint_size(properties) + properties
        return 1 + _varint_size(remaining) + remaining


def _varint_size(number: int) -> int:
    size = 1
    while number >> 7 * size:
        size += 1
    return size
