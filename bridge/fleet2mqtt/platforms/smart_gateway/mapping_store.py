"""What is known of the port mapping rules, as Devices: the same objects while nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.model import Device, Inventory, read_attributes, read_state
from fleet2mqtt.platforms.smart_gateway import mappings
from fleet2mqtt.platforms.smart_gateway.device_store import Gateways, Part, Rows
from fleet2mqtt.platforms.smart_gateway.models import Rule, RuleRecord


@dataclass(slots=True, kw_only=True)
class Rules:
    """The rules of one back end. `recall(device id)` is the address of a rule as it was kept on disk."""

    gateways: Gateways
    recall: Callable[[str], str | None]
    listed: tuple[Rule, ...] | None = None
    _known: dict[str, Rule] = field(default_factory=dict)
    _parts: dict[str, Part] = field(default_factory=dict)
    _addresses: dict[str, str] = field(default_factory=dict)
    _options: dict[str, str] = field(default_factory=dict)
    _rows: Rows = field(default_factory=lambda: mappings.rows(()))
    _tables: dict[tuple[int, ...], Rows] = field(default_factory=dict)

    def take(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """All rules, as mapping/list answers them. Of two rows with the same uuid the last counts."""
        self.listed = tuple(Rule.model_validate(row) for row in rows)
        self._known = {rule.uuid: rule for rule in self.listed if rule.uuid is not None}

    def id(self, uuid: str) -> str:
        """The id of a rule's device."""
        return self.gateways.ids(self.gateways.name, "mapping", uuid)

    def holder(self, uuid: str) -> str | None:
        """The serial number of the gateway that has this rule."""
        rule = self._known.get(uuid)
        return rule.sn if rule is not None else None

    def address(self, uuid: str) -> str | None:
        """The address in a sub-net that this rule is to have next: as written, else as it was last."""
        return self._addresses.get(uuid) or self.recall(self.id(uuid))

    def remember(self, uuid: str, address: str) -> None:
        """The address this rule is to have when it is assigned next."""
        self._addresses[uuid] = address

    def learn(self) -> None:
        """Take over the addresses that the gateways show; call after each reply that may have brought one."""
        for uuid in self._known:
            held = self._held(uuid)
            if held is not None:
                self._addresses[uuid] = held

    def options(self) -> dict[str, str]:
        """The gateways a rule can be given to: a slug of the serial number → the serial number."""
        serials = sorted({*self.gateways.serials(), *(rule.sn for rule in self._known.values() if rule.sn is not None)})
        if serials != list(self._options.values()):
            name = self.gateways.name
            self._options = {self.gateways.ids(name, sn).removeprefix(f"{name}_"): sn for sn in serials}
            self._rows = mappings.rows(tuple(self._options))
            self._tables = {}
        return self._options

    def devices(self) -> tuple[Device, ...]:
        """Every rule."""
        options = self.options()
        return tuple(self._device(uuid, rule, options) for uuid, rule in self._known.items())

    def _device(self, uuid: str, rule: Rule, options: dict[str, str]) -> Device:
        part = self._parts.setdefault(uuid, Part())
        record = RuleRecord(rule=rule, subnet_ip=self._held(uuid) or self.address(uuid), gateways=options)
        return part.made(record, lambda: self._made(uuid, record, part))

    def _made(self, uuid: str, record: RuleRecord, part: Part) -> Device:
        rows = part.table(self._rows, record, self._tables)
        return Device(
            id=self.id(uuid),
            backend=self.gateways.name,
            vendor_id=uuid,
            scope="mappings",
            name=record.rule.name or uuid,
            entities=rows,
            state=read_state(rows, record),
            attributes=read_attributes(rows, record),
            via=self.gateways.name,
            record=record,
        )

    def _held(self, uuid: str) -> str | None:
        holder = self.holder(uuid)
        return self.gateways.assignments(holder).get(uuid) if holder is not None else None

    def inventory(self) -> tuple[Inventory, ...]:
        """The list is always complete; rules that it lacks are forgotten. An empty one is no inventory."""
        if not self._known:
            return ()
        for uuid in self._parts.keys() - self._known.keys():
            del self._parts[uuid]
            self._addresses.pop(uuid, None)
        return (Inventory(scope="mappings", ids=frozenset(map(self.id, self._known))),)
