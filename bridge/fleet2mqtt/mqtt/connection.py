"""One connection to the broker, and the protocol negotiation."""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Never, TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from fleet2mqtt.errors import Disconnected, Refused
from fleet2mqtt.mqtt.flow_control import InflightWindow, PublishCounters
from fleet2mqtt.mqtt.network_loop import NetworkLoop
from fleet2mqtt.mqtt.paho_overrides import PahoClient
from fleet2mqtt.mqtt.settings import Message, Outgoing, Settings, properties
from fleet2mqtt.mqtt.withheld import WithheldMessages

T = TypeVar("T")

_CLOSED_ATTEMPTS = 2  # attempts closed without an answer before the other version is tried
_UNSUPPORTED_VERSION = 0x84
_CONNACK_TIMEOUT = 10.0  # seconds
_FIRST_CONNACK_TIMEOUT = 3.0  # seconds for MQTT 5 if 3.1.1 can be tried next


class DisconnectCause(StrEnum):
    """Why a connection could not be made, or ended."""

    TLS_FILES = "tls_files"  # our own certificate files cannot be used
    UNREACHABLE = "unreachable"  # no TCP or TLS connection
    SILENT = "silent"  # no answer in time
    CLOSED_EARLY = "closed_early"  # closed instead of an answer
    REFUSED = "refused"  # CONNACK with a failure
    NO_IDENTIFIERS = "no_identifiers"  # the broker speaks MQTT 5 without subscription identifiers
    CLOSED = "closed"
    TAKEN_OVER = "taken_over"  # session takeover by another client with our client id
    DEAD = "dead"  # no answer to a ping
    UNACKNOWLEDGED = "unacknowledged"  # no PUBACK for too long
    LEFT = "left"  # we closed it


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
_SESSION_AFTER_WILL = 20  # seconds that the session outlives the will
_MAX_IDENTIFIER = 268_435_455
_MAX_OVERHEAD = 65_536 + 1024  # bytes of topic and properties beside the largest payload
_TAKEN_OVER = 0x8E
_KEEPALIVE_TIMEOUT = 0x8D
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
        self.window = InflightWindow(settings.inflight, self._publish, counters, withheld)
        self._settings = settings
        self._identifiers = self.version is Version.V5 and negotiation.identifiers
        # Random, because the session may be one that another process left behind.
        self._identifier = 1 + secrets.randbelow(_MAX_IDENTIFIER)
        self._on_message = on_message
        self._connack_timeout = negotiation.timeout
        self._connack: asyncio.Future[Properties] = loop.create_future()
        self._subacks: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._paho_error = ""
        self._client = _build_client(settings, self.version)
        self._network_loop = NetworkLoop(self._client)

    async def open(self) -> None:
        """Connect; return after a CONNACK with success. Raises ConnectionEnded."""
        self._set_callbacks()
        settings = self._settings
        if settings.tls is not None:
            try:
                self._client.tls_set_context(await asyncio.to_thread(settings.tls.load))
            except OSError as error:
                raise ConnectionEnded(DisconnectCause.TLS_FILES, error.strerror or str(error)) from error
        try:
            await self._network_loop.connect(
                settings.host, settings.port, settings.keepalive, **self._session_options()
            )
        except OSError as error:
            raise ConnectionEnded(DisconnectCause.UNREACHABLE, _error_text(error)) from error
        granted = await self._wait_for_answer(self._connack, "CONNECT", self._connack_timeout)
        if self._identifiers and getattr(granted, "SubscriptionIdentifierAvailable", 1) == 0:
            raise ConnectionEnded(DisconnectCause.NO_IDENTIFIERS, "the broker has no subscription identifiers")
        self.max_packet = getattr(granted, "MaximumPacketSize", None)
        self.window.limit(getattr(granted, "ReceiveMaximum", settings.inflight))

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[RefusedSubscription]:
        """Subscribe to topic filters with their QoS; return those that the broker refuses.

        Raises ConnectionEnded.
        """
        if not subscriptions:
            return []
        codes = await self._wait_for_answer(self._send_subscribe(subscriptions), "SUBSCRIBE", _SUBACK_TIMEOUT)
        return _refused(subscriptions, codes)

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
        await self._network_loop.run(on_tick)

    def end_unacknowledged(self, topic: str, age: float) -> None:
        """End the connection because a message has been in flight for `age` seconds."""
        self._end(DisconnectCause.UNACKNOWLEDGED, f"no PUBACK for a message on {topic} for {age:.0f} s")

    async def disconnect(self) -> None:
        """Send a DISCONNECT, so that the broker does not publish the will."""
        self._client.disconnect()
        await asyncio.wait((self._network_loop.closed,), timeout=_DISCONNECT_TIMEOUT)

    def abort(self) -> None:
        """Close the connection, if it is open, without a DISCONNECT: the broker publishes the will."""
        self._network_loop.abort()
        self._end(DisconnectCause.LEFT, "the connection was given up")

    def _set_callbacks(self) -> None:
        client = self._client
        client.on_log = self._on_log
        client.on_connect = self._on_connack
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_suback
        client.on_publish = self._on_puback
        client.on_message = self._on_publish

    def _session_options(self) -> dict[str, Any]:
        if self.version is not Version.V5:
            return {}
        requested = properties(
            PacketTypes.CONNECT,
            SessionExpiryInterval=self._settings.will_delay + _SESSION_AFTER_WILL,
            MaximumPacketSize=self._settings.max_payload + _MAX_OVERHEAD,
        )
        # Without identifiers a command that waited at the broker cannot be recognised: it must not wait there.
        return {"clean_start": not self._identifiers, "properties": requested}

    def _send_subscribe(self, subscriptions: Sequence[Subscription]) -> asyncio.Future[list[ReasonCode]]:
        if self.version is Version.V5:
            identifier = self._identifier if self._identifiers else None
            extra = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=identifier)
            # A retained command is recognised when it arrives, not only at the next connection.
            options = [(topic, SubscribeOptions(qos=qos, retainAsPublished=True)) for topic, qos in subscriptions]
            _, mid = self._client.subscribe(options, properties=extra)
        else:
            _, mid = self._client.subscribe(list(subscriptions))
        suback: asyncio.Future[list[ReasonCode]] = asyncio.get_running_loop().create_future()
        if mid is not None:  # else the connection is already gone
            self._subacks[mid] = suback
        return suback

    async def _wait_for_answer(self, answer: asyncio.Future[T], packet: str, timeout: float) -> T:  # noqa: ASYNC109
        closed = self._network_loop.closed
        await asyncio.wait((answer, closed), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            closed.result()
        if not answer.done():
            raise ConnectionEnded(DisconnectCause.SILENT, f"no answer to {packet} within {timeout:g} s")
        return answer.result()

    def _publish(self, message: Outgoing) -> int:
        sent = self._client.publish(message.topic, message.payload, message.qos, message.retain, message.properties)
        if sent.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise Disconnected(paho.error_string(sent.rc))
        return sent.mid

    def _end(self, cause: DisconnectCause, reason: str, code: int = 0) -> None:
        closed = self._network_loop.closed
        if not closed.done():
            closed.set_exception(ConnectionEnded(cause, reason, code))
            closed.exception()  # nobody fetches that of a connection that was given up
        self.window.close(reason)

    def _on_log(self, _client: paho.Client, _userdata: object, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._paho_error = f": {text}"

    def _on_connack(
        self, client: paho.Client, _userdata: object, _flags: object, code: ReasonCode, granted: Properties | None
    ) -> None:
        client.on_log = None  # paho would format a text for each packet
        if code.is_failure:
            self._end(DisconnectCause.REFUSED, str(code), code.value)
        elif not self._connack.done():
            self._connack.set_result(granted or properties(PacketTypes.CONNACK))

    def _on_disconnect(
        self, _client: paho.Client, _userdata: object, flags: paho.DisconnectFlags, code: ReasonCode, _: object
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            cause = DisconnectCause.TAKEN_OVER if code.value == _TAKEN_OVER else DisconnectCause.CLOSED
            self._end(cause, f"the broker says: {code}", code.value)
        elif not code.is_failure:
            self._end(DisconnectCause.LEFT, "disconnected")
        elif code.value == _KEEPALIVE_TIMEOUT:
            self._end(DisconnectCause.DEAD, "the broker does not answer any more")
        elif not self._connack.done():
            text = f"the broker closed the connection in place of an answer{self._tls_hint()}"
            self._end(DisconnectCause.CLOSED_EARLY, text)
        else:
            self._end(DisconnectCause.CLOSED, "the broker closed the connection")

    def _tls_hint(self) -> str:
        """Return what paho logged, and the option to check: in TLS 1.3 the broker's alert about us may be lost."""
        tls = self._settings.tls
        if tls is None:
            return self._paho_error
        alert = _TLS_ALERT.search(self._paho_error)
        if alert is not None:
            return f": it refuses mqtt.tls.certificate: {alert[1].lower().replace('_', ' ')}"
        if tls.certificate is None:
            return f"{self._paho_error}; does it ask for a client certificate?"
        return f"{self._paho_error}; does it accept mqtt.tls.certificate, is that expired or of another authority?"

    def _on_suback(self, _client: paho.Client, _userdata: object, mid: int, codes: list[ReasonCode], _: object) -> None:
        suback = self._subacks.pop(mid, None)
        if suback is not None and not suback.done():
            suback.set_result(codes)

    def _on_puback(self, _client: paho.Client, _userdata: object, mid: int, code: ReasonCode, _: object) -> None:
        if code.is_failure:
            name = str(code).lower()
            refusal = Refused(
                f"the broker says: {name}",
                reason=f"refused_{_snake_case(name)}",
                temporary=True,  # rules, quotas and limits of the broker may change
            )
            self.window.acknowledge(mid, refusal)
        else:
            self.window.acknowledge(mid)

    def _on_publish(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        extra = message.properties
        identifiers = getattr(extra, "SubscriptionIdentifier", ())
        self._on_message(
            Message(
                topic=message.topic,
                payload=bytes(message.payload),
                retain=message.retain,
                qos=message.qos,
                response_topic=getattr(extra, "ResponseTopic", None),
                correlation_data=getattr(extra, "CorrelationData", None),
                stale=bool(identifiers) and self._identifier not in identifiers,
            )
        )


def _build_client(settings: Settings, version: Version) -> paho.Client:
    v5 = version is Version.V5
    client = PahoClient(
        CallbackAPIVersion.VERSION2,
        client_id=settings.client_id,
        clean_session=None if v5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.max_inflight_messages = 0  # InflightWindow bounds them, and paho's bound costs time
    client.username_pw_set(settings.username, settings.password)
    will = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=settings.will_delay) if v5 else None
    client.will_set(settings.will_topic, settings.will_payload, qos=1, retain=True, properties=will)
    return client


def _refused(subscriptions: Sequence[Subscription], codes: list[ReasonCode]) -> list[RefusedSubscription]:
    pairs = zip(subscriptions, codes, strict=True)
    return [(subscription, str(code).lower()) for subscription, code in pairs if code.is_failure]


def _snake_case(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _error_text(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate does not hold: {error.verify_message.rstrip('.')}; check mqtt.tls"
    return error.strerror or str(error) or type(error).__name__
