"""One connection to the broker: what is said on it, and what the answers mean."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Never, TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MessageType, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from fleet2mqtt.errors import Disconnected, Refused
from fleet2mqtt.mqtt.flow_control import InflightWindow, PublishCounters
from fleet2mqtt.mqtt.paho_driver import NetworkLoop
from fleet2mqtt.mqtt.settings import Message, Outgoing, Settings, properties

_SILENT_ENOUGH = 2
_UNSUPPORTED_VERSION = 0x84


class DisconnectCause(StrEnum):
    """Why a connection could not be made, or ended."""

    UNREACHABLE = "unreachable"  # nobody there
    SILENT = "silent"  # closed in place of an answer, or none came
    REFUSED = "refused"  # CONNACK says no
    NO_IDENTIFIERS = "no_identifiers"  # the broker has MQTT 5, without subscription identifiers
    CLOSED = "closed"
    TAKEN_OVER = "taken_over"  # another client came with our client id
    DEAD = "dead"  # no answer to a ping
    LEFT = "left"  # we closed it


class ConnectionEnded(Disconnected):
    """A connection that could not be made, or ended; `code` is the broker's MQTT 5 reason code, 0 for none."""

    def __init__(self, cause: DisconnectCause, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.cause = cause
        self.code = code


class Version(StrEnum):
    """MQTT as the configuration names it."""

    V5 = "5"
    V311 = "3.1.1"


@dataclass(slots=True)
class ProtocolNegotiation:
    """`identifiers`: whether the broker marks messages with the subscription that they come by (MQTT 5)."""

    version: Version
    negotiable: bool
    identifiers: bool = True
    _proven: bool = False
    _silent: int = 0

    @classmethod
    def of(cls, protocol: str) -> ProtocolNegotiation:
        """For the configured `protocol`: "auto", "5" or "3.1.1"."""
        auto = protocol == "auto"
        return cls(Version.V5 if auto else Version(protocol), auto)

    def confirm(self) -> None:
        """It was understood."""
        self._proven = True

    def on_error(self, error: ConnectionEnded) -> bool:
        """Whether to try again at once, in another way."""
        if error.cause is DisconnectCause.NO_IDENTIFIERS:
            self.identifiers = False
            return True
        if not self.negotiable:
            return False
        if error.code == _UNSUPPORTED_VERSION and self.version is Version.V5:
            self.version = Version.V311
            return True
        if error.cause is DisconnectCause.SILENT and not self._proven:
            self._silent += 1
            if self._silent % _SILENT_ENOUGH == 0:
                # Back again if that does not help either: a proxy whose broker is down closes just like that.
                self.version = Version.V311 if self.version is Version.V5 else Version.V5
        return False


T = TypeVar("T")

_PATIENCE = 10.0  # seconds for the broker to answer
_GOODBYE = 1.0  # seconds to get rid of a DISCONNECT
_SESSION_BEYOND_WILL = 20  # seconds
_MAX_IDENTIFIER = 268_435_455
_HEADROOM = 65_536 + 1024  # bytes of topic and properties beside the largest payload
_AT_ONCE = 65_536  # bytes handed to the socket in one piece, more or less
_SHORT_ACK = 3  # bytes: a packet id, and a code perhaps
_FAILURE = b"\x80"
_TAKEN_OVER = 0x8E
_KEEPALIVE_TIMEOUT = 0x8D


class Connection:
    """One connection, never used again. `window` takes messages once `open` has returned.

    `max_packet` is the broker's own limit in bytes, None where it does not tell.
    """

    def __init__(
        self,
        settings: Settings,
        dialect: ProtocolNegotiation,
        tally: PublishCounters,
        on_message: Callable[[Message], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.version = dialect.version
        self.max_packet: int | None = None
        self.window = InflightWindow(settings.window, self._publish, tally)
        self._settings = settings
        self._identifiers = self.version is Version.V5 and dialect.identifiers
        # Random, as the session may be one that another process left behind.
        self._identifier = 1 + secrets.randbelow(_MAX_IDENTIFIER)
        self._on_message = on_message
        self._greeting: asyncio.Future[Properties] = loop.create_future()
        self._granted: asyncio.Future[list[ReasonCode]] = loop.create_future()
        self._complaint = ""
        self._client = _client(settings, self.version)
        self._pump = NetworkLoop(self._client)

    async def open(self) -> None:
        """Connect; return when the broker has said yes. Raises ConnectionEnded."""
        self._listen()
        settings = self._settings
        try:
            await self._pump.dial(settings.host, settings.port, settings.keepalive, **self._session())
        except OSError as error:
            raise ConnectionEnded(DisconnectCause.UNREACHABLE, _words(error)) from error
        terms = await self._answer(self._greeting, "CONNECT")
        if self._identifiers and getattr(terms, "SubscriptionIdentifierAvailable", 1) == 0:
            raise ConnectionEnded(DisconnectCause.NO_IDENTIFIERS, "the broker has no subscription identifiers")
        self.max_packet = getattr(terms, "MaximumPacketSize", None)
        self.window.shrink(getattr(terms, "ReceiveMaximum", settings.window))

    async def subscribe(self, subscriptions: Sequence[tuple[str, int]]) -> list[str]:
        """Subscribe to filters with their QoS; tells what the broker refuses. Raises ConnectionEnded."""
        if not subscriptions:
            return []
        if self.version is Version.V5:
            identifier = self._identifier if self._identifiers else None
            marked = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=identifier)
            # So that a command sent with retain is seen to be one when it comes, not only at the next connection.
            options = [(topic, SubscribeOptions(qos=qos, retainAsPublished=True)) for topic, qos in subscriptions]
            self._client.subscribe(options, properties=marked)
        else:
            self._client.subscribe(list(subscriptions))
        codes = await self._answer(self._granted, "SUBSCRIBE")
        pairs = zip(subscriptions, codes, strict=True)
        return [f"{topic} ({str(code).lower()})" for (topic, _), code in pairs if code.is_failure]

    async def hold(self) -> Never:
        """Keep the connection until it ends; raises ConnectionEnded then, or whatever a callback raised."""
        await self._pump.hold()

    async def leave(self) -> None:
        """Disconnect in order: the broker forgets the will."""
        self._client.disconnect()
        await asyncio.wait((self._pump.closed,), timeout=_GOODBYE)

    def abort(self) -> None:
        """Close the connection, if it is open, without a word: the broker publishes the will."""
        self._pump.abort()
        self._end(DisconnectCause.LEFT, "the connection was given up")

    def _listen(self) -> None:
        client = self._client
        client.on_log = self._hear
        client.on_connect = self._greeted
        client.on_disconnect = self._ended
        client.on_subscribe = self._subscribed
        client.on_publish = self._acknowledged
        client.on_message = self._received

    def _session(self) -> dict[str, Any]:
        if self.version is not Version.V5:
            return {}
        terms = properties(
            PacketTypes.CONNECT,
            SessionExpiryInterval=self._settings.will_delay + _SESSION_BEYOND_WILL,
            MaximumPacketSize=self._settings.max_payload + _HEADROOM,
        )
        # Without identifiers nobody could tell a command that waited at the broker: it must not wait there.
        return {"clean_start": not self._identifiers, "properties": terms}

    async def _answer(self, answer: asyncio.Future[T], question: str) -> T:
        closed = self._pump.closed
        await asyncio.wait((answer, closed), timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            closed.result()
        if not answer.done():
            raise ConnectionEnded(DisconnectCause.SILENT, f"no answer to {question} within {_PATIENCE:g} s")
        return answer.result()

    def _publish(self, message: Outgoing) -> int:
        sent = self._client.publish(message.topic, message.payload, message.qos, message.retain, message.properties)
        if sent.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise Disconnected(paho.error_string(sent.rc))
        return sent.mid

    def _end(self, cause: DisconnectCause, reason: str, code: int = 0) -> None:
        closed = self._pump.closed
        if not closed.done():
            closed.set_exception(ConnectionEnded(cause, reason, code))
            closed.exception()  # nobody asks after a connection that was given up
        self.window.close(reason)

    def _hear(self, _client: paho.Client, _userdata: object, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._complaint = f": {text}"

    def _greeted(
        self, client: paho.Client, _userdata: object, _flags: object, code: ReasonCode, terms: Properties | None
    ) -> None:
        client.on_log = None  # it would cost every packet its text
        if code.is_failure:
            self._end(DisconnectCause.REFUSED, str(code), code.value)
        elif not self._greeting.done():
            self._greeting.set_result(terms or properties(PacketTypes.CONNACK))

    def _ended(
        self, _client: paho.Client, _userdata: object, flags: paho.DisconnectFlags, code: ReasonCode, _: object
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            cause = DisconnectCause.TAKEN_OVER if code.value == _TAKEN_OVER else DisconnectCause.CLOSED
            self._end(cause, f"the broker says: {code}", code.value)
        elif not code.is_failure:
            self._end(DisconnectCause.LEFT, "disconnected")
        elif code.value == _KEEPALIVE_TIMEOUT:
            self._end(DisconnectCause.DEAD, "the broker does not answer any more")
        elif not self._greeting.done():
            # In TLS 1.3 the handshake ends before the broker looks at our certificate; its alert may be lost.
            hint = "; does it ask for a client certificate?" if self._settings.tls is not None else ""
            self._end(
                DisconnectCause.SILENT, f"the broker closed the connection in place of an answer{self._complaint}{hint}"
            )
        else:
            self._end(DisconnectCause.CLOSED, "the broker closed the connection")

    def _subscribed(
        self, _client: paho.Client, _userdata: object, _mid: int, codes: list[ReasonCode], _: object
    ) -> None:
        if not self._granted.done():
            self._granted.set_result(codes)

    def _acknowledged(self, _client: paho.Client, _userdata: object, mid: int, code: ReasonCode, _: object) -> None:
        if code.is_failure:
            name = str(code).lower()
            self.window.acknowledge(mid, Refused(f"the broker says: {name}", reason=f"refused_{_snake(name)}"))
        else:
            self.window.acknowledge(mid)

    def _received(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        marks = message.properties
        came_by = getattr(marks, "SubscriptionIdentifier", ())
        self._on_message(
            Message(
                topic=message.topic,
                payload=bytes(message.payload),
                retain=message.retain,
                qos=message.qos,
                response_topic=getattr(marks, "ResponseTopic", None),
                correlation_data=getattr(marks, "CorrelationData", None),
                stale=bool(came_by) and self._identifier not in came_by,
            )
        )


class _Client(paho.Client):
    """paho with two of its costs left out.

    It makes a reason code and properties afresh for each PUBACK, which was a quarter of publishing's cost, and sends
    each packet by itself, which was another: a system call costs as much as making the packet.
    """

    _taken = ReasonCode(PacketTypes.PUBACK)
    _silence = properties(PacketTypes.PUBACK)

    def _packet_write(self) -> MQTTErrorCode:
        together = _sent_together(self._out_packet)
        if len(together) > 1:
            first = together[0]
            first["packet"] = b"".join(packet["packet"][packet["pos"] :] for packet in together)
            first["pos"], first["to_process"] = 0, len(first["packet"])
            for _ in together:
                self._out_packet.popleft()
            self._out_packet.appendleft(first)
        return super()._packet_write()

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        # The packet id alone says that all went well, and so does a code below 0x80, such as that nobody listens.
        if len(packet) > _SHORT_ACK or packet[2:] >= _FAILURE:
            return super()._handle_pubackcomp(cmd)
        mid = int.from_bytes(packet[:2])
        with self._out_message_mutex:
            if mid in self._out_messages:
                return self._do_on_publish(mid, self._taken, self._silence)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def _sent_together(waiting: Iterable[Any]) -> list[Any]:
    """The first packets after whose sending paho has nothing to do: not so a QoS 0 message and a DISCONNECT."""
    together, size = [], 0
    for packet in waiting:
        kind = packet["command"] & 0xF0
        if size >= _AT_ONCE or kind == MessageType.DISCONNECT or (kind == MessageType.PUBLISH and packet["qos"] == 0):
            break
        together.append(packet)
        size += packet["to_process"]
    return together


def _client(settings: Settings, version: Version) -> paho.Client:
    v5 = version is Version.V5
    client = _Client(
        CallbackAPIVersion.VERSION2,
        client_id=settings.client_id,
        clean_session=None if v5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.max_inflight_messages = 0  # the window bounds them, and paho's bound costs time
    client.username_pw_set(settings.username, settings.password)
    if settings.tls is not None:
        client.tls_set_context(settings.tls)
    will = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=settings.will_delay) if v5 else None
    client.will_set(settings.will_topic, settings.will_payload, qos=1, retain=True, properties=will)
    return client


def _snake(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate does not hold: {error.verify_message.rstrip('.')}; check mqtt.tls"
    return error.strerror or str(error) or type(error).__name__
