"""Device store of one UMS: list items beside the records and devices built from them, so that only changes cost work.

`requested_at` is `time.monotonic()` before the vendor was asked, or when it pushed. Older data never replaces newer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from types import MappingProxyType

from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device, Inventory
from fleet2mqtt.devices.registry import MISSING_INVENTORIES_BEFORE_REMOVAL
from fleet2mqtt.platforms.ums.entities import (
    FLEET_ENTITIES,
    GATEWAY_ENTITIES,
    LINE_ENTITIES,
    MANUFACTURER,
    describe_fleet,
    describe_gateway,
    describe_line,
)
from fleet2mqtt.platforms.ums.models import (
    AlarmCounts,
    EventCount,
    FleetRecord,
    Gateway,
    GatewayRecord,
    Line,
    OnlineCount,
    line_vendor_ids,
    normalize_mac,
    read_mac,
)
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.device_cache import DeviceCache, NewestFirst
from fleet2mqtt.sdk.pagination import Item, Listing
from fleet2mqtt.sdk.response_cache import CachedItem, complete

_NO_LINES: Mapping[str, Line] = MappingProxyType({})


@dataclass(slots=True)
class _Entry:
    """A gateway: its list item, record and device, and its lines by their names.

    `no_lines` counts the responses in a row in which the UMS counted no lines; with `lines_missed` the values of its
    lines are too old to be shown.
    """

    item: Item
    record: GatewayRecord
    device: Device
    lines: Mapping[str, Line] = field(default_factory=lambda: _NO_LINES)
    no_lines: int = 0
    lines_missed: bool = False
    is_selected: bool = True


class DeviceStore:
    """The gateways of one UMS by MAC, their lines, and the figures of the fleet."""

    def __init__(self, backend: str, ids: Ids, zone: tzinfo, url: str, selects: Callable[[Device], bool]) -> None:
        """`selects` returns False for a device that the options exclude."""
        self.backend = backend
        self.zone = zone
        self.fleet = FleetRecord()
        self._url = url
        self._selects = selects
        self._cache = DeviceCache(backend=backend, ids=ids, about={"manufacturer": MANUFACTURER})
        self._entries: dict[str, _Entry] = {}
        self._newest = NewestFirst()
        self._listed: set[str] = set()
        self._inventory: tuple[Inventory, ...] = ()
        """The inventory of the gateways in `_listed`, made again only when the list has others."""
        self._changed: set[str] = set()
        """Gateways that changed since the devices of their lines were built."""

    def macs(self) -> tuple[str, ...]:
        """Return the MACs of all gateways that the options select."""
        return tuple(mac for mac, entry in self._entries.items() if entry.is_selected)

    def is_known(self, mac: str) -> bool:
        """Return True for a gateway that the UMS has listed since the start."""
        return mac in self._entries

    def is_selected(self, mac: str) -> bool:
        """Return False for a gateway that the options exclude."""
        entry = self._entries.get(mac)
        return entry is None or entry.is_selected

    def product(self, mac: str) -> str:
        """Return the product of a gateway and its version."""
        entry = self._entries.get(mac)
        gateway = entry.record.gateway if entry else Gateway()
        return f"{gateway.product_type or ''} {gateway.product_version or ''}"

    def vendor_mac(self, mac: str) -> str:
        """Return the MAC of a gateway in the UMS's own notation."""
        entry = self._entries.get(mac)
        return (entry and entry.record.gateway.device_mac) or mac

    def is_online(self, mac: str) -> bool:
        """Return True unless the UMS reports the gateway as offline or does not list it."""
        entry = self._entries.get(mac)
        return entry is not None and entry.record.gateway.online is not False

    def has_read_lines(self, mac: str) -> bool:
        """Return True once a response contained the lines of a gateway, or none at all."""
        entry = self._entries.get(mac)
        return entry is not None and entry.record.has_lines is not None

    def is_without_lines(self, mac: str) -> bool:
        """Return True for a gateway of which so many responses counted no lines that it has none."""
        entry = self._entries.get(mac)
        return entry is not None and not entry.lines and entry.no_lines >= MISSING_INVENTORIES_BEFORE_REMOVAL

    def excludes_all_lines(self, mac: str) -> bool:
        """Return True for a gateway that has lines, all of which the options exclude."""
        entry = self._entries.get(mac)
        return (
            entry is not None and bool(entry.lines) and not any(self._selects_line(entry, name) for name in entry.lines)
        )

    def apply_without_lines(self, mac: str) -> Device:
        """Apply that a gateway has no lines, as the last run found; return its device."""
        entry = self._entries[mac]
        entry.no_lines = MISSING_INVENTORIES_BEFORE_REMOVAL
        return self._change(mac, entry, replace(entry.record, has_lines=False))

    def discard_missing(self, macs: set[str]) -> None:
        """Forget the gateways that are not among these."""
        if self._entries.keys() <= macs:
            return
        for mac in self._entries.keys() - macs:
            entry = self._entries.pop(mac)
            self._cache.discard([entry.device.id, *(self._line_id(mac, name) for name in entry.lines)])
            self._newest.discard(mac)
            self._newest.discard(_lines(mac))

    def inventory(self, listing: Listing) -> tuple[Inventory, ...]:
        """Return the inventory of a complete device list; of an empty one only if the UMS counts no devices."""
        if not listing.seen or listing.seen != self._listed:
            ids = (self._entries[mac].device.id for mac in listing.seen)
            self._listed = listing.seen
            self._inventory = self._cache.inventory("devices", ids, confirmed_empty=listing.empty)
        return self._inventory

    def line_inventory(self, mac: str, listing: Listing) -> tuple[Inventory, ...]:
        """Return the inventory of a complete list of lines; of an empty one only if the UMS counts no lines."""
        ids = (self._line_id(mac, name) for name in listing.seen)
        return self._cache.inventory(_lines(mac), ids, confirmed_empty=listing.empty)

    def apply_page(self, macs: Sequence[str], items: Iterable[Item], requested_at: float) -> list[Device]:
        """Apply items of the device list, most of them the very objects of the reading before; return their devices."""
        entries = map(self._entries.get, macs)
        return [
            entry.device if entry is not None and entry.item is item else self.apply(mac, item, requested_at)
            for mac, item, entry in zip(macs, items, entries, strict=True)
        ]

    def apply(self, mac: str, item: Item, requested_at: float) -> Device:
        """Apply an item of the device list; return the device, the same object where nothing changed."""
        entry = self._entries.get(mac)
        if entry is not None and entry.item == item and not isinstance(item, CachedItem):
            return entry.device
        if not self._newest.accept(mac, requested_at) and entry is not None:
            return entry.device
        gateway = Gateway.parse(complete(item), self.zone)
        if isinstance(item, CachedItem):
            item.shrink()
        if entry is None:
            record = GatewayRecord(gateway=gateway)
            device = self._build(mac, record)
            self._entries[mac] = _Entry(item, record, device, is_selected=self._selects(device))
            return device
        entry.item = item
        return self._change(mac, entry, replace(entry.record, gateway=gateway))

    def merge(self, mac: str, members: Item, requested_at: float) -> Device:
        """Apply some members of an item over those of the last one; return the device."""
        entry = self._entries.get(mac)
        if entry is None:
            return self.apply(mac, members, requested_at)
        before = complete(entry.item)
        return self.apply(mac, {**before, **members, "device_mac": before["device_mac"]}, requested_at)

    def apply_counts(self, items: Iterable[Item], interval: str | None) -> list[Device]:
        """Apply alarm counts; return the devices of the gateways concerned."""
        devices = []
        for item in items:
            mac = normalize_mac(item.get("metric_history_producer"))
            entry = self._entries.get(mac or "")
            if mac is not None and entry is not None:
                counts = AlarmCounts.model_validate(item)
                record = replace(entry.record, counts=counts, interval=interval, counts_missed=False)
                devices.append(self._change(mac, entry, record))
        return devices

    def alarm_counts(self) -> dict[str, float]:
        """Return the number of alarms of each gateway whose count is known, by MAC."""
        counts = ((mac, entry.record.counts) for mac, entry in self._entries.items())
        return {mac: each.all for mac, each in counts if each is not None and each.all is not None}

    def discard_counts(self, mac: str) -> Device | None:
        """Show the alarm counts of a gateway as unknown; return its device."""
        entry = self._entries.get(mac)
        if entry is None:
            return None
        return self._change(mac, entry, replace(entry.record, counts_missed=True))

    def discard_line_states(self, mac: str) -> list[Device]:
        """Show the lines of a gateway as unavailable; return their devices."""
        entry = self._entries.get(mac)
        if entry is None:
            return []
        entry.lines_missed = True
        return [self._build_line(entry, name) for name in entry.lines]

    def apply_lines(self, mac: str, items: Iterable[Item], requested_at: float, *, complete: bool) -> list[Device]:
        """Apply lines of a gateway; return their devices, and the gateway's if it changed by having any or none."""
        entry = self._entries.get(mac)
        if entry is None or not self._newest.accept(_lines(mac), requested_at):
            return []
        before = entry.device
        listed = {name: Line.model_validate(item) for item in items if (name := line_name(item))}
        entry.lines_missed = False
        entry.no_lines = 0 if listed or not complete else entry.no_lines + 1
        # A missing line is not reported again: it would come back each time that the registry has removed it.
        is_fact = complete and (listed or entry.no_lines >= MISSING_INVENTORIES_BEFORE_REMOVAL)
        entry.lines = (listed if is_fact else {**entry.lines, **listed}) or _NO_LINES
        if entry.lines or complete:
            self._change(mac, entry, replace(entry.record, has_lines=bool(entry.lines)))
        devices = [self._build_line(entry, name) for name in listed]
        return devices if entry.device is before else [entry.device, *devices]

    def pop_changed_lines(self) -> list[Device]:
        """Return the line devices that differ because the name or connection of their gateway changed."""
        found = []
        changed, self._changed = self._changed, set()
        for mac in changed & self._entries.keys():
            entry = self._entries[mac]
            for name in entry.lines:
                before = self._cache.get(self._line_id(mac, name))
                device = self._build_line(entry, name)
                if device is not before:
                    found.append(device)
        return found

    def apply_figures(
        self, *, status: OnlineCount | None = None, events: tuple[EventCount, ...] | None = None
    ) -> Device:
        """Apply figures of the fleet; return the backend's own device."""
        if status is not None:
            self.fleet = replace(self.fleet, status=status)
        if events is not None:
            self.fleet = replace(self.fleet, events=events)
        return self._cache.backend_device(self.fleet, FLEET_ENTITIES, **describe_fleet(self.fleet, self._url))

    def _change(self, mac: str, entry: _Entry, record: GatewayRecord) -> Device:
        if record != entry.record:
            entry.record, entry.device = record, self._build(mac, record)
            entry.is_selected = self._selects(entry.device)
            self._changed.add(mac)
        return entry.device

    def _build(self, mac: str, record: GatewayRecord) -> Device:
        id_ = self._cache.id(mac)
        return self._cache.build(id_, record, GATEWAY_ENTITIES, **describe_gateway(self.backend, mac, record))

    def _build_line(self, entry: _Entry, name: str) -> Device:
        id_ = self._line_id(entry.device.vendor_id, name)
        return self._cache.build(
            id_, entry.lines[name], LINE_ENTITIES, **describe_line(entry.device, name, missed=entry.lines_missed)
        )

    def _selects_line(self, entry: _Entry, name: str) -> bool:
        return self._selects(self._build_line(entry, name))

    def _line_id(self, mac: str, name: str) -> str:
        return self._cache.id(mac, *line_vendor_ids(name))


def _lines(mac: str) -> str:
    return f"lines:{mac}"


def line_name(item: Item) -> str | None:
    """Return the name of a line, such as FXO-7."""
    return vendor_json.text(item.get("line"))


def item_mac(item: Item) -> str | None:
    """Return the MAC that identifies an item of the device list."""
    return item.key if isinstance(item, CachedItem) else read_mac(item)
