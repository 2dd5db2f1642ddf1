"""A unit: backends with the components and the connection they share. Backends come and go one by one while it runs."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from fleet2mqtt import __version__
from fleet2mqtt.aio import Signal, TaskSet, wait_until
from fleet2mqtt.alarms.handling import AlarmHandling, AlarmSources
from fleet2mqtt.alarms.maintenance import MaintenanceWindows
from fleet2mqtt.alarms.manager import AlarmOptions
from fleet2mqtt.commands.calls import CallsInProgress
from fleet2mqtt.commands.journal import DecidedReply
from fleet2mqtt.commands.queue import CommandLimits, CommandQueue
from fleet2mqtt.commands.replies import Replies
from fleet2mqtt.config.models import BackendConfig, Config
from fleet2mqtt.contract.discovery import Discovery
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.alarm_rules import NO_RULES, AlarmRules
from fleet2mqtt.devices.builtin_conditions import BACKEND_CONDITIONS, bridge_conditions
from fleet2mqtt.devices.builtin_entities import BRIDGE, added_entities
from fleet2mqtt.devices.conditions import NO_CONDITIONS, ConditionTable, Options
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device, Update
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.devices.selection import DEFAULT, Selection, SelectionFilter
from fleet2mqtt.errors import BackendError, CommandError
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.ops.backend_status import BackendStatus
from fleet2mqtt.ops.group_devices import GroupDevices
from fleet2mqtt.ops.inventory import InventorySaver
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.polling.poller import Poller
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.push.receiver import PushReceiver
from fleet2mqtt.push.subscriber import SubscriptionRunner
from fleet2mqtt.sdk import api
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.storage.inventory_file import INVENTORY, Snapshot

_LOG = logging.getLogger(__name__)

FIRST_POLLS = 5.0
"""Seconds that a backend's sources have to complete what is known of a new device before its discovery message."""


@dataclass(frozen=True, slots=True)
class ActiveBackends:
    """The backends that run now, by name. Only the unit changes these mappings; the other components read them."""

    configs: dict[str, BackendConfig] = field(default_factory=dict)
    backends: dict[str, Backend] = field(default_factory=dict)
    pollers: dict[str, Poller] = field(default_factory=dict)
    selections: dict[str, Selection] = field(default_factory=dict)
    condition_tables: dict[str, ConditionTable] = field(default_factory=dict)
    alarm_rules: dict[str, AlarmRules] = field(default_factory=dict)

    def conditions_of(self, backend: str) -> ConditionTable:
        """Return the conditions of a backend as it is configured; "" and `bridge` are the bridge itself."""
        return self.condition_tables.get("" if backend == BRIDGE else backend, NO_CONDITIONS)

    def has_conditions(self, device: Device) -> bool:
        """Return True if the bridge itself may raise alarms for a device."""
        return self.conditions_of(device.backend).covers(device)

    def rules_of(self, backend: str) -> AlarmRules:
        """Return the rules for the alarms of a backend's vendor."""
        return self.alarm_rules.get(backend, NO_RULES)

    def selection_of(self, backend: str) -> Selection:
        """Return the selection of a backend that runs, its unpolled sources included; of another one the default."""
        return self.selections.get(backend, DEFAULT)

    def running_selection(self, backend: str) -> Selection | None:
        """Return the selection of a backend that runs, None of another one."""
        return self.selections.get(backend)

    def secondary_sources(self, backend: str) -> frozenset[str]:
        """Return the names of a backend's sources that are not primary; each has an availability topic."""
        found = self.backends.get(backend)
        return frozenset() if found is None else frozenset(each.name for each in found.sources if not each.primary)

    def request_poll(self, backend: str, sources: tuple[str, ...]) -> None:
        """Poll sources of a backend soon; a backend that does not run any more is left out."""
        if poller := self.pollers.get(backend):
            poller.request_poll(sources)

    def primary_fails(self, backend: str) -> bool:
        """Return True while a primary source of a backend fails."""
        poller = self.pollers.get(backend)
        return poller is not None and any(
            poller.health.sources[source.name].error is not None for source in poller.backend.sources if source.primary
        )

    async def refresh(self, _: object, device: Device, __: object) -> Update | None:
        """Poll the backend of a device now: the write function of the refresh button. Raises BackendError."""
        poller = self.pollers.get(device.backend)
        if poller is None:
            raise CommandError("not_ready", f"backend {device.backend} is no longer configured")
        errors: Iterable[BackendError | None] = (await poller.refresh()).values()
        for error in errors:
            if error is not None:
                raise error
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConnector:
    """Opens backends of the installed platforms; nothing is called at the vendor by that."""

    ids: Ids
    data_dir: Path
    outbox: Outbox
    active: ActiveBackends
    selection: SelectionFilter
    condition_options: Options = field(default_factory=dict)
    """Options of conditions for all backends."""

    def conditions(self, config: BackendConfig) -> ConditionTable:
        """Return the conditions of a backend with the options for all and for it."""
        platform = api.platforms()[config.platform]()
        table = (*BACKEND_CONDITIONS, *api.conditions(platform))
        return ConditionTable(table, self.condition_options, config.conditions)

    @asynccontextmanager
    async def connect(self, config: BackendConfig) -> AsyncIterator[Backend]:
        """Open a backend, with the sources that are to be polled."""
        name = config.name
        context = Context(
            name=name,
            options=config.options,
            ids=self.ids,
            data_dir=self.data_dir,
            checkpoint=partial(self.outbox.checkpoint, name),
            save_checkpoint=partial(self.outbox.save_checkpoint, name),
            primary_fails=partial(self.active.primary_fails, name),
            selects=self.selection.selects,
            has_rules=bool(config.selection.include or config.selection.exclude),
            excludes_kind=config.selection.excludes_kind,
            narrow=config.selection.narrow,
            is_enabled=config.selection.is_enabled,
            publishes=config.selection.publishes,
            may_enable=config.selection.may_enable,
        )
        async with api.platforms()[config.platform]().connect(context) as backend:
            unpolled = unpolled_sources(backend.sources, config.selection)
            polled = tuple(source for source in backend.sources if source.name not in unpolled)
            yield replace(backend, sources=polled, unpolled=unpolled)


