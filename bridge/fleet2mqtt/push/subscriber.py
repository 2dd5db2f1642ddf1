"""Keeps a backend's subscription connected, and accepts its messages as pushes, in the order in which they come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Never

from fleet2mqtt.errors import AuthenticationError, BackendError, Rejected
from fleet2mqtt.mqtt import Subscriber, SubscriberSettings
from fleet2mqtt.mqtt.subscriber import ENDPOINT
from fleet2mqtt.push.receiver import MAX_BODY, PushReceiver
from fleet2mqtt.sdk.api import Backend, Subscription
from fleet2mqtt.sdk.backoff import Backoff

_LOG = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
DENIED_RETRY = 300.0
"""Seconds between attempts while the broker refuses our credentials: more often would lock the account."""
STABLE_AFTER = 60.0
"""Seconds after which a connection counts as one that holds: the next pause begins short again."""
MAX_WAITING = 20_000
"""Messages that may wait to be accepted; more are dropped, and shown by the next poll."""


def settings_of(subscription: Subscription) -> SubscriberSettings:
    """Return the settings of the connection that a subscription asks for."""
    return SubscriberSettings(
        url=subscription.url,
        username=subscription.username,
        password=subscription.password,
        filters=tuple(subscription.kinds),
        ca=subscription.ca,
        verify=subscription.verify,
    )


async def probe(subscription: Subscription) -> None:
    """Connect, subscribe, and leave again. Raises BackendError, also where one subscription is refused."""
    subscriber = Subscriber(settings_of(subscription), lambda *_: None)
    try:
        refused = await subscriber.open()
    finally:
        subscriber.close()
    if refused:
        raise Rejected(_refusal(subscription, refused), endpoint=ENDPOINT, code="subscriptions_refused")


def _refusal(subscription: Subscription, refused: list[str]) -> str:
    kinds = ", ".join(subscription.kinds[each] for each in refused)
    return f"the broker refuses the subscription of {kinds}; check subscribe.topics"


class SubscriptionRunner:
    """Runs the subscription of one backend."""

    def __init__(
        self,
        backend: Backend,
        subscription: Subscription,
        receiver: PushReceiver,
        *,
        changed: Callable[[], None],
        request_poll: Callable[[tuple[str, ...]], None],
    ) -> None:
        """`changed` is called when the connection was made or lost; `request_poll` polls sources soon."""
        self._name = backend.name
        self._pushes = {push.kind: push for push in backend.pushes}
        self._subscription = subscription
        self._status = subscription.status
        self._receiver = receiver
        self._changed = changed
        self._request_poll = request_poll
        self._backoff = Backoff(first=FIRST_RETRY, longest=LONGEST_RETRY)
        self._waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MAX_WAITING)
        self._dropping = False
        self._logged: str | None = None

    async def run(self) -> Never:
        """Connect again and again until cancelled."""
        try:
            while True:
                pause = await self._connect_once()
                await asyncio.sleep(pause)
        finally:
            self._set_connected(connected=False)

    async def accept(self) -> Never:
        """Accept the messages, one after another, until cancelled."""
        while True:
            kind, body = await self._waiting.get()
            await self._receiver.accept(self._name, self._pushes[kind], body)

    async def _connect_once(self) -> float:
        """Connect and receive until the connection ends; return the seconds until the next attempt."""
        loop = asyncio.get_running_loop()
        connected_at: float | None = None
        subscriber = Subscriber(settings_of(self._subscription), self._on_message)
        try:
            refused = await subscriber.open()
            connected_at = loop.time()
            self._on_connected(refused)
            await subscriber.run()
        except BackendError as error:
            if connected_at is not None and loop.time() - connected_at >= STABLE_AFTER:
                self._backoff.record_success()
            return self._on_failure(error, lost=connected_at is not None)
        finally:
            subscriber.close()

    def _on_connected(self, refused: list[str]) -> None:
        if refused:
            _LOG.warning("%s: %s", self._name, _refusal(self._subscription, refused))
        _LOG.info("%s: connected to the vendor's MQTT broker", self._name)
        self._logged = None
        self._status.failures = 0
        self._status.error = self._status.next_try = None
        self._set_connected(connected=True)

    def _on_failure(self, error: BackendError, *, lost: bool) -> float:
        denied = isinstance(error, AuthenticationError)
        pause = DENIED_RETRY if denied else self._backoff.record_failure()
        what = "lost the connection" if lost else "no connection"
        level = logging.DEBUG if str(error) == self._logged else logging.WARNING
        _LOG.log(level, "%s: %s to the vendor's MQTT broker, polls go on without it: %s", self._name, what, error)
        self._logged = str(error)
        self._status.failures += 1
        self._status.error = error
        self._status.next_try = datetime.now(UTC) + timedelta(seconds=pause)
        self._set_connected(connected=False)
        return pause

    def _set_connected(self, *, connected: bool) -> None:
        status = self._status
        if status.connected is not connected:
            status.connected = connected
            status.since = datetime.now(UTC)
            self._subscription.set_connected(connected)
            if not connected:
                self._request_poll(self._subscription.refresh)
        self._changed()

    def _on_message(self, topic_filter: str, body: bytes) -> None:
        status = self._status
        status.messages += 1
        status.last_message = datetime.now(UTC)
        if len(body) > MAX_BODY:
            self._drop(f"one of {len(body)} bytes is too large")
            return
        try:
            self._waiting.put_nowait((self._subscription.kinds[topic_filter], body))
        except asyncio.QueueFull:
            self._drop("they come faster than they can be accepted")
        else:
            self._dropping = False

    def _drop(self, reason: str) -> None:
        """Count a message that is lost; one line is logged for those that are lost in a row."""
        self._status.dropped += 1
        if not self._dropping:
            self._dropping = True
            _LOG.warning("%s: messages of the vendor's MQTT broker are dropped: %s", self._name, reason)
