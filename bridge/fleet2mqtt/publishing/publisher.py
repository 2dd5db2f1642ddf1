"""Publishes everything except alarm events: retained messages, states, discovery messages and replies.

States are not queued: sets of device ids record which are out of date, so that an outage coalesces and memory is
bounded by the number of devices. Replies (results and responses) are the one queue, and it is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.contract import payloads
from fleet2mqtt.contract.discovery import Discovery
from fleet2mqtt.contract.payloads import EMPTY, Reply, availability, dumps
from fleet2mqtt.contract.published import discovery_facts, published_values
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import Device
from fleet2mqtt.devices.registry import Changes, Registry
from fleet2mqtt.errors import Disconnected, Refused
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.publishing.discovery_queue import DiscoveryQueue
from fleet2mqtt.publishing.retry_queue import RetryQueue

_LOG = logging.getLogger(__name__)

MAX_REPLIES = 10_000
MAX_REPLY_ATTEMPTS = 20
"""Times that a reply is refused before it is dropped, more than an hour later; its topic may be forbidden for good."""
MAX_CLEARED = 10_000
CLEARED_AGE = 3600.0
"""Topics that were cleared, and seconds for which they are cleared once more on each new connection: a broker that
crashed goes on with what it had written last, mosquitto every 30 minutes."""
STATE_REMOVAL_DELAY = 2.0
"""Seconds between the discovery message that removes a device and the clearing of its states, which Home Assistant
still reads."""


class _Kind(StrEnum):
    """Kinds of publications."""

    RETAINED = "retained"
    DELETION = "deletion"
    DISCOVERY = "discovery"
    AVAILABILITY = "availability"
    ATTRIBUTES = "attributes"
    STATE = "state"
    REPLY = "reply"


class _Publication(NamedTuple):
    """A publication to repeat if the broker refused it: `key` is a topic, a device id, or the id of a reply."""

    kind: _Kind
    key: str | int


class Publisher:
    """Brings the broker to the content of the registry; publishes retained messages and replies."""

    def __init__(  # noqa: PLR0913 - what is published, and how
        self,
        mqtt: MqttClient,
        registry: Registry,
        discovery: Discovery | None,
        topics: Topics,
        rate: float,
        *,
        publish_restored: bool = True,
    ) -> None:
        """`rate` is the number of discovery messages per second; without `discovery` none is sent.

        Without `publish_restored` the state of a device is published only once it has been read: what is retained
        may be newer than what was restored.
        """
        self._publish_restored = publish_restored
        self._mqtt = mqtt
        self._registry = registry
        self._discovery = discovery
        self._topics = topics
        self._discovery_queue = DiscoveryQueue(rate)
        self.dropped: Counter[str] = Counter()
        self.pending_deletions: set[str] = set()
        """Retained topics of ours that must still be cleared at the broker. Kept on disk."""
        self._delayed_deletions: set[str] = set()
        self._cleared: dict[str, float] = {}
        """Topics that were cleared lately, and when, oldest first."""
        self._deletions = 0
        """Number of the last deletion that was sent."""
        self._retained: dict[str, bytes] = {}
        self._changed_retained: dict[str, None] = {}
        self._changed_states: dict[str, None] = {}
        self._replies: deque[Reply] = deque()
        self._unacknowledged_replies: dict[int, Reply] = {}
        self._sent: dict[str, int] = {}
        self._sent_availability: dict[str, bool] = {}
        self._with_attributes: set[str] = set()
        """Devices whose attributes were published, and are published as empty once there are none."""
        self._discovery_facts: dict[str, frozenset[tuple[str, float | None]]] = {}
        """The values that the last discovery message of a device was made from."""
        self._logged_refusals: set[str] = set()
        self._retries: RetryQueue[_Publication] = RetryQueue()
        self._retry_timer: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self.is_online = asyncio.Event()
        """Set once `bridge/state` was sent on this connection: until then consumers take entities as unavailable."""

    def on_connected(self) -> None:
        """Publish again what was not acknowledged, and announce, on a new connection."""
        self.is_online.clear()
        self._replies.extendleft(reversed(self._unacknowledged_replies.values()))
        self._unacknowledged_replies.clear()
        self._retries.clear()
        oldest = time.monotonic() - CLEARED_AGE
        self.pending_deletions.update(topic for topic, moment in self._cleared.items() if moment >= oldest)
        self.announce()

    def set_discovery_rate(self, rate: float) -> None:
        """Publish so many discovery messages per second from now on."""
        self._discovery_queue.set_rate(rate)

    def announce(self) -> None:
        """Publish discovery, state and availability of everything again, whatever was sent before."""
        changed = (device for device in self._changed_states if device in self._registry.devices)
        self._discovery_queue.enqueue_all((*changed, *self._registry.devices))
        self._sent.clear()
        self._sent_availability.clear()
        self._changed_retained = dict.fromkeys(self._retained)
        self._changed_states.clear()
        self._work.set()

    def on_changes(self, changes: Changes) -> None:
        """Publish what changed in the registry."""
        for id_ in changes.removed:
            self._schedule_removal(id_)
        now = asyncio.get_running_loop().time()
        for id_ in changes.discovery_changed:
            self._cancel_deletions(self._retained_topics(id_))
            self._discovery_queue.enqueue(id_, self._registry.devices[id_].backend, now)
        self._changed_states |= dict.fromkeys(changes.state_changed)
        self._work.set()

    def pause_backend(self, backend: str) -> None:
        """Delay the first discovery message of a backend's devices until `resume_backend`."""
        self._discovery_queue.pause_backend(backend)

    def resume_backend(self, backend: str) -> None:
        """Publish the discovery messages of a backend's new devices: its sources have answered once."""
        self._discovery_queue.resume_backend(backend)
        self._work.set()

    def request_state_publish(self, device: str) -> None:
        """Publish a device's state, changed or not."""
        if device in self._registry.devices:
            self._changed_states[device] = None
            self._work.set()

    def set_retained(self, topic: str, payload: bytes) -> None:
        """Publish a retained message unless the topic has this payload already."""
        if self._retained.get(topic) != payload:
            self._retained[topic] = payload
            self._cancel_deletions((topic,))
            self._changed_retained[topic] = None
            self._work.set()

    def republish(self, topic: str) -> None:
        """Publish a retained message again: another client has published on its topic."""
        if topic in self._retained:
            self._changed_retained[topic] = None
            self._work.set()

    def clear_retained(self, topic: str) -> None:
        """Clear a retained message at the broker."""
        self._retained.pop(topic, None)
        self._sent.pop(topic, None)
        self.pending_deletions.add(topic)
        self._work.set()

    def clear_topics(self, first: set[str], later: set[str]) -> None:
        """Clear retained messages at the broker: discovery messages first, what Home Assistant reads of them later."""
        self.pending_deletions |= first | later
        self._delayed_deletions |= later
        asyncio.get_running_loop().call_later(STATE_REMOVAL_DELAY, self._end_deletion_delay, later)
        self._work.set()

    def publish_reply(self, reply: Reply) -> None:
        """Publish a result or response, after the state of its device."""
        if len(self._replies) >= MAX_REPLIES:
            self._replies.popleft()
            self.dropped["answers_full"] += 1
        self._replies.append(reply)
        self._work.set()

    @property
    def idle(self) -> bool:
        """True if the broker has everything except discovery messages, which are announced again anyway."""
        return not (self._is_urgent() or self._unacknowledged_replies)

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                while self._mqtt.connected and (self._is_urgent() or self._discovery_queue):
                    await self._publish_pending()
            except Disconnected:
                _LOG.debug("publishing stops until there is a connection")

    def _is_urgent(self) -> bool:
        return any((self._changed_retained, self._changed_states, self._replies, self._due_deletions()))

    def _due_deletions(self) -> set[str]:
        # Not `pending_deletions - sent.keys()`, which would walk over every topic ever sent.
        return self.pending_deletions.difference(self._sent).difference(self._delayed_deletions)

    async def _publish_pending(self) -> None:
        """Publish everything urgent, then one discovery message.

        What is taken from a collection and then not sent is announced again on the next connection.
        """
        changed, self._changed_retained = self._changed_retained, {}
        if self._topics.state in changed:
            await self._publish_retained(self._topics.state)
            self.is_online.set()
        for topic in changed:
            if topic != self._topics.state:
                await self._publish_retained(topic)
        for topic in self._due_deletions():
            self._deletions += 1
            self._sent[topic] = self._deletions
            publication = _Publication(_Kind.DELETION, topic)
            await self._submit(topic, EMPTY, publication, done=partial(self._on_deleted, topic, self._deletions))
        states, self._changed_states = self._changed_states, {}
        for id_ in states:
            if self._discovery_queue.is_published(id_):  # else the state follows the discovery message
                await self._publish_state(id_)
        while self._replies:
            await self._publish_reply(self._replies.popleft())
        if self._discovery_queue:
            await self._publish_next_discovery()

    async def _publish_retained(self, topic: str) -> None:
        payload = self._retained.get(topic)
        if payload is not None:
            await self._submit(topic, payload, _Publication(_Kind.RETAINED, topic))

    async def _publish_state(self, id_: str) -> None:
        """Publish availability, attributes and state of a device."""
        device = self._registry.devices.get(id_)
        if device is None:
            return
        if self._sent_availability.get(id_) is not device.available:
            self._sent_availability[id_] = device.available
            payload = availability(device.available)
            topic = self._topics.device(id_, "availability")
            await self._submit(topic, payload, _Publication(_Kind.AVAILABILITY, id_))
        if discovery_facts(device) - self._discovery_facts.get(id_, frozenset()):
            self._discovery_queue.enqueue(id_, device.backend, asyncio.get_running_loop().time())
        if not self._publish_restored and not self._registry.is_read(id_):
            return
        values = published_values(device)
        if values.attributes or id_ in self._with_attributes:
            self._with_attributes.add(id_)
            topic = self._topics.device(id_, "attributes")
            await self._submit_changed(topic, dumps(values.attributes), _Publication(_Kind.ATTRIBUTES, id_))
        payload = payloads.state(values.state, self._registry.state_meta.get(id_))
        await self._submit(self._topics.device(id_, "state"), payload, _Publication(_Kind.STATE, id_))

    async def _publish_reply(self, reply: Reply) -> None:
        publication = _Publication(_Kind.REPLY, id(reply))
        self._unacknowledged_replies[id(reply)] = reply
        if len(self._unacknowledged_replies) > MAX_REPLIES:
            self._drop_reply(next(iter(self._unacknowledged_replies)), "answers_full")
        if reply.device is not None and not self._discovery_queue.is_published(reply.device):
            await self._publish_device(reply.device)
        elif reply.device in self._changed_states:
            await self._publish_state(reply.device)
            self._changed_states.pop(reply.device, None)
        done = partial(self._on_reply_acknowledged, reply)
        for payload in filter(None, (reply.payload, reply.short)):
            if await self._submit(
                reply.topic, payload, publication, retain=False, correlation=reply.correlation, done=done
            ):
                break

    def _on_reply_acknowledged(self, reply: Reply) -> None:
        if self._unacknowledged_replies.pop(id(reply), None) is not None and reply.on_acknowledged is not None:
            reply.on_acknowledged()

    async def _publish_next_discovery(self) -> None:
        """Publish the next device of the discovery queue, or wait for it until something urgent comes."""
        loop = asyncio.get_running_loop()
        device = self._discovery_queue.dequeue(loop.time())
        if device is not None:
            await self._publish_device(device)
            return
        await wait_for_event(self._work, self._discovery_queue.delay(loop.time()))
        self._work.clear()

    async def _publish_device(self, id_: str) -> None:
        """Publish a device's discovery message, unless the broker has it, then its state for a new entity."""
        self._changed_states.pop(id_, None)
        device = self._registry.devices.get(id_)
        if device is None:
            self._discovery_queue.remove(id_)
            return
        self._discovery_queue.record_published(id_, asyncio.get_running_loop().time())
        self._discovery_facts[id_] = discovery_facts(device)
        if self._discovery is not None:
            await self._publish_discovery(self._discovery, device)
        await self._publish_state(id_)

    async def _publish_discovery(self, discovery: Discovery, device: Device) -> None:
        topic = self._topics.discovery(device.id)
        publication = _Publication(_Kind.DISCOVERY, device.id)
        if removed := dict(self._registry.removed_components.get(device.id, {})):
            payload = dumps(discovery.config_with_removals(device, removed))
            await self._submit(topic, payload, publication, done=partial(self._on_components_removed, device))
            self._sent.pop(topic, None)
            return
        await self._submit_changed(topic, discovery.payload(device), publication)

    def _on_components_removed(self, device: Device) -> None:
        """Enqueue the device once more, without the components whose removal was published."""
        self._registry.removed_components.pop(device.id, None)
        if device.id in self._registry.devices:
            self._discovery_queue.enqueue(device.id, device.backend, asyncio.get_running_loop().time())
            self._work.set()

    def _schedule_removal(self, id_: str) -> None:
        """Clear a device's discovery message now, and its states when Home Assistant no longer reads them."""
        discovery = self._topics.discovery(id_)
        topics = self._retained_topics(id_)
        later = {topic for topic in topics if topic != discovery}
        for topic in topics:
            self._sent.pop(topic, None)
        self.clear_topics(set(topics) - later, later)
        self._sent_availability.pop(id_, None)
        self._with_attributes.discard(id_)
        self._discovery_facts.pop(id_, None)
        self._discovery_queue.remove(id_)

    def _on_deleted(self, topic: str, number: int) -> None:
        """Note that a topic is cleared, unless it was published and cleared once more meanwhile."""
        if self._sent.get(topic) == number and topic in self.pending_deletions:
            self.pending_deletions.discard(topic)
            self._cleared.pop(topic, None)
            self._cleared[topic] = time.monotonic()
            if len(self._cleared) > MAX_CLEARED:
                del self._cleared[next(iter(self._cleared))]

    def _cancel_deletions(self, topics: Iterable[str]) -> None:
        """Clear topics no more that are published again."""
        for topic in topics:
            self.pending_deletions.discard(topic)
            self._cleared.pop(topic, None)

    def _end_deletion_delay(self, topics: set[str]) -> None:
        self._delayed_deletions -= topics
        self._work.set()

    def _retained_topics(self, id_: str) -> list[str]:
        """Return the retained topics of a device."""
        topics = [self._topics.device(id_, name) for name in ("state", "attributes", "availability")]
        return topics if self._discovery is None else [self._topics.discovery(id_), *topics]

    async def _submit_changed(self, topic: str, payload: bytes, publication: _Publication) -> None:
        """Send a retained message unless it was the last one sent on this connection."""
        if self._sent.get(topic) != hash(payload):
            self._sent[topic] = hash(payload)
            await self._submit(topic, payload, publication)

    async def _submit(  # noqa: PLR0913 - the parts of a message
        self,
        topic: str,
        payload: bytes,
        publication: _Publication,
        *,
        retain: bool = True,
        correlation: bytes | None = None,
        done: Callable[[], object] | None = None,
    ) -> bool:
        """Send a message in order; return False if it is refused for good before it is sent.

        `publication` is published again if the message is refused for now. `done` is called once it is acknowledged, or
        refused for good.
        """
        try:
            future = await self._mqtt.submit(topic, payload, retain=retain, response=correlation)
        except Refused as refusal:
            self._on_refused(topic, refusal, publication, done)
            return refusal.temporary
        future.add_done_callback(partial(self._on_acknowledged, topic, publication, done))
        return True

    def _on_acknowledged(
        self,
        topic: str,
        publication: _Publication,
        done: Callable[[], object] | None,
        future: asyncio.Future[float],
    ) -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, Refused):
            self._on_refused(topic, error, publication, done)
        elif error is None and not future.cancelled():
            if self._retries:
                self._retries.forget(publication)
            if done is not None:
                done()

    def _on_refused(
        self, topic: str, refusal: Refused, publication: _Publication, done: Callable[[], object] | None
    ) -> None:
        """Count a refused message; one that may be accepted later is published again, any other is logged once."""
        self.dropped[refusal.reason] += 1
        if refusal.temporary:
            now = asyncio.get_running_loop().time()
            attempts = self._retries.add(publication, now, refusal.retry_after)
            if publication.kind is _Kind.REPLY and attempts >= MAX_REPLY_ATTEMPTS:
                self._drop_reply(int(publication.key), "answers_refused")
            self._schedule_retries()
            return
        if topic not in self._logged_refusals:
            self._logged_refusals.add(topic)
            _LOG.warning("%s is not published: %s", topic, refusal)
        if done is not None:
            done()

    def _drop_reply(self, key: int, reason: str) -> None:
        self._unacknowledged_replies.pop(key, None)
        self._retries.forget(_Publication(_Kind.REPLY, key))
        self.dropped[reason] += 1

    def _schedule_retries(self) -> None:
        due = self._retries.next_due()
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        self._retry_timer = None if due is None else asyncio.get_running_loop().call_at(due, self._publish_refused)

    def _publish_refused(self) -> None:
        """Request again what was refused and is due."""
        for publication in self._retries.dequeue(asyncio.get_running_loop().time()):
            self._request(publication)
        self._schedule_retries()
        self._work.set()

    def _request(self, publication: _Publication) -> None:
        kind, key = publication
        if kind is _Kind.REPLY:
            if (reply := self._unacknowledged_replies.get(int(key))) is not None:
                self._replies.append(reply)
            return
        name = str(key)
        device = self._registry.devices.get(name)
        if kind is _Kind.RETAINED:
            self.republish(name)
        elif kind is _Kind.DELETION:
            self._sent.pop(name, None)
        elif device is None:
            self._retries.forget(publication)
        elif kind is _Kind.DISCOVERY:
            self._sent.pop(self._topics.discovery(name), None)
            self._discovery_queue.enqueue(name, device.backend, asyncio.get_running_loop().time())
        else:  # the state is published together with availability and attributes
            if kind is _Kind.AVAILABILITY:
                self._sent_availability.pop(name, None)
            elif kind is _Kind.ATTRIBUTES:
                self._sent.pop(self._topics.device(name, "attributes"), None)
            self._changed_states[name] = None
