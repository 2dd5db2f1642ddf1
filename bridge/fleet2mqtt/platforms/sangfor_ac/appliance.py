"""The appliance: what is known of the AC itself, as the backend's own device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Any

from fleet2mqtt.devices.model import Device
from fleet2mqtt.platforms.sangfor_ac.entities import ApplianceEntity, appliance_entities, entity_key, library_entities
from fleet2mqtt.platforms.sangfor_ac.models import ApplianceRecord, Item, Library
from fleet2mqtt.sdk.device_cache import DeviceCache


@dataclass(slots=True, kw_only=True)
class Appliance:
    """The AC. `clock` is its own clock as of the last poll cycle; `has_figures` that it ever answered a status call.

    `answered` are the sources of which every call has been answered, or has been given up.
    """

    cache: DeviceCache
    zone: tzinfo
    interfaces: tuple[str, ...] = ()
    rank_unit: str = "B/s"
    record: ApplianceRecord = field(default_factory=ApplianceRecord)
    clock: str | None = None
    has_figures: bool = False
    answered: frozenset[str] = frozenset()
    _library_entities: dict[tuple[str, str], tuple[ApplianceEntity, ...]] = field(default_factory=dict)
    _figures: tuple[ApplianceEntity, ...] = ()

    def apply(self, **figures: Any) -> None:
        """Apply fields of the record."""
        self.record = replace(self.record, **figures)

    def apply_libraries(self, items: Iterable[Item]) -> None:
        """Apply the rule libraries; an empty list is not believed."""
        libraries = [Library.model_validate(item, context={"zone": self.zone}) for item in items]
        types = [library.type for library in libraries]
        keyed = [(_library_key(library, types), library) for library in libraries if library.type or library.name]
        if keyed:
            self.apply(libraries=tuple(dict(keyed).items()))

    def apply_libraries_missed(self) -> None:
        """Make the values of the libraries unknown, after several polls that missed them; the entities stay."""
        blank = [
            (key, library.model_copy(update=dict.fromkeys(library.model_fields_set - {"name", "type"})))
            for key, library in self.record.libraries
        ]
        self.apply(libraries=tuple(blank))

    def device(self) -> Device:
        """Return the AC as a device; the same object while nothing changes."""
        self._figures = self._figures or appliance_entities(self.interfaces, self.rank_unit)
        entities = self.cache.intern((*self._figures, *self._libraries()))
        version = self.record.version
        return self.cache.backend_device(self.record, entities, model="AC", sw_version=version, answered=self.answered)

    def _libraries(self) -> Iterable[ApplianceEntity]:
        for key, library in self.record.libraries:
            name = library.name or library.type or key
            table = self._library_entities.get((key, name))
            if table is None:
                table = self._library_entities[key, name] = library_entities(key, name)
            yield from table


def _library_key(library: Library, types: list[str | None]) -> str:
    """Return the type as a key, with the name where several are of that type."""
    if library.type and types.count(library.type) == 1:
        return entity_key(library.type)
    return entity_key("\x1f".join(part for part in (library.type, library.name) if part))
