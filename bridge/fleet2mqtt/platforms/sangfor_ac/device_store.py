"""The device store: the net policies and bandwidth channels of one AC, beside the appliance and what is watched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fleet2mqtt.devices.model import Device, Inventory
from fleet2mqtt.platforms.sangfor_ac.appliance import Appliance
from fleet2mqtt.platforms.sangfor_ac.entities import CHANNEL_ENTITIES, NET_POLICY_ENTITIES, POLICIES
from fleet2mqtt.platforms.sangfor_ac.models import ChannelRecord, FluxPolicy, Item, NetPolicy
from fleet2mqtt.platforms.sangfor_ac.watchlist import Bindings, Groups, Users
from fleet2mqtt.sdk.device_cache import DeviceCache

NET_POLICY, FLUX_POLICY = "net_policy", "flux_policy"
"""Kinds of sub-devices, for rules of selection; those of what is watched are in `watchlist`."""
_ROOT = frozenset((None, "0"))


class Applied(NamedTuple):
    """The devices and inventories that follow from a response."""

    devices: tuple[Device, ...] = ()
    inventories: tuple[Inventory, ...] = ()


@dataclass(slots=True, kw_only=True)
class DeviceStore:
    """Known state of the devices of one AC.

    `policy_names` are the net policies as last listed; an empty list is not believed: the AC states no total.
    """

    cache: DeviceCache
    appliance: Appliance
    groups: Groups
    users: Users
    bindings: Bindings
    policy_names: tuple[str, ...] = ()
    _net_policies: dict[str, NetPolicy] = field(default_factory=dict)
    _channels: dict[str, ChannelRecord] = field(default_factory=dict)

    def apply_net_policies(self, items: Iterable[Item]) -> Applied:
        """Apply all net policies by name; an inventory comes of them only if there are any."""
        policies = [NetPolicy.model_validate(item) for item in items]
        self._net_policies = {policy.policy_info.name: policy for policy in policies if policy.policy_info.name}
        self.policy_names = tuple(self._net_policies) or self.policy_names
        ids = [self._net_policy_id(name) for name in self._net_policies]
        return Applied(self.net_policy_devices(), self.cache.inventory("net_policies", ids))

    def net_policy_devices(self, *, available: bool = True) -> tuple[Device, ...]:
        """Return the devices of all net policies."""
        return tuple(
            self.cache.build(
                self._net_policy_id(name),
                policy,
                NET_POLICY_ENTITIES,
                **self._about("net_policies", name),
                name=f"Net policy {name}",
                model="Net policy",
                available=available,
            )
            for name, policy in self._net_policies.items()
        )

    def apply_channels(self, items: Iterable[Item]) -> Applied:
        """Apply all bandwidth channels with their children; an inventory comes of them only if there are any."""
        self._channels = flatten_channels(items)
        ids = [self._channel_id(vendor_id) for vendor_id in self._channels]
        return Applied(self.channel_devices(), self.cache.inventory("flux_policies", ids))

    def channel_devices(self, *, available: bool = True) -> tuple[Device, ...]:
        """Return the devices of all bandwidth channels."""
        return tuple(
            self.cache.build(
                self._channel_id(vendor_id),
                record,
                CHANNEL_ENTITIES,
                **self._about("flux_policies", vendor_id),
                name=f"Channel {_channel_name(record)}",
                model="Bandwidth channel",
                available=available,
            )
            for vendor_id, record in self._channels.items()
        )

    def group_devices(self, *, policies_known: bool) -> tuple[Device, ...]:
        """Return the watched groups, with a switch for each net policy."""
        return self.groups.devices(self.policy_names, policies_known=policies_known)

    def _net_policy_id(self, name: str) -> str:
        return self.cache.id(NET_POLICY, name)

    def _about(self, scope: str, vendor_id: str) -> dict[str, Any]:
        about = {"vendor_id": vendor_id, "scope": scope, "via": self.cache.backend, "source": POLICIES}
        return {**about, "kind": NET_POLICY if scope == "net_policies" else FLUX_POLICY}

    def _channel_id(self, vendor_id: str) -> str:
        return self.cache.id(FLUX_POLICY, vendor_id)


def flatten_channels(items: Iterable[Any]) -> dict[str, ChannelRecord]:
    """Return every channel by its id or, in responses without ids, by the names that lead to it."""
    flat = list(_flatten(items, ()))
    names = {channel.id: channel.name for _, channel in flat if channel.id is not None}
    channels: dict[str, ChannelRecord] = {}
    for above, channel in flat:
        parent = "/".join(above) or (None if channel.father in _ROOT else names.get(channel.father or ""))
        vendor_id = channel.id or "/".join((*above, channel.name or ""))
        channels.setdefault(vendor_id, ChannelRecord(channel=channel, parent=parent))
    return channels


def _flatten(items: Iterable[Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], FluxPolicy]]:
    for item in items:
        if not isinstance(item, dict):
            continue
        channel = FluxPolicy.model_validate(item)
        if channel.name is None:
            continue
        yield above, channel.model_copy(update={"children": ()})
        yield from _flatten(channel.children, (*above, channel.name))


def _channel_name(record: ChannelRecord) -> str:
    return f"{record.parent}/{record.channel.name}" if record.parent else str(record.channel.name)
