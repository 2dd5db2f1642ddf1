"""The calls of omstation, one method each. Only the login is in the vendor's document; the rest is public elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.platforms.omstation.auth import Session

STATIONS = "station/queryStationInfoListByOrgId"
LATTICES = "station/queryStationLatticeDetail"
COLLECTIONS = "auth/queryAuthCollectionList"
TRANSFERS = "auth/queryAuthTransferList"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Every method raises BackendError; a write Ambiguous with code 105 where it may or may not have been done.

    A body without `orgId` gets the organisation's.
    """

    session: Session

    async def list_stations(self, org_id: str | None = None) -> dict[str, Any]:
        """`stationInfoList`, `stationStatistics`. Public page station/queryStationInfoListByOrgId."""
        return await self._asked(STATIONS, {"orgId": org_id})

    async def list_lattices(self, id_: str, start: str, end: str) -> dict[str, Any]:
        """`stationLatticeInfoList`, `stationStatistics`. Public page station/queryStationLatticeDetail; UTC."""
        body = {"id": id_, "startTime": start, "endTime": end}
        return _data(await self.session.call(LATTICES, body), LATTICES)

    async def add_station(self, station: Mapping[str, Any]) -> dict[str, Any]:
        """Add a station. Public page station/addStationInfo."""
        return await self._told("station/addStationInfo", station)

    async def update_station(self, station: Mapping[str, Any]) -> dict[str, Any]:
        """Change a station, given with all its fields. Public page station/updateStationInfo."""
        return await self._told("station/updateStationInfo", station)

    async def add_devices(self, devices: Mapping[str, Any]) -> dict[str, Any]:
        """Register locks: `deviceInfoList`. Public page device/addDeviceInfo; its sample answers 105."""
        return await self._told("device/addDeviceInfo", devices)

    async def list_authorisations(self, page: Mapping[str, Any]) -> dict[str, Any]:
        """A page of authorisations: `total`, `size`, `data`. Public page auth/queryAuthCollectionList."""
        return await self._asked(COLLECTIONS, page)

    async def list_transfers(self, page: Mapping[str, Any]) -> dict[str, Any]:
        """A page of transfers of authorisations. Public page auth/queryAuthTransferList."""
        return await self._asked(TRANSFERS, page)

    async def update_authorisation(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Change an authorisation. Public page auth/updateAuthCollection."""
        return await self._told("auth/updateAuthCollection", change)

    async def update_transfer(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Change a transfer of authorisations. Public page auth/updateAuthTransfer."""
        return await self._told("auth/updateAuthTransfer", change)

    async def _asked(self, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return _data(await self._told(endpoint, body), endpoint)

    async def _told(self, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self.session.call(endpoint, body, of_org=True)


def rows_of(data: Mapping[str, Any], name: str, endpoint: str) -> list[Any]:
    """The list of this name; an empty one where there is none. Raises InvalidResponse for what is no list."""
    rows = data.get(name) or []
    if not isinstance(rows, list):
        message = f"{endpoint}: {name!r} is a {type(rows).__name__}, not a list"
        raise InvalidResponse(message, endpoint=endpoint, code="wrong_type")
    return rows


def _data(reply: Mapping[str, Any], endpoint: str) -> dict[str, Any]:
    data = reply.get("data") or {}
    if not isinstance(data, dict):
        message = f"{endpoint}: 'data' is a {type(data).__name__}, not an object"
        raise InvalidResponse(message, endpoint=endpoint, code="wrong_type")
    return data
