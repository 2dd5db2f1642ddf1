"""The device cache: the same `Device` object for as long as nothing that it is built from changes.

The registry takes the very same object as no change, so that an unchanged poll costs no comparison of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import (
    ClientT,
    Device,
    EntityDescription,
    EntityDescriptions,
    Inventory,
    RecordT,
    read_attributes,
    read_existing,
    read_state,
)
from fleet2mqtt.sdk.limits import limit

_Entry = tuple[Device, int, tuple[str, ...]]
"""A device, the id of its descriptions, and the names of the fields that it was built with besides its record."""


@dataclass(slots=True, kw_only=True)
class DeviceCache:
    """Builds the devices of one backend from records, and returns the earlier device where it is equal.

    Records must compare by value: frozen dataclasses or frozen wire models. `about` are fields that all devices of the
    backend share, such as `manufacturer`. With `keep_entities` an entity that was there once stays for as long as this
    process runs, with the value None, even where a later record lacks its field.
    """

    backend: str
    ids: Ids
    about: Mapping[str, Any] = field(default_factory=dict)
    keep_entities: bool = False
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _tables: dict[tuple[int, ...], tuple[EntityDescription, ...]] = field(default_factory=dict)
    _names: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)

    def id(self, *vendor_ids: str) -> str:
        """Return the device id for vendor ids, outermost first; that of the backend's own device without any."""
        return self.ids(self.backend, *vendor_ids) if vendor_ids else self.backend

    def build(
        self, id_: str, record: RecordT, descriptions: EntityDescriptions[RecordT, ClientT], **about: Any
    ) -> Device:
        """Return the device of a record: a new one only if the record or anything in `about` changed.

        `about` are the other fields of `Device`: `vendor_id`, `scope`, `name`, `via`, `available`, `answered` …
        """
        entry = self._entries.get(id_)
        names = tuple(about)
        if entry is not None:
            before, table, former_names = entry
            if (
                table == id(descriptions)
                and former_names == names
                and before.record == record
                and all(getattr(before, name) == value for name, value in about.items())
            ):
                return before
        entities, state = read_existing(descriptions, record)
        if self.keep_entities and entry is not None:
            keys = {entity.key for table in (entry[0].entities, entities) for entity in table}
            entities = tuple(entity for entity in descriptions if entity.key in keys)
            state = read_state(entities, record)
        entities = self.intern(entities)
        state, attributes = limit(state, read_attributes(entities, record))
        device = Device(
            id=id_,
            backend=self.backend,
            entities=entities,
            state=state,
            attributes=attributes,
            record=record,
            **{**self.about, **about},
        )
        self._entries[id_] = device, id(descriptions), self._names.setdefault(names, names)
        return device

    def backend_device(
        self, record: RecordT, descriptions: EntityDescriptions[RecordT, ClientT], **about: Any
    ) -> Device:
        """Return the backend's own device, with the figures of the whole fleet."""
        fixed: dict[str, Any] = {"vendor_id": self.backend, "scope": "backend", "name": self.backend}
        return self.build(self.backend, record, descriptions, **fixed | about)

    def get(self, id_: str) -> Device | None:
        """Return the device last built under this id, None if there is none."""
        entry = self._entries.get(id_)
        return None if entry is None else entry[0]

    def discard(self, ids: Iterable[str]) -> None:
        """Forget these devices, so that they are built anew should they come back."""
        for id_ in ids:
            self._entries.pop(id_, None)

    def intern(self, entities: tuple[EntityDescription, ...]) -> tuple[EntityDescription, ...]:
        """Return one tuple for equal tables, which most devices share."""
        return self._tables.setdefault(tuple(map(id, entities)), entities)

    def inventory(self, scope: str, ids: Iterable[str], *, confirmed_empty: bool = False) -> tuple[Inventory, ...]:
        """Return the inventory of a scope; none for an empty list, unless the vendor reports that there is nothing."""
        listed = frozenset(ids)
        if not listed and not confirmed_empty:
            return ()
        return (Inventory(scope=scope, ids=listed, confirmed_empty=not listed),)


@dataclass(slots=True)
class NewestFirst:
    """Guards against older data: accepts what was requested at or after what was accepted last, by name."""

    _requested: dict[str, float] = field(default_factory=dict)

    def accept(self, name: str, requested_at: float) -> bool:
        """Return True and remember the request time, or False for data requested before what is known."""
        if requested_at < self._requested.get(name, requested_at):
            return False
        self._requested[name] = requested_at
        return True

    def discard(self, name: str) -> None:
        """Forget a name."""
        self._requested.pop(name, None)
