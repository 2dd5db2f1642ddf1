"""Making updates: backend, origin and times of what a platform reports."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from fleet2mqtt.devices.model import Alarm, Device, DeviceEvent, Inventory, Update, UpdateOrigin

_NO_CHECKPOINTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UpdateFactory:
    """Makes the updates of one backend.

    `requested_at` is `time.monotonic()` before the vendor was asked. Without it the update is what is known now,
    whenever that was requested. None among devices is left out.
    """

    backend: str

    def __call__(  # noqa: PLR0913 - an update has as many parts
        self,
        requested_at: float | None = None,
        *,
        devices: Iterable[Device | None] = (),
        alarms: Iterable[Alarm] = (),
        events: Iterable[DeviceEvent] = (),
        inventories: Iterable[Inventory] = (),
        removed: Iterable[str] = (),
        checkpoints: Mapping[str, str] = _NO_CHECKPOINTS,
        origin: UpdateOrigin = UpdateOrigin.POLL,
    ) -> Update:
        """Return an update, observed now."""
        return Update(
            backend=self.backend,
            origin=origin,
            requested_at=time.monotonic() if requested_at is None else requested_at,
            observed_at=datetime.now(UTC),
            devices=tuple([device for device in devices if device is not None]) if devices else (),
            alarms=tuple(alarms),
            events=tuple(events),
            inventories=tuple(inventories),
            removed=tuple(removed),
            checkpoints=checkpoints,
        )
