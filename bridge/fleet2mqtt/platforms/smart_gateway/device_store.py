"""The device store of gateways and their channels, merged from all responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.model import Device, EntityDescriptions, Inventory
from fleet2mqtt.platforms.smart_gateway.entities import GATEWAY
from fleet2mqtt.platforms.smart_gateway.models import (
    Base,
    Channel,
    ChannelRecord,
    GatewayRecord,
    Hotspot,
    Lan,
    Parameters,
    Writer,
    branch,
    serial_number,
)
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.device_cache import DeviceCache


@dataclass(slots=True)
class _Channel:
    """A channel as the vendor sent it, and its record. A channel keeps its name while it is blank."""

    raw: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    record: ChannelRecord | None = None


@dataclass(slots=True)
class _Gateway:
    """A gateway as the vendor sent it, by branch, its record, and its channels by key."""

    raw: dict[str, dict[str, Any]] = field(default_factory=dict)
    found: bool = True
    record: GatewayRecord | None = None
    channels: dict[str, _Channel] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class DeviceStore:
    """The gateways of one backend and their channels. `count` is how many the vendor says there are.

    `queried` are those whose details are polled, None for all.
    """

    cache: DeviceCache
    channel_entities: EntityDescriptions[ChannelRecord, Writer]
    queried: tuple[str, ...] | None
    count: int | None = None
    _gateways: dict[str, _Gateway] = field(default_factory=dict)

    def apply_list(self, items: Iterable[Any], count: int | None) -> tuple[Device, ...]:
        """Merge a page of devices/list; return its devices. Items without a serial number are left out."""
        self.count = count if count is not None else self.count
        listed = {sn: item for item in items if (sn := serial_number(item)) is not None}
        for sn, item in listed.items():
            gateway = self._merge(sn, item)
            gateway.found |= self.queried is not None and sn not in self.queried
        return self.devices(listed)

    def apply_query(self, items: Mapping[str, Mapping[str, Any]]) -> tuple[Device, ...]:
        """Merge a response of devices/query; return its devices. A gateway that is not found is unavailable."""
        for sn, item in items.items():
            if vendor_json.number(item.get("state")) != 0:
                self._merge(sn, item).found = True
            elif sn in self._gateways:
                self._gateways[sn].found = False
        return self.devices(items)

    def _merge(self, sn: str, item: Mapping[str, Any]) -> _Gateway:
        gateway = self._gateways.setdefault(sn, _Gateway())
        network = branch(item.get("network"))
        parents = {"base": item, "lan": network, "hotspot": network, "parameters": item}
        gateway.raw = _merged(gateway.raw, {name: branch(parent.get(name)) for name, parent in parents.items()})
        for key, value in branch(item.get("channel")).items():
            leaves = branch(value)
            if leaves:
                channel = gateway.channels.setdefault(key, _Channel())
                channel.raw = _merged({"": channel.raw}, {"": leaves})[""]
            elif key in gateway.channels:
                gateway.channels[key].raw = {}
        return gateway

    def serial_numbers(self) -> tuple[str, ...]:
        """Return the serial numbers of all gateways."""
        return tuple(self._gateways)

    def raw(self, sn: str) -> dict[str, Any]:
        """Return a gateway as the vendor sent it, by branch: base, lan, hotspot, parameters, channel."""
        gateway = self._gateways.get(sn, _Gateway())
        branches = {name: gateway.raw.get(name, {}) for name in ("base", "lan", "hotspot", "parameters")}
        return {**branches, "channel": {key: channel.raw for key, channel in gateway.channels.items()}}

    def assignments(self, sn: str) -> dict[str, str]:
        """Return the addresses of a gateway's rules in its LAN, by uuid."""
        items = self.raw(sn)["base"].get("mapping")
        pairs = (
            (vendor_json.text(item.get("uuid")), vendor_json.text(item.get("ip")))
            for item in map(branch, items if isinstance(items, list) else ())
        )
        return {uuid: ip for uuid, ip in pairs if uuid and ip}

    def devices(self, serial_numbers: Iterable[str]) -> tuple[Device, ...]:
        """Return these gateways and their channels, as far as they are in the store."""
        return tuple(device for sn in serial_numbers if sn in self._gateways for device in self._build(sn))

    def _build(self, sn: str) -> Iterable[Device]:
        gateway = self._gateways[sn]
        device = self._build_gateway(sn, gateway)
        return (device, *(self._build_channel(device, key, channel) for key, channel in gateway.channels.items()))

    def _build_gateway(self, sn: str, gateway: _Gateway) -> Device:
        record = gateway.record
        if record is None or record.raw is not gateway.raw or record.found is not gateway.found:
            record = gateway.record = GatewayRecord(
                sn=sn,
                found=gateway.found,
                base=Base.model_validate(gateway.raw["base"]),
                lan=Lan.model_validate(gateway.raw["lan"]),
                hotspot=Hotspot.model_validate(gateway.raw["hotspot"]),
                parameters=Parameters.model_validate(gateway.raw["parameters"]),
                raw=gateway.raw,
            )
        return self.cache.build(
            self.cache.id(sn),
            record,
            GATEWAY,
            vendor_id=sn,
            scope="gateways",
            name=(record.base.alias or "").strip() or sn,
            available=record.available,
            via=self.cache.backend,
            model=record.base.type,
            sw_version=record.base.version,
            serial_number=sn,
        )

    def _build_channel(self, gateway: Device, key: str, channel: _Channel) -> Device:
        record = channel.record
        if record is None or record.raw is not channel.raw:
            record = channel.record = ChannelRecord(
                sn=gateway.vendor_id, key=key, channel=Channel.model_validate(channel.raw), raw=channel.raw
            )
            channel.name = (record.channel.name or "").strip() or channel.name or f"channel {key}"
        return self.cache.build(
            self.cache.id(gateway.vendor_id, "channel", key),
            record,
            self.channel_entities,
            vendor_id=key,
            scope=f"channels:{gateway.vendor_id}",
            name=f"{gateway.name} {channel.name}",
            available=gateway.available and bool(channel.raw),
            via=gateway.id,
        )

    def apply_inventory(self, serial_numbers: set[str]) -> tuple[Inventory, ...]:
        """Return the inventory of a complete list of gateways; the others are discarded."""
        ids = [self.cache.id(sn) for sn in serial_numbers]
        if serial_numbers:
            for sn in self._gateways.keys() - serial_numbers:
                self._discard(sn)
        return self.cache.inventory("gateways", ids)

    def _discard(self, sn: str) -> None:
        gateway = self._gateways.pop(sn)
        self.cache.discard([self.cache.id(sn), *(self.cache.id(sn, "channel", key) for key in gateway.channels)])

    def channel_inventories(self, serial_numbers: Iterable[str]) -> tuple[Inventory, ...]:
        """Return the inventories of these gateways' channels: all that were ever filled.

        A response that leaves a channel out does not remove it.
        """
        return tuple(
            Inventory(
                scope=f"channels:{sn}",
                ids=frozenset(self.cache.id(sn, "channel", key) for key in self._gateways[sn].channels),
            )
            for sn in serial_numbers
            if sn in self._gateways
        )

    def uptimes(self) -> tuple[tuple[str, Any], ...] | None:
        """Return the running gateways' uptimes, which increase while the vendor's data is alive; None without any."""
        bases = ((sn, gateway.raw["base"]) for sn, gateway in self._gateways.items())
        uptimes = ((sn, base.get("runtime")) for sn, base in bases if base.get("state", "running") == "running")
        return tuple((sn, uptime) for sn, uptime in uptimes if vendor_json.number(uptime) is not None) or None


def _merged(old: dict[str, dict[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the branches of `old` with the leaves of `new`; the same objects where nothing differs."""
    changed = {name: {**old.get(name, {}), **leaves} for name, leaves in new.items() if _differs(old.get(name), leaves)}
    return {**old, **changed} if changed else old


def _differs(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    return old is None or any(key not in old or old[key] != value for key, value in new.items())
