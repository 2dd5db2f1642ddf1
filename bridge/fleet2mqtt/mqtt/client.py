"""The bridge's side of MQTT: connected for as long as there is a broker, with every message accounted for."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Never

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fleet2mqtt.errors import Disconnected, MqttError, Refused
from fleet2mqtt.mqtt.connection import Connection, ConnectionEnded, DisconnectCause, ProtocolNegotiation, Version
from fleet2mqtt.mqtt.flow_control import PacketSizeLimit, PublishCounters
from fleet2mqtt.mqtt.settings import Message, Outgoing, Settings, properties

_log = logging.getLogger(__name__)
_SLOW = 8  # times the ordinary back-off where someone has to act
_ENOUGH_DOUBLINGS = 30
_SUSPICIOUS = 3  # connections lost without a stable one between
_REMEDIES = MappingProxyType(
    {  # by MQTT 5 reason code; paho translates those of 3.1.1
        0x84: "set mqtt.protocol to one that the broker speaks, or to auto",
        0x85: "choose another mqtt.client_id",
        0x86: "check mqtt.username and mqtt.password",
        0x87: "check mqtt.username, mqtt.password and the broker's access rules",
        0x8A: "lift the ban at the broker",
        0x8C: "check how the broker authenticates its clients",
        0x95: "raise the broker's limit for packets",
        0x9C: "set mqtt.host to where the broker is now",
        0x9D: "set mqtt.host to where the broker is now",
    }
)


@dataclass(slots=True)
class ReconnectBackoff:
    """Exponential back-off with full jitter, begun anew only after a connection that was stable."""

    settings: Settings
    _failures: int = 0
    _losses: int = 0
    _told: str | None = None

    def succeeded(self) -> None:
        """There is a connection; whatever ends it is worth a warning."""
        self._told = None

    def stood(self, seconds: float) -> None:
        """A connection lasted so long."""
        if seconds >= self.settings.stable_after:
            self._failures = self._losses = 0

    def failed(self, error: ConnectionEnded, *, lost: bool) -> float:
        """Seconds to wait, told once for each reason; `lost` is a connection that had been made."""
        slow = error.cause in (DisconnectCause.REFUSED, DisconnectCause.TAKEN_OVER)
        ceiling = self.settings.backoff_first * (_SLOW if slow else 1) * 2 ** min(self._failures, _ENOUGH_DOUBLINGS)
        ceiling = min(ceiling, self.settings.backoff_max)
        delay = random.uniform(ceiling / 2 if slow else 0.0, ceiling)  # noqa: S311 - jitter is no secret
        self._failures += 1
        self._losses += lost
        reason = self.explain(error)
        level = logging.DEBUG if reason == self._told else logging.WARNING
        self._told = reason
        what = "lost" if lost else "no connection to"
        _log.log(level, "%s %s; trying again in %.1f s", what, reason, delay)
        return delay

    def explain(self, error: ConnectionEnded) -> str:
        """Which broker, what is wrong there, and what to do."""
        settings = self.settings
        broker = f"{settings.host}:{settings.port}"
        if error.cause is DisconnectCause.TAKEN_OVER:
            return (
                f"{broker}: another client uses the client id {settings.client_id!r}; "
                "give each its own mqtt.client_id or stop one of them"
            )
        if error.cause is DisconnectCause.REFUSED:
            remedy = _REMEDIES.get(error.code, "see the broker's log")
            return f"{broker}: the broker refuses us: {str(error).lower()}; {remedy}"
        if error.cause is DisconnectCause.CLOSED and self._losses >= _SUSPICIOUS:
            # Many brokers close the older of two clients with one id without giving a reason.
            return f"{broker}: {error}, again: does another client use the client id {settings.client_id!r}?"
        return f"{broker}: {error}"


_FAREWELL = 2.0  # seconds for the last message's acknowledgement
_PROBES = 3


class MqttClient:
    """One client of one broker. `run` keeps it connected; everything else may be called at any time.

    `subscriptions` are topic filters with their QoS.
    """

    def __init__(self, settings: Settings, subscriptions: Sequence[tuple[str, int]]) -> None:
        self.connected = False
        self.reconnects = 0
        self.last_error: str | None = None
        self._settings = settings
        self._subscriptions = subscriptions
        self._dialect = ProtocolNegotiation.of(settings.protocol)
        self._limits = PacketSizeLimit(max_payload=settings.max_payload)
        self._tally = PublishCounters()
        self._link: Connection | None = None
        self._retry = ReconnectBackoff(settings)
        self._ever_connected = False
        self._closed = asyncio.Event()

    @property
    def protocol(self) -> str | None:
        """The MQTT spoken now, "5" or "3.1.1"; None without a connection."""
        return None if self._link is None else str(self._link.version)

    @property
    def max_packet(self) -> int | None:
        """The broker's limit for a packet in bytes, None where it does not tell."""
        return self._limits.max_packet

    @property
    def published(self) -> int:
        """How many messages the broker has taken."""
        return self._tally.published

    @property
    def dropped(self) -> Counter[str]:
        """How many messages will never reach the broker, by reason."""
        return self._tally.dropped

    async def run(
        self,
        on_message: Callable[[Message], None],
        on_connected: Callable[[], None],
        on_disconnected: Callable[[str], None],
    ) -> Never:
        """Stay connected until cancelled. Raises what a callback raised.

        `on_message` is called for each message, maybe before the first `on_connected`; `on_connected` after the broker
        has accepted the connection and the subscriptions; `on_disconnected` with the reason.
        """
        while not self._closed.is_set():
            try:
                await self._connection(on_message, on_connected)
            except ConnectionEnded as error:
                self.last_error = str(error)
                lost, self.connected = self.connected, False
                if lost:
                    on_disconnected(str(error))
                if not self._closed.is_set() and not self._dialect.on_error(error):
                    await asyncio.sleep(self._retry.failed(error, lost=lost))
            finally:
                self.connected = False
        forever: asyncio.Future[Never] = asyncio.get_running_loop().create_future()
        await forever

    async def probe(self) -> str:
        """Connect once, say nothing and leave; gives the MQTT spoken. Raises Disconnected with what to do."""
        tries = 0
        while True:
            link = Connection(self._settings, self._dialect, self._tally, lambda _: None)
            try:
                await link.open()
                await link.leave()
            except ConnectionEnded as error:
                tries += error.cause is DisconnectCause.SILENT  # it may be the version that is not answered
                if not self._dialect.on_error(error) and (
                    error.cause is not DisconnectCause.SILENT or tries >= _PROBES
                ):
                    raise Disconnected(self._retry.explain(error)) from error
            else:
                return str(link.version)
            finally:
                link.abort()

    async def submit(  # noqa: PLR0913 - what MQTT says of a message
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        qos: int = 1,
        response: bytes | None = None,
        expiry: int | None = None,
    ) -> asyncio.Future[None]:
        """Hand a message over in its turn; the future is done when the broker has it, at once for QoS 0.

        `response` is the correlation data of what is answered, `expiry` in seconds; both are left out with MQTT 3.1.1.
        Raises Disconnected without a connection, Refused for what is too large; the future raises Disconnected when
        the connection goes first, Refused when the broker says no. Nobody has to await it.
        """
        link = self._link
        if link is None or self._closed.is_set():
            raise Disconnected(self.last_error or "there is no connection to the broker yet")
        extra: Properties | None = None
        if link.version is Version.V5 and (response is not None or expiry is not None):
            extra = properties(PacketTypes.PUBLISH, CorrelationData=response, MessageExpiryInterval=expiry)
        message = Outgoing(topic=topic, payload=payload, retain=retain, qos=qos, properties=extra)
        try:
            self._limits.check(message)
        except Refused as error:
            self._tally.dropped[error.reason] += 1
            raise
        return await link.window.submit(message)

    async def publish(  # noqa: PLR0913 - as submit
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        qos: int = 1,
        response: bytes | None = None,
        expiry: int | None = None,
    ) -> None:
        """As submit; returns when the broker has the message. Raises Disconnected, Refused."""
        await (await self.submit(topic, payload, retain=retain, qos=qos, response=response, expiry=expiry))

    async def close(self) -> None:
        """Say goodbye: publish what the will says, then disconnect for good. For the end, while `run` still runs."""
        self._closed.set()
        link = self._link
        if link is None:
            return
        last = Outgoing(topic=self._settings.will_topic, payload=self._settings.will_payload, retain=True)
        try:
            async with asyncio.timeout(_FAREWELL):
                await (await link.window.submit(last))
        except (MqttError, TimeoutError) as error:
            _log.debug("not said goodbye, the broker publishes the will: %s", error)
            link.abort()
        else:
            await link.leave()

    async def _connection(self, on_message: Callable[[Message], None], on_connected: Callable[[], None]) -> Never:
        link = Connection(self._settings, self._dialect, self._tally, on_message)
        try:
            await link.open()
            self._dialect.confirm()
            self._link = link
            self._limits.max_packet = link.max_packet
            self._greet(await link.subscribe(self._subscriptions))
            on_connected()
            await self._hold(link)
        finally:
            self._link = None
            link.abort()

    def _greet(self, refused: list[str]) -> None:
        if self._closed.is_set():
            raise ConnectionEnded(DisconnectCause.LEFT, "closed while it connected")
        self._retry.succeeded()
        settings = self._settings
        _log.info("connected to %s:%d with MQTT %s", settings.host, settings.port, self._dialect.version)
        if refused:
            _log.warning("the broker refuses subscriptions, check its access rules: %s", ", ".join(refused))
        self.reconnects += self._ever_connected
        self.connected = self._ever_connected = True

    async def _hold(self, link: Connection) -> Never:
        now = asyncio.get_running_loop().time
        since = now()
        try:
            await link.hold()
        except ConnectionEnded as error:
            self._retry.stood(now() - since)
            verdict = (
                self._limits.blame(link.window.unacknowledged()) if error.cause is DisconnectCause.CLOSED else None
            )
            if verdict is not None:
                _log.error("%s", verdict)
            raise
