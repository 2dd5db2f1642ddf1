"""The device store of gateways and their channels, merged from list and query.

Both calls return many fields alike, so each field has one owner: the list, where it has the field, except for those
whose placeholders document 1.1 shows. The other call's value counts only while the owner has none. A read-back, which
is a query, replaces both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from fleet2mqtt.devices.model import Device, EntityDescriptions, Inventory
from fleet2mqtt.platforms.smart_gateway.bonding import bonding_of, is_up
from fleet2mqtt.platforms.smart_gateway.entities import GATEWAY, without_details
from fleet2mqtt.platforms.smart_gateway.fields import PLACEHOLDERS
from fleet2mqtt.platforms.smart_gateway.models import (
    Base,
    Bonding,
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
from fleet2mqtt.platforms.smart_gateway.usage import UsageStore
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.device_cache import DeviceCache

BRANCHES = ("base", "lan", "hotspot", "parameters")

Fields = dict[str, Any]


class Area(StrEnum):
    """The field of a gateway that is suggested to Home Assistant as its area."""

    NONE = "none"
    ALIAS = "alias"
    REMARK = "remark"


_MISSING: Any = object()
_GATEWAY_WITHOUT_DETAILS = without_details(GATEWAY)


@dataclass(slots=True)
class _Branch:
    """The fields of one object, as the list and a query sent them last. `merged` is replaced only when it changes.

    `query_owns` are fields that the query owns; the list owns the others that it has.
    """

    query_owns: frozenset[str] = frozenset()
    listed: Fields = field(default_factory=dict)
    queried: Fields = field(default_factory=dict)
    merged: Fields = field(default_factory=dict)

    def apply_listed(self, value: Any, *, complete: bool) -> None:
        """Apply what the list has for this object."""
        self._replace(_applied(self.listed, value, complete=complete), self.queried)

    def apply_queried(self, value: Any, *, complete: bool, is_read_back: bool) -> None:
        """Apply what a query has for this object; a read-back also replaces what the list had."""
        queried = _applied(self.queried, value, complete=complete)
        both = {name: queried[name] for name in self.listed if name in queried} if is_read_back else {}
        self._replace({**self.listed, **both}, queried)

    def blank_listed(self) -> None:
        """Forget the list's values, not its fields."""
        self._replace(dict.fromkeys(self.listed), self.queried)

    def blank_queried(self) -> None:
        """Forget the query's values, not its fields."""
        self._replace(self.listed, dict.fromkeys(self.queried))

    def _replace(self, listed: Fields, queried: Fields) -> None:
        if listed == self.listed and queried == self.queried:
            return
        self.listed, self.queried = listed, queried
        merged = {**queried, **listed}
        for name, value in queried.items():
            if value is not None and (merged[name] is None or (name in self.query_owns and not _is_placeholder(value))):
                merged[name] = value
        for name in self.query_owns & listed.keys() - queried.keys():  # the query has not answered yet
            if _is_placeholder(listed[name]):
                merged[name] = None
        if merged != self.merged:
            self.merged = merged


@dataclass(slots=True)
class _Channel:
    """A channel, and its record. `filled` is False for an empty slot; a channel keeps its name while it is blank."""

    fields: _Branch = field(default_factory=_Branch)
    filled: bool = True
    name: str = ""
    record: ChannelRecord | None = None


@dataclass(slots=True)
class _Gateway:
    """A gateway and its channels by key. `listed` and `queried` tell whether list and query can be read for it now."""

    branches: dict[str, _Branch]
    channels: dict[str, _Channel] = field(default_factory=dict)
    listed: bool = False
    queried: bool = False
    was_queried: bool = False
    read_back_at: float = -math.inf
    """`time.monotonic()` before the newest read-back was requested: older responses say nothing new."""
    record: GatewayRecord | None = None
    bonding: Bonding | None = None

    def raw(self) -> dict[str, Fields]:
        """Return the merged fields, by branch."""
        return {name: one.merged for name, one in self.branches.items()}


