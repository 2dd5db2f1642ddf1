"""Call selection: which calls of the AC the options make worth their cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fleet2mqtt.devices.model import Device, EntityDescription
from fleet2mqtt.platforms.sangfor_ac.device_store import FLUX_POLICY, NET_POLICY, DeviceStore
from fleet2mqtt.platforms.sangfor_ac.entities import (
    CHANNEL_ENTITIES,
    GROUP_ENTITIES,
    NET_POLICY_ENTITIES,
    ApplianceEntity,
    keys_of_call,
    library_entities,
)
from fleet2mqtt.platforms.sangfor_ac.watchlist import Kind
from fleet2mqtt.sdk.api import Context

_ALWAYS = ("status/version", "status/sys-time")
"""Calls that are more than entities: the firmware of the device, and the clock that shows whether data moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSelection:
    """Decides by the options `include`, `exclude`, `entities` and `overrides`. The functions are those of `Context`."""

    store: DeviceStore
    selects: Callable[[Device], bool]
    excludes_kind: Callable[[str], bool]
    is_enabled: Callable[[EntityDescription], bool]
    disabled: frozenset[str]
    """Keys of the appliance's entities that are disabled."""

    @classmethod
    def of(cls, context: Context, store: DeviceStore, appliance: Iterable[ApplianceEntity]) -> CallSelection:
        """Return the selection of a backend; `appliance` are the entities of its own device, without libraries."""
        return cls(
            store=store,
            selects=context.selects,
            excludes_kind=context.excludes_kind,
            is_enabled=context.is_enabled,
            disabled=frozenset(entity.key for entity in appliance if not context.is_enabled(entity)),
        )

    def wants(self, *entities: EntityDescription, source: str | None = None) -> bool:
        """Return True if one of these entities is enabled; only those that a source owns, if it is given."""
        return any(self.is_enabled(entity) for entity in entities if source in (None, entity.source))

    def selected(self, kind: Kind, vendor_ids: Iterable[str]) -> tuple[str, ...]:
        """Return those of these watched groups, users or bindings that the rules select."""
        return tuple(vendor_id for vendor_id in vendor_ids if self.selects_watched(kind, vendor_id))

    def selects_watched(self, kind: Kind, vendor_id: str) -> bool:
        """Return True for a watched group, user or binding that the rules select."""
        return self.selects(kind.device(self.store.cache, vendor_id))

    def wants_status(self, call: str) -> bool:
        """Return True for a status call that feeds an enabled entity, or that is always made."""
        return call in _ALWAYS or not self.disabled.issuperset(keys_of_call(call))

    def wants_libraries(self) -> bool:
        """Return True if an entity of a library is enabled; True as long as the libraries are not known."""
        known = self.store.appliance.record.libraries
        return not known or any(self.wants(*library_entities(key, key)) for key, _ in known)

    def wants_net_policies(self, groups: Iterable[str]) -> bool:
        """Return True if net policies are published, or switches of them at one of these groups."""
        listed = not self.excludes_kind(NET_POLICY) and self.wants(*NET_POLICY_ENTITIES)
        return listed or (any(True for _ in groups) and self._wants_switches())

    def wants_channels(self) -> bool:
        """Return True if bandwidth channels are published."""
        return not self.excludes_kind(FLUX_POLICY) and self.wants(*CHANNEL_ENTITIES)

    def wants_groups(self) -> bool:
        """Return True if an entity of the watched groups is enabled."""
        return self.wants(*GROUP_ENTITIES) or self._wants_switches()

    def _wants_switches(self) -> bool:
        """Return True if a switch is enabled; True as long as the policies are not known."""
        names = self.store.policy_names
        return not names or self.wants(*map(self.store.groups.switch, names))
