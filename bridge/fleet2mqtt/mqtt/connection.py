"""One connection to the broker, and the protocol negotiation."""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Never, TypeVar

from fleet2mqtt.errors import Disconnected, Refused
from fleet2mqtt.mqtt.flow_control import InflightWindow, PublishCounters
from fleet2mqtt.mqtt.link import DisconnectCause, Granted, Link, Reason, is_answered
from fleet2mqtt.mqtt.mqtt5_link import Mqtt5Link
from fleet2mqtt.mqtt.paho_link import PahoLink
from fleet2mqtt.mqtt.settings import Message, Settings, TlsFilesError
from fleet2mqtt.mqtt.withheld import WithheldMessages

T = TypeVar("T")

_CLOSED_ATTEMPTS = 2  # attempts closed without an answer before the other version is tried
_UNSUPPORTED_VERSION = 0x84
_CONNACK_TIMEOUT = 10.0  # seconds
_FIRST_CONNACK_TIMEOUT = 3.0  # seconds for MQTT 5 if 3.1.1 can be tried next


class ConnectionEnded(Disconnected):
    """A connection that could not be made, or ended.

    `code` is the broker's MQTT 5 reason code, 0 for none; `inflight` is the number of messages in flight.
    """

    def __init__(self, cause: DisconnectCause, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.cause = cause
        self.code = code
        self.inflight = 0


class Version(StrEnum):
    """MQTT versions as the configuration names them."""

    V5 = "5"
    V311 = "3.1.1"


@dataclass(slots=True)
class ProtocolNegotiation:
    """The MQTT version to speak, found from the broker's reactions.

    `identifiers` is True if the broker supports subscription identifiers (MQTT 5).

    A broker that does not know MQTT 5 refuses it, closes the connection, or does not answer. A broker that is slow does
    not answer either: if 3.1.1 was chosen for that, MQTT 5 is tried again at the next connection.
    """

    version: Version
    negotiable: bool
    identifiers: bool = True
    _confirmed: bool = False
    _inferred: bool = False
    _unanswered: int = 0
    _closed_early: int = 0

    @classmethod
    def of(cls, protocol: str) -> ProtocolNegotiation:
        """Return the negotiation for the option `protocol`: "auto", "5" or "3.1.1"."""
        auto = protocol == "auto"
        return cls(Version.V5 if auto else Version(protocol), auto)

    @property
    def timeout(self) -> float:
        """Seconds to wait for CONNACK."""
        first = self.negotiable and self.version is Version.V5 and not self._confirmed and not self._unanswered
        return _FIRST_CONNACK_TIMEOUT if first else _CONNACK_TIMEOUT

    def confirm(self) -> None:
        """Record that the broker speaks the version."""
        self._confirmed = True
        self._unanswered = 0

    def on_error(self, error: ConnectionEnded) -> bool:
        """Choose how to connect next; return True if that can be tried at once."""
        if error.cause is DisconnectCause.NO_IDENTIFIERS:
            self.identifiers = False
            return True
        if not self.negotiable:
            return False
        if error.code == _UNSUPPORTED_VERSION and self.version is Version.V5:
            self.version = Version.V311
            return True
        if self._confirmed:
            if self._inferred:
                self._confirmed = self._inferred = False
                self.version = Version.V5
            return False
        if error.cause is DisconnectCause.SILENT:
            self._unanswered += 1
            self._switch()
            self._inferred = self.version is Version.V311
            return self._inferred
        if error.cause is DisconnectCause.CLOSED_EARLY:
            self._closed_early += 1
            if self._closed_early % _CLOSED_ATTEMPTS == 0:
                self._switch()
        return False

    def _switch(self) -> None:
        # Back to MQTT 5 if 3.1.1 does not help: a proxy behaves in the same way while its broker is down.
        self.version = Version.V311 if self.version is Version.V5 else Version.V5


_SUBACK_TIMEOUT = 10.0  # seconds
_DISCONNECT_TIMEOUT = 1.0  # seconds to send a DISCONNECT
_TICK = 1.0  # seconds between two checks of the keep-alive
_MAX_IDENTIFIER = 268_435_455
_TLS_ALERT = re.compile(r"ALERT_(\w+)")

Subscription = tuple[str, int]
"""A topic filter and its QoS."""
RefusedSubscription = tuple[Subscription, str]
"""A subscription that the broker refuses, and its reason."""


class Connection:
    """One connection, used once. `window` accepts messages after `open` has returned.

    `max_packet` is the packet size limit that the broker announced in bytes, None without one.
    """

    def __init__(
        self,
        settings: Settings,
        negotiation: ProtocolNegotiation,
        counters: PublishCounters,
        withheld: WithheldMessages,
        on_message: Callable[[Message], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.version = negotiation.version
        self.max_packet: int | None = None
        # Random, because the session may be one that another process left behind.
        identified = self.version is Version.V5 and negotiation.identifiers
        self._identifier = 1 + secrets.randbelow(_MAX_IDENTIFIER) if identified else None
        self._link: Link = (
            Mqtt5Link(settings, self._identifier, self) if self.version is Version.V5 else PahoLink(settings, self)
        )
        self.window = InflightWindow(settings.inflight, self._link.publish, counters, withheld)
        self._settings = settings
        self._on_message = on_message
        self._connack_timeout = negotiation.timeout
        self._connack: asyncio.Future[Granted] = loop.create_future()
        self._subacks: dict[int, asyncio.Future[Sequence[Reason]]] = {}
        self._closed: asyncio.Future[Never] = loop.create_future()

    async def open(self) -> None:
        """Connect; return after a CONNACK with success. Raises ConnectionEnded."""
        try:
            await self._link.connect()
        except TlsFilesError as error:
            raise ConnectionEnded(DisconnectCause.TLS_FILES, error.strerror or str(error)) from error
        except OSError as error:
            raise ConnectionEnded(DisconnectCause.UNREACHABLE, _error_text(error)) from error
        granted = await self._wait_for_answer(self._connack, "CONNECT", self._connack_timeout)
        if self._identifier is not None and not granted.identifiers:
            raise ConnectionEnded(DisconnectCause.NO_IDENTIFIERS, "the broker has no subscription identifiers")
        self.max_packet = granted.max_packet
        self.window.limit(granted.receive_maximum or self._settings.inflight)

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[RefusedSubscription]:
        """Subscribe to topic filters with their QoS; return those that the broker refuses.

        Raises ConnectionEnded.
        """
        if not subscriptions:
            return []
        reasons = await self._wait_for_answer(self._send_subscribe(subscriptions), "SUBSCRIBE", _SUBACK_TIMEOUT)
        return _refused(subscriptions, reasons)

    def subscribe_again(
        self, subscriptions: Sequence[Subscription], done: Callable[[list[RefusedSubscription]], None]
    ) -> None:
        """Subscribe without waiting; `done` is called with those that the broker still refuses."""
        suback = self._send_subscribe(subscriptions)
        suback.add_done_callback(lambda each: done(_refused(subscriptions, each.result())))

    async def run(self, on_tick: Callable[[], None]) -> Never:
        """Serve the connection until it ends; raises ConnectionEnded then, or what a callback raised.

        `on_tick` is called every second.
        """
        while not self._closed.done():
            await asyncio.wait((self._closed,), timeout=_TICK)
            self._link.tick()
            on_tick()
        self._closed.result()

    def end_unacknowledged(self, topic: str, age: float) -> None:
        """End the connection because a message has been in flight for `age` seconds."""
        self.on_end(DisconnectCause.UNACKNOWLEDGED, f"no PUBACK for a message on {topic} for {age:.0f} s")

    async def disconnect(self, *, keep_will: bool = False) -> None:
        """Send a DISCONNECT, so that the broker does not publish the will, or with `keep_will` only after its delay."""
        self._link.disconnect(keep_will=keep_will)
        await asyncio.wait((self._closed,), timeout=_DISCONNECT_TIMEOUT)

    def abort(self) -> None:
        """Close the connection, if it is open, without a DISCONNECT: the broker publishes the will."""
        self._link.abort()
        self.on_end(DisconnectCause.LEFT, "the connection was given up")

    def on_connack(self, granted: Granted) -> None:
        """Record what the broker grants."""
        if not self._connack.done():
            self._connack.set_result(granted)

    def on_suback(self, mid: int, reasons: Sequence[Reason]) -> None:
        """Record the answer to a subscription."""
        suback = self._subacks.pop(mid, None)
        if suback is not None and not suback.done():
            suback.set_result(reasons)

    def on_puback(self, mid: int, refusal: Reason | None) -> None:
        """Complete a message."""
        if refusal is None:
            self.window.acknowledge(mid)
            return
        name = refusal.name.lower()
        # Temporary: rules, quotas and limits of the broker may change.
        refused = Refused(f"the broker says: {name}", reason=f"refused_{_snake_case(name)}", temporary=True)
        self.window.acknowledge(mid, refused)

    def on_publish(self, message: Message, identifiers: Sequence[int]) -> None:
        """Deliver a message, unless the connection was given up."""
        if not self._closed.done():
            stale = bool(identifiers) and self._identifier not in identifiers
            self._on_message(replace(message, stale=True) if stale else message)

    def on_error(self, error: Exception) -> None:
        """End the connection with what a callback raised."""
        if not self._closed.done():
            self._closed.set_exception(error)
        self.window.close(str(error))

    def on_end(self, cause: DisconnectCause, text: str, code: int = 0, detail: str = "") -> None:
        """Record the end of the connection; the first one counts."""
        if cause is DisconnectCause.CLOSED and not code and not self._connack.done():
            cause, text = DisconnectCause.CLOSED_EARLY, f"{text} in place of an answer{self._tls_hint(detail)}"
        if not self._closed.done():
            self._closed.set_exception(ConnectionEnded(cause, text, code))
            self._closed.exception()  # nobody fetches that of a connection that was given up
        self.window.close(text)

    def _send_subscribe(self, subscriptions: Sequence[Subscription]) -> asyncio.Future[Sequence[Reason]]:
        mid = self._link.subscribe(subscriptions)
        suback: asyncio.Future[Sequence[Reason]] = asyncio.get_running_loop().create_future()
        if mid is not None:  # else the connection is already gone
            self._subacks[mid] = suback
        return suback

    async def _wait_for_answer(self, answer: asyncio.Future[T], packet: str, timeout: float) -> T:  # noqa: ASYNC109
        if not await is_answered(answer, self._closed, timeout):
            raise ConnectionEnded(DisconnectCause.SILENT, f"no answer to {packet} within {timeout:g} s")
        return answer.result()

    def _tls_hint(self, detail: str) -> str:
        """Return the network's text, and the option to check: in TLS 1.3 the broker's alert about us may be lost."""
        tls = self._settings.tls
        text = f": {detail}" if detail else ""
        if tls is None:
            return text
        alert = _TLS_ALERT.search(detail)
        if alert is not None:
            return f": it refuses mqtt.tls.certificate: {alert[1].lower().replace('_', ' ')}"
        if tls.certificate is None:
            return f"{text}; does it ask for a client certificate?"
        return f"{text}; does it accept mqtt.tls.certificate, is that expired or of another authority?"


def _refused(subscriptions: Sequence[Subscription], reasons: Sequence[Reason]) -> list[RefusedSubscription]:
    pairs = zip(subscriptions, reasons, strict=True)
    return [(subscription, reason.name.lower()) for subscription, reason in pairs if reason.is_failure]


def _snake_case(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _error_text(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate does not hold: {error.verify_message.rstrip('.')}; check mqtt.tls"
    return error.strerror or str(error) or type(error).__name__
