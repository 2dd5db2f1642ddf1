"""The subscriber: one connection to a broker of somebody else, MQTT 3.1.1 at QoS 0, by TCP or websocket."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Never, TypeVar
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from fleet2mqtt.errors import AuthenticationError, BackendError, Rejected, Unreachable
from fleet2mqtt.mqtt.link import is_answered
from fleet2mqtt.mqtt.paho_link import PahoThread, Transport
from fleet2mqtt.mqtt.settings import TlsFiles, TlsFilesError

T = TypeVar("T")

ENDPOINT = "subscribe"
"""The endpoint that errors name."""
_ANSWER_TIMEOUT = 10.0  # seconds for CONNACK and for SUBACK
_PORTS = {"ws": 80, "wss": 443, "mqtt": 1883, "mqtts": 8883}
_DENIED = frozenset((0x86, 0x87))  # wrong user name or password; not authorized. paho translates the codes of 3.1.1
_UNAVAILABLE = 0x88


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberSettings:
    """Address of a broker and topics to subscribe to.

    `url` has the scheme ws, wss, mqtt or mqtts. `ca` is the PEM file of the authority that signed the certificate, the
    system's authorities if None. `keepalive` is in seconds.
    """

    url: str
    username: str = field(repr=False)
    password: str = field(repr=False)
    filters: tuple[str, ...] = field(repr=False)
    ca: str | None = None
    verify: bool = True
    keepalive: int = 20  # a broker that fell silent is noticed within twice as long


class Subscriber:
    """One connection, used once: `open`, then `run` until it ends, then `close`."""

    def __init__(self, settings: SubscriberSettings, on_message: Callable[[str, bytes], None]) -> None:
        """`on_message` is called for each message with the first filter that its topic matches, and its payload."""
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._url = urlsplit(settings.url)
        self._connack: asyncio.Future[None] = loop.create_future()
        self._suback: asyncio.Future[list[ReasonCode]] = loop.create_future()
        client_id = f"fleet2mqtt-{secrets.token_hex(6)}"  # another one never takes over this session
        transport: Transport = "websockets" if self._url.scheme in {"ws", "wss"} else "tcp"
        thread = self._thread = PahoThread(client_id, settings.username, settings.password, transport)
        self._client = thread.client
        self._client.ws_set_options(path=self._url.path or "/")
        self._client.on_connect = lambda *each: thread.post(self._on_connack, each[3])
        self._client.on_disconnect = lambda *_: thread.post(self._on_disconnect)
        self._client.on_subscribe = lambda *each: thread.post(self._on_suback, each[3])
        self._client.on_message = lambda *each: thread.post(self._on_publish, each[2])
        self._on_message = on_message
        self._closed: asyncio.Future[Never] = loop.create_future()

    async def open(self) -> list[str]:
        """Connect and subscribe; return the filters that the broker refuses.

        Raises Unreachable; AuthenticationError for wrong credentials; Rejected, also where it refuses every filter.
        """
        settings, url = self._settings, self._url
        files = TlsFiles(ca=settings.ca, verify=settings.verify, option="")
        tls = files if url.scheme in {"wss", "mqtts"} else None
        try:
            await self._thread.connect(url.hostname or "", url.port or _PORTS[url.scheme], settings.keepalive, tls)
        except TlsFilesError as error:
            raise _unreachable(error.strerror or str(error), "tls_files") from error
        except OSError as error:
            raise _unreachable(_describe(error), "no_connection") from error
        await self._wait_for(self._connack, "CONNECT")
        self._client.subscribe([(each, 0) for each in settings.filters])
        codes = await self._wait_for(self._suback, "SUBSCRIBE")
        refused = [each for each, code in zip(settings.filters, codes, strict=True) if code.is_failure]
        if len(refused) == len(settings.filters):
            message = "the broker refuses every subscription; check subscribe.topics, and what the key may read"
            raise Rejected(message, endpoint=ENDPOINT, code="subscriptions_refused")
        return refused

    async def run(self) -> Never:
        """Receive messages until the connection ends. Raises Unreachable then, or what `on_message` raised."""
        await self._closed
        raise AssertionError  # it only ends with an exception

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._client.socket() is not None and self._connack.done():
            self._client.disconnect()
        else:
            self._thread.abort()
        self._thread.release()
        del self._client
        self._end(_unreachable("the connection was given up", "left"))

    async def _wait_for(self, answer: asyncio.Future[T], packet: str) -> T:
        if not await is_answered(answer, self._closed, _ANSWER_TIMEOUT):
            raise _unreachable(f"no answer to {packet} within {_ANSWER_TIMEOUT:g} s", "silent")
        return answer.result()

    def _end(self, error: BackendError) -> None:
        closed = self._closed
        if not closed.done():
            closed.set_exception(error)
            closed.exception()  # nobody fetches that of a connection that was given up

    def _on_connack(self, code: ReasonCode) -> None:
        if not code.is_failure:
            self._connack.set_result(None)
        elif code.value in _DENIED:
            message = f"the broker says: {str(code).lower()}; check subscribe.key and subscribe.secret"
            self._end(AuthenticationError(message, endpoint=ENDPOINT, code=code.value))
        elif code.value == _UNAVAILABLE:
            self._end(_unreachable(f"the broker says: {str(code).lower()}", "unavailable"))
        else:
            self._end(Rejected(f"the broker says: {str(code).lower()}", endpoint=ENDPOINT, code=code.value))

    def _on_disconnect(self) -> None:
        place = "" if self._connack.done() else " in place of an answer"
        self._end(_unreachable(f"the broker closed the connection{place}", "closed"))

    def _on_publish(self, message: paho.MQTTMessage) -> None:
        if self._closed.done():
            return
        for each in self._settings.filters:
            if paho.topic_matches_sub(each, message.topic):
                try:
                    self._on_message(each, bytes(message.payload))
                except Exception as error:  # noqa: BLE001 - ends `run`
                    self._closed.set_exception(error)
                return

    def _on_suback(self, codes: list[ReasonCode]) -> None:
        if not self._suback.done():
            self._suback.set_result(codes)


def _unreachable(text: str, code: str) -> Unreachable:
    return Unreachable(text, endpoint=ENDPOINT, code=code)


def _describe(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate does not hold: {error.verify_message.rstrip('.')}; check ca and verify_tls"
    if isinstance(error, paho.WebsocketConnectionError):
        return "what answers there is no MQTT by websocket; check subscribe.url and its path"
    return error.strerror or str(error) or type(error).__name__
