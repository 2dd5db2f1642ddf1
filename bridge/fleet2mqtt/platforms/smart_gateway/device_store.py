"""What is known of the gateways, merged from every reply, as Devices: the same objects while nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device, EntityDescription, Inventory, existing, read_attributes, read_state
from fleet2mqtt.platforms.smart_gateway.client import serial_of
from fleet2mqtt.platforms.smart_gateway.entities import GATEWAY
from fleet2mqtt.platforms.smart_gateway.models import (
    Base,
    Channel,
    ChannelRecord,
    GatewayRecord,
    Hotspot,
    Lan,
    Parameters,
    branch,
)
from fleet2mqtt.sdk import vendor_json

Rows = tuple[EntityDescription, ...]


@dataclass(slots=True)
class Part:
    """What one Device is made from, and the Device; `rows` are the keys seen so far, which stay, as does a `name`."""

    name: str = ""
    raw: dict[str, Any] = field(default_factory=dict)
    rows: frozenset[str] = frozenset()
    basis: Any = None
    device: Device | None = None

    def made(self, basis: Any, make: Callable[[], Device]) -> Device:
        """The Device of this basis; the same object as long as the basis is equal."""
        if self.device is None or self.basis != basis:
            self.basis, self.device = basis, make()
        return self.device

    def table(self, rows: Rows, record: Any, tables: dict[tuple[int, ...], Rows]) -> Rows:
        """The rows that this record, or one before it, has a value for; one tuple in `tables` for equal ones."""
        self.rows |= {row.key for row in existing(rows, record)}
        kept = tuple(row for row in rows if row.key in self.rows)
        return tables.setdefault(tuple(map(id, kept)), kept)


@dataclass(slots=True)
class _Gateway(Part):
    found: bool = True
    channels: dict[str, Part] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Gateways:
    """The gateways of one back end and their channels. `count` is how many the vendor says there are.

    `queried` are those whose details are polled, None for all.
    """

    name: str
    ids: Ids
    channel_rows: Rows
    queried: tuple[str, ...] | None
    count: int | None = None
    _known: dict[str, _Gateway] = field(default_factory=dict)
    _tables: dict[tuple[int, ...], Rows] = field(default_factory=dict)

    def take_list(self, rows: Iterable[Any], count: int | None) -> tuple[Device, ...]:
        """A page of devices/list; gives its Devices. A row without a serial number is nobody's and left out."""
        self.count = count if count is not None else self.count
        found = {sn: row for row in rows if (sn := serial_of(row)) is not None}
        for sn, row in found.items():
            known = self._learn(sn, row)
            known.found |= self.queried is not None and sn not in self.queried
        return self.devices(found)

    def take_query(self, rows: Mapping[str, Mapping[str, Any]]) -> tuple[Device, ...]:
        """An answer of devices/query; gives its Devices. One that the vendor does not find is unavailable."""
        for sn, row in rows.items():
            if vendor_json.number(row.get("state")) != 0:
                self._learn(sn, row).found = True
            elif sn in self._known:
                self._known[sn].found = False
        return self.devices(rows)

    def _learn(self, sn: str, row: Mapping[str, Any]) -> _Gateway:
        known = self._known.setdefault(sn, _Gateway())
        network = branch(row.get("network"))
        branches = {"base": row, "lan": network, "hotspot": network, "parameters": row}
        news = {name: branch(above.get(name)) for name, above in branches.items()}
        known.raw = _merged(known.raw, news)
        for key, value in branch(row.get("channel")).items():
            leaves = branch(value)
            if leaves:
                part = known.channels.setdefault(key, Part())
                part.raw = _merged({"": part.raw}, {"": leaves})[""]
            elif key in known.channels:
                known.channels[key].raw = {}
        return known

    def serials(self) -> tuple[str, ...]:
        """The gateways known."""
        return tuple(self._known)

    def raw(self, sn: str) -> dict[str, Any]:
        """What the vendor said of a gateway, by branch: base, lan, hotspot, parameters, channel."""
        known = self._known.get(sn, _Gateway())
        branches = {name: known.raw.get(name, {}) for name in ("base", "lan", "hotspot", "parameters")}
        return {**branches, "channel": {key: part.raw for key, part in known.channels.items()}}

    def assignments(self, sn: str) -> dict[str, str]:
        """The rules that this gateway says it has, with the addresses in its sub-net."""
        rows = self.raw(sn)["base"].get("mapping")
        pairs = (
            (vendor_json.text(row.get("uuid")), vendor_json.text(row.get("ip")))
            for row in map(branch, rows if isinstance(rows, list) else ())
        )
        return {uuid: ip for uuid, ip in pairs if uuid and ip}

    # Devices

    def devices(self, serials: Iterable[str]) -> tuple[Device, ...]:
        """These gateways and their channels, as far as they are known."""
        return tuple(device for sn in serials if sn in self._known for device in self._devices(sn))

    def _devices(self, sn: str) -> Iterable[Device]:
        known = self._known[sn]
        gateway = known.made((known.raw, known.found), lambda: self._gateway_device(sn, known))
        channels = [self._channel(gateway, key, part) for key, part in known.channels.items()]
        return (gateway, *channels)

    def _gateway_device(self, sn: str, known: _Gateway) -> Device:
        record = GatewayRecord(
            sn=sn,
            found=known.found,
            base=Base.model_validate(known.raw["base"]),
            lan=Lan.model_validate(known.raw["lan"]),
            hotspot=Hotspot.model_validate(known.raw["hotspot"]),
            parameters=Parameters.model_validate(known.raw["parameters"]),
            raw=known.raw,
        )
        rows = known.table(GATEWAY, record, self._tables)
        return Device(
            id=self.ids(self.name, sn),
            backend=self.name,
            vendor_id=sn,
            scope="gateways",
            name=(record.base.alias or "").strip() or sn,
            entities=rows,
            state=read_state(rows, record),
            attributes=read_attributes(rows, record),
            available=record.available,
            via=self.name,
            model=record.base.type,
            sw_version=record.base.version,
            serial_number=sn,
            record=record,
        )

    def _channel(self, gateway: Device, key: str, part: Part) -> Device:
        basis = (part.raw, gateway.name, gateway.available)
        return part.made(basis, lambda: self._channel_device(gateway, key, part))

    def _channel_device(self, gateway: Device, key: str, part: Part) -> Device:
        record = ChannelRecord(sn=gateway.vendor_id, key=key, channel=Channel.model_validate(part.raw), raw=part.raw)
        rows = part.table(self.channel_rows, record, self._tables)
        part.name = (record.channel.name or "").strip() or part.name or f"channel {key}"
        return Device(
            id=self.ids(self.name, gateway.vendor_id, "channel", key),
            backend=self.name,
            vendor_id=key,
            scope=f"channels:{gateway.vendor_id}",
            name=f"{gateway.name} {part.name}",
            entities=rows,
            state=read_state(rows, record),
            attributes=read_attributes(rows, record),
            available=gateway.available and bool(part.raw),
            via=gateway.id,
            record=record,
        )

    # Inventories and freshness

    def inventory(self, serials: set[str]) -> tuple[Inventory, ...]:
        """A complete list of gateways; the others are forgotten. An empty one is no inventory."""
        if not serials:
            return ()
        for sn in self._known.keys() - serials:
            del self._known[sn]
        return (Inventory(scope="gateways", ids=frozenset(self.ids(self.name, sn) for sn in serials)),)

    def channel_inventories(self, serials: Iterable[str]) -> tuple[Inventory, ...]:
        """The channels of these gateways that were ever filled; a reply that leaves one out does not remove it."""
        known = {sn: self._known[sn].channels for sn in serials if sn in self._known}
        return tuple(
            Inventory(
                scope=f"channels:{sn}",
                ids=frozenset(self.ids(self.name, sn, "channel", key) for key in channels),
            )
            for sn, channels in known.items()
        )

    def clock(self) -> tuple[tuple[str, Any], ...] | None:
        """The running gateways' uptimes, which move on while the vendor's data is alive; None where there are none."""
        shown = ((sn, known.raw["base"]) for sn, known in self._known.items())
        found = ((sn, base.get("runtime")) for sn, base in shown if base.get("state", "running") == "running")
        return tuple((sn, uptime) for sn, uptime in found if vendor_json.number(uptime) is not None) or None


def _merged(old: dict[str, Any], new: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Each branch of `old` with what `new` says; the same objects where that is nothing new."""
    changed = {name: {**old.get(name, {}), **leaves} for name, leaves in new.items() if _news(old.get(name), leaves)}
    return {**old, **changed} if changed else old


def _news(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    return old is None or any(key not in old or old[key] != value for key, value in new.items())
