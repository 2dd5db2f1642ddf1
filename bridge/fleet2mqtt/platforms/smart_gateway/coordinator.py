"""One back end: its client, what is known of its fleet, and the options. What rows, sources and actions share."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fleet2mqtt.devices.model import Device, Inventory, Update, UpdateOrigin, read_attributes, read_state
from fleet2mqtt.platforms.smart_gateway.device_store import Gateways, Part, Rows
from fleet2mqtt.platforms.smart_gateway.entities import FLEET
from fleet2mqtt.platforms.smart_gateway.models import FleetRecord

if TYPE_CHECKING:
    from fleet2mqtt.platforms.smart_gateway.client import Client
    from fleet2mqtt.platforms.smart_gateway.mapping_store import Rules
    from fleet2mqtt.platforms.smart_gateway.writes import SetBody


@dataclass(slots=True, kw_only=True)
class Site:
    """The `client` of a smart gateway Backend. `keep(device id, text)` puts a rule's address on disk.

    `first_page` starts as the option and is found out where that is wrong.
    """

    name: str
    client: Client
    gateways: Gateways
    rules: Rules
    keep: Callable[[str, str], Awaitable[None]]
    page_size: int
    first_page: int
    set_body: SetBody
    _own: Part = field(default_factory=Part)
    _tables: dict[tuple[int, ...], Rows] = field(default_factory=dict)

    def update(
        self,
        requested_at: float | None,
        devices: tuple[Device, ...],
        inventories: tuple[Inventory, ...] = (),
        origin: UpdateOrigin = UpdateOrigin.POLL,
    ) -> Update:
        """News of this backend, as of now; `began` None for what no vendor was asked for."""
        return Update(
            backend=self.name,
            origin=origin,
            requested_at=time.monotonic() if requested_at is None else requested_at,
            observed_at=datetime.now(UTC),
            devices=devices,
            inventories=inventories,
        )

    def device(self) -> Device:
        """The back end's own device, with the figures of the fleet."""
        record = FleetRecord(count=self.gateways.count, rules=self.rules.listed)
        return self._own.made(record, lambda: self._device(record))

    def _device(self, record: FleetRecord) -> Device:
        rows = self._own.table(FLEET, record, self._tables)
        return Device(
            id=self.name,
            backend=self.name,
            vendor_id=self.name,
            scope="backend",
            name=self.name,
            entities=rows,
            state=read_state(rows, record),
            attributes=read_attributes(rows, record),
            record=record,
        )

    async def query_devices(self, sns: list[str]) -> tuple[Device, ...]:
        """Ask for these gateways now and give their Devices."""
        found = self.gateways.take_query(await self.client.query_devices(sns))
        self.rules.learn()
        return found

    async def list_mappings(self) -> list[dict[str, Any]]:
        """Ask for the rules now; as the vendor sent them."""
        rows = await self.client.list_mappings()
        self.rules.take(rows)
        self.rules.learn()
        return rows

    def take_page(self, reply: Mapping[str, Any]) -> tuple[Device, ...]:
        """A page of devices/list; gives its Devices."""
        found = self.gateways.take_list(reply["devices"], count_of(reply))
        self.rules.learn()
        return found

    async def remember(self, uuid: str, address: str) -> None:
        """Keep a rule's address for its next assignment, across restarts: the vendor has no place for it."""
        self.rules.remember(uuid, address)
        if self.rules.recall(self.rules.id(uuid)) != address:
            await self.keep(self.rules.id(uuid), address)


def count_of(reply: Mapping[str, Any]) -> int | None:
    """How many devices there are, by the vendor's count."""
    count = reply.get("count")
    return int(count) if isinstance(count, int | str) and str(count).strip().isdigit() else None
