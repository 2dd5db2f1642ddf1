"""The device store: the relays by vendor id, and the devices built from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from fleet2mqtt.devices.model import Device
from fleet2mqtt.platforms._template.entities import READINGS, RELAY
from fleet2mqtt.platforms._template.models import Reading, Relay, RelayRecord
from fleet2mqtt.sdk.device_cache import DeviceCache

_NOT_ANSWERED = frozenset[str]()
_ANSWERED = frozenset((READINGS,))


@dataclass(slots=True, kw_only=True)
class DeviceStore:
    """The relays of one backend."""

    cache: DeviceCache
    _records: dict[str, RelayRecord] = field(default_factory=dict)

    def apply_relay(self, id_: str, relay: Relay) -> Device:
        """Apply an item of the list; return its device."""
        record = self._records.get(id_, RelayRecord(relay=relay))
        self._records[id_] = replace(record, relay=relay)
        return self._build(id_)

    def apply_reading(self, id_: str, reading: Reading | None) -> Device | None:
        """Apply a reading, None for one that was missed too often; return the device, None if it is not listed."""
        record = self._records.get(id_)
        if record is None:
            return None
        missed = reading is None
        self._records[id_] = replace(record, reading=record.reading if missed else reading, reading_missed=missed)
        return self._build(id_)

    def keep_only(self, ids: Iterable[str]) -> None:
        """Forget the relays that a complete list does not contain."""
        gone = self._records.keys() - set(ids)
        self.cache.discard(self.cache.id(id_) for id_ in gone)
        for id_ in gone:
            del self._records[id_]

    def ids(self, selects: Callable[[Device], bool]) -> tuple[str, ...]:
        """Return the vendor ids of the relays that are selected."""
        return tuple(id_ for id_ in self._records if selects(self._build(id_)))

    def _build(self, id_: str) -> Device:
        # The cache returns the same object as long as the record and all that follows are the same.
        record = self._records[id_]
        relay = record.relay
        return self.cache.build(
            self.cache.id(id_),
            record,
            RELAY,
            vendor_id=id_,
            scope="devices",
            name=relay.name or id_,
            via=self.cache.backend,
            model=relay.model,
            sw_version=relay.firmware,
            serial_number=id_,
            available=relay.online is not False,
            answered=_NOT_ANSWERED if record.reading is None and not record.reading_missed else _ANSWERED,
        )
