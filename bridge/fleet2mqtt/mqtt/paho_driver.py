"""paho driven by the event loop: its socket opened in a thread, then watched here; paho starts no thread of its own."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from types import TracebackType
from typing import Any, Never

import paho.mqtt.client as paho

_PATIENCE = 30.0  # seconds for name, TCP and TLS
_TICK = 1.0  # seconds between looks at the keepalive
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux has it


class _Surfaced:
    """Hands what a callback raises to whoever awaits `fate`; the event loop would only log it."""

    def __init__(self, closed: asyncio.Future[Never]) -> None:
        self._fate = closed

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if not isinstance(error, Exception) or self._fate.done():
            return False
        self._fate.set_exception(error)
        return True


class NetworkLoop:
    """Moves a client's bytes; whoever learns of the connection's end gives `fate` an exception."""

    def __init__(self, client: paho.Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._attached = False
        self._watching_write = False
        self.closed: asyncio.Future[Never] = self._loop.create_future()
        self._surfaced = _Surfaced(self.closed)
        client.on_socket_register_write = self._want_write
        client.on_socket_unregister_write = self._need_no_write
        client.on_socket_close = self._detach

    async def dial(self, host: str, port: int, keepalive: int, **more: Any) -> None:
        """Open the connection: name, TCP, TLS and what paho's `connect` takes beyond. Raises OSError."""
        # paho blocks here. The process must not wait at its end for a thread that waits for a name server.
        dialled: asyncio.Future[None] = self._loop.create_future()

        def connect() -> None:
            fault: Exception | None = None
            try:
                self._client.connect(host, port, keepalive, **more)
            except (OSError, ValueError) as error:
                fault = error
            try:
                self._loop.call_soon_threadsafe(self._dialled, dialled, fault)
            except RuntimeError:  # the event loop has been closed meanwhile
                self.abort()

        threading.Thread(target=connect, name="mqtt-connect", daemon=True).start()
        try:
            async with asyncio.timeout(_PATIENCE):
                await dialled
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no connection within {_PATIENCE:g} s") from error
        self._attach()

    async def hold(self) -> Never:
        """Keep the connection alive until it ends; raises what is given to `fate`, or what a callback raised."""
        while not self.closed.done():
            await asyncio.wait((self.closed,), timeout=_TICK)
            self._client.loop_misc()
        self.closed.result()

    def abort(self) -> None:
        """Close the socket, if it is open, without a word to the broker."""
        client = self._client
        client.on_socket_close = client.on_socket_unregister_write = None  # paho's destructor would call them
        sock = client.socket()
        if sock is not None:
            self._detach(client, None, sock)
            sock.close()

    def _dialled(self, dialled: asyncio.Future[None], fault: Exception | None) -> None:
        if dialled.done():  # cancelled meanwhile
            self.abort()
        elif fault is None:
            dialled.set_result(None)
        else:
            dialled.set_exception(fault)

    def _attach(self) -> None:
        sock = self._client.socket()
        if not isinstance(sock, socket.socket):
            raise ConnectionAbortedError("the connection was closed at once")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._attached = True
        self._loop.add_reader(sock, self._read)
        self._write()

    def _detach(self, _client: paho.Client, _userdata: object, sock: Any) -> None:
        if self._attached:
            self._attached = False
            self._loop.remove_reader(sock)
            self._need_no_write(_client, _userdata, sock)

    def _read(self) -> None:
        with self._surfaced:
            self._client.loop_read()
            sock = self._client.socket()
            if self._attached and isinstance(sock, socket.socket):
                _hurry(sock)
            if isinstance(sock, ssl.SSLSocket) and sock.pending():
                self._loop.call_soon(self._read)  # decrypted already: the selector will not tell

    def _want_write(self, *_: object) -> None:
        if self._attached:  # else this is the connecting thread
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        with self._surfaced:
            self._client.loop_write()
            sock = self._client.socket()
            if self._client.want_write() and isinstance(sock, socket.socket) and not self._watching_write:
                self._watching_write = True
                self._loop.add_writer(sock, self._write)

    def _need_no_write(self, _client: paho.Client, _userdata: object, sock: Any) -> None:
        if self._watching_write:
            self._watching_write = False
            self._loop.remove_writer(sock)


def _hurry(sock: socket.socket) -> None:
    """Acknowledge what was received now, which the kernel forgets to do each time.

    Left to itself it waits up to 40 ms for something to send, and a broker that gathers small packets (mosquitto as
    delivered) keeps its next PUBACK or command back until then.
    """
    if _QUICK_ACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
