"""The one module that relies on private members of paho; tests/mqtt/test_overrides.py names them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import MessageType, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from fleet2mqtt.mqtt.settings import properties

_MAX_BATCH = 65_536  # bytes handed to the socket at once, more or less
_SHORT_PUBACK = 3  # bytes: packet id, and perhaps a reason code
_FIRST_FAILURE = b"\x80"


class PahoClient(paho.Client):
    """paho's client without two of its costs, and without a leak.

    paho makes a reason code and properties for each PUBACK, which was a quarter of the cost of publishing, and sends
    each packet with a system call of its own, which was another quarter. It leaves the socket open when a websocket
    handshake fails.
    """

    _success = ReasonCode(PacketTypes.PUBACK)
    _no_properties = properties(PacketTypes.PUBACK)
    _newest_socket: socket.socket | None = None

    def _create_socket(self) -> Any:
        try:
            return super()._create_socket()
        except Exception:
            if self._newest_socket is not None:
                self._newest_socket.close()
            raise

    def _create_socket_connection(self) -> socket.socket:
        self._newest_socket = super()._create_socket_connection()
        return self._newest_socket

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        self._newest_socket = wrapped = super()._ssl_wrap_socket(tcp_sock)
        return wrapped

    def _packet_write(self) -> MQTTErrorCode:
        batch = _first_batch(self._out_packet)
        if len(batch) > 1:
            first = batch[0]
            first["packet"] = b"".join(packet["packet"][packet["pos"] :] for packet in batch)
            first["pos"], first["to_process"] = 0, len(first["packet"])
            for _ in batch:
                self._out_packet.popleft()
            self._out_packet.appendleft(first)
        return super()._packet_write()

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        # A packet id alone means success, and so does a reason code below 0x80, such as "no matching subscribers".
        if len(packet) > _SHORT_PUBACK or packet[2:] >= _FIRST_FAILURE:
            return super()._handle_pubackcomp(cmd)
        mid = int.from_bytes(packet[:2])
        with self._out_message_mutex:
            if mid in self._out_messages:
                return self._do_on_publish(mid, self._success, self._no_properties)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def raw_socket(client: paho.Client) -> socket.socket | None:
    """Return the TCP or TLS socket of a client, also the one below its websocket; None while there is none."""
    sock: Any = client.socket()
    below = getattr(sock, "_socket", sock)
    return below if isinstance(below, socket.socket) else None


def _first_batch(packets: Iterable[Any]) -> list[Any]:
    """Return the first packets that can be sent together.

    paho has something to do after sending a QoS 0 message or a DISCONNECT, so neither is part of a batch.
    """
    batch, size = [], 0
    for packet in packets:
        kind = packet["command"] & 0xF0
        if size >= _MAX_BATCH or kind == MessageType.DISCONNECT or (kind == MessageType.PUBLISH and packet["qos"] == 0):
            break
        batch.append(packet)
        size += packet["to_process"]
    return batch
