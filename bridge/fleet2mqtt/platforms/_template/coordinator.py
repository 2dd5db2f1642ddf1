"""The coordinator: polls the sources, reads and writes single devices, and turns responses into updates."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, InvalidResponse, Rejected
from fleet2mqtt.platforms._template import client as endpoints
from fleet2mqtt.platforms._template.client import Client
from fleet2mqtt.platforms._template.device_store import DeviceStore
from fleet2mqtt.platforms._template.entities import READINGS
from fleet2mqtt.platforms._template.models import Reading, Relay
from fleet2mqtt.sdk.pagination import Listing, Page, Position
from fleet2mqtt.sdk.sweep import Sweep
from fleet2mqtt.sdk.updates import UpdateFactory
from fleet2mqtt.sdk.vendor_json import number, text

__all__ = ["DEVICES", "READINGS", "Coordinator"]

DEVICES = "devices"
PAGE_SIZE = 100


@dataclass(slots=True, kw_only=True)
class Coordinator:
    """The `client` of the Backend: what entities and actions get.

    `selects` returns False for a device that the options `include` and `exclude` leave out: no call is made for it.
    """

    client: Client
    store: DeviceStore
    update: UpdateFactory
    sweep: Sweep
    selects: Callable[[Device], bool]

    async def poll_devices(self) -> AsyncIterator[Update]:
        """Poll the list of relays, page by page; an update a page."""
        listing = Listing(fetch=self._fetch, key=lambda item: text(item.get("id")))
        async for page in listing.pages():
            relays = [(key, Relay.model_validate(item)) for key, item in zip(page.keys, page.items, strict=True)]
            # requested_at is the time before the vendor was asked: data requested earlier never replaces newer data.
            devices = [self.store.apply_relay(key, relay) for key, relay in relays]
            yield self.update(page.requested_at, devices=devices)
        if listing.complete:  # only a complete list can tell that a device is gone
            self.store.keep_only(listing.seen)
            ids = [self.store.cache.id(key) for key in listing.seen]
            inventory = self.store.cache.inventory("devices", ids, confirmed_empty=listing.empty)
            yield self.update(inventories=inventory)

    async def poll_readings(self) -> AsyncIterator[Update]:
        """Sweep the readings of all relays; one that fails is skipped, and unknown after three misses."""
        async for id_, outcome in self.sweep.run(self.store.ids(self.selects), self._read_reading):
            if not isinstance(outcome, BackendError):
                yield outcome
            elif self.sweep.is_missed(id_):
                yield self.update(devices=[self.store.apply_reading(id_, None)])

    async def read_device(self, device: Device) -> Update:
        """Read a relay now, for a read-back or a `get`. Raises BackendError."""
        requested_at = time.monotonic()
        for id_, relay in await self._list():
            if id_ == device.vendor_id:
                built = self.store.apply_relay(id_, relay)
                return self.update(requested_at, devices=[built], origin=UpdateOrigin.COMMAND)
        raise Rejected(f"the vendor lists no relay {device.vendor_id}", endpoint="read", code="not_listed")

    async def write_settings(self, device: Device, settings: Mapping[str, Any]) -> Update | None:
        """Send settings. There is no optimistic state: the core reads back and publishes what the vendor then shows."""
        await self.client.write_settings(device.vendor_id, settings)
        return None

    async def _list(self) -> list[tuple[str, Relay]]:
        items = await Listing(fetch=self._fetch, key=lambda item: text(item.get("id"))).items()
        return [(str(text(item.get("id"))), Relay.model_validate(item)) for item in items]

    async def _fetch(self, position: Position) -> Page:
        requested_at = time.monotonic()
        response = await self.client.list_devices(position.offset, PAGE_SIZE)
        items = response.get("devices") or []
        if not isinstance(items, list):
            raise InvalidResponse("devices: no list", endpoint=endpoints.DEVICES, code="wrong_type")
        total = number(response.get("total"))
        return Page(
            items=tuple(item for item in items if isinstance(item, dict)),
            count=len(items),
            total=None if total is None else int(total),
            requested_at=requested_at,
        )

    async def _read_reading(self, id_: str) -> Update:
        requested_at = time.monotonic()
        reading = Reading.model_validate(await self.client.get_reading(id_))
        return self.update(requested_at, devices=[self.store.apply_reading(id_, reading)])
