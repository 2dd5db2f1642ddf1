"""What is known of the net policies and the bandwidth channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleet2mqtt.devices.model import Device, Inventory
from fleet2mqtt.platforms.sangfor_ac.entities import FLUX_POLICY, NET_POLICY
from fleet2mqtt.platforms.sangfor_ac.models import ChannelRecord, FluxPolicy, NetPolicy

if TYPE_CHECKING:
    from fleet2mqtt.platforms.sangfor_ac.device_cache import Shelf
    from fleet2mqtt.platforms.sangfor_ac.session import Row

_ROOT = frozenset((None, "0"))


@dataclass(slots=True, kw_only=True)
class Policies:
    """The policies of one AC. `names` are the net policies, as last listed; an empty list does not count."""

    net: Shelf
    flux: Shelf
    names: tuple[str, ...] = field(default=())

    def take_net(self, rows: Iterable[Row]) -> tuple[tuple[Device, ...], tuple[Inventory, ...]]:
        """All net policies, by name; gives their devices and, if there are any, their inventory."""
        found = {name: policy for row in rows if (name := (policy := NetPolicy.model_validate(row)).policy_info.name)}
        self.names = tuple(found) or self.names
        devices = [self.net.device(name, policy, NET_POLICY, name=name) for name, policy in found.items()]
        return tuple(devices), self.net.inventory(found)

    def take_flux(self, rows: Iterable[Row]) -> tuple[tuple[Device, ...], tuple[Inventory, ...]]:
        """All bandwidth channels with their children; gives their devices and, if there are any, their inventory."""
        found = channels(rows)
        devices = [
            self.flux.device(vendor_id, record, FLUX_POLICY, name=_name(record)) for vendor_id, record in found.items()
        ]
        return tuple(devices), self.flux.inventory(found)


def channels(rows: Iterable[Any]) -> dict[str, ChannelRecord]:
    """Every channel by its id or, in answers without ids, by the names that lead to it."""
    flat = list(_flatten(rows, ()))
    names = {channel.id: channel.name for _, channel in flat if channel.id is not None}
    found: dict[str, ChannelRecord] = {}
    for above, channel in flat:
        parent = "/".join(above) or (None if channel.father in _ROOT else names.get(channel.father or ""))
        vendor_id = channel.id or "/".join((*above, channel.name or ""))
        found.setdefault(vendor_id, ChannelRecord(channel=channel, parent=parent))
    return found


def _flatten(rows: Iterable[Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], FluxPolicy]]:
    for row in rows:
        if not isinstance(row, dict):
            continue
        channel = FluxPolicy.model_validate(row)
        if channel.name is None:
            continue
        yield above, channel.model_copy(update={"children": ()})
        yield from _flatten(channel.children, (*above, channel.name))


def _name(record: ChannelRecord) -> str:
    return f"{record.parent}/{record.channel.name}" if record.parent else str(record.channel.name)
