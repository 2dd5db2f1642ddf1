"""A unit that this node has the lease of: its application, and what it does in a cluster besides."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fleet2mqtt import app
from fleet2mqtt.aio import wait_for_event, wait_until
from fleet2mqtt.bridge_unit import ClusterView, published_under_file
from fleet2mqtt.cluster.alarm_mirror import AlarmMirror
from fleet2mqtt.cluster.documents import Documents
from fleet2mqtt.cluster.errands import Errands, Perform
from fleet2mqtt.cluster.inbox import NOBODYS, Inbox, Process
from fleet2mqtt.cluster.journal import CommandJournal
from fleet2mqtt.cluster.membership import BRIDGE_UNIT, Lease, Membership
from fleet2mqtt.cluster.requests import ClusterRequests, UnitWork
from fleet2mqtt.cluster.units import Units
from fleet2mqtt.config.models import PUSH, WEB, Config
from fleet2mqtt.contract.payloads import Reply
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.ops.former_topics import load_published_under
from fleet2mqtt.ops.housekeeping import show_counts
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.outbox.postgres import Database
from fleet2mqtt.outbox.postgres.alarm_writer import Fence
from fleet2mqtt.outbox.postgres.session import Session
from fleet2mqtt.push.receiver import PushReceiver
from fleet2mqtt.reload import LAST_RESPONSE, Restart
from fleet2mqtt.sdk.api import Action, Backend
from fleet2mqtt.storage import inventory_file
from fleet2mqtt.storage.inventory_file import INVENTORY
from fleet2mqtt.unit import Unit
from fleet2mqtt.unit_role import UnitRole

_LOG = logging.getLogger(__name__)

UNITS_FOLDER = "units"
"""Folder of `data_dir` in which each unit has one with its files."""
MIN_INTERVAL = 1.0
"""Seconds in which changes of a unit's figures are gathered."""
REPORT_INTERVAL = 5.0
"""Seconds between two looks at them without a change of alarms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """Parts of a node that its units use."""

    config: Callable[[], Config]
    """Returns the configuration of the node as it is now."""
    log: MqttLog
    database: Database
    session: Session
    membership: Membership
    inbox: Inbox
    errands: Errands
    units: Units
    instance: str
    backends: Mapping[str, Backend]
    """All backends that are configured, connected for what is known of them without a call."""
    is_last: Callable[[], Awaitable[bool]]
    health: Callable[[], Mapping[str, Any]]
    not_stored: Callable[[], Mapping[str, int]]
    """Returns how many alarms and dead letters the other nodes have not stored, by reason."""
    reload: Callable[[], Awaitable[dict[str, Any]]]
    """Has all nodes load their configuration files again."""


def config_of(config: Config, unit: str) -> Config:
    """Return what of a configuration a unit uses."""
    backends = {name: each for name, each in config.backends.items() if name == unit}
    folder = config.data_dir / UNITS_FOLDER / unit
    push = replace(PUSH, trusted_proxies=config.push.trusted_proxies)
    restricted = replace(config, backends=backends, data_dir=folder, push=push)
    return restricted if unit == BRIDGE_UNIT else replace(restricted, notify={}, web=WEB)


class LeasedUnit:
    """One run of a unit, from its documents in the database to the end of its application."""

    def __init__(self, parts: NodeParts, lease: Lease, gap: float | None) -> None:
        """The unit was not connected to the broker for `gap` seconds, None if never."""
        self._parts = parts
        self._lease = lease
        self.restart = Restart()
        """Requested when it has to be run again, with another configuration."""
        self._is_bridge = lease.unit == BRIDGE_UNIT
        loop = asyncio.get_running_loop()
        self._waiting_since = None if gap is None else loop.time() - gap
        self.end = asyncio.Event()
        """Set to end it in order."""
        self.receiver: PushReceiver | None = None
        """Receiver of its backend's pushes, once it runs."""
        self.started = asyncio.Event()
        self._reload_wanted = asyncio.Event()
        self._unit: Unit | None = None
        self._work: UnitWork | None = None
        self._requests: ClusterRequests | None = None
        """The requests to the bridge, if this is the bridge unit."""
        self._application: app.Application | None = None

    async def run(self) -> None:
        """Run the unit until `end` is set. Raises BridgeError, OSError."""
        parts, lease, config = self._parts, self._lease, self._load()
        assert config.mqtt is not None  # noqa: S101 - a cluster has a broker
        await asyncio.to_thread(partial(config.data_dir.mkdir, parents=True, exist_ok=True))
        documents = Documents(parts.session, config.data_dir, lease.unit, lease.epoch)
        await documents.restore()
        outbox = await parts.database.outbox(Fence(unit=lease.unit, epoch=lease.epoch), self.owns)
        try:
            storage = app.Storage(
                outbox=outbox,
                snapshot=await asyncio.to_thread(inventory_file.load, config.data_dir / INVENTORY),
                instance=parts.instance,
                published_under=await asyncio.to_thread(load_published_under, published_under_file(config)),
            )
            application = app.build(config, config.mqtt, storage, parts.log, self.restart, role=self._role(outbox))
            self._unit, self._application = application.unit, application
            saving = asyncio.create_task(documents.run(), name="documents")
            grace = 0.0
            try:
                await application.run(self.end, self._reload_wanted, (partial(self._on_started, config),))
                grace = app.GRACE
            finally:
                self.receiver = None
                saving.cancel()
                await asyncio.gather(saving, return_exceptions=True)
                await parts.errands.finish(lease, grace)
            await documents.save()
        finally:
            parts.database.release(outbox)

    def _load(self, _: Path | None = None) -> Config:
        return config_of(self._parts.config(), self._lease.unit)

    async def reload(self) -> None:
        """Apply the configuration of the node as it is now. Raises CommandError, and then nothing has changed.

        Returns once the broker has the replies of commands that had to end before.
        """
        application = self._application
        if application is None or not self.started.is_set():
            return  # it does so once it has started
        applying = asyncio.ensure_future(application.reloader.reload())
        try:
            await asyncio.wait((applying,))
        finally:
            applying.cancel()
        if not applying.cancelled():  # else the unit has ended meanwhile
            applying.result()
            if not self._is_bridge:
                await wait_until(lambda: application.is_settled, LAST_RESPONSE)

    def owns(self, name: str) -> bool:
        """Return True for a device or backend that is this unit's; the bridge unit has those of no other one."""
        return self._parts.units.unit_of_device(name) == (None if self._is_bridge else self._lease.unit)

    @property
    def is_forgotten(self) -> bool:
        """True for the unit of a backend that is no longer configured, without devices and alarms."""
        unit = self._unit
        if unit is None or self._is_bridge or not self.started.is_set():
            return False
        known = (unit.active.configs, unit.registry.devices, unit.alarms.manager.records)
        return not (any(known) or unit.publisher.pending_deletions)

    def on_units_changed(self) -> None:
        """Show the alarms of all units as they are now. Of the bridge unit's none may be another unit's."""
        if not self._is_bridge or self._unit is None:
            return
        self._unit.show_alarms()
        if not all(self.owns(device) for device, _ in self._unit.alarms.manager.records):
            self.restart.config = self._parts.config()
            self.restart.requested.set()

    def set_discovery_rate(self, rate: float) -> None:
        """Publish so many discovery messages per second from now on."""
        if self._unit is not None:
            self._unit.set_discovery_rate(rate)

    def _on_started(self, config: Config) -> None:
        assert self._unit is not None  # noqa: S101 - it is what has started
        if config != self._load():
            self._reload_wanted.set()
        self.receiver = self._unit.push_receiver
        self.started.set()

    def _role(self, outbox: Outbox) -> UnitRole:
        parts, lease = self._parts, self._lease

        def journal(publish: Callable[[Reply], None]) -> CommandJournal:
            return CommandJournal(parts.session, lease.unit, lease.epoch, publish, waiting_since=self._waiting_since)

        return UnitRole(
            unit=lease.unit,
            view=self._view() if self._is_bridge else None,
            owns=self.owns,
            confirm_lease=partial(parts.membership.confirm_lease, lease),
            journal=journal,
            is_last=parts.is_last if self._is_bridge else _never,
            reload=parts.reload,
            load=self._load,
            actions=self._actions,
            load_windows=self._load_windows,
            run=partial(self._run_role, outbox),
        )

    def _view(self) -> ClusterView:
        parts = self._parts
        return ClusterView(
            backends=parts.backends,
            health=parts.health,
            dropped=self._dropped,
            alarm_counts=self._alarm_counts,
            availability=self._availability,
            units=parts.units,
            ask_all=parts.errands.ask_all,
            announce=self._announce,
            alarms=AlarmMirror(units=parts.units, own=self._perform, ask_all=parts.errands.ask_all),
            configs=parts.config().backends,
        )

    async def _perform(self, work: Mapping[str, Any]) -> Any:
        assert self._work is not None  # noqa: S101 - the application that asks has made it
        return await self._work.perform(work)

    async def _announce(self) -> None:
        assert self._requests is not None  # noqa: S101 - the application that asks has made it
        await self._requests.announce()

    def _availability(self) -> dict[str, bool]:
        return {
            name: bool(self._parts.units.records[name].figures.get("available"))
            for name in self._parts.backends
            if name in self._parts.units.records
        }

    async def _load_windows(self) -> None:
        assert self._work is not None  # noqa: S101 - the application that asks has made it
        await self._work.load_windows()

    def _dropped(self) -> dict[str, int]:
        total = Counter(self._parts.not_stored())
        for each in self._parts.units.records.values():
            total.update(each.figures.get("dropped", {}))
        return dict(total)

    def _alarm_counts(self) -> dict[str, dict[str, int]]:
        assert self._unit is not None  # noqa: S101 - it is what asks
        found: dict[str, Counter[str]] = {}
        own = self._unit.alarms.manager.counts()
        others = (each.figures.get("alarms", {}) for each in self._parts.units.records.values())
        for counts in (own, *others):
            for state, by_severity in counts.items():
                found.setdefault(state, Counter()).update(by_severity)
        return {state: dict(counter) for state, counter in found.items()}

    def _actions(self, unit: Unit, outbox: Outbox, actions: Mapping[str, Action], view: Perform) -> dict[str, Action]:
        work = UnitWork(
            actions=actions,
            registry=unit.registry,
            records=unit.alarms.manager.records,
            windows=unit.windows,
            outbox=outbox,
            view=view,
        )
        self._work = work
        if self._is_bridge:
            self._requests = ClusterRequests(work, self._parts.errands, self._parts.units)
            return self._requests.actions()
        return dict(actions)

    async def _run_role(self, outbox: Outbox, unit: Unit, process: Process) -> None:
        parts, name = self._parts, self._lease.unit
        key = NOBODYS if self._is_bridge else name
        parts.inbox.processors[key] = process
        parts.inbox.arrived.set()
        try:
            if self._is_bridge or self._work is None:
                await self._watch_events(outbox, unit)
            else:
                parts.errands.serve(self._lease, self._work.perform)
                await self._report(unit)
        finally:
            parts.inbox.processors.pop(key, None)
            parts.errands.end(self._lease)

    async def _watch_events(self, outbox: Outbox, unit: Unit) -> None:
        """Deliver the events that other units add, until cancelled."""
        while True:
            await outbox.changed()
            unit.on_events()
            unit.hub.alarms_changed.set()

    async def _report(self, unit: Unit) -> None:
        """Store the figures of the unit, and show its alarms at its backend's device, until cancelled."""
        reported: Mapping[str, Any] | None = None
        manager, hub = unit.alarms.manager, unit.hub
        while True:
            hub.alarms_changed.clear()
            show_counts(hub, manager.counts_by_backend())
            pollers = unit.active.pollers.values()
            available = any(poller.health.available for poller in pollers)
            figures = {
                "devices": len(unit.registry.devices),
                "alarms": manager.counts(),
                "available": available,
                "dropped": dict(unit.dropped()),
            }
            if figures != reported:
                try:
                    await self._parts.membership.report(self._lease, max(1.0, len(unit.registry.devices)), figures)
                    reported = figures
                except OutboxError as error:
                    _LOG.debug("the figures of unit %s are not stored: %s", self._lease.unit, error)
            await asyncio.sleep(MIN_INTERVAL)
            await wait_for_event(hub.alarms_changed, REPORT_INTERVAL)


async def _never() -> bool:
    return False
