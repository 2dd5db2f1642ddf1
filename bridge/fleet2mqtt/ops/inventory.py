"""Saving the inventory file some seconds after a change."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.alarms.evaluator import ConditionEvaluator
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.storage import inventory_file
from fleet2mqtt.storage.inventory_file import Snapshot

_LOG = logging.getLogger(__name__)

DELAY = 2.0
"""Seconds in which changes are gathered."""
INTERVAL = 60.0
"""Seconds between two saves without a change of devices: states change without one."""
REST = 20
"""Times as long as the last save took that the next one waits: that of a large fleet takes a second."""


class InventorySaver:
    """Writes devices, ids, last states, pending deletions and delayed conditions to the inventory file."""

    def __init__(  # noqa: PLR0913, PLR0917 - what is saved
        self,
        path: Path,
        registry: Registry,
        publisher: Publisher,
        ids: Ids,
        evaluator: ConditionEvaluator,
        inventory_changed: asyncio.Event,
    ) -> None:
        """`inventory_changed` is set whenever a device came, changed its discovery message or was removed."""
        self._path = path
        self._registry = registry
        self._publisher = publisher
        self._ids = ids
        self._evaluator = evaluator
        self._inventory_changed = inventory_changed

    async def run(self) -> None:
        """Save the inventory after changes, until cancelled."""
        loop = asyncio.get_running_loop()
        took = 0.0
        while True:
            await wait_for_event(self._inventory_changed, INTERVAL)
            await asyncio.sleep(max(DELAY, took * REST))
            self._inventory_changed.clear()
            started = loop.time()
            await self.save()
            took = loop.time() - started

    async def save(self) -> None:
        """Save the inventory now; a failing disk is logged."""
        registry = self._registry
        snapshot = Snapshot(
            devices=tuple(registry.devices.values()),
            removed_components={id_: dict(keys) for id_, keys in registry.removed_components.items()},
            pending_deletions=frozenset(self._publisher.pending_deletions),
            assignments=dict(self._ids.assignments),
            state_meta=dict(registry.state_meta),
            waiting=self._evaluator.waiting(),
        )
        try:
            await asyncio.to_thread(inventory_file.save, self._path, snapshot)
        except OSError as error:
            _LOG.error("the inventory cannot be written to %s: %s", self._path, error)
