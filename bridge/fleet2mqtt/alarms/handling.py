"""Alarm handling: what the hub does with alarms on their way in, as one component."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fleet2mqtt.alarms.evaluator import ConditionEvaluator
from fleet2mqtt.alarms.expiry import AlarmExpiry
from fleet2mqtt.alarms.maintenance import MaintenanceWindows
from fleet2mqtt.alarms.manager import AlarmManager, AlarmOptions
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.alarm_rules import NO_RULES, AlarmRules
from fleet2mqtt.devices.conditions import NO_CONDITIONS, ConditionTable
from fleet2mqtt.devices.model import Alarm, UpdateOrigin
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox import DISK_RETRY_DELAY, AlarmEvent, Outbox
from fleet2mqtt.publishing.publisher import Publisher

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmSources:
    """Conditions and rules by backend, as they are configured now."""

    tables: Callable[[str], ConditionTable] = lambda _: NO_CONDITIONS
    rules_of: Callable[[str], AlarmRules] = lambda _: NO_RULES
    language: str = "en"


class AlarmHandling:
    """Applies rules to vendors' alarms, evaluates conditions, and passes both to the manager."""

    def __init__(  # noqa: PLR0913, PLR0917 - what alarms are made from, stored in and shown by
        self,
        outbox: Outbox,
        registry: Registry,
        publisher: Publisher,
        topics: Topics,
        windows: MaintenanceWindows,
        on_events: Callable[[], None],
        options: AlarmOptions | None = None,
        sources: AlarmSources | None = None,
    ) -> None:
        """`on_events` is called when new events are in the outbox."""
        self._sources = sources or AlarmSources()
        self._outbox = outbox
        self._registry = registry
        self._removed: set[str] = set()
        """Devices that are gone and whose alarms the disk still has as active."""
        self._removal_failed = asyncio.Event()
        self.windows = windows
        self.manager = AlarmManager(
            outbox, registry, publisher, topics, windows, options or AlarmOptions(), self._is_unreachable, on_events
        )
        self.evaluator = ConditionEvaluator(registry, self._sources.tables, self._sources.language)
        self.expiry = AlarmExpiry(self._sources.rules_of, self.manager.is_active)

    def _is_unreachable(self, backend: str, key: str) -> bool:
        """Return True for a condition that means that nothing is known of the sub-devices."""
        condition = self._sources.tables(backend).get(key)
        return condition is not None and condition.unreachable

    async def restore(self) -> None:
        """Start from what the outbox stores. Raises OutboxError."""
        await self.manager.restore()
        active = [record.event for record in self.manager.active()]
        self.evaluator.restore(active)
        self.expiry.restore(active)

    def classify(
        self, backend: str, alarms: Iterable[Alarm], origin: UpdateOrigin
    ) -> tuple[list[Alarm], dict[str, str | None]]:
        """Return alarms as the rules want them, marked if they are withheld, and the texts to store with them."""
        if origin is not UpdateOrigin.CONDITION:
            rules = self._sources.rules_of(backend)
            alarms = rules.apply(alarms, self._sources.language, self.manager.active_or_arriving)
        return self.manager.classify(alarms)

    def on_event(self, event: AlarmEvent) -> None:
        """Record a new event; one of an alarm whose end nobody reports changes nothing."""
        if event.active:
            self.manager.on_event(event)
            self.expiry.on_event(event)

    def on_devices(self, accepted: Iterable[str], changed: Iterable[str], discovered: Iterable[str] = ()) -> None:
        """Look at devices of which data was accepted, changed, or that are new."""
        self.evaluator.on_devices(accepted, changed)
        self.manager.on_devices(discovered)

    def on_options(self, backend: str) -> None:
        """Apply the options of a backend: conditions and rules may have changed."""
        self.evaluator.on_options(backend)
        events = (record.event for record in self.manager.active())
        self.expiry.restore(event for event in events if event.body["backend"] == backend)

    async def on_removed(self, ids: Iterable[str]) -> None:
        """End the active alarms of devices that are gone, and the maintenance windows that name them.

        While the disk fails they wait for `run`.
        """
        self._removed.update(ids)
        try:
            await self._end_removed()
        except OutboxError as error:
            _LOG.warning(
                "alarms of removed devices are still active: %s; trying again in %g s", error, DISK_RETRY_DELAY
            )
            self._removal_failed.set()

    async def run(self) -> None:
        """End the alarms of removed devices that a failing disk has delayed, until cancelled."""
        while True:
            await self._removal_failed.wait()
            await asyncio.sleep(DISK_RETRY_DELAY)
            self._removal_failed.clear()
            await self.on_removed(())

    async def _end_removed(self) -> None:
        """End the alarms of devices that are gone; those of a device that is back go on. Raises OutboxError."""
        self._removed.difference_update(self._registry.devices)
        gone = tuple(self._removed)
        if not gone:
            return
        ended = await self._outbox.forget(gone)
        self.evaluator.on_removed(gone)
        self.manager.on_removed(gone, ended)
        for window in await self.windows.remove_of_devices(gone):
            _LOG.info("maintenance window %s is removed with its device %s", window.id, window.selector.device)
        self._removed.difference_update(gone)
        self.evaluator.on_devices((), [id_ for id_ in gone if id_ in self._registry.devices])  # back meanwhile
