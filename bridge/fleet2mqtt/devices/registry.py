"""The newest device per id, and what changed. Knows no broker and no clock but the updates' own."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace

from fleet2mqtt.devices.model import (
    STATELESS,
    Device,
    EntityDescription,
    Inventory,
    StateMeta,
    Update,
    UpdateOrigin,
    Value,
)

_LOG = logging.getLogger(__name__)

MISSING_INVENTORIES_BEFORE_REMOVAL = 2
"""How many complete inventories in a row must miss something before it goes."""

_VALUES = frozenset(("state", "attributes", "available", "record", "vendor_id", "scope"))
_DESCRIPTION = tuple(item.name for item in fields(Device) if item.name not in _VALUES)


@dataclass(slots=True)
class Changes:
    """Ids by what about them must be published again."""

    described: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)


class Registry:
    """All devices of all backends.

    Newer news wins: what the vendor was asked before the newest accepted answer, or before or during a command, does
    not overwrite it. A row once seen stays (with None) until two complete inventories in a row come without it, and so
    does a device.
    """

    def __init__(
        self, clock: Callable[[], float], more_rows: Callable[[Device], tuple[EntityDescription, ...]]
    ) -> None:
        """`more_rows` are those that the bridge itself adds to a device; `show` gives them their values."""
        self._clock = clock
        self._more_rows = more_rows
        self.devices: dict[str, Device] = {}
        self.state_meta: dict[str, StateMeta] = {}
        self.retired: dict[str, dict[str, str]] = {}
        """Rows gone for good, by device: key → component, until Home Assistant has been told."""
        self._given: dict[str, Device] = {}
        self._oldest_accepted_request: dict[str, float] = {}
        """By device: only what was asked for since then counts (`Update.began`)."""
        self._held: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._lacking: dict[str, Counter[str]] = {}
        self._scopes: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._parts: defaultdict[str, set[str]] = defaultdict(set)
        self._shown: defaultdict[str, dict[str, Value]] = defaultdict(dict)
        self._tables: dict[tuple[int, ...], tuple[EntityDescription, ...]] = {}

    def restore(
        self,
        devices: Iterable[Device],
        retired: Mapping[str, Mapping[str, str]],
        state_meta: Mapping[str, StateMeta],
    ) -> None:
        """Start from the inventory of the last run: known, and unavailable through its backend until heard of."""
        for device in devices:
            more = {row.key: row for row in self._more_rows(device)}
            rows = tuple(more.get(row.key, row) for row in device.entities)  # what is the bridge's own works at once
            self._store(replace(device, entities=self._intern(rows)) if more else device)
            if added := more.keys() & device.state.keys():
                self._shown[device.id] |= {key: device.state[key] for key in added}
        self.state_meta |= {id_: each for id_, each in state_meta.items() if id_ in self.devices}
        self.retired |= {id_: dict(rows) for id_, rows in retired.items() if id_ in self.devices}

    def accept(self, update: Update, observed_at: str, *, settled: bool = True) -> Changes:
        """Take the devices and inventories of an update in.

        `settled` says that every source of the backend answered last time: only then can a row that is missing be gone.
        """
        changes = Changes()
        for device in update.devices:
            self._accept(device, update, observed_at, changes)
        for inventory in update.inventories:
            if inventory.ids:
                self._apply_inventory(update.backend, inventory, changes, settled=settled)
        return changes

    def show(self, device: str, values: Mapping[str, Value]) -> bool:
        """Give rows that the bridge added their values; says whether a device that has them changed by it."""
        self._shown[device] |= values
        current = self.devices.get(device)
        if current is None:
            return False
        state = {**current.state, **{key: value for key, value in values.items() if key in current.state}}
        if state == current.state:
            return False
        self.devices[device] = replace(current, state=state)
        return True

    def count(self, device: str, key: str) -> bool:
        """Add one to a counter that the bridge has added; says whether a device that has it changed by it."""
        number = self._shown[device].get(key)
        return self.show(device, {key: (number if isinstance(number, int) else 0) + 1})

    @contextmanager
    def suspend_polls(self, device: str) -> Iterator[None]:
        """While a command is under way polls do not touch the device, nor do those begun before it ended."""
        self._held[device] += 1
        try:
            yield
        finally:
            self._held[device] -= 1
            if not self._held[device]:
                del self._held[device]
            self._oldest_accepted_request[device] = self._clock()

    def forget(self, ids: Iterable[str]) -> set[str]:
        """Drop these devices and their parts; gives the ids that were there."""
        gone: set[str] = set()
        for id_ in ids:
            self._remove(id_, gone)
        return gone

    def of_backend(self, backend: str) -> list[str]:
        """The ids of a backend's devices, its own among them."""
        return [id_ for id_, device in self.devices.items() if device.backend == backend]

    def _accept(self, device: Device, update: Update, observed_at: str, changes: Changes) -> None:
        id_ = device.id
        if self._given.get(id_) is device or self._outdated(id_, update):
            return
        current = self.devices.get(id_)
        merged = self._merge(current, device)
        self._given[id_] = device
        self._oldest_accepted_request[id_] = max(
            update.requested_at, self._oldest_accepted_request.get(id_, update.requested_at)
        )
        self._store(merged)
        if current is None or _values(current) != _values(merged):
            changes.values.add(id_)
            self.state_meta[id_] = StateMeta(update.origin, observed_at)
        if current is None or any(getattr(current, name) != getattr(merged, name) for name in _DESCRIPTION):
            changes.described.add(id_)

    def _outdated(self, id_: str, update: Update) -> bool:
        held = update.origin is UpdateOrigin.POLL and id_ in self._held
        return held or update.requested_at < self._oldest_accepted_request.get(id_, update.requested_at)

    def _store(self, device: Device) -> None:
        self.devices[device.id] = device
        self._scopes[device.backend, device.scope].add(device.id)
        if device.via:
            self._parts[device.via].add(device.id)

    def _merge(self, current: Device | None, device: Device) -> Device:
        """The device as given, with the rows that the bridge adds, and those that it had before and lacks now."""
        rows, extra = device.entities, dict[str, Value]()
        if more := self._more_rows(device):
            rows = self._intern((*rows, *more))
            shown = self._shown.get(device.id, {})
            extra = {row.key: shown.get(row.key, _unheard(row)) for row in more if row.component not in STATELESS}
        if current is not None and current.entities is not rows:
            rows = self._keep_rows(current, device.id, rows, extra)
        if rows is device.entities and not extra:
            return device
        return replace(device, entities=rows, state={**extra, **device.state})

    def _keep_rows(
        self, current: Device, id_: str, rows: tuple[EntityDescription, ...], extra: dict[str, Value]
    ) -> tuple[EntityDescription, ...]:
        now = {row.key: row for row in rows}
        self._retire_changed(current, now)
        lacking = tuple(row for row in current.entities if row.key not in now)
        if not lacking:
            self._lacking.pop(id_, None)
            return rows
        extra |= {row.key: None for row in lacking if row.key in current.state}
        counts = self._lacking.setdefault(id_, Counter())
        for key in set(counts) - {row.key for row in lacking}:
            del counts[key]
        counts.update({row.key: 0 for row in lacking})
        kept = self._intern((*rows, *lacking))
        return current.entities if current.entities == kept else kept

    def _retire_changed(self, current: Device, now: Mapping[str, EntityDescription]) -> None:
        """A key that came back as another component must go under its old one first."""
        for row in current.entities:
            again = now.get(row.key)
            if again is not None and again.component is not row.component:
                self.retired.setdefault(current.id, {})[row.key] = row.component.value

    def _intern(self, rows: tuple[EntityDescription, ...]) -> tuple[EntityDescription, ...]:
        """One tuple for equal tables: most devices share theirs. It keeps its rows alive, so ids stay theirs."""
        return self._tables.setdefault(tuple(map(id, rows)), rows)

    def _apply_inventory(self, backend: str, inventory: Inventory, changes: Changes, *, settled: bool) -> None:
        known = self._scopes[backend, inventory.scope]
        for id_ in [id_ for id_ in self._missing if id_ in inventory.ids and id_ in known]:
            del self._missing[id_]
        if settled:
            for id_ in [id_ for id_ in self._lacking if id_ in inventory.ids and id_ in known]:
                self._retire_lacking(id_, changes)
        for id_ in known - inventory.ids:
            self._missing[id_] += 1
            if self._missing[id_] >= MISSING_INVENTORIES_BEFORE_REMOVAL:
                _LOG.info("%s is gone from two complete inventories of %s: removed", id_, backend)
                self._remove(id_, changes.removed)

    def _retire_lacking(self, id_: str, changes: Changes) -> None:
        device = self.devices[id_]
        if not device.available:  # a device that is away may well say less
            return
        counts = self._lacking[id_]
        for key in counts:
            counts[key] += 1
        gone = {
            row.key: row.component.value
            for row in device.entities
            if counts[row.key] >= MISSING_INVENTORIES_BEFORE_REMOVAL
        }
        if not gone:
            return
        self.retired.setdefault(id_, {}).update(gone)
        for key in gone:
            del counts[key]
        if not counts:
            del self._lacking[id_]
        rows = self._intern(tuple(row for row in device.entities if row.key not in gone))
        state = {key: value for key, value in device.state.items() if key not in gone}
        self.devices[id_] = replace(device, entities=rows, state=state)
        changes.described.add(id_)
        changes.values.add(id_)

    def _remove(self, id_: str, gone: set[str]) -> None:
        device = self.devices.pop(id_, None)
        if device is None:
            return
        gone.add(id_)
        self._scopes[device.backend, device.scope].discard(id_)
        self._parts[device.via or ""].discard(id_)
        for part in tuple(self._parts.pop(id_, ())):
            self._remove(part, gone)
        for table in (
            self.state_meta,
            self.retired,
            self._given,
            self._oldest_accepted_request,
            self._missing,
            self._lacking,
        ):
            table.pop(id_, None)


def _unheard(row: EntityDescription) -> Value:
    """What a row of the bridge's own shows before there was anything: a counter begins at nothing."""
    return 0 if row.state_class == "total_increasing" else None


def _values(device: Device) -> tuple[object, ...]:
    return device.state, device.attributes, device.available
