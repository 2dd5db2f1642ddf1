"""The hub: every update, polled, pushed or read back, enters through `accept`, which never waits for the broker."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from datetime import datetime

from fleet2mqtt.aio import run_to_end
from fleet2mqtt.alarms.handling import AlarmHandling
from fleet2mqtt.contract.payloads import Reply, availability, device_event, now, stamp
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import COUNTER, count_values, last_alarm
from fleet2mqtt.devices.model import Device, DeviceEvent, Update, UpdateOrigin, Value
from fleet2mqtt.devices.registry import Changes, Registry
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox import Addition, AlarmEvent, Outbox, Stored
from fleet2mqtt.publishing.publisher import Publisher

_Result = tuple[AlarmEvent, ...] | OutboxError
"""The events of an update that are new, or why it was refused."""


def is_of_alarms(update: Update) -> bool:
    """Return True for an update that brings nothing but alarms."""
    return not (update.devices or update.inventories or update.removed or update.events)


class _Batch:
    """Updates that are accepted together: what the outbox is to store of each, and the future of its result."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.updates: list[Update] = []
        self.additions: list[Addition] = []
        self.storing = ExitStack()
        """Left when all is accepted: until then the changes of these alarms by operators wait."""
        self.results: list[asyncio.Future[_Result]] = []
        self.ended = asyncio.Event()

    def end(self, accepting: asyncio.Task[list[_Result]]) -> None:
        """Complete the futures from the task that accepted the updates."""
        self.ended.set()
        error = None if accepting.cancelled() else accepting.exception()
        for number, done in enumerate(self.results):
            if done.done():
                continue  # its caller was cancelled
            if accepting.cancelled():
                done.cancel()
            elif error is not None:
                done.set_exception(error)
            else:
                done.set_result(accepting.result()[number])


