"""The mapping store: the device store of port mapping rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.model import Device, EntityDescriptions, Inventory
from fleet2mqtt.platforms.smart_gateway.device_store import DeviceStore
from fleet2mqtt.platforms.smart_gateway.entities import DEVICES, MAPPINGS, rule_entities
from fleet2mqtt.platforms.smart_gateway.models import UNASSIGNED, Rule, RuleRecord, Writer

MAX_GATEWAYS = 50
"""Gateways that a rule's select lists at most."""
MAX_OPTIONS = 1_500
"""Options that the selects of all rules list at most: a new gateway changes the discovery of every rule."""
_HYSTERESIS = 0.8
_WITHOUT_SELECT = rule_entities(None)


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
    _aliases: dict[str, str] = field(default_factory=dict)
    _options: dict[str, str] = field(default_factory=dict)
    _selectable: bool = True
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
            address = self.assigned_address(uuid)
            if address is not None:
                self._addresses[uuid] = address

    def id(self, uuid: str) -> str:
        """Return the device id of a rule."""
        return self.gateways.cache.id("mapping", uuid)

    def get(self, uuid: str) -> Rule | None:
        """Return a rule by its uuid, None if there is none."""
        return self._rules.get(uuid)

    def uuids(self) -> frozenset[str]:
        """Return the uuids of all rules."""
        return frozenset(self._rules)

    def holder(self, uuid: str) -> str | None:
        """Return the serial number of the gateway that a rule is assigned to."""
        rule = self._rules.get(uuid)
        return rule.sn if rule is not None else None

    def address(self, uuid: str) -> str | None:
        """Return the address in a LAN that a rule has or gets next: as written, else as it was last."""
        return self._addresses.get(uuid) or self.checkpoint(self.id(uuid))

    def assigned_address(self, uuid: str) -> str | None:
        """Return the address that a rule has in the LAN of its gateway now."""
        holder = self.holder(uuid)
        return self.gateways.assignments(holder).get(uuid) if holder is not None else None

    def remember_address(self, uuid: str, address: str) -> None:
        """Set the address that a rule gets when it is assigned next."""
        self._addresses[uuid] = address

    def serial_number(self, option: str) -> str | None:
        """Return the gateway behind an option: its alias, or its serial number, in any case."""
        self._update_options()
        text = option.casefold()
        options = {name.casefold(): sn for name, sn in self._options.items()}
        return options.get(text) or next((sn for sn in self._options.values() if sn.casefold() == text), None)

    def _update_options(self) -> None:
        """Name each gateway by its alias; by alias and serial number where that is not unique."""
        rules = {rule.sn: rule.devName for rule in self._rules.values() if rule.sn is not None}
        aliases = {sn: alias or sn for sn, alias in {**rules, **self.gateways.aliases()}.items()}
        selectable = self._is_selectable(len(aliases))
        if aliases == self._aliases and selectable is self._selectable:
            return
        counts = Counter(alias.casefold() for alias in aliases.values())
        counts[UNASSIGNED] += 1
        names = {
            sn: alias if counts[alias.casefold()] == 1 else f"{alias} ({sn})" for sn, alias in sorted(aliases.items())
        }
        self._aliases, self._selectable = aliases, selectable
        self._options = {name: sn for sn, name in sorted(names.items(), key=lambda pair: pair[1])}
        self._entities = rule_entities(tuple(self._options)) if selectable else _WITHOUT_SELECT

    def _is_selectable(self, gateways: int) -> bool:
        """Return True for few enough gateways and rules; to return to selects there must be some less."""
        share = 1.0 if self._selectable else _HYSTERESIS
        return gateways <= MAX_GATEWAYS * share and gateways * len(self._rules) <= MAX_OPTIONS * share

    def devices(self) -> tuple[Device, ...]:
        """Return all rules."""
        self._update_options()
        names = {sn: name for name, sn in self._options.items()}
        return tuple(self._build(uuid, rule, names) for uuid, rule in self._rules.items())

    def _build(self, uuid: str, rule: Rule, names: Mapping[str, str]) -> Device:
        address = self.assigned_address(uuid) or self.address(uuid)
        is_known = rule.sn is None or self.gateways.record(rule.sn) is not None
        return self.gateways.cache.build(
            self.id(uuid),
            RuleRecord(rule=rule, subnet_ip=address, gateway=UNASSIGNED if rule.sn is None else names[rule.sn]),
            self._entities,
            vendor_id=uuid,
            scope="mappings",
            kind="rule",
            source=MAPPINGS,
            answered=frozenset((MAPPINGS, DEVICES) if is_known else (MAPPINGS,)),
            name=rule.name or uuid,
            via=self.gateways.cache.backend,
        )

    def inventory(self) -> tuple[Inventory, ...]:
        """Return the inventory of rules; the vendor's list is always complete, but has no total."""
        return self.gateways.cache.inventory("mappings", map(self.id, self._rules))
