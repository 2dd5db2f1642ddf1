"""Link of a connection to the network: sends packets, and reports those that are received.

`mqtt5_link` speaks MQTT 5 on the event loop, `paho_link` 3.1.1 on paho's thread.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Never, Protocol

from fleet2mqtt.mqtt.settings import Message, Outgoing

CONNECT_TIMEOUT = 30.0
"""Seconds for name resolution, TCP and TLS."""
FIRST_FAILURE = 0x80
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux has it


class DisconnectCause(StrEnum):
    """Causes for which a connection could not be made, or ended."""

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


class Reason(NamedTuple):
    """An MQTT 5 reason code and its name."""

    code: int
    name: str

    @property
    def is_failure(self) -> bool:
        """True if something was refused."""
        return self.code >= FIRST_FAILURE


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Limits that the broker announced in CONNACK; None without a limit."""

    max_packet: int | None = None
    receive_maximum: int | None = None
    identifiers: bool = True


class LinkEvents(Protocol):
    """Events of a link, reported on the event loop."""

    def on_connack(self, granted: Granted) -> None:
        """Report a CONNACK with success."""

    def on_suback(self, mid: int, reasons: Sequence[Reason]) -> None:
        """Report a SUBACK."""

    def on_puback(self, mid: int, refusal: Reason | None) -> None:
        """Report a PUBACK, or that a message at QoS 0 was sent; `refusal` is a failure."""

    def on_publish(self, message: Message, identifiers: Sequence[int]) -> None:
        """Report a message."""

    def on_end(self, cause: DisconnectCause, text: str, code: int = 0, detail: str = "") -> None:
        """Report the end of the connection; `detail` is the network's or TLS's own text."""

    def on_error(self, error: Exception) -> None:
        """Report an exception of a callback."""


class Link(Protocol):
    """One connection to a broker, used once."""

    async def connect(self) -> None:
        """Connect and send CONNECT. Raises OSError."""

    def subscribe(self, subscriptions: Sequence[tuple[str, int]]) -> int | None:
        """Subscribe; return the packet id of the answer, None if the connection has ended."""

    def publish(self, message: Outgoing) -> int:
        """Send a message; return its packet id. Raises Disconnected."""

    def tick(self) -> None:
        """Check the keep-alive, every second."""

    def disconnect(self, *, keep_will: bool = False) -> None:
        """Send a DISCONNECT, then close. With `keep_will` an MQTT 5 broker publishes the will after its delay."""

    def abort(self) -> None:
        """Close without a DISCONNECT."""


async def is_answered(
    answer: asyncio.Future[Any],
    closed: asyncio.Future[Never],
    timeout: float,  # noqa: ASYNC109 - an answer, or the end, may be there already
) -> bool:
    """Wait for the answer to a packet; return False if there is none in time. Raises what ended the connection."""
    await asyncio.wait((answer, closed), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    if closed.done():
        closed.result()
    return answer.done()


async def in_thread(work: Callable[[], object], undo: Callable[[], None]) -> None:
    """Run blocking `work` that connects; `undo` what was done for a caller that has given up. Raises OSError.

    At its end the process must not wait for a thread that waits for a name server, so it is a daemon.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(failure: Exception | None) -> None:
        if done.done():
            undo()
        elif failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)

    def run() -> None:
        failure: Exception | None = None
        try:
            work()
        except (OSError, ValueError) as error:
            failure = error
        except IndexError as error:  # paho's reading of an odd websocket handshake
            failure = ConnectionAbortedError(f"an odd websocket handshake: {error}")
        try:
            loop.call_soon_threadsafe(finish, failure)
        except RuntimeError:  # the event loop was closed in the meantime
            undo()

    threading.Thread(target=run, name="mqtt-connect", daemon=True).start()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await done
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no connection within {CONNECT_TIMEOUT:g} s") from error


async def dial(host: str, port: int) -> socket.socket:
    """Return a connected socket. Raises OSError."""
    found: list[socket.socket] = []

    def close() -> None:
        for sock in found:
            sock.close()

    try:
        await in_thread(lambda: found.append(socket.create_connection((host, port), CONNECT_TIMEOUT)), close)
    except BaseException:
        close()  # cancelled when it was just connected
        raise
    found[0].setblocking(False)
    return found[0]


def shut_down(descriptor: int) -> None:
    """End the connection of a socket that another thread reads; that thread then closes it."""
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno is None:
                raise  # else it has ended already


def acknowledge_at_once(sock: socket.socket) -> None:
    """Send the TCP acknowledgement of received bytes now; the option has to be set again after each read.

    Otherwise the kernel waits up to 40 ms for something to send, and a broker that gathers small packets (mosquitto's
    default) delays its next PUBACK or message until then.
    """
    if _QUICK_ACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
