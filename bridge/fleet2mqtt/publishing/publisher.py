"""Everything that is published but alarms: newest only, in lanes, announced again on every connection and birth.

Nothing here queues states: a set of ids says what is out of date, so an outage coalesces and memory is bounded by the
number of devices. Answers (results and responses) are the one queue, and bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.contract import payloads
from fleet2mqtt.contract.discovery import Discovery
from fleet2mqtt.contract.payloads import EMPTY, Reply, availability, dumps
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import Device
from fleet2mqtt.devices.registry import Changes, Registry
from fleet2mqtt.errors import Disconnected, Refused
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.publishing.discovery_queue import DiscoveryQueue

_LOG = logging.getLogger(__name__)

MAX_REPLIES = 10_000
STATE_REMOVAL_DELAY = 2.0
"""Seconds between a device's last discovery message and the end of its values, which Home Assistant still reads."""


class Publisher:
    """Brings the broker to what the registry holds, and says facts and answers."""

    def __init__(
        self, mqtt: MqttClient, registry: Registry, discovery: Discovery | None, topics: Topics, rate: float
    ) -> None:
        """`rate` is how many devices a second are described; no `discovery` means none is sent."""
        self._mqtt = mqtt
        self._registry = registry
        self._discovery = discovery
        self._topics = topics
        self.turns = DiscoveryQueue(rate)
        self.dropped: Counter[str] = Counter()
        self.pending_deletions: set[str] = set()
        """Retained topics of ours that must go, until the broker has acknowledged it. Kept on disk."""
        self._delayed_deletions: set[str] = set()
        self._facts: dict[str, bytes] = {}
        self._new_facts: dict[str, None] = {}
        self._values: dict[str, None] = {}
        self._answers: deque[Reply] = deque()
        self._unacknowledged: dict[int, Reply] = {}
        self._sent: dict[str, int] = {}
        self._sent_availability: dict[str, bool] = {}
        self._attributed: set[str] = set()
        """Devices that have shown attributes, and show it when these are gone."""
        self._refused: set[str] = set()
        self._work = asyncio.Event()

    def connected(self) -> None:
        """A connection is new: what was not acknowledged goes again, and everything else."""
        self._answers.extendleft(reversed(self._unacknowledged.values()))
        self._unacknowledged.clear()
        self.announce()

    def announce(self) -> None:
        """Send everything again, whatever was sent before: a connection is new, or a hub was born."""
        changed = (device for device in self._values if device in self._registry.devices)
        self.turns.put_all((*changed, *self._registry.devices))
        self._sent.clear()
        self._sent_availability.clear()
        self._new_facts = dict.fromkeys(self._facts)
        self._values.clear()
        self._work.set()

    def on_changes(self, changes: Changes) -> None:
        """Publish what the registry says has changed."""
        for id_ in changes.removed:
            self._schedule_removal(id_)
        now = asyncio.get_running_loop().time()
        for id_ in changes.discovery_changed:
            self.pending_deletions.difference_update(self._retained(id_))
            self.turns.put(id_, self._registry.devices[id_].backend, now)
        self._values |= dict.fromkeys(changes.state_changed)
        self._work.set()

    def pause_backend(self, backend: str) -> None:
        """Keep back discovery messages of a backend's new devices until `resume_backend`."""
        self.turns.hold(backend)

    def resume_backend(self, backend: str) -> None:
        """Publish discovery messages of a backend's new devices: each of its sources has answered, or had its time."""
        self.turns.release(backend)
        self._work.set()

    def request_state_publish(self, device: str) -> None:
        """Publish a device's state, changed or not."""
        if device in self._registry.devices:
            self._values[device] = None
            self._work.set()

    def set_retained(self, topic: str, text: bytes) -> None:
        """Keep `topic` at `text`, retained."""
        if self._facts.get(topic) != text:
            self._facts[topic] = text
            self.pending_deletions.discard(topic)
            self._new_facts[topic] = None
            self._work.set()

    def republish(self, topic: str) -> None:
        """Say a fact again: something else said otherwise."""
        if topic in self._facts:
            self._new_facts[topic] = None
            self._work.set()

    def clear_retained(self, topic: str) -> None:
        """No longer keep `topic`, and remove it from the broker."""
        self._facts.pop(topic, None)
        self._sent.pop(topic, None)
        self.pending_deletions.add(topic)
        self._work.set()

    def answer(self, answer: Reply) -> None:
        """Say how something ended, after the state of its device."""
        if len(self._answers) >= MAX_REPLIES:
            self._answers.popleft()
            self.dropped["answers_full"] += 1
        self._answers.append(answer)
        self._work.set()

    @property
    def idle(self) -> bool:
        """Whether everything said is with the broker; descriptions that wait for their turn come again anyway."""
        return not (self._urgent() or self._unacknowledged)

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                while self._mqtt.connected and self._pending():
                    await self._round()
            except Disconnected:
                _LOG.debug("publishing stops until there is a connection")

    def _pending(self) -> bool:
        return self._urgent() or bool(self.turns)

    def _urgent(self) -> bool:
        return any((self._new_facts, self._values, self._answers, self._due_deletions()))

    def _due_deletions(self) -> set[str]:
        # Not `graves - sent.keys()`, which walks over every topic ever sent to find that there are no graves.
        return self.pending_deletions.difference(self._sent).difference(self._delayed_deletions)

    async def _round(self) -> None:
        """Everything urgent, then one description. What is taken off a lane and not sent is announced again anyway."""
        facts, self._new_facts = self._new_facts, {}
        for topic in facts:
            await self._publish_fact(topic)
        for topic in self._due_deletions():
            self._sent[topic] = 0
            await self._submit(topic, EMPTY, done=partial(self.pending_deletions.discard, topic))
        values, self._values = self._values, {}
        for id_ in values:
            if self.turns.described(id_):  # else its values follow its description
                await self._publish_values(id_)
        while self._answers:
            await self._publish_answer(self._answers.popleft())
        if self.turns:
            await self._describe_next()

    async def _publish_fact(self, topic: str) -> None:
        text = self._facts.get(topic)
        if text is not None:
            await self._submit(topic, text)

    async def _publish_values(self, id_: str) -> None:
        device = self._registry.devices.get(id_)
        if device is None:
            return
        if self._sent_availability.get(id_) is not device.available:
            self._sent_availability[id_] = device.available
            await self._submit(self._topics.device(id_, "availability"), availability(device.available))
        if device.attributes or id_ in self._attributed:
            self._attributed.add(id_)
            await self._submit_new(self._topics.device(id_, "attributes"), dumps(device.attributes))
        await self._submit(
            self._topics.device(id_, "state"), payloads.state(device, self._registry.state_meta.get(id_))
        )

    async def _publish_answer(self, answer: Reply) -> None:
        self._unacknowledged[id(answer)] = answer
        if answer.device is not None and not self.turns.described(answer.device):
            await self._describe(answer.device)
        elif answer.device in self._values:
            await self._publish_values(answer.device)
            self._values.pop(answer.device, None)
        done = partial(self._unacknowledged.pop, id(answer), None)
        for text in filter(None, (answer.payload, answer.short)):
            if await self._submit(answer.topic, text, retain=False, correlation=answer.correlation, done=done):
                break

    async def _describe_next(self) -> None:
        """Describe whose turn it is; more urgent work that comes while nobody's is goes first."""
        loop = asyncio.get_running_loop()
        device = self.turns.take(loop.time())
        if device is not None:
            await self._describe(device)
            return
        await wait_for_event(self._work, self.turns.wait(loop.time()))
        self._work.clear()

    async def _describe(self, id_: str) -> None:
        """Discovery if it is news to the broker, then the values, so that a new entity finds its state."""
        self._values.pop(id_, None)
        device = self._registry.devices.get(id_)
        if device is None:
            self.turns.drop(id_)
            return
        self.turns.done(id_, asyncio.get_running_loop().time())
        if self._discovery is not None:
            await self._publish_discovery(self._discovery, device)
        await self._publish_values(id_)

    async def _publish_discovery(self, discovery: Discovery, device: Device) -> None:
        topic = self._topics.discovery(device.id)
        if retired := dict(self._registry.removed_components.get(device.id, {})):
            text = dumps(discovery.retiring(device, retired))
            await self._submit(topic, text, done=partial(self._retired, device))
            self._sent.pop(topic, None)
            return
        await self._submit_new(topic, dumps(discovery.config(device)))

    def _retired(self, device: Device) -> None:
        """Home Assistant has been told which components go; next time it hears of those that stay only."""
        self._registry.removed_components.pop(device.id, None)
        if device.id in self._registry.devices:
            self.turns.put(device.id, device.backend, asyncio.get_running_loop().time())
            self._work.set()

    def _schedule_removal(self, id_: str) -> None:
        """Take a device away: its discovery at once, its values when Home Assistant no longer reads them."""
        discovery = self._topics.discovery(id_)
        topics = self._retained(id_)
        later = {topic for topic in topics if topic != discovery}
        for topic in topics:
            self._sent.pop(topic, None)
        self.pending_deletions.update(topics)
        self._delayed_deletions |= later
        asyncio.get_running_loop().call_later(STATE_REMOVAL_DELAY, self._end_deletion_delay, later)
        self._sent_availability.pop(id_, None)
        self._attributed.discard(id_)
        self.turns.drop(id_)

    def _end_deletion_delay(self, topics: set[str]) -> None:
        self._delayed_deletions -= topics
        self._work.set()

    def _retained(self, id_: str) -> list[str]:
        """The retained topics of a device."""
        topics = [self._topics.device(id_, name) for name in ("state", "attributes", "availability")]
        return topics if self._discovery is None else [self._topics.discovery(id_), *topics]

    async def _submit_new(self, topic: str, text: bytes) -> None:
        """Hand a message over unless it is what was said last on this connection."""
        if self._sent.get(topic) != hash(text):
            self._sent[topic] = hash(text)
            await self._submit(topic, text)

    async def _submit(
        self,
        topic: str,
        text: bytes,
        *,
        retain: bool = True,
        correlation: bytes | None = None,
        done: Callable[[], object] | None = None,
    ) -> bool:
        """Hand a message over in order; a refusal is counted and named once, and never retried: False."""
        try:
            future = await self._mqtt.submit(topic, text, retain=retain, response=correlation)
        except Refused as refusal:
            self._refuse(topic, refusal, done)
            return False
        future.add_done_callback(partial(self._acknowledged, topic, done))
        return True

    def _acknowledged(self, topic: str, done: Callable[[], object] | None, future: asyncio.Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, Refused):
            self._refuse(topic, error, done)
        elif error is None and not future.cancelled() and done is not None:
            done()

    def _refuse(self, topic: str, refusal: Refused, done: Callable[[], object] | None) -> None:
        self.dropped[refusal.reason] += 1
        if topic not in self._refused:
            self._refused.add(topic)
            _LOG.warning("%s is not published: %s", topic, refusal)
        if done is not None:
            done()
