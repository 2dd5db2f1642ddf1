"""Devices of one kind: the same objects while nothing changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device, EntityDescription, Inventory, existing, read_attributes, read_state

MANUFACTURER = "Sangfor"


@dataclass(slots=True, kw_only=True)
class Shelf:
    """The devices of a scope; `kind` is part of their ids."""

    backend: str
    ids: Ids
    scope: str
    kind: str
    _made: dict[str, Device] = field(default_factory=dict)

    def id(self, vendor_id: str) -> str:
        """The id of a device."""
        return self.ids(self.backend, self.kind, vendor_id)

    def device(
        self, vendor_id: str, record: Any, table: tuple[EntityDescription, ...], *, name: str, available: bool = True
    ) -> Device:
        """The device of this record; the one from before if it says the same."""
        rows = existing(table, record)
        known = self._made.get(vendor_id)
        if (
            known is None
            or known.record != record
            or (known.name, known.available) != (name, available)
            or list(map(id, known.entities)) != list(map(id, rows))
        ):
            known = self._made[vendor_id] = Device(
                id=self.id(vendor_id),
                backend=self.backend,
                vendor_id=vendor_id,
                scope=self.scope,
                name=name,
                entities=rows,
                state=read_state(rows, record),
                attributes=read_attributes(rows, record),
                available=available,
                via=self.backend,
                manufacturer=MANUFACTURER,
                record=record,
            )
        return known

    def watched(self, natives: Iterable[str]) -> Inventory:
        """The watch list, which is the operator's and complete. An emptied one has nothing but the backend itself."""
        return Inventory(scope=self.scope, ids=frozenset(map(self.id, natives)) or frozenset((self.backend,)))

    def inventory(self, natives: Iterable[str]) -> tuple[Inventory, ...]:
        """A complete list; an empty one is none."""
        ids = frozenset(map(self.id, natives))
        return (Inventory(scope=self.scope, ids=ids),) if ids else ()
