"""The network loop: connects paho's socket in a thread and serves it on the event loop. paho starts no thread."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Never

import paho.mqtt.client as paho

from fleet2mqtt.mqtt.paho_overrides import raw_socket

_CONNECT_TIMEOUT = 30.0  # seconds for name resolution, TCP and TLS
_TICK = 1.0  # seconds between two checks of the keep-alive
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux has it


class _CallbackErrors:
    """Context manager that sets what a callback raises as the exception of a future; the event loop would log it."""

    def __init__(self, closed: asyncio.Future[Never]) -> None:
        self._closed = closed

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if not isinstance(error, Exception) or self._closed.done():
            return False
        self._closed.set_exception(error)
        return True


class NetworkLoop:
    """Moves bytes between a paho client and its socket.

    Whoever finds that the connection has ended sets the exception of `closed`.
    """

    def __init__(self, client: paho.Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._attached = False
        self._watching_write = False
        self.closed: asyncio.Future[Never] = self._loop.create_future()
        self._callback_errors = _CallbackErrors(self.closed)
        client.on_socket_register_write = self._on_write_wanted
        client.on_socket_unregister_write = self._on_write_done
        client.on_socket_close = self._detach

    async def connect(self, host: str, port: int, keepalive: int, **options: Any) -> None:
        """Open the connection: name resolution, TCP, TLS; `options` are further arguments of paho's `connect`.

        Raises OSError.
        """
        # paho blocks here. At its end the process must not wait for a thread that waits for a name server.
        connected: asyncio.Future[None] = self._loop.create_future()

        def connect() -> None:
            failure: Exception | None = None
            try:
                self._client.connect(host, port, keepalive, **options)
            except (OSError, ValueError) as error:
                failure = error
            except IndexError as error:  # paho's reading of an odd websocket handshake
                failure = ConnectionAbortedError(f"an odd websocket handshake: {error}")
            try:
                self._loop.call_soon_threadsafe(self._on_connected, connected, failure)
            except RuntimeError:  # the event loop was closed in the meantime
                self.abort()

        threading.Thread(target=connect, name="mqtt-connect", daemon=True).start()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await connected
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no connection within {_CONNECT_TIMEOUT:g} s") from error
        self._attach()

    async def run(self, on_tick: Callable[[], None]) -> Never:
        """Serve the connection until it ends; raises the exception of `closed`, or what a callback raised.

        `on_tick` is called every second.
        """
        while not self.closed.done():
            await asyncio.wait((self.closed,), timeout=_TICK)
            self._client.loop_misc()
            on_tick()
        self.closed.result()

    def abort(self) -> None:
        """Close the socket, if it is open, without a DISCONNECT."""
        client = self._client
        client.on_socket_close = client.on_socket_unregister_write = None  # paho's destructor would call them
        sock = client.socket()
        if sock is not None:
            self._detach(client, None, sock)
            sock.close()

    def _on_connected(self, connected: asyncio.Future[None], failure: Exception | None) -> None:
        if connected.done():  # cancelled in the meantime
            self.abort()
        elif failure is None:
            connected.set_result(None)
        else:
            connected.set_exception(failure)

    def _attach(self) -> None:
        sock = raw_socket(self._client)
        if sock is None:
            raise ConnectionAbortedError("the connection was closed at once")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._attached = True
        self._loop.add_reader(sock, self._read)
        self._write()

    def _detach(self, _client: paho.Client, _userdata: object, sock: Any) -> None:
        if self._attached:
            self._attached = False
            self._loop.remove_reader(sock)
            self._on_write_done(_client, _userdata, sock)

    def _read(self) -> None:
        with self._callback_errors:
            self._client.loop_read()
            sock = raw_socket(self._client)
            if self._attached and sock is not None:
                _acknowledge_at_once(sock)
            if isinstance(sock, ssl.SSLSocket) and sock.pending():
                self._loop.call_soon(self._read)  # already decrypted: the selector does not report it

    def _on_write_wanted(self, *_: object) -> None:
        if self._attached:  # else this is the connecting thread
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        with self._callback_errors:
            self._client.loop_write()
            sock = raw_socket(self._client)
            if self._client.want_write() and sock is not None and not self._watching_write:
                self._watching_write = True
                self._loop.add_writer(sock, self._write)

    def _on_write_done(self, _client: paho.Client, _userdata: object, sock: Any) -> None:
        if self._watching_write:
            self._watching_write = False
            self._loop.remove_writer(sock)


def _acknowledge_at_once(sock: socket.socket) -> None:
    """Send the TCP acknowledgement of received bytes now; the option has to be set again after each read.

    Otherwise the kernel waits up to 40 ms for something to send, and a broker that gathers small packets (mosquitto's
    default) delays its next PUBACK or message until then.
    """
    if _QUICK_ACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
