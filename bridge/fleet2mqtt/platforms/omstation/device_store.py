"""The device store: the stations and compartments of one organisation, and the devices built from them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, NamedTuple

from fleet2mqtt.devices.model import Device, Inventory
from fleet2mqtt.platforms.omstation.entities import ASSETS, COMPARTMENT, COMPARTMENT_KIND, LATTICES, STATION
from fleet2mqtt.platforms.omstation.models import Asset, CompartmentRecord, Lattice, Station, StationRecord, Statistics
from fleet2mqtt.sdk.device_cache import DeviceCache

_LOG = logging.getLogger(__name__)

_NOT_ANSWERED = frozenset[str]()
_ANSWERED = frozenset((LATTICES,))
_ASSETS_ANSWERED = frozenset((ASSETS,))

MAX_ASSETS = 20_000
"""Most locks whose data is kept, those that are in no compartment any more included."""


class Applied(NamedTuple):
    """The devices and inventories that follow from a vendor's response."""

    devices: tuple[Device, ...] = ()
    inventories: tuple[Inventory, ...] = ()


@dataclass(slots=True)
class _Station:
    """A station and its compartments by number. `answered` is True if they were read since the start."""

    record: StationRecord
    lattices: dict[str, Lattice] = field(default_factory=dict)
    answered: bool = False


