"""The registry: the newest device per id, and what changed. Knows no broker and no clock but the updates' own."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any

from fleet2mqtt.devices.builtin_entities import INITIAL_VALUES
from fleet2mqtt.devices.model import (
    STATELESS,
    Device,
    EntityDescription,
    Inventory,
    StateMeta,
    Update,
    UpdateOrigin,
    Value,
    without_functions,
)
from fleet2mqtt.devices.selection import DEFAULT, SelectionFilter

_LOG = logging.getLogger(__name__)

MISSING_INVENTORIES_BEFORE_REMOVAL = 2
"""Complete inventories in a row that must miss a device, or an entity, before it is removed."""

_MAX_CONNECTION_KEYS = 10_000

OWN_SCOPES = frozenset(("backend",))
"""Scopes of devices that the bridge itself makes, and no source has to read."""
_STATE_FIELDS = frozenset(
    (
        "state",
        "attributes",
        "available",
        "record",
        "vendor_id",
        "scope",
        "answered",
        "complete",
        "groups",
        "tags",
        "location",
    )
)
_DISCOVERY_FIELDS = tuple(item.name for item in fields(Device) if item.name not in _STATE_FIELDS)


@dataclass(slots=True)
class Changes:
    """Device ids by what has to be published again: discovery, state and availability, or the removal."""

    discovery_changed: set[str] = field(default_factory=set)
    state_changed: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    groups_changed: set[str] = field(default_factory=set)
    """Devices that came into a group or left one; nothing is published for that alone."""
    values_changed: set[str] = field(default_factory=set)
    """Devices whose platform gave other values than before; those of entities that are not published count, too."""
    accepted: set[str] = field(default_factory=set)
    """Devices of which other data than before was accepted, whether or not anything in it changed."""

    def add(self, other: Changes) -> None:
        """Add what else changed."""
        self.discovery_changed |= other.discovery_changed
        self.state_changed |= other.state_changed
        self.removed |= other.removed
        self.groups_changed |= other.groups_changed
        self.values_changed |= other.values_changed
        self.accepted |= other.accepted


class Registry:
    """All devices of all backends.

    The newest data wins: what was requested before the newest accepted data, or before or during a command, does not
    replace it. Unknown data never replaces known data: a key keeps the value it had until the source that owns it has
    answered. An entity once seen stays, with the value None, until two complete inventories in a row come without it,
    and so does a device.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        added_entities: Callable[[Device], tuple[EntityDescription, ...]],
        selection: SelectionFilter | None = None,
        *,
        restored_is_newest: bool = True,
    ) -> None:
        """`added_entities` returns those that the bridge itself adds to a device; `set_values` sets their values.

        `selection` decides which devices and entities are registered; without it all are. Without `restored_is_newest`
        the first data of a device counts as changed, as another process may have published since.
        """
        self._restored_is_newest = restored_is_newest
        self._clock = clock
        self._selection = selection or SelectionFilter(lambda _: DEFAULT)
        self._added_entities = added_entities
        self.devices: dict[str, Device] = {}
        self.state_meta: dict[str, StateMeta] = {}
        self.removed_components: dict[str, dict[str, str]] = {}
        """Entities that were removed, by device: key → component, until their removal is published."""
        self._accepted: dict[str, Device] = {}
        """By id the device as the platform gave it."""
        self._restored: dict[str, set[str]] = {}
        """By device the keys whose values are from the last run and were not confirmed since."""
        self._settled: set[str] = set()
        """Backends of which every source has answered since the start."""
        self._failing_sources: set[tuple[str, str]] = set()
        self._oldest_accepted_request: dict[str, float] = {}
        """By device the request time below which data is too old (`Update.requested_at`)."""
        self._newest_made: dict[str, float] = {}
        """By device when its newest accepted data was made (`Update.made_at`)."""
        self._suspended: Counter[str] = Counter()
        self._missing_devices: Counter[str] = Counter()
        self._missing_entities: dict[str, Counter[str]] = {}
        self._scopes: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._sub_devices: defaultdict[str, set[str]] = defaultdict(set)
        self._added_values: defaultdict[str, dict[str, Value]] = defaultdict(dict)
        self._tables: dict[tuple[int, ...], tuple[EntityDescription, ...]] = {}
        self._connection_keys: dict[int, tuple[tuple[EntityDescription, ...], str | None]] = {}
        """By the id of a table: the table, and the key of its entity for the connection."""

    def restore(
        self,
        devices: Iterable[Device],
        removed_components: Mapping[str, Mapping[str, str]],
        state_meta: Mapping[str, StateMeta],
    ) -> None:
        """Start from the inventory of the last run: restored, and unavailable through its backend until it answers."""
        for device in devices:
            added = {entity.key: entity for entity in self._added_entities(device)}
            entities = tuple(added.get(entity.key, entity) for entity in device.entities)  # these work at once
            self._store(replace(device, entities=self._intern(entities)) if added else device)
            if shown := added.keys() & device.state.keys():
                self._added_values[device.id] |= {key: device.state[key] for key in shown}
            restored = {key for key, value in device.state.items() if value is not None and key not in added}
            if restored and device.backend not in self._settled:
                self._restored[device.id] = restored
        self.state_meta |= {id_: each for id_, each in state_meta.items() if id_ in self.devices}
        self.removed_components |= {id_: dict(keys) for id_, keys in removed_components.items() if id_ in self.devices}

    def is_read(self, id_: str) -> bool:
        """Return True if a device was read since the start, or is one that the bridge itself makes.

        Unless what was restored is the newest, each of its values was.
        """
        device = self.devices.get(id_)
        if device is not None and device.scope in OWN_SCOPES:
            return True
        return id_ in self._accepted and (self._restored_is_newest or not self._restored.get(id_))

    def trust_restored(self) -> list[str]:
        """Take restored values for the newest from now on; return the devices that were read but for such ones."""
        waiting = [id_ for id_ in self._accepted if not self.is_read(id_)]
        self._restored_is_newest = True
        return waiting

    def accept(self, update: Update, observed_at: str, *, settled: bool = True) -> Changes:
        """Apply the devices, inventories and removals of an update; return what changed.

        `settled` is True if each source of the backend responded last time: only then can an entity be missing.
        """
        changes = Changes()
        if settled and update.backend not in self._settled:
            self._settled.add(update.backend)
            self._apply_unconfirmed(update.backend, observed_at, changes)
        accepted = self._accepted
        for device in [device for device in update.devices if accepted.get(device.id) is not device]:
            self._accept(device, update, observed_at, changes)
        for inventory in update.inventories:
            if inventory.ids or inventory.confirmed_empty:
                self._apply_inventory(update.backend, inventory, changes, settled=settled)
        for id_ in update.removed:
            self._remove(id_, changes.removed)
        return changes

    def apply_selection(self, backend: str) -> Changes:
        """Remove the devices and entities of a backend that its options no longer select; return what changed."""
        changes = Changes()
        self._selection.reset(backend)
        devices = [self.devices[id_] for id_ in self._top_down(backend)]
        selected = [device for device in devices if self._selection.selects(device)]
        for excluded in {device.id for device in devices} - {device.id for device in selected}:
            self._remove(excluded, changes.removed)
        for device in selected:
            id_ = device.id
            added = self._added_entities(device)
            own = {entity.key for entity in added}
            platform = self._intern(tuple(entity for entity in device.entities if entity.key not in own))
            entities = (*self._selection.apply(backend, platform), *self._added(device))
            if entities == device.entities:
                continue
            kept = {entity.key for entity in entities}
            removed = {entity.key: entity.component.value for entity in device.entities if entity.key not in kept}
            if removed:
                self.removed_components.setdefault(id_, {}).update(removed)
                self._restored.get(id_, set()).difference_update(removed)
                for key in removed.keys() & self._missing_entities.get(id_, {}).keys():
                    del self._missing_entities[id_][key]
            state = {key: value for key, value in device.state.items() if key not in removed}
            self.devices[id_] = replace(device, entities=self._intern(entities), state=state)
            changes.discovery_changed.add(id_)
            if state != device.state:
                changes.state_changed.add(id_)
        return changes

    def is_online(self, id_: str) -> bool | None:
        """Return True if a device is connected to its vendor's system, as far as that shows; None if it is not known.

        A device without an entity for its connection counts as connected while it is available.
        """
        device = self.devices[id_]
        for known in (device, self._accepted.get(id_, device)):  # the options may leave the entity out
            connection = self._connection_key(known.entities)
            if connection is not None:
                value = known.state.get(connection)
                return None if value is None else value == "ON"
        return device.available

    def _connection_key(self, entities: tuple[EntityDescription, ...]) -> str | None:
        """Return the key of the entity for the connection, found once for a table that many devices have."""
        found = self._connection_keys.get(id(entities))
        if found is None or found[0] is not entities:
            if len(self._connection_keys) >= _MAX_CONNECTION_KEYS:
                self._connection_keys.clear()
            key = next((each.key for each in entities if each.device_class == "connectivity"), None)
            found = self._connection_keys[id(entities)] = entities, key
        return found[1]

    def is_settled(self, backend: str) -> bool:
        """Return True if every source of a backend has answered since the start."""
        return backend in self._settled

    def is_excluded(self, id_: str) -> bool:
        """Return True for a device that the options of its backend exclude."""
        return self._selection.is_excluded(id_)

    def _top_down(self, backend: str) -> list[str]:
        """Return the ids of a backend's devices, each after the device through which it is connected."""
        waiting, ordered = [id_ for id_ in self.of_backend(backend) if self.devices[id_].via not in self.devices], []
        while waiting:
            id_ = waiting.pop()
            ordered.append(id_)
            waiting += [each for each in self._sub_devices.get(id_, ()) if self.devices[each].backend == backend]
        return ordered

    def set_values(self, device: str, values: Mapping[str, Value]) -> bool:
        """Set the values of entities that the bridge added; return True if a device that has them changed by it."""
        self._added_values[device] |= values
        current = self.devices.get(device)
        if current is None:
            return False
        state = dict(current.state)
        state.update((key, value) for key, value in values.items() if key in state)
        if state == current.state:
            return False
        self.devices[device] = replace(current, state=state)
        return True

    def increment(self, device: str, key: str) -> bool:
        """Add one to a counter that the bridge added; return True if a device that has it changed by it."""
        number = self._added_values[device].get(key)
        return self.set_values(device, {key: (number if isinstance(number, int) else 0) + 1})

    def set_source_available(self, backend: str, source: str, *, available: bool) -> Changes:
        """Show the devices that a source reads as unavailable while it fails; return what changed."""
        changes = Changes()
        if available is ((backend, source) not in self._failing_sources):
            return changes
        if available:
            self._failing_sources.discard((backend, source))
        else:
            self._failing_sources.add((backend, source))
        for id_, device in self.devices.items():
            if (device.backend, device.source) == (backend, source):
                known = self._accepted.get(id_)
                shown = available and (known is None or known.available)
                if shown is not device.available:
                    self.devices[id_] = replace(device, available=shown)
                    changes.state_changed.add(id_)
        return changes

    @contextmanager
    def suspend_polls(self, device: str) -> Iterator[None]:
        """Keep polls from changing a device while a command runs, those included that began before it ended."""
        self._suspended[device] += 1
        try:
            yield
        finally:
            self._suspended[device] -= 1
            if not self._suspended[device]:
                del self._suspended[device]
            self._oldest_accepted_request[device] = self._clock()

    def forget(self, ids: Iterable[str]) -> set[str]:
        """Remove these devices and their sub-devices; return the ids that were there."""
        removed: set[str] = set()
        for id_ in ids:
            self._remove(id_, removed)
        return removed

    def detach_backend(self, backend: str) -> None:
        """Take the devices of a backend for restored ones: their client is gone, another may continue with them."""
        tables: dict[int, tuple[EntityDescription, ...]] = {}
        for id_ in self.of_backend(backend):
            device = self.devices[id_]
            added = {entity.key for entity in self._added_entities(device)}
            table = tables.get(id(device.entities))
            if table is None:
                table = tables[id(device.entities)] = self._intern(
                    tuple(each if each.key in added else without_functions(each) for each in device.entities)
                )
            self.devices[id_] = replace(device, entities=table, record=None, answered=None)
            self._accepted.pop(id_, None)
            restored = {key for key, value in device.state.items() if value is not None and key not in added}
            if restored:
                self._restored[id_] = restored
        self._settled.discard(backend)
        self._failing_sources = {each for each in self._failing_sources if each[0] != backend}

    def of_backend(self, backend: str) -> list[str]:
        """Return the ids of a backend's devices, its own included."""
        return [id_ for id_, device in self.devices.items() if device.backend == backend]

    def complete_device(self, id_: str) -> Device | None:
        """Return a device with the values that its platform gave also for entities that are not published."""
        device, accepted = self.devices.get(id_), self._accepted.get(id_)
        if device is None or accepted is None or accepted.state.keys() <= device.state.keys():
            return device
        return replace(device, state={**accepted.state, **device.state})

    def sub_devices(self, id_: str) -> set[str]:
        """Return the ids of the devices that are connected through a device, directly or not."""
        found, waiting = set[str](), [id_]
        while waiting:
            new = self._sub_devices.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return found

    def sources_of(self, ids: Iterable[str]) -> set[str]:
        """Return the names of the sources that own these devices or entities of theirs."""
        devices = [device for id_ in ids if (device := self.devices.get(id_)) is not None]
        named = {device.source for device in devices} | {each.source for device in devices for each in device.entities}
        return named - {""}

    def _accept(self, device: Device, update: Update, observed_at: str, changes: Changes) -> None:
        id_ = device.id
        if self._is_outdated(id_, update):
            return
        current, was_read = self.devices.get(id_), self.is_read(id_)
        if not self._selection.selects(device):
            if current is not None and self._selection.knows_groups(device):
                _LOG.info("%s is no longer selected by the options of %s: removed", id_, device.backend)
                self._remove(id_, changes.removed)
            return
        merged = self._merge(current, device)
        before = self._accepted.get(id_)
        if not (was_read or self._restored_is_newest):
            changes.state_changed.add(id_)
        if before is None or before.state != device.state:
            changes.values_changed.add(id_)
        self._accepted[id_] = device
        changes.accepted.add(id_)
        self._newest_made[id_] = update.made_at
        self._oldest_accepted_request[id_] = max(
            update.requested_at, self._oldest_accepted_request.get(id_, update.requested_at)
        )
        self._store(merged)
        if current is None or _state(current) != _state(merged):
            changes.state_changed.add(id_)
            self.state_meta[id_] = StateMeta(update.origin, observed_at)
        if current is None or any(getattr(current, name) != getattr(merged, name) for name in _DISCOVERY_FIELDS):
            changes.discovery_changed.add(id_)
        if current is not None and current.groups != merged.groups:
            changes.groups_changed.add(id_)
        if current is not None and _compared(current) != _compared(merged) and self._selection.inherits(device.backend):
            self._remove_excluded_sub_devices(id_, changes)

    def _remove_excluded_sub_devices(self, id_: str, changes: Changes) -> None:
        """Remove the sub-devices of a device that the options exclude by what they have from it."""
        below = self.sub_devices(id_)
        for each in filter(below.__contains__, self._top_down(self.devices[id_].backend)):
            device = self.devices.get(each)
            if device is not None and not self._selection.selects(device) and self._selection.knows_groups(device):
                _LOG.info("%s is no longer selected by the options of %s: removed", each, device.backend)
                self._remove(each, changes.removed)

    def _is_outdated(self, id_: str, update: Update) -> bool:
        if update.made_at < self._newest_made.get(id_, update.made_at):
            return True  # it waited to be accepted, and what was made meanwhile has its values, too
        suspended = update.origin is UpdateOrigin.POLL and id_ in self._suspended
        return suspended or update.requested_at < self._oldest_accepted_request.get(id_, update.requested_at)

    def _store(self, device: Device) -> None:
        self.devices[device.id] = device
        self._scopes[device.backend, device.scope].add(device.id)
        if device.via:
            self._sub_devices[device.via].add(device.id)

    def _merge(self, current: Device | None, device: Device) -> Device:
        """Return the device as given, with the entities that the bridge adds, and those that it had before."""
        entities, extra = self._selection.apply(device.backend, device.entities), dict[str, Value]()
        if entities is not device.entities:
            published = {entity.key for entity in entities}
            device = replace(
                device,
                entities=entities,
                state={key: value for key, value in device.state.items() if key in published},
                attributes={key: values for key, values in device.attributes.items() if key in published},
            )
        if added := self._added(device):
            entities = self._intern((*entities, *added))
            values = self._added_values.get(device.id, {})
            extra = {
                entity.key: values.get(entity.key, _initial_value(entity))
                for entity in added
                if entity.component not in STATELESS
            }
        changed: dict[str, Any] = {}
        if (area := self._selection.area_of(device)) != device.suggested_area:
            changed["suggested_area"] = area
        if current is not None:
            if current.entities is not entities:
                entities = self._keep_entities(current, device, entities, extra)
            if kept := self._keys_to_keep(current, device):
                extra |= {key: current.state[key] for key in kept if key not in device.state}
                changed |= _keep_values(current, device, kept)
        if (device.backend, device.source) in self._failing_sources and device.available:
            changed["available"] = False
        if entities is device.entities and not extra and not changed:
            return device
        # One key after the other, so that the object has no more room than it needs: one for each device is kept.
        changed["state"] = dict(chain(extra.items(), changed.get("state", device.state).items()))
        return replace(device, entities=entities, **changed)

    def _added(self, device: Device) -> tuple[EntityDescription, ...]:
        """Return the entities that the bridge adds to a device, as the options want them; a backend has all of them."""
        added = self._added_entities(device)
        return added if device.id == device.backend else self._selection.apply(device.backend, added)

    def _keys_to_keep(self, current: Device, device: Device) -> Collection[str]:
        """Return the keys whose present value stays: the source that owns them has not answered for the device yet.

        A device that does not say who has answered keeps the values of the last run until each source of its backend
        has answered.
        """
        restored = self._restored.get(device.id)
        if device.answered is not None:
            given = {entity.key: entity for entity in device.entities}
            if restored is not None:
                restored -= {key for key, entity in given.items() if _has_answered(entity, device)}
            settled = device.backend in self._settled
            return [
                entity.key
                for entity in current.entities
                if current.state.get(entity.key) is not None and device.state.get(entity.key) is None
                if not _has_answered(given.get(entity.key, entity), device)
                or (entity.key not in given and not settled and restored is not None and entity.key in restored)
            ]
        if restored is None:
            return ()
        restored -= {key for key in restored if device.state.get(key) is not None}
        if not restored or device.backend in self._settled:
            del self._restored[device.id]
            return ()
        return restored

    def _apply_unconfirmed(self, backend: str, observed_at: str, changes: Changes) -> None:
        """Drop restored values that no source has confirmed, now that each has answered."""
        for id_ in [id_ for id_ in self._restored if self.devices[id_].backend == backend]:
            keys = self._restored.pop(id_)
            current, accepted = self.devices[id_], self._accepted.get(id_)
            if keys and accepted is not None and not self._restored_is_newest:
                changes.state_changed.add(id_)
            if accepted is None or accepted.answered is not None:
                continue
            state = {**current.state, **{key: accepted.state.get(key) for key in keys if key in current.state}}
            if state != current.state:
                self.devices[id_] = replace(current, state=state)
                self.state_meta[id_] = StateMeta(UpdateOrigin.POLL, observed_at)
                changes.state_changed.add(id_)

    def _keep_entities(
        self,
        current: Device,
        device: Device,
        entities: tuple[EntityDescription, ...],
        extra: dict[str, Value],
    ) -> tuple[EntityDescription, ...]:
        present = {entity.key: entity for entity in entities}
        self._note_changed_components(current, present)
        missing = tuple(entity for entity in current.entities if entity.key not in present)
        if not missing:
            self._missing_entities.pop(device.id, None)
            return entities
        extra |= {entity.key: None for entity in missing if entity.key in current.state}
        unanswered = {entity.key for entity in missing if not _has_answered(entity, device)}
        counts = self._missing_entities.setdefault(device.id, Counter())
        for key in set(counts) - {entity.key for entity in missing} | (set(counts) & unanswered):
            del counts[key]
        counts.update({entity.key: 0 for entity in missing if entity.key not in unanswered})
        kept = self._intern((*entities, *missing))
        return current.entities if current.entities == kept else kept

    def _note_changed_components(self, current: Device, present: Mapping[str, EntityDescription]) -> None:
        """Remove a key first that came back as another component, under its old one."""
        for entity in current.entities:
            again = present.get(entity.key)
            if again is not None and again.component is not entity.component:
                self.removed_components.setdefault(current.id, {})[entity.key] = entity.component.value

    def _intern(self, entities: tuple[EntityDescription, ...]) -> tuple[EntityDescription, ...]:
        """Return one tuple for equal tables, which most devices share."""
        return self._tables.setdefault(tuple(map(id, entities)), entities)

    def _apply_inventory(self, backend: str, inventory: Inventory, changes: Changes, *, settled: bool) -> None:
        registered = self._scopes[backend, inventory.scope]
        for id_ in [id_ for id_ in self._missing_devices if id_ in inventory.ids and id_ in registered]:
            del self._missing_devices[id_]
        if settled:
            for id_ in [id_ for id_ in self._missing_entities if id_ in inventory.ids and id_ in registered]:
                self._count_missing_entities(id_, changes)
        for id_ in registered - inventory.ids:
            self._missing_devices[id_] += 1
            if self._missing_devices[id_] >= MISSING_INVENTORIES_BEFORE_REMOVAL:
                _LOG.info("%s is missing in two complete inventories of %s: removed", id_, backend)
                self._remove(id_, changes.removed)

    def _count_missing_entities(self, id_: str, changes: Changes) -> None:
        device = self.devices[id_]
        if not device.available or not device.complete:  # the vendor may send less about a device that it cannot reach
            return
        counts = self._missing_entities[id_]
        for key in counts:
            counts[key] += 1
        removed = {
            entity.key: entity.component.value
            for entity in device.entities
            if counts[entity.key] >= MISSING_INVENTORIES_BEFORE_REMOVAL
        }
        if not removed:
            return
        self.removed_components.setdefault(id_, {}).update(removed)
        for key in removed:
            del counts[key]
        if not counts:
            del self._missing_entities[id_]
        entities = self._intern(tuple(entity for entity in device.entities if entity.key not in removed))
        state = {key: value for key, value in device.state.items() if key not in removed}
        self.devices[id_] = replace(device, entities=entities, state=state)
        changes.discovery_changed.add(id_)
        changes.state_changed.add(id_)

    def _remove(self, id_: str, removed: set[str]) -> None:
        device = self.devices.pop(id_, None)
        if device is None:
            return
        removed.add(id_)
        self._scopes[device.backend, device.scope].discard(id_)
        self._sub_devices[device.via or ""].discard(id_)
        for sub_device in tuple(self._sub_devices.pop(id_, ())):
            self._remove(sub_device, removed)
        tables: tuple[dict[str, Any], ...] = (
            self.state_meta,
            self.removed_components,
            self._accepted,
            self._restored,
            self._oldest_accepted_request,
            self._newest_made,
            self._missing_devices,
            self._missing_entities,
        )
        for table in tables:
            table.pop(id_, None)


def _has_answered(entity: EntityDescription, device: Device) -> bool:
    """Return True if the source that owns an entity has answered for the device; a key without an owner counts so."""
    return device.answered is None or not entity.source or entity.source in device.answered


def _initial_value(entity: EntityDescription) -> Value:
    """Return the value of an entity of the bridge's own before there was anything: a count is zero, a switch is off."""
    if entity.state_class == "total_increasing":
        return 0
    return INITIAL_VALUES.get(entity.key)


def _keep_values(current: Device, device: Device, keys: Collection[str]) -> dict[str, Any]:
    """Return the state and attributes of `device` with those of `current` under these keys."""
    state = {**device.state, **{key: current.state[key] for key in keys}}
    kept = {key: current.attributes[key] for key in keys if key in current.attributes and key not in device.attributes}
    return {"state": state, "attributes": {**kept, **device.attributes}} if kept else {"state": state}


def _compared(device: Device) -> tuple[object, ...]:
    return device.groups, device.tags, device.location


def _state(device: Device) -> tuple[object, ...]:
    return device.state, device.attributes, device.available