@dataclass(slots=True, kw_only=True)
class DeviceStore:
    """The gateways of one backend and their channels. `count` is how many there are by the vendor's total.

    `queried` are those whose details are polled, None for all. `running_states` and `up_states` are the texts,
    folded to lower case, of a gateway's and a channel's state that mean running and up.
    """

    cache: DeviceCache
    channel_entities: EntityDescriptions[ChannelRecord, Writer]
    queried: tuple[str, ...] | None
    running_states: frozenset[str]
    up_states: frozenset[str]
    usage: UsageStore | None = None
    """None if no usage is published."""
    area: Area = Area.NONE
    shows_channels: bool = True
    """False if the options exclude channels: none is built."""
    count: int | None = None
    _gateways: dict[str, _Gateway] = field(default_factory=dict)
    _channel_entities_without_details: EntityDescriptions[ChannelRecord, Writer] = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the table of channels whose details are not polled."""
        self._channel_entities_without_details = without_details(self.channel_entities)

    # Responses

    def apply_list(self, items: Iterable[Any], count: int | None, requested_at: float = math.inf) -> tuple[Device, ...]:
        """Merge a page of devices/list; return its devices. Items without a serial number are left out.

        An item that was requested before a read-back of its gateway (`time.monotonic()`) changes nothing.
        """
        self.count = count if count is not None else self.count
        listed = {sn: item for item in items if (sn := serial_number(item)) is not None}
        for sn, item in listed.items():
            gateway = self._gateways.get(sn)
            if gateway is None:
                gateway = self._gateways[sn] = self._new_gateway(sn)
            gateway.listed = True
            if requested_at < gateway.read_back_at:
                continue
            complete = self._is_complete(item)
            for name, value in _branches(item).items():
                gateway.branches[name].apply_listed(value, complete=complete)
            for key, value in branch(item.get("channel")).items():
                channel = _channel(gateway, key, value)
                if channel is not None:
                    channel.filled = bool(branch(value))
                    channel.fields.apply_listed(value, complete=complete)
        return self.devices(listed)

    def apply_query(
        self, items: Mapping[str, Mapping[str, Any]], requested_at: float = math.inf, *, is_read_back: bool = False
    ) -> tuple[Device, ...]:
        """Merge a response of devices/query; return its devices.

        Details of a gateway that the vendor does not find become null. A gateway that is not listed is ignored, as is
        one that was requested before a read-back (`time.monotonic()`).
        """
        for sn, item in items.items():
            if vendor_json.number(item.get("state")) == 0:
                self.mark_details_missed(sn)
            gateway = self._gateways.get(sn)
            if gateway is None or vendor_json.number(item.get("state")) == 0:
                continue
            if requested_at < gateway.read_back_at:
                continue
            if is_read_back:
                gateway.read_back_at = requested_at
            gateway.queried = gateway.was_queried = True
            complete = self._is_complete(item)
            for name, value in _branches(item).items():
                gateway.branches[name].apply_queried(value, complete=complete, is_read_back=is_read_back)
            for key, value in branch(item.get("channel")).items():
                channel = _channel(gateway, key, value)
                if channel is not None:
                    if is_read_back or not channel.fields.listed:
                        channel.filled = bool(branch(value))
                    channel.fields.apply_queried(value, complete=complete, is_read_back=is_read_back)
        return self.devices(items)

    def _new_gateway(self, sn: str) -> _Gateway:
        owners = {"base": PLACEHOLDERS if self._has_details(sn) else frozenset()}
        return _Gateway({name: _Branch(owners.get(name, frozenset())) for name in BRANCHES})

    def _has_details(self, sn: str) -> bool:
        return self.queried is None or sn in self.queried

    def mark_details_missed(self, sn: str) -> None:
        """Make null what only queries return of a gateway, because they no longer do."""
        gateway = self._gateways.get(sn)
        if gateway is not None and gateway.queried:
            gateway.queried = False
            for fields in (*gateway.branches.values(), *(channel.fields for channel in gateway.channels.values())):
                fields.blank_queried()

    def mark_list_missed(self, sn: str) -> None:
        """Make null what only the list returns of a gateway, because it no longer does."""
        gateway = self._gateways.get(sn)
        if gateway is not None and gateway.listed:
            gateway.listed = False
            for fields in (*gateway.branches.values(), *(channel.fields for channel in gateway.channels.values())):
                fields.blank_listed()

    def _is_complete(self, item: Mapping[str, Any]) -> bool:
        return self._running(branch(item.get("base")).get("state")) is not False

    def _running(self, state: Any) -> bool | None:
        text = vendor_json.text(state)
        return None if text is None else text.casefold() in self.running_states

    # Lookups

    def serial_numbers(self) -> tuple[str, ...]:
        """Return the serial numbers of all gateways that the list has returned."""
        return tuple(self._gateways)

    def raw(self, sn: str) -> dict[str, Any]:
        """Return a gateway's fields as the vendor sent them, by branch: base, lan, hotspot, parameters, channel."""
        gateway = self._gateways.get(sn)
        if gateway is None:
            return {name: {} for name in (*BRANCHES, "channel")}
        return {**gateway.raw(), "channel": {key: one.fields.merged for key, one in gateway.channels.items()}}

    def has(self, sn: str) -> bool:
        """Return True for a gateway that the list has returned."""
        return sn in self._gateways

    def record(self, sn: str) -> GatewayRecord | None:
        """Return a gateway's record, None for an unknown one."""
        gateway = self._gateways.get(sn)
        return None if gateway is None else self._record(sn, gateway)

    def aliases(self) -> dict[str, str]:
        """Return the aliases of all gateways, by serial number."""
        return {sn: (self._record(sn, gateway).base.alias or "").strip() for sn, gateway in self._gateways.items()}

    def assignments(self, sn: str) -> dict[str, str]:
        """Return the addresses of a gateway's rules in its LAN, by uuid."""
        items = self._gateways[sn].branches["base"].merged.get("mapping") if sn in self._gateways else None
        pairs = (
            (vendor_json.text(item.get("uuid")), vendor_json.text(item.get("ip")))
            for item in map(branch, items if isinstance(items, list) else ())
        )
        return {uuid: ip for uuid, ip in pairs if uuid and ip}

    # Devices

    def devices(self, serial_numbers: Iterable[str]) -> tuple[Device, ...]:
        """Return these gateways and their channels, as far as they are in the store."""
        return tuple(device for sn in serial_numbers if sn in self._gateways for device in self._build(sn))

    def _build(self, sn: str) -> Iterable[Device]:
        gateway = self._gateways[sn]
        if gateway.channels:
            gateway.bonding = self._bonding(sn, gateway)
        about = {
            "available": gateway.listed or gateway.queried,
            "answered": self._answered(sn, gateway),
            "complete": self._record(sn, gateway).running is not False,
            "suggested_area": self._suggested_area(self._record(sn, gateway).base),
        }
        device = self._build_gateway(sn, gateway, about)
        if not self.shows_channels:
            return (device,)
        return (device, *(self._build_channel(device, key, one, about) for key, one in gateway.channels.items()))

    def _bonding(self, sn: str, gateway: _Gateway) -> Bonding:
        """Return the health of a gateway's channels; of one that does not run it is unknown."""
        if self._running(gateway.branches["base"].merged.get("state")) is False:
            return Bonding()
        records = [self._channel_record(sn, key, one) for key, one in gateway.channels.items() if one.filled]
        return bonding_of((record.channel for record in records), self.up_states)

    def _suggested_area(self, base: Base) -> str | None:
        text = {Area.NONE: None, Area.ALIAS: base.alias, Area.REMARK: base.remark}[self.area]
        return (text or "").strip() or None

    def _answered(self, sn: str, gateway: _Gateway) -> frozenset[str] | None:
        """Return the sources that have answered for a gateway; None where no source owns the details."""
        if not self._has_details(sn):
            return None
        return frozenset(("devices", "details") if gateway.was_queried else ("devices",))

    def _record(self, sn: str, gateway: _Gateway) -> GatewayRecord:
        record, raw = gateway.record, gateway.raw()
        if record is not None and record.bonding != gateway.bonding:
            record = gateway.record = replace(record, bonding=gateway.bonding)
        if record is None or any(record.raw[name] is not fields for name, fields in raw.items()):
            base = Base.model_validate(raw["base"])
            record = gateway.record = GatewayRecord(
                sn=sn,
                running=self._running(base.state),
                base=base,
                lan=Lan.model_validate(raw["lan"]),
                hotspot=Hotspot.model_validate(raw["hotspot"]),
                parameters=Parameters.model_validate(raw["parameters"]),
                raw=raw,
                bonding=gateway.bonding,
            )
        return record

    def _channel_record(self, sn: str, key: str, channel: _Channel) -> ChannelRecord:
        record, raw = channel.record, channel.fields.merged
        if record is None or record.raw is not raw:
            fields = Channel.model_validate(raw)
            record = channel.record = ChannelRecord(
                sn=sn, key=key, channel=fields, up=is_up(fields, self.up_states), raw=raw
            )
            channel.name = (fields.name or "").strip() or channel.name or f"channel {key}"
        return record

    def _build_gateway(self, sn: str, gateway: _Gateway, about: Mapping[str, Any]) -> Device:
        record = self._record(sn, gateway)
        return self.cache.build(
            self.cache.id(sn),
            record,
            GATEWAY if self._has_details(sn) else _GATEWAY_WITHOUT_DETAILS,
            vendor_id=sn,
            scope="gateways",
            name=(record.base.alias or "").strip() or sn,
            via=self.cache.backend,
            model=record.base.type,
            sw_version=record.base.version,
            serial_number=sn,
            **about,
        )

    def _build_channel(self, gateway: Device, key: str, channel: _Channel, about: Mapping[str, Any]) -> Device:
        record = self._channel_record(gateway.vendor_id, key, channel)
        if self.usage is not None:
            pulled = not channel.filled and about["complete"]
            usage = self.usage.apply(record.sn, key, record.channel, pulled=pulled)
            if usage != record.usage:
                record = channel.record = replace(record, usage=usage)
        return self.cache.build(
            self.cache.id(gateway.vendor_id, "channel", key),
            record,
            self.channel_entities if self._has_details(record.sn) else self._channel_entities_without_details,
            vendor_id=key,
            scope=f"channels:{gateway.vendor_id}",
            kind="channel",
            name=f"{gateway.name} {channel.name}",
            via=gateway.id,
            **{**about, "available": about["available"] and channel.filled},
        )

    # Inventories and freshness

    def apply_inventory(self, serial_numbers: set[str], *, confirmed_empty: bool) -> tuple[Inventory, ...]:
        """Return the inventory of a complete list of gateways; the others are discarded."""
        ids = [self.cache.id(sn) for sn in serial_numbers]
        if serial_numbers or confirmed_empty:
            self.discard(self._gateways.keys() - serial_numbers)
            if self.usage is not None:
                self.usage.keep(serial_numbers)
        return self.cache.inventory("gateways", ids, confirmed_empty=confirmed_empty)

    def discard(self, serial_numbers: Iterable[str]) -> tuple[str, ...]:
        """Forget gateways; return their device ids."""
        gateways = {sn: self._gateways.pop(sn) for sn in tuple(serial_numbers) if sn in self._gateways}
        for sn, gateway in gateways.items():
            self.cache.discard([self.cache.id(sn), *(self.cache.id(sn, "channel", key) for key in gateway.channels)])
        return tuple(self.cache.id(sn) for sn in gateways)

    def channel_inventories(self, serial_numbers: Iterable[str]) -> tuple[Inventory, ...]:
        """Return the inventories of these gateways' channels: all that were ever filled.

        A response that leaves a channel out does not remove it.
        """
        if not self.shows_channels:
            return ()
        return tuple(
            Inventory(
                scope=f"channels:{sn}",
                ids=frozenset(self.cache.id(sn, "channel", key) for key in self._gateways[sn].channels),
            )
            for sn in serial_numbers
            if sn in self._gateways
        )

    def freshness(self) -> tuple[Any, ...] | None:
        """Return what the list has of running gateways, which changes while the vendor's data is alive.

        None where no running gateway shows an uptime: then nothing needs to change.
        """
        running = [one for one in self._gateways.values() if self._running(one.branches["base"].listed.get("state"))]
        if all(vendor_json.number(one.branches["base"].listed.get("runtime")) is None for one in running):
            return None
        channels = (channel.fields.listed for one in running for channel in one.channels.values())
        return (*(one.branches["base"].listed for one in running), *channels)


