"""What a connection to a broker needs, and what comes in by it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.properties import Properties


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to reach the broker; times in seconds, sizes in bytes.

    `protocol` is "5", "3.1.1" or "auto": MQTT 5 where the broker speaks it, else 3.1.1. With MQTT 5 a connection that
    is back within `will_delay` leaves no trace on `will_topic`.
    """

    host: str
    port: int
    client_id: str
    will_topic: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: str = "auto"
    keepalive: int = 30
    tls: ssl.SSLContext | None = None
    will_payload: bytes = b"offline"
    will_delay: int = 10
    max_payload: int = 1024 * 1024
    window: int = 64
    backoff_first: float = 1.0
    backoff_max: float = 60.0
    stable_after: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What the broker delivered. `stale` tells that it waited at the broker while we were away (MQTT 5).

    `retain` is as published with MQTT 5; with 3.1.1 it is set only on what was there before we subscribed.
    """

    topic: str
    payload: bytes
    retain: bool
    qos: int
    response_topic: str | None = None
    correlation_data: bytes | None = None
    stale: bool = False


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the peers do not agree; paho would leave it open."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's own signature
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def tls_context(
    *, ca: str | None = None, certificate: str | None = None, key: str | None = None, verify: bool = True
) -> ssl.SSLContext:
    """TLS towards a broker whose certificate `ca` signed, the system's authorities without one. All are PEM files.

    `certificate` and `key` are our own. Raises OSError for what cannot be read, ssl.SSLError for what is no PEM.
    """
    context = ssl.create_default_context(cafile=ca)
    context.sslsocket_class = _TidySocket
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish."""

    topic: str
    payload: bytes
    retain: bool = False
    qos: int = 1
    properties: Properties | None = None

    @property
    def packet_size(self) -> int:
        """Bytes of the whole MQTT 5 packet."""
        properties = len(self.properties.pack()) if self.properties else 1  # type: ignore[no-untyped-call]
        remaining = 2 + len(self.topic.encode()) + (2 if self.qos else 0) + properties + len(self.payload)
        length = 1
        while remaining >> 7 * length:
            length += 1
        return 1 + length + remaining


def properties(packet: int, **values: Any) -> Properties:
    """Properties for a packet of this type, of PacketTypes; what is None is left out."""
    made = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        if value is not None:
            setattr(made, name, value)
    return made
