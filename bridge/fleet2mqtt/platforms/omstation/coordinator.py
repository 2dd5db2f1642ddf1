"""One omstation: its client and what is known of it. What sources, the read-back and actions share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fleet2mqtt.devices.model import Device, Inventory, Update, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.platforms.omstation.client import COLLECTIONS, LATTICES, STATIONS, TRANSFERS, Client, rows_of
from fleet2mqtt.platforms.omstation.device_store import Part, Stations, Tables, sums_of
from fleet2mqtt.platforms.omstation.entities import FLEET
from fleet2mqtt.platforms.omstation.models import Authorisations, FleetRecord
from fleet2mqtt.sdk.vendor_json import number

News = tuple[tuple[Device, ...], tuple[Inventory, ...]]

UNUSED, IN_USE = 0, 1
BEGINNING = "2000-01-01T00:00:00Z"
"""The window's start where nobody names one: it seems to filter the sums, and those are wanted whole."""


@dataclass(slots=True, kw_only=True)
class Site:
    """The `client` of an omstation Backend."""

    name: str
    url: str
    client: Client
    stations: Stations
    figures: FleetRecord = field(default_factory=FleetRecord)
    _own: Part = field(default_factory=Part)
    _tables: Tables = field(default_factory=dict)

    def update(self, requested_at: float, news: News, origin: UpdateOrigin = UpdateOrigin.POLL) -> Update:
        """News of this backend, as of now, and its own device with them."""
        devices, inventories = news
        return Update(
            backend=self.name,
            origin=origin,
            requested_at=requested_at,
            observed_at=datetime.now(UTC),
            devices=(*devices, self._device()),
            inventories=inventories,
        )

    async def ask_stations(self) -> News:
        """The stations and the sums of all, now."""
        data = await self.client.list_stations()
        rows = rows_of(data, "stationInfoList", STATIONS)
        self.figures = replace(self.figures, statistics=sums_of(self.figures.statistics, data))
        return self.stations.take_list(rows)

    async def ask_lattices(self, id_: str) -> News:
        """The lattices of one station and its sums, now."""
        data = await self.client.list_lattices(id_, *window())
        rows = rows_of(data, "stationLatticeInfoList", LATTICES)
        return self.stations.take_lattices(id_, rows, data)

    async def ask_authorisations(self) -> News:
        """How many authorisations are open, now: of the rows, which are about people, nothing is kept."""
        self.figures = replace(
            self.figures,
            authorisations=Authorisations(
                unused=_total(await self.client.list_authorisations(_one(UNUSED)), COLLECTIONS),
                in_use=_total(await self.client.list_authorisations(_one(IN_USE)), COLLECTIONS),
                transfers=_total(await self.client.list_transfers(_one(UNUSED)), TRANSFERS),
            ),
        )
        return (), ()

    def _device(self) -> Device:
        login = self.client.session.current
        if login is not None:
            self.figures = replace(
                self.figures, org_name=login.org_name, login_time=login.login_time, time_diff=login.time_diff
            )
        about = {
            "id": self.name,
            "backend": self.name,
            "vendor_id": self.name,
            "scope": "backend",
            "name": self.name,
            "model": "omstation",
            "configuration_url": self.url,
        }
        return self._own.made(FLEET, self.figures, self._tables, about)


def window() -> tuple[str, str]:
    """A window around everything there may be, UTC, the same all day long."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    return BEGINNING, f"{tomorrow:%Y-%m-%d}T23:59:59Z"


def page(**filters: Any) -> dict[str, Any]:
    """The body of a list of authorisations, with what the filters leave open as its page shows it."""
    whole = {"startTime": "", "endTime": "", "status": -2, "key": "", "pageNum": 1, "pageSize": 20} | filters
    return whole | {"pageNum": str(whole["pageNum"])}


def _one(status: int) -> dict[str, Any]:
    return page(status=status, pageSize=1)


def _total(data: Mapping[str, Any], endpoint: str) -> int:
    total = number(data.get("total"))
    if total is None:
        raise InvalidResponse(f"{endpoint}: the answer has no total", endpoint=endpoint, code="no_total")
    return int(total)
