"""The bridge's side of MQTT: connected for as long as there is a broker, with every message accounted for."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Never

from paho.mqtt.packettypes import PacketTypes

from bridge.errors import Disconnected, MqttError, Refused
from bridge.mqtt.dialect import Cause, Dialect, LinkError, Version
from bridge.mqtt.limits import Limits
from bridge.mqtt.link import Link
from bridge.mqtt.packets import Outgoing, properties
from bridge.mqtt.retry import Retry
from bridge.mqtt.window import Tally

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from paho.mqtt.properties import Properties

    from bridge.mqtt.settings import Message, Settings

_log = logging.getLogger(__name__)

_FAREWELL = 2.0  # seconds for the last message's acknowledgement
_PROBES = 3


class Mqtt:
    """One client of one broker. `run` keeps it connected; everything else may be called at any time.

    `on_message` is called for each message, maybe before the first `on_connected`; `on_connected` after the broker
    has accepted us and our subscriptions; `on_disconnected` with the reason. What they raise ends `run`.
    """

    def __init__(
        self,
        settings: Settings,
        subscriptions: Sequence[tuple[str, int]],
        on_message: Callable[[Message], None],
        on_connected: Callable[[], None],
        on_disconnected: Callable[[str], None],
    ) -> None:
        self.connected = False
        self.reconnects = 0
        self.last_error: str | None = None
        self._settings = settings
        self._subscriptions = subscriptions
        self._on_message = on_message
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._dialect = Dialect.of(settings.protocol)
        self._limits = Limits(max_payload=settings.max_payload)
        self._tally = Tally()
        self._link: Link | None = None
        self._retry = Retry(settings)
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

    async def run(self) -> Never:
        """Stay connected until cancelled. Raises what a callback raised."""
        while not self._closed.is_set():
            try:
                await self._connection()
            except LinkError as error:
                self.last_error = str(error)
                lost, self.connected = self.connected, False
                if lost:
                    self._on_disconnected(str(error))
                if not self._closed.is_set() and not self._dialect.learn(error):
                    await asyncio.sleep(self._retry.failed(error, lost=lost))
            finally:
                self.connected = False
        forever: asyncio.Future[Never] = asyncio.get_running_loop().create_future()
        await forever

    async def probe(self) -> str:
        """Connect once, say nothing and leave; gives the MQTT spoken. Raises Disconnected with what to do."""
        tries = 0
        while True:
            link = Link(self._settings, self._dialect, self._tally, self._on_message)
            try:
                await link.open()
                await link.leave()
            except LinkError as error:
                tries += error.cause is Cause.SILENT  # it may be the version that is not answered
                if not self._dialect.learn(error) and (error.cause is not Cause.SILENT or tries >= _PROBES):
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

    async def _connection(self) -> Never:
        link = Link(self._settings, self._dialect, self._tally, self._on_message)
        try:
            await link.open()
            self._dialect.prove()
            self._link = link
            self._limits.max_packet = link.max_packet
            self._greet(await link.subscribe(self._subscriptions))
            await self._hold(link)
        finally:
            self._link = None
            link.abort()

    def _greet(self, refused: list[str]) -> None:
        if self._closed.is_set():
            raise LinkError(Cause.LEFT, "closed while it connected")
        self._retry.succeeded()
        settings = self._settings
        _log.info("connected to %s:%d with MQTT %s", settings.host, settings.port, self._dialect.version)
        if refused:
            _log.warning("the broker refuses subscriptions, check its access rules: %s", ", ".join(refused))
        self.reconnects += self._ever_connected
        self.connected = self._ever_connected = True
        self._on_connected()

    async def _hold(self, link: Link) -> Never:
        now = asyncio.get_running_loop().time
        since = now()
        try:
            await link.hold()
        except LinkError as error:
            self._retry.stood(now() - since)
            verdict = self._limits.blame(link.window.unacknowledged()) if error.cause is Cause.CLOSED else None
            if verdict is not None:
                _log.error("%s", verdict)
            raise
