"""MQTT 3.1.1 by paho on a thread of its own, which reports to the event loop."""

from __future__ import annotations

import asyncio
import socket
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from fleet2mqtt.errors import Disconnected
from fleet2mqtt.mqtt.link import DisconnectCause, Granted, LinkEvents, Reason, in_thread, shut_down
from fleet2mqtt.mqtt.settings import Message, Outgoing, Settings, TlsFiles

_KEEPALIVE_TIMEOUT = 0x8D

Transport = Literal["tcp", "websockets"]


class PahoThread:
    """Makes a paho client of MQTT 3.1.1 and runs it on its thread; `post` hands its callbacks to the event loop."""

    def __init__(self, client_id: str, username: str | None, password: str | None, transport: Transport) -> None:
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
            transport=transport,
            reconnect_on_failure=False,
        )
        self.client.username_pw_set(username, password)
        self._loop = asyncio.get_running_loop()

    async def connect(self, host: str, port: int, keepalive: int, tls: TlsFiles | None) -> None:
        """Connect and start the thread. Raises OSError, TlsFilesError."""
        client = self.client  # which may be released before a slow connection is made
        if tls is not None:
            client.tls_set_context(await asyncio.to_thread(tls.load))

        def connect() -> None:
            try:
                client.connect(host, port, keepalive)
            except Exception as error:
                _close_sockets(error)
                raise

        def close() -> None:
            sock = client.socket()
            if sock is not None:
                sock.close()

        await in_thread(connect, close)
        client.loop_start()

    def post(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call `callback` on the event loop; nobody is there to be called once that is closed."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    def abort(self) -> None:
        """End the connection, if there is one, without a DISCONNECT; the thread ends by that."""
        sock = self.client.socket()
        if sock is not None and (descriptor := sock.fileno()) >= 0:
            shut_down(descriptor)

    def release(self) -> None:
        """Let go of the client: it closes its inner sockets once nothing refers to it, which a cycle would delay."""
        client = self.client
        client.on_log = client.on_connect = client.on_disconnect = client.on_subscribe = None
        client.on_publish = client.on_message = None
        del self.client


def _close_sockets(error: Exception) -> None:
    """Close what paho leaves open when a handshake fails: only the traceback refers to it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            if isinstance(value, socket.socket):
                value.close()


class PahoLink:
    """A connection that speaks MQTT 3.1.1; see `Link`."""

    def __init__(self, settings: Settings, events: LinkEvents) -> None:
        self._settings = settings
        self._events = events
        self._detail = ""
        self._thread = PahoThread(settings.client_id, settings.username, settings.password, "tcp")
        client = self._client = self._thread.client
        client.max_inflight_messages = 0  # InflightWindow bounds them, and paho's bound costs time
        client.will_set(settings.will_topic, settings.will_payload, qos=1, retain=True)
        client.on_log = self._on_log
        client.on_connect = self._on_connack
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_suback
        client.on_publish = self._on_puback
        client.on_message = self._on_publish

    async def connect(self) -> None:
        """Connect and send CONNECT. Raises OSError."""
        settings = self._settings
        await self._thread.connect(settings.host, settings.port, settings.keepalive, settings.tls)

    def subscribe(self, subscriptions: Sequence[tuple[str, int]]) -> int | None:
        """Subscribe; return the packet id of the answer, None if the connection has ended."""
        return self._client.subscribe(list(subscriptions))[1]

    def publish(self, message: Outgoing) -> int:
        """Send a message; return its packet id. Raises Disconnected."""
        sent = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        # Its thread may have sent it and seen the broker close over it by now: then it is in flight until the end.
        if sent.rc not in {MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN}:
            raise Disconnected(paho.error_string(sent.rc))
        return sent.mid

    def tick(self) -> None:
        """Do nothing: paho's thread checks the keep-alive."""

    def disconnect(self, *, keep_will: bool = False) -> None:
        """Send a DISCONNECT, then close. MQTT 3.1.1 has none that keeps the will."""
        del keep_will
        self._client.disconnect()

    def abort(self) -> None:
        """Close without a DISCONNECT."""
        self._thread.abort()

    def _on_log(self, _client: paho.Client, _userdata: object, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._detail = text

    def _on_connack(self, client: paho.Client, _userdata: object, _flags: object, code: ReasonCode, _: object) -> None:
        client.on_log = None  # paho would format a text for each packet
        if code.is_failure:
            self._thread.post(self._events.on_end, DisconnectCause.REFUSED, str(code), code.value)
        else:
            self._thread.post(self._events.on_connack, Granted())

    def _on_disconnect(
        self, _client: paho.Client, _userdata: object, _flags: object, code: ReasonCode, _: object
    ) -> None:
        if not code.is_failure:
            end: tuple[Any, ...] = (DisconnectCause.LEFT, "disconnected")
        elif code.value == _KEEPALIVE_TIMEOUT:
            end = (DisconnectCause.DEAD, "the broker does not answer any more")
        else:
            end = (DisconnectCause.CLOSED, "the broker closed the connection", 0, self._detail)
        self._thread.post(self._events.on_end, *end)

    def _on_suback(self, _client: paho.Client, _userdata: object, mid: int, codes: list[ReasonCode], _: object) -> None:
        self._thread.post(self._events.on_suback, mid, [Reason(code.value, str(code)) for code in codes])

    def _on_puback(self, _client: paho.Client, _userdata: object, mid: int, _code: object, _: object) -> None:
        self._thread.post(self._events.on_puback, mid, None)  # 3.1.1 knows no refusal

    def _on_publish(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        received = Message(topic=message.topic, payload=bytes(message.payload), retain=message.retain, qos=message.qos)
        self._thread.post(self._publish, received)

    def _publish(self, message: Message) -> None:
        try:
            self._events.on_publish(message, ())
        except Exception as error:  # noqa: BLE001 - a callback's, which ends the client and not only its connection
            self._events.on_error(error)
            self.abort()