@dataclass(slots=True, kw_only=True)
class PreparedBackends:
    """Backends that are connected and not shown yet, and the names of those that they replace."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    backends: dict[str, tuple[BackendConfig, Backend]] = field(default_factory=dict)
    contexts: dict[str, AsyncExitStack] = field(default_factory=dict)

    async def discard(self) -> None:
        """Disconnect them again."""
        for stack in self.contexts.values():
            await stack.aclose()


class BackendRunner:
    """Runs backends: connects them, shows their own devices, polls them, and ends each by itself."""

    def __init__(  # noqa: PLR0913, PLR0917 - what backends share
        self,
        active: ActiveBackends,
        connector: BackendConnector,
        hub: Hub,
        registry: Registry,
        publisher: Publisher,
        status: BackendStatus,
        topics: Topics,
        calls: CallsInProgress,
        push_receiver: PushReceiver,
        group: asyncio.TaskGroup,
    ) -> None:
        self._active = active
        self._connector = connector
        self._hub = hub
        self._registry = registry
        self._publisher = publisher
        self._status = status
        self._topics = topics
        self._calls = calls
        self._push_receiver = push_receiver
        self._group = group
        self._contexts: dict[str, AsyncExitStack] = {}
        self._polls: dict[str, TaskSet] = {}

    async def restore(self, snapshot: Snapshot, configs: Iterable[BackendConfig]) -> None:
        """Start from the inventory and the alarms of the last run; `configs` say what these mean now."""
        for config in configs:
            self.apply_alarm_options(config)
        self._registry.restore(snapshot.devices, snapshot.removed_components, snapshot.state_meta)
        self._publisher.pending_deletions |= snapshot.pending_deletions
        await self._hub.restore_alarms()

    async def prepare(self, configs: Mapping[str, BackendConfig]) -> PreparedBackends:
        """Connect the backends that are new or changed; `switch_to` does the rest. Raises ConfigError."""
        before = self._active.configs
        prepared = PreparedBackends(
            added=[name for name in configs if name not in before],
            removed=[name for name in before if name not in configs],
            changed=[name for name in configs if name in before and before[name] != configs[name]],
        )
        try:
            for name in (*prepared.added, *prepared.changed):
                stack = AsyncExitStack()
                prepared.contexts[name] = stack
                backend = await stack.enter_async_context(self._connector.connect(configs[name]))
                prepared.backends[name] = (configs[name], backend)
        except BaseException:
            await prepared.discard()
            raise
        return prepared

    async def switch_to(self, prepared: PreparedBackends) -> None:
        """Remove, replace and add backends; those that did not change go on."""
        try:
            for name in (*prepared.removed, *prepared.changed):
                await self._remove(name)
            for name in prepared.removed:
                self._show_removed(name)
            for name, (config, backend) in prepared.backends.items():
                await self._add(config, backend, prepared.contexts.pop(name))
                self.start(name)
        finally:
            await prepared.discard()  # what a stop in the middle leaves

    async def add(self, config: BackendConfig) -> None:
        """Connect a backend and show it; `start` polls it. Raises ConfigError."""
        stack = AsyncExitStack()
        await self._add(config, await stack.enter_async_context(self._connector.connect(config)), stack)

    async def _add(self, config: BackendConfig, backend: Backend, stack: AsyncExitStack) -> None:
        name = config.name
        self._publisher.pause_backend(name)
        resume = partial(self._publisher.resume_backend, name)
        asyncio.get_running_loop().call_later(FIRST_POLLS, resume)
        poller = Poller(
            backend,
            self._hub,
            stale_after=config.stale_after,
            changed=self._status.on_health,
            on_all_polled=resume,
        )
        self._contexts[name] = stack
        self._active.configs[name] = config
        self._active.backends[name] = backend
        self._active.pollers[name] = poller
        self._active.selections[name] = replace(config.selection, unpolled=backend.unpolled)
        for source in backend.unpolled:
            self._publisher.clear_retained(self._topics.source(name, source))
        self.apply_alarm_options(config)
        await self._hub.apply_selection(name)
        if name not in self._registry.devices:
            self._hub.accept_device(_own_device(backend))
        self._status.on_health(poller.health)

    def apply_alarm_options(self, config: BackendConfig) -> None:
        """Know the conditions and rules of a backend, by which the texts of its alarms are made."""
        self._active.condition_tables[config.name] = self._connector.conditions(config)
        self._active.alarm_rules[config.name] = config.alarm_rules

    async def _remove(self, name: str) -> None:
        """Stop polling a backend, wait for commands in progress, each of which has a deadline, and disconnect it."""
        if polls := self._polls.pop(name, None):
            await polls.cancel()
        del self._active.configs[name], self._active.backends[name], self._active.pollers[name]
        del self._active.selections[name]
        await self._calls.wait_idle(name)
        self._hub.detach_backend(name)
        await self._contexts.pop(name).aclose()

    def start(self, name: str) -> None:
        """Poll the sources of a backend, and receive its subscription, until `stop_polls` or `remove`."""
        poller = self._active.pollers[name]
        polls = self._polls[name] = TaskSet(self._group)
        for source in poller.backend.sources:
            polls.start(poller.run(source), f"{name} {source.name}")
        if subscription := poller.backend.subscription:
            runner = SubscriptionRunner(
                poller.backend,
                subscription,
                self._push_receiver,
                changed=partial(self._status.on_health, poller.health),
                request_poll=poller.request_poll,
            )
            polls.start(runner.accept(), f"{name} messages")
            polls.start(runner.run(), f"{name} subscription")

    async def stop_polls(self) -> None:
        """End the polls of all backends."""
        for polls in self._polls.values():
            await polls.cancel()

    async def close(self) -> None:
        """Disconnect all backends."""
        for stack in reversed(self._contexts.values()):
            await stack.aclose()
        self._contexts.clear()

    def show_unconfigured(self) -> None:
        """Show backends of restored devices that are no longer configured as offline, and log how to remove them."""
        names = {device.backend for device in self._registry.devices.values()}
        for name in sorted(names - {*self._active.backends, ""}):
            self._show_removed(name)

    def _show_removed(self, name: str) -> None:
        self._status.on_removed(name)
        _LOG.warning(
            "backend %s is no longer configured; its devices are kept, unavailable. To remove them publish "
            '{"backend": "%s"} to %s',
            name,
            name,
            self._topics.bridge("request/forget"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Backends with all that they share: registry, publisher, alarm handling, commands, and the connection to MQTT."""

    configs: Mapping[str, BackendConfig]
    """The backends to start with."""
    snapshot: Snapshot
    active: ActiveBackends
    mqtt: MqttClient
    registry: Registry
    publisher: Publisher
    windows: MaintenanceWindows
    alarm_sources: AlarmSources
    alarms: AlarmHandling
    on_events: Signal
    """Called when new alarm events are in the outbox."""
    hub: Hub
    calls: CallsInProgress
    replies: Replies
    limits: CommandLimits
    refused_commands: Counter[str]
    """Messages on topics of commands and requests that were refused, by reason."""
    work: TaskSet
    """Commands and requests in progress."""
    commands: CommandQueue
    push_receiver: PushReceiver
    status: BackendStatus
    runner: BackendRunner
    inventory: InventorySaver
    group_devices: GroupDevices

    async def start_backends(self) -> None:
        """Connect and show the backends, beginning with the inventory of the last run. Raises ConfigError."""
        for config in self.configs.values():
            await self.runner.add(config)
        self.runner.show_unconfigured()

    def start_polls(self) -> None:
        """Begin to poll the backends."""
        for name in self.configs:
            self.runner.start(name)

    async def restore(self) -> None:
        """Start from the inventory and the alarms of the last run."""
        await self.runner.restore(self.snapshot, self.configs.values())
        self.alarms.evaluator.restore_waiting(self.snapshot.waiting)

    def start_loops(self, loops: TaskSet) -> None:
        """Start what runs whether there is a connection to the broker or not."""
        loops.start(self.alarms.evaluator.run(self.hub.accept), "conditions")
        loops.start(self.alarms.expiry.run(self.hub.accept), "alarm expiry")
        loops.start(self.alarms.run(), "alarms of removed devices")
        loops.start(self.alarms.manager.run(), "alarm manager")
        loops.start(self.status.run(), "backend health")
        loops.start(self.inventory.run(), "inventory")
        loops.start(self.group_devices.run(), "group devices")

    def dropped(self) -> Counter[str]:
        """Return how many messages of the unit were lost or refused, by reason."""
        return self.publisher.dropped + self.refused_commands

    def restore_replies(self, known: Iterable[DecidedReply]) -> None:
        """Remember the replies that another node published, for repeated transactions."""
        self.replies.restore(known)

    def publish_restored(self) -> None:
        """Publish the states of which only some values were read, with what was restored of the others."""
        for id_ in self.registry.trust_restored():
            self.publisher.request_state_publish(id_)

    def show_alarms(self) -> None:
        """Show the alarms as they are now: at the devices that count them, and in the summary."""
        self.hub.alarms_changed.set()

    def set_discovery_rate(self, rate: float) -> None:
        """Publish so many discovery messages per second from now on."""
        self.publisher.set_discovery_rate(rate)

    def is_tried(self) -> bool:
        """Return True if the primary sources of each backend were polled once."""
        return all(poller.primary_tried for poller in self.active.pollers.values())

    def is_idle(self) -> bool:
        """Return True if no command waits or runs, and the broker has everything that is urgent."""
        return self.commands.pending == 0 and self.publisher.idle

    async def end_work(self, seconds: float) -> None:
        """End each command and request in progress in a reply, which gets so many seconds to be published."""
        await self.work.cancel()
        if self.mqtt.connected:
            await wait_until(lambda: self.publisher.idle, seconds)


