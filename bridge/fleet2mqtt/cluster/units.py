"""The units of a cluster as the database last had them, and which of them a device, backend or alarm belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet2mqtt.cluster.membership import BRIDGE_UNIT, UnitRecord


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

    def unit_of_backend(self, backend: str) -> str | None:
        """Return the unit of a backend; None for a backend without one, which the bridge unit answers for."""
        return backend if backend != BRIDGE_UNIT and backend in self.records else None

    def unit_of_device(self, device: str) -> str | None:
        """Return the unit of a device, None for one of none."""
        parts = device.split("_")
        names = ("_".join(parts[:count]) for count in range(1, len(parts) + 1))
        return next((name for name in names if self.unit_of_backend(name) is not None), None)

    def unit_of_alarm(self, event: str) -> str | None:
        """Return the unit of an alarm by the id of its event, which begins with its backend and `:`."""
        return self.unit_of_backend(event.partition(":")[0])


def owns(unit: str, device: str) -> bool:
    """Return True for a backend's unit and an id of its devices, or of the backend itself."""
    return device == unit or device.startswith(f"{unit}_")
