"""The MQTT client: keeps the bridge connected to the broker and reports the outcome of each message."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Never

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.errors import Disconnected, MqttError, Refused
from fleet2mqtt.mqtt.connection import (
    Connection,
    ConnectionEnded,
    ProtocolNegotiation,
    RefusedSubscription,
    Version,
)
from fleet2mqtt.mqtt.flow_control import PacketSizeLimit, PublishCounters
from fleet2mqtt.mqtt.link import DisconnectCause
from fleet2mqtt.mqtt.settings import Message, Outgoing, Settings
from fleet2mqtt.mqtt.withheld import WithheldMessages

_LOG = logging.getLogger(__name__)

_SLOW_FACTOR = 8  # times the ordinary back-off where somebody has to act
_MAX_DOUBLINGS = 30
_SUSPICIOUS_LOSSES = 3  # connections lost in a row without a stable one
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
    """Exponential back-off with full jitter between connections; reset only after a stable connection."""

    settings: Settings
    _failures: int = 0
    _losses: int = 0
    _logged: str | None = None

    def on_connected(self) -> None:
        """Record a connection; the reason that ends it is logged as a warning, even if it was logged before."""
        self._logged = None

    def on_ended(self, lasted: float) -> None:
        """Record that a connection lasted so many seconds."""
        if lasted >= self.settings.stable_after:
            self._failures = self._losses = 0

    def next_delay(self, error: ConnectionEnded, *, lost: bool) -> float:
        """Return the seconds to wait before the next attempt, and log each reason once.

        `lost` is True if the connection had been made.
        """
        slow = error.cause in (DisconnectCause.REFUSED, DisconnectCause.TAKEN_OVER)
        ceiling = self.settings.backoff_first * (_SLOW_FACTOR if slow else 1) * 2 ** min(self._failures, _MAX_DOUBLINGS)
        ceiling = min(ceiling, self.settings.backoff_max)
        delay = random.uniform(ceiling / 2 if slow else 0.0, ceiling)  # noqa: S311 - jitter is no secret
        self._failures += 1
        self._losses += lost
        reason = self.describe(error)
        level = logging.DEBUG if reason == self._logged else logging.WARNING
        self._logged = reason
        what = "lost" if lost else "no connection to"
        _LOG.log(level, "%s %s; trying again in %.1f s", what, reason, delay)
        return delay

    def describe(self, error: ConnectionEnded) -> str:
        """Return a text that names the broker, what is wrong, and what to do."""
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
        if error.cause is DisconnectCause.CLOSED and self._losses >= _SUSPICIOUS_LOSSES:
            # At a session takeover many brokers close the older connection without a reason.
            question = f"does another client use the client id {settings.client_id!r}?"
            if error.inflight:
                question = f"does an access rule forbid a message of ours, or {question}"
            return f"{broker}: {error}, again: {question}"
        return f"{broker}: {error}"


_FAREWELL_TIMEOUT = 2.0  # seconds for the acknowledgement of the last message
_MAX_PROBES = 3


class MqttClient:
    """One client of one broker. `run` keeps it connected; everything else may be called at any time.

    `subscriptions` are topic filters with their QoS.
    """

    def __init__(
        self,
        settings: Settings,
        subscriptions: Sequence[tuple[str, int]],
        may_connect: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`may_connect` is awaited before each connection; what it raises ends `run`."""
        self.connected = False
        self.acknowledging = True
        """False while the broker fails to acknowledge messages within `ack_warning` seconds."""
        self.reconnects = 0
        self.last_error: str | None = None
        self._settings = settings
        self._subscriptions = subscriptions
        self._may_connect = may_connect
        self._negotiation = ProtocolNegotiation.of(settings.protocol)
        self._size_limit = PacketSizeLimit(max_payload=settings.max_payload)
        self._withheld = WithheldMessages(first=settings.withhold_first, longest=settings.withhold_longest)
        self._counters = PublishCounters()
        self._connection: Connection | None = None
        self._backoff = ReconnectBackoff(settings)
        self._ever_connected = False
        self._closed = asyncio.Event()
        self._replaced = asyncio.Event()
        """Set when other settings are to be used at once."""
        self._connected_at = 0.0
        self._refused_subscriptions: list[RefusedSubscription] = []
        self._resubscribe_at = 0.0
        self._resubscribe_delay = settings.resubscribe_first

    @property
    def protocol(self) -> str | None:
        """The MQTT version of the connection, "5" or "3.1.1"; None without a connection."""
        return None if self._connection is None else str(self._connection.version)

    @property
    def max_packet(self) -> int | None:
        """The packet size limit that the broker announced in bytes, None without one."""
        return self._size_limit.max_packet

    @property
    def oldest_unacknowledged_age(self) -> float | None:
        """Seconds that the oldest unacknowledged message has been in flight, None without one."""
        return None if self._connection is None else self._connection.window.oldest_age()

    @property
    def published(self) -> int:
        """The number of messages that the broker acknowledged."""
        return self._counters.published

    @property
    def dropped(self) -> Counter[str]:
        """The number of messages that did not reach the broker, by reason."""
        return self._counters.dropped

    async def run(
        self,
        on_message: Callable[[Message], None],
        on_connected: Callable[[], None],
        on_disconnected: Callable[[str], None],
    ) -> Never:
        """Stay connected until cancelled. Raises what a callback raised.

        `on_message` is called for each message, perhaps before the first `on_connected`; `on_connected` after CONNACK
        and SUBACK; `on_disconnected` with the reason.
        """
        while not self._closed.is_set():
            try:
                await self._connect_and_serve(on_message, on_connected)
            except ConnectionEnded as error:
                self.last_error = str(error)
                lost, self.connected = self.connected, False
                if lost:
                    on_disconnected(str(error))
                if self._replaced.is_set():
                    self._use_replaced_settings()
                elif not self._closed.is_set() and not self._negotiation.on_error(error):
                    await wait_for_event(self._replaced, self._backoff.next_delay(error, lost=lost))
            finally:
                self.connected = False
        forever: asyncio.Future[Never] = asyncio.get_running_loop().create_future()
        await forever

    def replace_settings(self, settings: Settings) -> None:
        """Connect again with other settings. A broker that is left for another one publishes the will."""
        self._settings = settings
        self._replaced.set()
        if self._connection is not None:
            self._connection.abort()

    def _use_replaced_settings(self) -> None:
        self._replaced.clear()
        settings = self._settings
        self._negotiation = ProtocolNegotiation.of(settings.protocol)
        self._size_limit = PacketSizeLimit(max_payload=settings.max_payload)
        self._withheld = WithheldMessages(first=settings.withhold_first, longest=settings.withhold_longest)
        self._backoff = ReconnectBackoff(settings)

    async def probe(self) -> str:
        """Connect and disconnect once; return the MQTT version. Raises Disconnected with what to do."""
        unanswered = 0
        while True:
            connection = self._new_connection(lambda _: None)
            try:
                await connection.open()
                await connection.disconnect()
            except ConnectionEnded as error:
                # Without an answer, perhaps the broker does not speak this version.
                without_answer = error.cause in (DisconnectCause.SILENT, DisconnectCause.CLOSED_EARLY)
                unanswered += without_answer
                again = self._negotiation.on_error(error)
                if unanswered >= _MAX_PROBES or not (again or without_answer):
                    raise Disconnected(self._backoff.describe(error)) from error
            else:
                return str(connection.version)
            finally:
                connection.abort()

    async def submit(  # noqa: PLR0913 - the parts of an MQTT message
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        qos: int = 1,
        response: bytes | None = None,
        expiry: int | None = None,
    ) -> asyncio.Future[float]:
        """Send a message after those submitted before; return a future, done at its PUBACK with the loop's time.

        `response` is the correlation data of a reply, `expiry` in seconds; both are left out with MQTT 3.1.1.
        Raises Disconnected without a connection, Refused for a message that is too large; the future raises
        Disconnected if the connection ends first, Refused if the broker refuses. Nobody has to await it. At QoS 0 it is
        done at once.
        """
        connection = self._connection
        if connection is None or self._closed.is_set():
            raise Disconnected(self.last_error or "there is no connection to the broker yet")
        extra = connection.version is Version.V5
        message = Outgoing(
            topic=topic,
            payload=payload,
            retain=retain,
            qos=qos,
            correlation=response if extra else None,
            expiry=expiry if extra else None,
        )
        try:
            self._size_limit.check(message)
            if self._withheld.has_suspects:
                self._withheld.check(topic, len(payload), asyncio.get_running_loop().time())
        except Refused as error:
            self._counters.dropped[error.reason] += 1
            raise
        return await connection.window.submit(message)

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
        """Send a message as `submit` does, and wait for its acknowledgement. Raises Disconnected, Refused."""
        await (await self.submit(topic, payload, retain=retain, qos=qos, response=response, expiry=expiry))

    async def close(self, *, publish_will: bool = True, keep_will: bool = False) -> None:
        """Publish the will's payload, then disconnect for good. To be called while `run` still runs.

        With `keep_will` instead an MQTT 5 broker publishes it after its delay, unless the session goes on before.
        """
        self._closed.set()
        connection = self._connection
        if connection is None:
            return
        if not publish_will:
            await connection.disconnect(keep_will=keep_will)
            return
        last = Outgoing(topic=self._settings.will_topic, payload=self._settings.will_payload, retain=True)
        try:
            async with asyncio.timeout(_FAREWELL_TIMEOUT):
                await (await connection.window.submit(last))
        except (MqttError, TimeoutError) as error:
            _LOG.debug("the last message is not acknowledged, the broker publishes the will: %s", error)
            connection.abort()
        else:
            await connection.disconnect()

    async def _connect_and_serve(
        self, on_message: Callable[[Message], None], on_connected: Callable[[], None]
    ) -> Never:
        if self._may_connect is not None:
            await self._may_connect()
        connection = self._new_connection(on_message)
        try:
            await connection.open()
            self._negotiation.confirm()
            self._connection = connection
            self._size_limit.max_packet = connection.max_packet
            self._start(await connection.subscribe(self._subscriptions))
            on_connected()
            await self._serve(connection)
        finally:
            self._connection = None
            connection.abort()

    def _new_connection(self, on_message: Callable[[Message], None]) -> Connection:
        return Connection(self._settings, self._negotiation, self._counters, self._withheld, on_message)

    def _start(self, refused: list[RefusedSubscription]) -> None:
        if self._closed.is_set():
            raise ConnectionEnded(DisconnectCause.LEFT, "closed while it connected")
        self._backoff.on_connected()
        settings = self._settings
        _LOG.info("connected to %s:%d with MQTT %s", settings.host, settings.port, self._negotiation.version)
        if refused:
            _LOG.warning("the broker refuses subscriptions, check its access rules: %s", _list(refused))
        self._refused_subscriptions = refused
        self._resubscribe_delay = settings.resubscribe_first
        self._connected_at = asyncio.get_running_loop().time()
        self._resubscribe_at = self._connected_at + self._resubscribe_delay
        self.reconnects += self._ever_connected
        self.connected = self._ever_connected = True

    async def _serve(self, connection: Connection) -> Never:
        loop = asyncio.get_running_loop()
        try:
            await connection.run(partial(self._on_tick, connection))
        except ConnectionEnded as error:
            lasted = loop.time() - self._connected_at
            self._backoff.on_ended(lasted)
            if lasted >= self._settings.stable_after:
                self._withheld.on_stable()
            if error.cause is DisconnectCause.CLOSED:
                inflight = connection.window.unacknowledged()
                error.inflight = len(inflight)
                withheld = self._withheld.on_closed(inflight, error.code, str(error), loop.time())
                if withheld is not None:
                    _LOG.error("%s", withheld)
            raise

    def _on_tick(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        self._check_acknowledgements(connection, now)
        if self._refused_subscriptions and now >= self._resubscribe_at:
            self._resubscribe_delay = min(2 * self._resubscribe_delay, self._settings.resubscribe_longest)
            self._resubscribe_at = now + self._resubscribe_delay
            subscriptions = [subscription for subscription, _ in self._refused_subscriptions]
            connection.subscribe_again(subscriptions, self._on_subscribed_again)

    def _check_acknowledgements(self, connection: Connection, now: float) -> None:
        settings = self._settings
        topic, age = connection.window.stalled()
        if age >= settings.ack_timeout:
            connection.end_unacknowledged(topic, age)
        if age >= settings.ack_warning:
            if self.acknowledging:
                _LOG.warning(
                    "the broker has not acknowledged a message on %s for %.0f s; after %.0f s the bridge reconnects "
                    "and sends everything again",
                    topic,
                    age,
                    settings.ack_timeout,
                )
            self.acknowledging = False
        elif not self.acknowledging and now >= self._connected_at + settings.ack_warning:
            self.acknowledging = True
            _LOG.info("the broker acknowledges messages again")

    def _on_subscribed_again(self, refused: list[RefusedSubscription]) -> None:
        still = {subscription for subscription, _ in refused}
        granted = [each for each in self._refused_subscriptions if each[0] not in still]
        self._refused_subscriptions = refused
        if granted:
            _LOG.info("the broker grants subscriptions now: %s", ", ".join(topic for (topic, _), _ in granted))


def _list(refused: Sequence[RefusedSubscription]) -> str:
    return ", ".join(f"{topic} ({reason})" for (topic, _), reason in refused)