class Hub:
    """Accepts updates: alarms to disk first, then devices to the registry, then changes to the publisher."""

    def __init__(  # noqa: PLR0913, PLR0917 - what an update changes
        self,
        outbox: Outbox,
        registry: Registry,
        publisher: Publisher,
        topics: Topics,
        alarms: AlarmHandling,
        on_alarms: Callable[[], None],
    ) -> None:
        """`on_alarms` is called when new alarm events are in the outbox."""
        self._outbox = outbox
        self._registry = registry
        self._publisher = publisher
        self._topics = topics
        self._alarms = alarms
        self._on_alarms = on_alarms
        self.unsettled: dict[str, set[str]] = {}
        """Sources that have not answered last time, by backend; no entity is missing for good until they have."""
        self.events: Counter[str] = Counter()
        """New alarm events by severity, since the start."""
        self.alarms_changed = alarms.manager.changed
        self.inventory_changed = asyncio.Event()
        self.changed_devices: set[str] = set()
        """Devices that changed in any way, or got or lost an active alarm, until the group devices were updated."""
        self.devices_changed = asyncio.Event()
        alarms.manager.subscribe(self._mark_changed)
        self._batch: _Batch | None = None
        self._accepting: set[asyncio.Task[list[_Result]]] = set()
        self._newest: dict[str, datetime] = {}
        """Time of each device's last alarm: older history that is read afterwards does not replace it."""

    async def accept(self, update: Update, stored_push: int | None = None) -> tuple[AlarmEvent, ...]:
        """Accept an update; return the alarm events that are new. Raises OutboxError: then nothing was accepted.

        `stored_push` is the number of the push that it came by, if that waits in the push inbox: it ends there. If the
        caller is cancelled, by a reload for instance, the update is still accepted as a whole.
        """
        if is_of_alarms(update):
            batch, done = self._join_batch(update, stored_push)
            try:
                result = await done
            except asyncio.CancelledError:
                await run_to_end(batch.ended.wait())
                raise
        else:
            batch = _Batch()
            self._add(batch, update, stored_push)
            [result] = await run_to_end(self._accept_all(batch))
        if isinstance(result, OutboxError):
            raise result
        return result

    def _join_batch(self, update: Update, stored_push: int | None) -> tuple[_Batch, asyncio.Future[_Result]]:
        """Accept alarms together with all others of this turn of the event loop; return the future of the result."""
        batch = self._batch
        if batch is None:
            batch = self._batch = _Batch()
            batch.loop.call_soon(self._start_batch)
        self._add(batch, update, stored_push)
        done: asyncio.Future[_Result] = batch.loop.create_future()
        batch.results.append(done)
        return batch, done

    def _start_batch(self) -> None:
        batch, self._batch = self._batch, None
        assert batch is not None  # noqa: S101 - it calls this
        task = batch.loop.create_task(self._accept_all(batch))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        task.add_done_callback(batch.end)

    async def _accept_all(self, batch: _Batch) -> list[_Result]:
        """Accept updates; return the new events of each, or the OutboxError by which it was refused."""
        with batch.storing:
            results: list[_Result] = []
            changes = Changes()
            all_stored = await self._store(batch.additions)
            for update, addition, stored in zip(batch.updates, batch.additions, all_stored, strict=True):
                if isinstance(stored, OutboxError):
                    results.append(stored)
                    continue
                settled = not self.unsettled.get(update.backend)
                if not is_of_alarms(update) or (settled and not self._registry.is_settled(update.backend)):
                    changes.add(self._registry.accept(update, stamp(update.observed_at), settled=settled))
                for event in stored.new:
                    self._note(event, changes)
                for event in stored.completed:
                    self._show_completed(event, changes)
                if stored.new and addition.managed:
                    self._alarms.manager.on_stored(addition.managed)
                results.append(stored.new)
            if any(isinstance(stored, Stored) and stored.new for stored in all_stored):
                self.alarms_changed.set()
                self._on_alarms()
            await self._show(batch.updates, changes)
        return results

    def _add(self, batch: _Batch, update: Update, stored_push: int | None) -> None:
        """Add an update to a batch, its alarms as rules and alarm management want them."""
        alarms = [alarm for alarm in update.alarms if not self._registry.is_excluded(alarm.device)]
        classified, managed = self._alarms.classify(update.backend, alarms, update.origin)
        if any(alarm.active for alarm in classified):
            batch.storing.enter_context(self._alarms.manager.storing(classified))
        checkpoints = {(update.backend, device): text for device, text in update.checkpoints.items()}
        batch.updates.append(update)
        batch.additions.append(
            Addition(alarms=classified, checkpoints=checkpoints, managed=managed, stored_push=stored_push)
        )

    async def _store(self, additions: Sequence[Addition]) -> Sequence[Stored | OutboxError]:
        if not any(each.alarms or each.checkpoints or each.stored_push is not None for each in additions):
            return [Stored()] * len(additions)
        return await self._outbox.add_all(additions, self._name)

    async def _show(self, updates: Sequence[Update], changes: Changes) -> None:
        """Publish what changed, and the events of devices."""
        self._on_changed(changes)
        if changes.removed:
            await self._alarms.on_removed(changes.removed)
        if changes.discovery_changed or changes.removed:
            self.inventory_changed.set()
        changed = changes.state_changed | changes.values_changed
        self._alarms.on_devices(changes.accepted, changed, changes.discovery_changed)
        self._publisher.on_changes(changes)
        for update in updates:
            for happened in update.events:
                self._publish_event(happened, update.observed_at)

    def _publish_event(self, event: DeviceEvent, observed_at: datetime) -> None:
        """Publish an event of a device, if the device is there and has the event entity."""
        device = self._registry.devices.get(event.device)
        if device is None or device.entity(event.key) is None:
            return
        topic = self._topics.device_event(event.device, event.key)
        self._publisher.publish_reply(Reply(topic=topic, payload=device_event(event, observed_at), device=event.device))

    def set_source_available(self, backend: str, source: str, *, available: bool) -> None:
        """Show whether a source works: at the devices that it reads, and on its availability topic."""
        changes = self._registry.set_source_available(backend, source, available=available)
        self._on_changed(changes)
        self._publisher.on_changes(changes)
        self._publisher.set_retained(self._topics.source(backend, source), availability(available))

    async def apply_selection(self, backend: str) -> None:
        """Remove the devices and entities of a backend that its options no longer select."""
        await run_to_end(self._apply_selection(backend))

    async def _apply_selection(self, backend: str) -> None:
        changes = self._registry.apply_selection(backend)
        self._on_changed(changes)
        self._mark_changed(self._registry.of_backend(backend))
        await self._alarms.on_removed(changes.removed)
        if changes.removed or changes.discovery_changed:
            self.inventory_changed.set()
        self._alarms.on_options(backend)
        self._publisher.on_changes(changes)

    async def restore_alarms(self) -> None:
        """Publish again what the outbox stores: last alarms and active alarms."""
        for device, event in (await self._outbox.last()).items():
            if not event.suppressed:
                self._show_last(device, event)
        await self._alarms.restore()
        self.alarms_changed.set()
        self._mark_changed(self._registry.devices)

    async def forget(self, ids: Iterable[str]) -> set[str]:
        """Remove devices, their sub-devices and their active alarms; return the ids that were there."""
        return await run_to_end(self._forget(ids))

    async def _forget(self, ids: Iterable[str]) -> set[str]:
        gone = self._registry.forget(ids)
        self._mark_changed(gone)
        await self._alarms.on_removed(gone)
        self._publisher.on_changes(Changes(removed=gone))
        self.inventory_changed.set()
        return gone

    def detach_backend(self, backend: str) -> None:
        """Take the devices of a backend for restored ones: it is removed, or its successor has not answered yet."""
        self._registry.detach_backend(backend)
        self._mark_changed(self._registry.of_backend(backend))
        self.unsettled.pop(backend, None)

    def accept_device(self, device: Device) -> None:
        """Accept a device that the bridge itself makes."""
        moment = now()
        update = Update(
            backend=device.backend,
            origin=UpdateOrigin.POLL,
            requested_at=time.monotonic(),
            observed_at=moment,
            devices=(device,),
        )
        settled = not self.unsettled.get(device.backend)
        changes = self._registry.accept(update, stamp(moment), settled=settled)
        self._alarms.on_devices((device.id,), changes.state_changed | changes.values_changed, changes.discovery_changed)
        self._publisher.on_changes(changes)

    def set_values(self, device: str, values: Mapping[str, Value]) -> None:
        """Set the values of entities that the bridge added to a device."""
        if self._registry.set_values(device, values):
            self._alarms.on_devices((), (device,))
            self._publisher.request_state_publish(device)

    def has_active_alarm(self, device: str) -> bool:
        """Return True if an alarm of a device is active."""
        return self._alarms.manager.has_active(device)

    def alarm_counts(self, devices: AbstractSet[str]) -> dict[str, Value]:
        """Return the state of the count entities for the alarms of devices and their sub-devices."""
        return count_values(self._alarms.manager.counts_of(devices))

    def _on_changed(self, changes: Changes) -> None:
        self._mark_changed(changes.state_changed | changes.values_changed)
        self._mark_changed(changes.discovery_changed | changes.groups_changed | changes.removed)

    def _mark_changed(self, devices: Iterable[str]) -> None:
        self.changed_devices.update(devices)
        if self.changed_devices:
            self.devices_changed.set()

    def _note(self, event: AlarmEvent, changes: Changes) -> None:
        if not event.backlog:
            self.events[event.severity] += 1
        if not event.cleared:
            counted = self._count(event)
            if (not event.suppressed and self._show_last(event.device, event)) or counted:
                changes.state_changed.add(event.device)
        self._alarms.on_event(event)

    def _show_completed(self, event: AlarmEvent, changes: Changes) -> None:
        """Publish a completed event where it is retained; the event itself is not repeated."""
        if not event.cleared and not event.suppressed and self._show_last(event.device, event):
            changes.state_changed.add(event.device)
        self._alarms.manager.on_completed(event)

    def _count(self, event: AlarmEvent) -> bool:
        """Add to the device's counter, unless its vendor counts, or the alarm is from before the bridge's time."""
        device = self._registry.devices.get(event.device)
        if event.backlog or (device is not None and device.counts_alarms):
            return False
        return self._registry.increment(event.device, COUNTER + event.severity)

    def _show_last(self, device: str, event: AlarmEvent) -> bool:
        raised = datetime.fromisoformat(event.body["raised_at"])
        if raised < self._newest.get(device, raised):
            return False
        self._newest[device] = raised
        return self._registry.set_values(device, last_alarm(event.body))

    def _name(self, device: str) -> str | None:
        known = self._registry.devices.get(device)
        return known.name if known else None
