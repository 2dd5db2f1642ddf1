"""MQTT 5 on the event loop: the packets are those of mqtt5, the connection is asyncio's."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from functools import partial
from typing import Any

import mqtt5

from fleet2mqtt.errors import Disconnected
from fleet2mqtt.mqtt.link import (
    CONNECT_TIMEOUT,
    FIRST_FAILURE,
    DisconnectCause,
    Granted,
    LinkEvents,
    Reason,
    acknowledge_at_once,
    dial,
)
from fleet2mqtt.mqtt.settings import Message, Outgoing, Settings

_SESSION_AFTER_WILL = 20  # seconds that the session outlives the will
_MAX_OVERHEAD = 65_536 + 1024  # bytes of topic and properties beside the largest payload
_CONNACK_V311 = b"\x20\x02"  # has no properties
_UNSUPPORTED_VERSION = Reason(0x84, "Unsupported protocol version")
_LAST_MID = 65_535
_RECEIVE_BUFFER = 64 * 1024  # bytes; asyncio's own way allocates 256 KiB for each read
_LONG_NAMES = {"ID": "identifier", "IDS": "identifiers", "MAX": "maximum"}


class Mqtt5Link(asyncio.BufferedProtocol):
    """A connection that speaks MQTT 5; see `Link`.

    With an `identifier` of the subscriptions the session goes on, else it starts clean: a command that waited at the
    broker could not be recognised without it, so it must not wait there.
    """

    def __init__(self, settings: Settings, identifier: int | None, events: LinkEvents) -> None:
        self._settings = settings
        self._identifier = identifier
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._sock: Any = None
        self._received = memoryview(bytearray(_RECEIVE_BUFFER))
        self._unread = b""
        self._packets: list[bytes] = []
        self._sent_at_qos_0: list[int] = []
        self._paused = False
        self._mid = 0
        self._mids_in_use: set[int] = set()
        self._qos_0_mid = 0
        self._keepalive = float(settings.keepalive)
        self._received_at = self._sent_at = self._loop.time()
        self._pinged_at: float | None = None
        self._leaving = False
        self._answered = False

    async def connect(self) -> None:
        """Connect and send CONNECT. Raises OSError."""
        settings = self._settings
        context = None if settings.tls is None else await asyncio.to_thread(settings.tls.load)
        sock = await dial(settings.host, settings.port)
        name = None if context is None else settings.host
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._loop.create_connection(lambda: self, sock=sock, ssl=context, server_hostname=name)
        except BaseException:
            sock.close()
            raise

    def subscribe(self, subscriptions: Sequence[tuple[str, int]]) -> int | None:
        """Subscribe; return the packet id of the answer, None if the connection has ended."""
        if self._transport is None or self._transport.is_closing():
            return None
        mid = self._next_mid()
        # A retained command is recognised when it arrives, not only at the next connection.
        filters = [
            mqtt5.TopicFilter(topic, max_qos=mqtt5.QoS(qos), retain_as_published=True) for topic, qos in subscriptions
        ]
        self._send(mqtt5.SubscribePacket(mid, filters, subscription_id=self._identifier).write())
        return mid

    def publish(self, message: Outgoing) -> int:
        """Send a message; return its packet id, a negative number at QoS 0. Raises Disconnected."""
        if self._transport is None or self._transport.is_closing():
            raise Disconnected("the connection has ended")
        if message.qos == 0:
            self._qos_0_mid -= 1
            mid, packet_id = self._qos_0_mid, None
        else:
            mid = packet_id = self._next_mid()
        self._send(
            mqtt5.PublishPacket(
                message.topic,
                message.payload,
                qos=mqtt5.QoS.AT_LEAST_ONCE if message.qos else mqtt5.QoS.AT_MOST_ONCE,
                retain=message.retain,
                packet_id=packet_id,
                correlation_data=message.correlation,
                message_expiry_interval=message.expiry,
            ).write()
        )
        if message.qos == 0:
            self._sent_at_qos_0.append(mid)
        return mid

    def tick(self) -> None:
        """Check the keep-alive, every second."""
        now = self._loop.time()
        if self._pinged_at is not None:
            if now - self._pinged_at >= self._keepalive:
                self._end(DisconnectCause.DEAD, "the broker does not answer any more")
        elif self._answered and now - min(self._sent_at, self._received_at) >= self._keepalive - 1:
            self._pinged_at = now
            self._send(mqtt5.PingReqPacket().write())

    def disconnect(self, *, keep_will: bool = False) -> None:
        """Send a DISCONNECT, then close. With `keep_will` the broker publishes the will after its delay."""
        self._leaving = True
        if self._transport is not None and not self._transport.is_closing():
            codes = mqtt5.DisconnectReasonCode
            code = codes.DISCONNECT_WITH_WILL_MESSAGE if keep_will else codes.NORMAL_DISCONNECTION
            self._send(mqtt5.DisconnectPacket(reason_code=code).write())
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        """Close without a DISCONNECT."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP and TLS have no other
        self._transport = transport
        self._sock = transport.get_extra_info("socket")
        transport.set_write_buffer_limits(0)  # so that a message at QoS 0 is known to be sent
        settings = self._settings
        password = settings.password
        packet = mqtt5.ConnectPacket(
            settings.client_id,
            username=settings.username,
            password=None if password is None else password.encode(),
            clean_start=self._identifier is None,
            keep_alive=settings.keepalive,
            session_expiry_interval=settings.will_delay + _SESSION_AFTER_WILL,
            max_packet_size=settings.max_payload + _MAX_OVERHEAD,
            will=mqtt5.Will(
                settings.will_topic,
                payload=settings.will_payload,
                qos=mqtt5.QoS.AT_LEAST_ONCE,
                retain=True,
                will_delay_interval=settings.will_delay,
            ),
        )
        transport.write(packet.write())

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return the memory to receive into."""
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        """Read packets."""
        self._received_at = self._loop.time()
        data = self._unread + self._received[:nbytes]
        view, at = memoryview(data), 0
        try:
            while at < len(data):
                try:
                    packet, size = mqtt5.read(view[at:])
                except IndexError:  # the rest is still on its way
                    break
                at += size
                self._handle(packet)
        except ValueError as error:
            self._on_malformed(data, error)
        except Exception as error:  # noqa: BLE001 - a callback's, which ends the client and not only its connection
            self._events.on_error(error)
            self.abort()
        self._unread = data[at:]
        if not self._packets:  # else the acknowledgement goes with them
            acknowledge_at_once(self._sock)

    def pause_writing(self) -> None:
        """Record that what was written is still to be sent."""
        self._paused = True

    def resume_writing(self) -> None:
        """Record that everything was sent."""
        self._paused = False
        self._confirm_qos_0()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        self._unread = b""
        if self._leaving:
            self._events.on_end(DisconnectCause.LEFT, "disconnected")
        else:
            self._events.on_end(DisconnectCause.CLOSED, "the broker closed the connection", detail=str(exc or ""))

    def _handle(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.PubAckPacket():
                self._mids_in_use.discard(packet.packet_id)
                code = packet.reason_code
                self._events.on_puback(packet.packet_id, _reason(code) if code.value >= FIRST_FAILURE else None)
            case mqtt5.PublishPacket():
                self._on_message(packet)
            case mqtt5.PingRespPacket():
                self._pinged_at = None
            case mqtt5.ConnAckPacket():
                self._on_connack(packet)
            case mqtt5.SubAckPacket():
                self._mids_in_use.discard(packet.packet_id)
                self._events.on_suback(packet.packet_id, [_reason(code) for code in packet.reason_codes])
            case mqtt5.DisconnectPacket():
                reason = _reason(packet.reason_code)
                taken_over = packet.reason_code is mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
                cause = DisconnectCause.TAKEN_OVER if taken_over else DisconnectCause.CLOSED
                self._end(cause, f"the broker says: {reason.name}", reason.code)
            case _:  # nothing else is asked for
                pass

    def _on_connack(self, packet: mqtt5.ConnAckPacket) -> None:
        reason = _reason(packet.reason_code)
        if reason.is_failure:
            self._end(DisconnectCause.REFUSED, reason.name, reason.code)
            return
        self._answered = True
        if packet.server_keep_alive:
            self._keepalive = float(packet.server_keep_alive)
        self._events.on_connack(
            Granted(
                max_packet=packet.max_packet_size,
                receive_maximum=packet.receive_max,
                identifiers=packet.subscription_id_available,
            )
        )

    def _on_message(self, packet: mqtt5.PublishPacket) -> None:
        acknowledge = partial(self._acknowledge, packet.packet_id)
        manually = self._settings.acknowledge_manually
        message = Message(
            topic=packet.topic,
            payload=packet.payload,
            retain=packet.retain,
            qos=packet.qos,
            response_topic=packet.response_topic,
            correlation_data=packet.correlation_data,
            packet_id=packet.packet_id,
            duplicate=packet.duplicate,
            acknowledge=acknowledge if manually else _acknowledged_already,
        )
        self._events.on_publish(message, packet.subscription_ids)
        if not manually:
            acknowledge()

    def _acknowledge(self, packet_id: int | None) -> None:
        if packet_id is not None and self._transport is not None and not self._transport.is_closing():
            self._send(mqtt5.PubAckPacket(packet_id).write())

    def _on_malformed(self, data: bytes, error: ValueError) -> None:
        if not self._answered and data.startswith(_CONNACK_V311):
            self._end(DisconnectCause.REFUSED, _UNSUPPORTED_VERSION.name, _UNSUPPORTED_VERSION.code)
        else:
            self._end(DisconnectCause.CLOSED, f"the broker sent what is no MQTT 5: {str(error).lower()}")

    def _end(self, cause: DisconnectCause, text: str, code: int = 0) -> None:
        self._events.on_end(cause, text, code)
        self.abort()

    def _next_mid(self) -> int:
        while True:
            self._mid = self._mid % _LAST_MID + 1
            if self._mid not in self._mids_in_use:
                self._mids_in_use.add(self._mid)
                return self._mid

    def _send(self, packet: bytes) -> None:
        # One system call for all packets of a turn of the event loop.
        if not self._packets:
            self._loop.call_soon(self._flush)
        self._packets.append(packet)

    def _flush(self) -> None:
        packets, self._packets = self._packets, []
        if packets and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(packets))
            self._sent_at = self._loop.time()
        if not self._paused:
            self._confirm_qos_0()

    def _confirm_qos_0(self) -> None:
        sent, self._sent_at_qos_0 = self._sent_at_qos_0, []
        for mid in sent:
            self._events.on_puback(mid, None)


def _acknowledged_already() -> None:
    """Do nothing: the link has acknowledged the message."""


def _reason(code: enum.IntEnum) -> Reason:
    words = [_LONG_NAMES.get(word, word.lower()) for word in code.name.split("_")]
    return Reason(code.value, " ".join(words).capitalize())
