"""What is known of the stations and their lattices, as Devices: the same objects while nothing changes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any

from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device, EntityDescription, Inventory, existing, read_attributes, read_state
from fleet2mqtt.platforms.omstation.entities import LATTICE, MANUFACTURER, STATION
from fleet2mqtt.platforms.omstation.models import Lattice, Station, StationRecord, Statistics

_LOG = logging.getLogger(__name__)

Rows = tuple[EntityDescription, ...]
Tables = dict[tuple[int, ...], Rows]

SILENT = 3
"""Readings of a station's lattices that fail in a row before they count as unavailable."""


@dataclass(slots=True)
class Part:
    """A Device and what it was made from; `rows` are the keys seen so far, which stay."""

    rows: frozenset[str] = frozenset()
    basis: Any = None
    device: Device | None = None

    def made(self, table: Rows, record: Any, tables: Tables, about: Mapping[str, Any]) -> Device:
        """The Device of this record and what else is said about it; the same object as long as both are equal."""
        basis = (record, about)
        if self.device is None or self.basis != basis:
            rows = self._rows(table, record, tables)
            state, attributes = read_state(rows, record), read_attributes(rows, record)
            self.basis = basis
            self.device = Device(
                entities=rows, state=state, attributes=attributes, record=record, manufacturer=MANUFACTURER, **about
            )
        return self.device

    def _rows(self, table: Rows, record: Any, tables: Tables) -> Rows:
        self.rows |= {row.key for row in existing(table, record)}
        kept = tuple(row for row in table if row.key in self.rows)
        return tables.setdefault(tuple(map(id, kept)), kept)


@dataclass(slots=True)
class _Station(Part):
    record: StationRecord = field(default_factory=lambda: StationRecord(station=Station()))
    lattices: dict[str, tuple[Part, Lattice]] = field(default_factory=dict)
    failures: int = 0


@dataclass(slots=True, kw_only=True)
class Stations:
    """The stations of one organisation by the vendor's id."""

    name: str
    ids: Ids
    listed: bool = False
    """Whether the list was read yet."""
    _known: dict[str, _Station] = field(default_factory=dict)
    _tables: Tables = field(default_factory=dict)

    def take_list(self, rows: Iterable[Any]) -> tuple[tuple[Device, ...], tuple[Inventory, ...]]:
        """The whole list; gives its Devices and the inventory. A row without an id is nobody's, and leaves it open."""
        self.listed = True
        found = [Station.model_validate(row) if isinstance(row, dict) else Station() for row in rows]
        seen = {station.id: station for station in found if station.id is not None}
        for id_, station in seen.items():
            known = self._known.setdefault(id_, _Station())
            known.record = replace(known.record, station=station)
        if not seen or any(station.id is None for station in found):
            return self.devices(seen), ()
        for id_ in self._known.keys() - seen:
            del self._known[id_]
        ids = frozenset(self.ids(self.name, id_) for id_ in seen)
        return self.devices(seen), (Inventory(scope="stations", ids=ids),)

    def take_lattices(
        self, id_: str, rows: Iterable[Any], data: Mapping[str, Any]
    ) -> tuple[tuple[Device, ...], tuple[Inventory, ...]]:
        """A station's lattices, and its sums in `data`; gives its Devices and the inventory."""
        known = self._known.get(id_)
        if known is None:  # it went from the list meanwhile
            return (), ()
        if known.failures >= SILENT:
            _LOG.info("%s: the compartments of station %s can be read again", self.name, known.record.station.id)
        known.failures = 0
        known.record = replace(known.record, statistics=sums_of(known.record.statistics, data))
        found = _numbered(rows)
        lattices = {number: lattice for number, lattice in found if number is not None}
        complete = bool(lattices) and len(lattices) == len(found)
        kept = {} if complete else known.lattices
        fresh = {number: (known.lattices.get(number, (Part(),))[0], row) for number, row in lattices.items()}
        known.lattices = kept | fresh
        ids = frozenset(self._lattice_id(id_, number) for number in lattices)
        return self.devices((id_,)), (Inventory(scope=f"lattices:{id_}", ids=ids),) if complete else ()

    def fail(self, ids: Iterable[str]) -> tuple[Device, ...]:
        """The lattices of these stations could not be read; gives their Devices. Logs when they become unavailable."""
        ids = tuple(ids)
        for known in (self._known[id_] for id_ in ids if id_ in self._known):
            known.failures += 1
            if known.failures == SILENT:
                _LOG.warning("%s: the compartments of station %s cannot be read", self.name, known.record.station.id)
        return self.devices(ids)

    def all(self) -> tuple[str, ...]:
        """The stations known."""
        return tuple(self._known)

    def devices(self, ids: Iterable[str]) -> tuple[Device, ...]:
        """These stations and their lattices, as far as they are known."""
        return tuple(device for id_ in ids if id_ in self._known for device in self._devices(id_))

    def _devices(self, id_: str) -> Iterable[Device]:
        known = self._known[id_]
        station = known.made(
            STATION,
            known.record,
            self._tables,
            {
                "id": self.ids(self.name, id_),
                "backend": self.name,
                "vendor_id": id_,
                "scope": "stations",
                "name": known.record.station.stationName or id_,
                "via": self.name,
                "model": "Lock station",
            },
        )
        yield station
        for number, (part, lattice) in known.lattices.items():
            about = {
                "id": self._lattice_id(id_, number),
                "backend": self.name,
                "vendor_id": number,
                "scope": f"lattices:{id_}",
                "name": f"{station.name} {number}",
                "available": known.failures < SILENT,
                "via": station.id,
                "model": "Lock station compartment",
            }
            yield part.made(LATTICE, lattice, self._tables, about)

    def _lattice_id(self, id_: str, number: str) -> str:
        return self.ids(self.name, id_, "lattice", number)


def sums_of(known: Statistics, data: Mapping[str, Any]) -> Statistics:
    """The `stationStatistics` in an answer; what is known where it has none."""
    said = data.get("stationStatistics")
    return Statistics.model_validate(said) if isinstance(said, dict) else known


def _numbered(rows: Iterable[Any]) -> list[tuple[str | None, Lattice]]:
    """Lattices with what tells them apart in their station: the number on the door, or the id where two share one."""
    context = {"zone": UTC}
    found = [Lattice.model_validate(row if isinstance(row, dict) else {}, context=context) for row in rows]
    numbers = [lattice.latticeNo or lattice.index for lattice in found]
    often = Counter(numbers)
    return [
        (number if number is not None and often[number] == 1 else lattice.id, lattice)
        for number, lattice in zip(numbers, found, strict=True)
    ]