def build_unit(  # noqa: PLR0913 - what a unit is made for, and what it shares with the rest of the bridge
    config: Config,
    snapshot: Snapshot,
    outbox: Outbox,
    mqtt: MqttClient,
    topics: Topics,
    *,
    active: ActiveBackends,
    rate: float,
    group: asyncio.TaskGroup,
    taken_over: bool = False,
) -> Unit:
    """Construct the components of a unit, dependencies first; `rate` is discovery messages a second.

    A unit that is `taken_over` publishes nothing that another node may have published newer: no restored state, and no
    availability of a backend that it has not tried.
    """
    work = TaskSet(group)
    ids = Ids(dict(snapshot.assignments))
    selection = SelectionFilter(active.selection_of)
    windows = MaintenanceWindows(outbox)
    active.condition_tables[""] = ConditionTable(bridge_conditions(config.alarms.max_rows), config.alarms.conditions)
    added = added_entities(active.refresh, windows.switch, active.has_conditions)
    registry = Registry(time.monotonic, added, selection, restored_is_newest=not taken_over)
    discovery = (
        Discovery(topics, config.language, __version__, active.secondary_sources) if config.discovery.enabled else None
    )
    publisher = Publisher(mqtt, registry, discovery, topics, rate, publish_restored=not taken_over)
    alarm_sources = AlarmSources(tables=active.conditions_of, rules_of=active.rules_of, language=config.language)
    on_events = Signal()
    options = AlarmOptions(max_shelve=config.alarms.max_shelve, suppression_delay=config.alarms.suppression_delay)
    alarms = AlarmHandling(outbox, registry, publisher, topics, windows, on_events, options, alarm_sources)
    hub = Hub(outbox, registry, publisher, topics, alarms, on_events)
    replies = Replies(publisher, topics)
    limits = CommandLimits(**asdict(config.commands))
    calls = CallsInProgress()
    commands = CommandQueue(hub, registry, publisher, topics, active.backends, calls, replies, work.start, limits)
    push_receiver = PushReceiver(hub, outbox, active.backends, active.configs, config.push.trusted_proxies)
    connector = BackendConnector(
        ids=ids,
        data_dir=config.data_dir,
        outbox=outbox,
        active=active,
        selection=selection,
        condition_options=config.alarms.conditions,
    )
    status = BackendStatus(hub, publisher, topics, publish_untried=not taken_over)
    runner = BackendRunner(active, connector, hub, registry, publisher, status, topics, calls, push_receiver, group)
    return Unit(
        configs=config.backends,
        snapshot=snapshot,
        active=active,
        mqtt=mqtt,
        registry=registry,
        publisher=publisher,
        windows=windows,
        alarm_sources=alarm_sources,
        alarms=alarms,
        on_events=on_events,
        hub=hub,
        calls=calls,
        replies=replies,
        limits=limits,
        refused_commands=Counter(),
        work=work,
        commands=commands,
        push_receiver=push_receiver,
        status=status,
        runner=runner,
        inventory=InventorySaver(
            config.data_dir / INVENTORY, registry, publisher, ids, alarms.evaluator, hub.inventory_changed
        ),
        group_devices=GroupDevices(hub, registry, ids, active.running_selection),
    )


def unpolled_sources(sources: Iterable[Source], selection: Selection) -> frozenset[str]:
    """Return the names of the sources that are off, read excluded sub-devices, or feed no entity that is enabled."""
    return frozenset(source.name for source in sources if not source.primary and _is_unpolled(source, selection))


def _is_unpolled(source: Source, selection: Selection) -> bool:
    if source.interval == math.inf or (source.kind is not None and selection.excludes_kind(source.kind)):
        return True
    return bool(source.entities) and not any(map(selection.is_enabled, source.entities))


def _own_device(backend: Backend) -> Device:
    """Return the device that stands for a backend, before its first poll."""
    return Device(
        id=backend.name,
        backend=backend.name,
        vendor_id=backend.name,
        scope="backend",
        name=backend.name,
        entities=(),
        state={},
        manufacturer=backend.manufacturer,
        model=backend.platform,
        configuration_url=backend.configuration_url,
    )
