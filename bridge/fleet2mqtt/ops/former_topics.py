"""Topics of an earlier configuration: after a change the bridge clears what it published there itself.

The data directory remembers base topic, discovery prefix and broker. Another bridge may use the former base topic by
now, so it is cleared only if its retained `bridge/info` is still this bridge's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import Device
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.mqtt import Message
from fleet2mqtt.ops.base_topic import id_of
from fleet2mqtt.ops.inventory import InventorySaver
from fleet2mqtt.outbox import AlarmEvent, Outbox
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.storage import atomic_file

_LOG = logging.getLogger(__name__)

INFO_TIMEOUT = 5.0
"""Seconds in which the broker sends the retained `bridge/info` of the former base topic, if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedUnder:
    """Options that decide where a bridge publishes; `prefix` is None without discovery.

    `broker` is its host, None for the embedded broker, which forgets everything.
    """

    base: str
    prefix: str | None
    broker: str | None

    @property
    def info_topic(self) -> str:
        """The topic of `bridge/info`."""
        return Topics(self.base, "").bridge("info")

    def retained_topics(
        self, devices: Iterable[Device], backends: Mapping[str, Iterable[str]], active: Iterable[AlarmEvent]
    ) -> set[str]:
        """Return the retained topics of these devices, backends with their sources, active alarms, and the bridge."""
        topics = Topics(self.base, self.prefix or "")
        found = {topics.state, topics.alarm_summary, *(topics.bridge(name) for name in ("info", "health"))}
        for name, sources in backends.items():
            found.update(topics.backend(name, each) for each in ("availability", "health"))
            found.update(topics.source(name, source) for source in sources)
        found.update(topics.alarm_active(event.device, event.alarm_key or event.id) for event in active)
        for device in devices:
            found.update(topics.device(device.id, name) for name in ("state", "attributes", "availability"))
            if self.prefix is not None:
                found.add(topics.discovery(device.id))
        return found


def load_published_under(path: Path) -> PublishedUnder | None:
    """Return the content of the file, None without one. A file that cannot be used is set aside."""
    if not path.exists():
        return None
    try:
        return PublishedUnder(**json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        atomic_file.set_aside(path, f"{type(error).__name__}: {error}")
        return None


class FormerTopics:
    """Clears the retained topics of the former configuration, once."""

    def __init__(  # noqa: PLR0913 - what was published, and what clears it
        self,
        path: Path,
        former: PublishedUnder | None,
        current: PublishedUnder,
        instance: str,
        *,
        registry: Registry,
        secondary_sources: Callable[[str], Iterable[str]],
        outbox: Outbox,
        publisher: Publisher,
        inventory: InventorySaver,
    ) -> None:
        """`path` is the file that `former` was read from; `secondary_sources` returns those of a backend that runs."""
        self._path = path
        self._former = former
        self._current = current
        self._instance = instance
        self._registry = registry
        self._secondary_sources = secondary_sources
        self._outbox = outbox
        self._publisher = publisher
        self._inventory = inventory
        self._owner: str | None = None
        self._owner_known = asyncio.Event()

    def on_message(self, message: Message) -> None:
        """Process a message on `bridge/info` below the former base topic."""
        if self._former is None or message.topic != self._former.info_topic:
            return
        if (owner := id_of(message.payload)) is not None:
            self._owner = owner
            self._owner_known.set()

    def keep_current(self) -> None:
        """Keep topics that are used again, after an earlier change whose deletions are still pending."""
        used = self._current.retained_topics(self._registry.devices.values(), self._backends(), ())
        self._publisher.pending_deletions.difference_update(used)

    async def run(self) -> None:
        """Clear the former topics and remember the current configuration. To be called with a connection."""
        if self._former is not None and self._former != self._current:
            await self._clear(self._former)
            await self._inventory.save()  # with the pending deletions: only now the former configuration is done with
        if self._former != self._current:
            try:
                await asyncio.to_thread(atomic_file.replace, self._path, json.dumps(asdict(self._current)).encode())
            except OSError as error:
                _LOG.warning("%s cannot be written: %s", self._path, error.strerror)

    async def _clear(self, former: PublishedUnder) -> None:
        if former.broker != self._current.broker:
            if former.broker is not None:
                _LOG.warning(
                    "the broker was %s: what the bridge published there stays retained; to remove it, run: "
                    "mosquitto_sub -h %s -t '%s/#' --retained-only --remove-retained",
                    former.broker,
                    former.broker,
                    former.base,
                )
            return
        if former.base != self._current.base:
            await wait_for_event(self._owner_known, INFO_TIMEOUT)
            if self._owner not in (None, self._instance):
                _LOG.warning(
                    "the base topic was %s, which another bridge (%s) uses now: nothing is cleared there",
                    former.base,
                    self._owner,
                )
                return
            if self._owner is None:
                return
        devices, backends = tuple(self._registry.devices.values()), self._backends()
        active = await self._outbox.active_alarms()
        current = self._current.retained_topics(devices, backends, active)
        topics = former.retained_topics(devices, backends, active) - current
        discovery = {Topics(former.base, former.prefix or "").discovery(device.id) for device in devices}
        _LOG.warning(
            "base_topic %s and discovery prefix %s are no longer used: the topics of this bridge are cleared",
            former.base,
            former.prefix or "(none)",
        )
        self._publisher.clear_topics(topics & discovery, topics - discovery)

    def _backends(self) -> dict[str, set[str]]:
        """Return the backends of all devices with the sources that may have an availability topic."""
        found: dict[str, set[str]] = {}
        for device in self._registry.devices.values():
            if device.backend:
                sources = found.setdefault(device.backend, set(self._secondary_sources(device.backend)))
                sources.update(each for each in (device.source, *(one.source for one in device.entities)) if each)
        return found
