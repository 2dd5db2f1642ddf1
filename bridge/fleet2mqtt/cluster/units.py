"""The units of a cluster as the database last had them, and which of them a device, backend or alarm belongs to."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fleet2mqtt.cluster.membership import BRIDGE_UNIT, UnitRecord
from fleet2mqtt.outbox import Outbox


@dataclass(slots=True)
class Units:
    """Units by name. A device's id is that of its backend, or begins with it and `_`."""

    records: dict[str, UnitRecord]

    def replace(self, records: Iterable[UnitRecord]) -> None:
        """Have these units from now on."""
        self.records = {each.name: each for each in records}

    def names(self) -> list[str]:
        """Return the names of the units of backends."""
        return [name for name in self.records if name != BRIDGE_UNIT]

    def note_figures(self, unit: str, figures: Mapping[str, Any]) -> None:
        """Know these figures of a unit, which are newer than those that its owner has stored."""
        if (record := self.records.get(unit)) is not None:
            self.records[unit] = replace(record, figures={**record.figures, **figures})

    def unit_of_backend(self, backend: str) -> str | None:
        """Return the unit of a backend; None for a backend without one, which the bridge unit answers for."""
        return backend if backend != BRIDGE_UNIT and backend in self.records else None

    def unit_of_device(self, device: str) -> str | None:
        """Return the unit of a device, None for one of none."""
        return self.unit_of_backend(unit_of(device, self.records) or BRIDGE_UNIT)

    async def unit_of_alarm(self, event: str, outbox: Outbox) -> str | None:
        """Return the unit of an alarm by the id of its event, which begins with its backend and `:`.

        An alarm of a backend without a unit is that of its device. Raises OutboxError.
        """
        unit = self.unit_of_backend(event.partition(":")[0])
        if unit is None and (stored := await outbox.event_of(event)) is not None:
            unit = self.unit_of_device(stored.device)
        return unit


def unit_of(device: str, units: Container[str]) -> str | None:
    """Return which of these units a device or backend belongs to, by its id; None for one of none.

    Of two names of which one begins the other it is the longer: that of a removed backend, and of one added since.
    """
    name = device
    while name not in units:
        name, separator, _ = name.rpartition("_")
        if not separator:
            return None
    return name
