"""The mapping store: the device store of port mapping rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.model import Device, EntityDescriptions, Inventory
from fleet2mqtt.platforms.smart_gateway.device_store import DeviceStore
from fleet2mqtt.platforms.smart_gateway.entities import rule_entities
from fleet2mqtt.platforms.smart_gateway.models import Rule, RuleRecord, Writer


@dataclass(slots=True, kw_only=True)
class MappingStore:
    """The port mapping rules of one backend. `checkpoint(device id)` is a rule's address as it was saved on disk.

    `listed` are the items of the last mapping/list, None before it.
    """

    gateways: DeviceStore
    checkpoint: Callable[[str], str | None]
    listed: tuple[Rule, ...] | None = None
    _rules: dict[str, Rule] = field(default_factory=dict)
    _addresses: dict[str, str] = field(default_factory=dict)
    _options: dict[str, str] = field(default_factory=dict)
    _entities: EntityDescriptions[RuleRecord, Writer] = field(default_factory=lambda: rule_entities(()))

    def apply_list(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Replace the rules by a response of mapping/list. Of two items with the same uuid the last counts."""
        self.listed = tuple(Rule.model_validate(item) for item in items)
        rules = {rule.uuid: rule for rule in self.listed if rule.uuid is not None}
        for uuid in self._rules.keys() - rules.keys() if rules else ():
            self.gateways.cache.discard([self.id(uuid)])
            self._addresses.pop(uuid, None)
        self._rules = rules
        self.apply_assignments()

    def apply_assignments(self) -> None:
        """Remember the addresses that the gateways have for their rules; call after each response with gateways."""
        for uuid in self._rules:
            address = self._assigned_address(uuid)
            if address is not None:
                self._addresses[uuid] = address

    def id(self, uuid: str) -> str:
        """Return the device id of a rule."""
        return self.gateways.cache.id("mapping", uuid)

    def holder(self, uuid: str) -> str | None:
        """Return the serial number of the gateway that a rule is assigned to."""
        rule = self._rules.get(uuid)
        return rule.sn if rule is not None else None

    def address(self, uuid: str) -> str | None:
        """Return the address in a LAN that a rule has or gets next: as written, else as it was last."""
        return self._addresses.get(uuid) or self.checkpoint(self.id(uuid))

    def remember_address(self, uuid: str, address: str) -> None:
        """Set the address that a rule gets when it is assigned next."""
        self._addresses[uuid] = address

    def options(self) -> dict[str, str]:
        """Return the gateways that a rule can be assigned to: option, made of the serial number → serial number."""
        rules = (rule.sn for rule in self._rules.values() if rule.sn is not None)
        serial_numbers = sorted({*self.gateways.serial_numbers(), *rules})
        if serial_numbers != list(self._options.values()):
            prefix = f"{self.gateways.cache.backend}_"
            self._options = {self.gateways.cache.id(sn).removeprefix(prefix): sn for sn in serial_numbers}
            self._entities = rule_entities(tuple(self._options))
        return self._options

    def devices(self) -> tuple[Device, ...]:
        """Return all rules."""
        options = self.options()
        return tuple(self._build(uuid, rule, options) for uuid, rule in self._rules.items())

    def _build(self, uuid: str, rule: Rule, options: dict[str, str]) -> Device:
        address = self._assigned_address(uuid) or self.address(uuid)
        return self.gateways.cache.build(
            self.id(uuid),
            RuleRecord(rule=rule, subnet_ip=address, gateways=options),
            self._entities,
            vendor_id=uuid,
            scope="mappings",
            name=rule.name or uuid,
            via=self.gateways.cache.backend,
        )

    def _assigned_address(self, uuid: str) -> str | None:
        holder = self.holder(uuid)
        return self.gateways.assignments(holder).get(uuid) if holder is not None else None

    def inventory(self) -> tuple[Inventory, ...]:
        """Return the inventory of rules; the vendor's list is always complete."""
        return self.gateways.cache.inventory("mappings", map(self.id, self._rules))