@dataclass(slots=True, kw_only=True)
class DeviceStore:
    """The stations of one organisation by vendor id."""

    cache: DeviceCache
    has_assets: bool = False
    """True if the data of locks is read from another system."""
    selects: Callable[[Device], bool] = lambda _: True
    """Returns False for a device that the options exclude."""
    org_id: str | None = None
    """The organisation whose stations are listed, once it is known."""
    listed: bool = False
    """True once the list of stations was read."""
    assets_swept: bool = False
    """True once the data of all locks was requested."""
    _assets: dict[str, Asset] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    _stations: dict[str, _Station] = field(default_factory=dict)

    def apply_stations(self, items: Iterable[Any], total: float | None) -> Applied:
        """Apply the whole list; `total` is the number of stations that the vendor states.

        An item without an id leaves the inventory open. An empty list is believed only with a stated total of 0.
        """
        self.listed = True
        stations = [Station.model_validate(item) if isinstance(item, dict) else Station() for item in items]
        by_id = {station.id: station for station in stations if station.id is not None}
        for id_, station in by_id.items():
            entry = self._stations.setdefault(id_, _Station(StationRecord(station=station)))
            entry.record = replace(entry.record, station=station)
        if any(station.id is None for station in stations) or (not by_id and total != 0):
            return Applied(self.devices(by_id))
        for id_ in self._stations.keys() - by_id:
            self._remove(id_)
        ids = [self.cache.id(id_) for id_ in by_id]
        return Applied(self.devices(by_id), self.cache.inventory("stations", ids, confirmed_empty=True))

    def apply_lattices(self, id_: str, items: Iterable[Any], data: Mapping[str, Any]) -> Applied:
        """Apply a station's lattices, and its sums in `data`. A station that is no longer listed is left out.

        An empty list is believed only for a station that is configured without compartments.
        """
        entry = self._stations.get(id_)
        if entry is None:
            return Applied()
        if entry.record.statistics_missed:
            _LOG.info("%s: the compartments of station %s can be read again", self.cache.backend, id_)
        entry.answered = True
        statistics = parse_statistics(entry.record.statistics, data)
        entry.record = replace(entry.record, statistics=statistics, statistics_missed=False)
        numbered = _numbered(items)
        lattices = {number: lattice for number, lattice in numbered if number is not None}
        complete = len(lattices) == len(numbered) and (bool(lattices) or entry.record.station.totalCount == 0)
        gone = entry.lattices.keys() - lattices.keys() if complete else ()
        self.cache.discard(self._compartment_id(id_, number) for number in gone)
        entry.lattices = lattices if complete else entry.lattices | lattices
        ids = [self._compartment_id(id_, number) for number in lattices]
        inventories = self.cache.inventory(f"lattices:{id_}", ids, confirmed_empty=True) if complete else ()
        return Applied(self.devices((id_,)), inventories)

    def apply_missed(self, id_: str) -> Applied:
        """Make a station's compartments unavailable and its sums unknown, after several sweeps that missed it."""
        entry = self._stations.get(id_)
        if entry is not None and not entry.record.statistics_missed:
            _LOG.warning("%s: the compartments of station %s cannot be read", self.cache.backend, id_)
            entry.record = replace(entry.record, statistics_missed=True)
        return Applied(self.devices((id_,)))

    @property
    def is_read(self) -> bool:
        """True if the stations are listed, and the compartments of at least one of them were read."""
        return self.listed and (not self._stations or any(entry.answered for entry in self._stations.values()))

    def selected_stations(self) -> tuple[str, ...]:
        """Return the ids of the stations that the options select."""
        return tuple(id_ for id_ in self._stations if self._is_selected(self.cache.id(id_)))

    def locks(self) -> dict[str, str]:
        """Return the station of each lock that is in a selected compartment, by the lock's id."""
        return {
            lattice.deviceId: id_
            for id_ in self.selected_stations()
            for number, lattice in self._stations[id_].lattices.items()
            if lattice.deviceId is not None and self._is_selected(self._compartment_id(id_, number))
        }

    def _is_selected(self, id_: str) -> bool:
        device = self.cache.get(id_)
        return device is None or self.selects(device)

    def apply_assets(self, asked: Collection[str], assets: Mapping[str, Asset]) -> Applied:
        """Apply the data of the locks that were requested; those that are not in it are unknown."""
        stations = self.locks()
        if len(self._assets) > MAX_ASSETS:
            self._assets = {id_: asset for id_, asset in self._assets.items() if id_ in stations}
        for id_ in asked:
            self._assets.pop(id_, None)
        self._assets.update(assets)
        self._asked.update(asked)
        self._asked &= stations.keys()
        return Applied(self.devices(dict.fromkeys(stations[id_] for id_ in asked if id_ in stations)))

    def find_lock(self, id_: str) -> tuple[StationRecord | None, CompartmentRecord | None, Asset | None]:
        """Return a lock's station, compartment and data, each None where it is not known."""
        asset = self._assets.get(id_)
        for entry in self._stations.values():
            for lattice in entry.lattices.values():
                if lattice.deviceId == id_:
                    return entry.record, CompartmentRecord(lattice=lattice), asset
        return None, None, asset

    def stations(self) -> tuple[str, ...]:
        """Return the vendor ids of all stations, in the order of the list."""
        return tuple(self._stations)

    def devices(self, ids: Iterable[str]) -> tuple[Device, ...]:
        """Return the devices of these stations and their compartments, as far as they are listed."""
        return tuple(device for id_ in ids if id_ in self._stations for device in self._build(id_))

    def _build(self, id_: str) -> Iterable[Device]:
        entry = self._stations[id_]
        missed = entry.record.statistics_missed
        station = self.cache.build(
            self.cache.id(id_),
            entry.record,
            STATION,
            vendor_id=id_,
            scope="stations",
            name=entry.record.station.stationName or id_,
            via=self.cache.backend,
            model="Lock station",
            answered=_ANSWERED if entry.answered or missed else _NOT_ANSWERED,
            groups=self._groups(entry.record.station),
        )
        yield station
        for number, lattice in entry.lattices.items():
            yield self.cache.build(
                self._compartment_id(id_, number),
                self._compartment(lattice),
                COMPARTMENT,
                vendor_id=number,
                scope=f"lattices:{id_}",
                kind=COMPARTMENT_KIND,
                name=f"{station.name} {number}",
                available=not missed,
                via=station.id,
                model="Lock station compartment",
                source=LATTICES,
                answered=self._answered(lattice.deviceId),
            )

    def _groups(self, station: Station) -> dict[str, str]:
        """Return the organisation of a station below the backend's own, which stands for all of its stations."""
        if station.orgId is None or self.org_id is None or station.orgId == self.org_id:
            return {}
        return {station.orgId: station.orgName or station.orgId}

    def _compartment(self, lattice: Lattice) -> CompartmentRecord:
        if not self.has_assets:
            return CompartmentRecord(lattice=lattice)
        asset = None if lattice.deviceId is None else self._assets.get(lattice.deviceId)
        return CompartmentRecord(lattice=lattice, has_assets=True, asset=asset)

    def _answered(self, lock: str | None) -> frozenset[str] | None:
        """Return the sources that have answered for a compartment: its lock's data may still have to be asked for."""
        if not self.has_assets:
            return None
        return _ASSETS_ANSWERED if lock is None or self.assets_swept or lock in self._asked else _NOT_ANSWERED

    def _compartment_id(self, id_: str, number: str) -> str:
        return self.cache.id(id_, "lattice", number)

    def _remove(self, id_: str) -> None:
        entry = self._stations.pop(id_)
        self.cache.discard((self.cache.id(id_), *(self._compartment_id(id_, number) for number in entry.lattices)))


def parse_statistics(known: Statistics, data: Mapping[str, Any]) -> Statistics:
    """Return the `stationStatistics` of a response; the known ones where it has none."""
    statistics = data.get("stationStatistics")
    return Statistics.model_validate(statistics) if isinstance(statistics, dict) else known


def _numbered(items: Iterable[Any]) -> list[tuple[str | None, Lattice]]:
    """Return lattices with what identifies them in their station: the number on the door, or the id if two share one.

    Without either it is None.
    """
    context = {"zone": UTC}
    lattices = [Lattice.model_validate(item if isinstance(item, dict) else {}, context=context) for item in items]
    numbers = [lattice.latticeNo or lattice.index for lattice in lattices]
    occurrences = Counter(numbers)
    return [
        (number if number is not None and occurrences[number] == 1 else lattice.id, lattice)
        for number, lattice in zip(numbers, lattices, strict=True)
    ]
