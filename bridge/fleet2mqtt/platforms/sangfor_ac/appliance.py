"""What is known of the AC itself, as the backend's own device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fleet2mqtt.devices.model import Device, EntityDescription, existing, read_attributes, read_state
from fleet2mqtt.platforms.sangfor_ac.device_cache import MANUFACTURER
from fleet2mqtt.platforms.sangfor_ac.entities import BOX, library_rows, row_key
from fleet2mqtt.platforms.sangfor_ac.models import BoxRecord, Library

if TYPE_CHECKING:
    from fleet2mqtt.platforms.sangfor_ac.session import Row


@dataclass(slots=True, kw_only=True)
class Box:
    """The AC. `clock` is what its own said in the last round; `spoke` says that it ever told a figure."""

    name: str
    url: str
    record: BoxRecord = field(default_factory=BoxRecord)
    clock: str | None = None
    spoke: bool = False
    _device: Device | None = None
    _library_rows: dict[tuple[str, str], tuple[EntityDescription, ...]] = field(default_factory=dict)

    def learn(self, **news: Any) -> None:
        """Fields of the record that are known now."""
        self.record = replace(self.record, **news)

    def take_libraries(self, rows: Iterable[Row]) -> None:
        """The rule libraries; none at all is no news."""
        found = [Library.model_validate(row) for row in rows]
        types = [library.type for library in found]
        keyed = [(_library_key(library, types), library) for library in found if library.type or library.name]
        if keyed:
            self.learn(libraries=tuple(dict(keyed).items()))

    def device(self) -> Device:
        """The AC as a device; the same object while nothing changes."""
        if self._device is None or self._device.record != self.record:
            self._device = self._made()
        return self._device

    def _made(self) -> Device:
        rows = (*existing(BOX, self.record), *self._libraries())
        return Device(
            id=self.name,
            backend=self.name,
            vendor_id=self.name,
            scope="backend",
            name=self.name,
            entities=rows,
            state=read_state(rows, self.record),
            attributes=read_attributes(rows, self.record),
            manufacturer=MANUFACTURER,
            model="AC",
            sw_version=self.record.version,
            configuration_url=self.url,
            record=self.record,
        )

    def _libraries(self) -> Iterable[EntityDescription]:
        for key, library in self.record.libraries:
            name = library.name or library.type or key
            table = self._library_rows.get((key, name))
            if table is None:
                table = self._library_rows[key, name] = library_rows(key, name)
            yield from existing(table, self.record)


def _library_key(library: Library, types: list[str | None]) -> str:
    """The type, with the name where several are of that type."""
    if library.type and types.count(library.type) == 1:
        return row_key(library.type)
    return row_key("\x1f".join(part for part in (library.type, library.name) if part))