def _branches(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the four objects of a gateway that the vendor sent; `_MISSING` for one that was not sent."""
    network = item.get("network", _MISSING)
    inner = network if isinstance(network, dict) else {}
    blank = _MISSING if network is _MISSING or isinstance(network, dict) else None
    return {
        "base": item.get("base", _MISSING),
        "lan": inner.get("lan", blank),
        "hotspot": inner.get("hotspot", blank),
        "parameters": item.get("parameters", _MISSING),
    }


def _is_placeholder(value: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() <= {"lat", "lon"} and not any(map(vendor_json.number, value.values()))
    return vendor_json.text(value) is None and not isinstance(value, list)


def _channel(gateway: _Gateway, key: str, value: Any) -> _Channel | None:
    """Return a gateway's channel, a new one if it is filled for the first time; None for a slot that is empty."""
    if branch(value):
        return gateway.channels.setdefault(key, _Channel())
    return gateway.channels.get(key)


def _applied(current: Fields, value: Any, *, complete: bool) -> Fields:
    """Return an object's fields after a response.

    A blank object, and an object of a gateway that the vendor cannot reach, make fields null. Fields that are missing
    in any other are dropped. An object that was not sent changes nothing.
    """
    if value is _MISSING:
        return current
    fields = branch(value)
    return dict(fields) if fields and complete else {**dict.fromkeys(current), **fields}
