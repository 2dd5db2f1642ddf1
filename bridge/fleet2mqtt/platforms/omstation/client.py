"""The vendor's calls, one method each. Only the login is in the vendor's document; the others have public pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.platforms.omstation.auth import Session
from fleet2mqtt.platforms.omstation.envelope import data_object

STATIONS = "station/queryStationInfoListByOrgId"
LATTICES = "station/queryStationLatticeDetail"
COLLECTIONS = "auth/queryAuthCollectionList"
TRANSFERS = "auth/queryAuthTransferList"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Each method makes one call. A body without `orgId` gets the organisation's.

    Raises BackendError; a write raises Ambiguous with code 105 where it may or may not have been carried out.
    """

    session: Session

    async def list_stations(self, org_id: str | None = None) -> dict[str, Any]:
        """Return `stationInfoList` and `stationStatistics`. Public page station/queryStationInfoListByOrgId."""
        return await self._read(STATIONS, {"orgId": org_id})

    async def list_lattices(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Return `stationLatticeInfoList` and `stationStatistics` of a station: `id`, `startTime`, `endTime` in UTC.

        Public page station/queryStationLatticeDetail.
        """
        return data_object(await self.session.call(LATTICES, query), LATTICES)

    async def add_station(self, station: Mapping[str, Any]) -> dict[str, Any]:
        """Add a station. Public page station/addStationInfo."""
        return await self._write("station/addStationInfo", station)

    async def update_station(self, station: Mapping[str, Any]) -> dict[str, Any]:
        """Change a station, given with all its fields. Public page station/updateStationInfo."""
        return await self._write("station/updateStationInfo", station)

    async def add_devices(self, devices: Mapping[str, Any]) -> dict[str, Any]:
        """Register locks: `deviceInfoList`. Public page device/addDeviceInfo; one of its samples answers 105."""
        return await self._write("device/addDeviceInfo", devices)

    async def list_authorisations(self, page: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of authorisations: `total`, `size`, `data`. Public page auth/queryAuthCollectionList."""
        return await self._read(COLLECTIONS, page)

    async def list_transfers(self, page: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of authorisation transfers. Public page auth/queryAuthTransferList."""
        return await self._read(TRANSFERS, page)

    async def update_authorisation(self, authorisation: Mapping[str, Any]) -> dict[str, Any]:
        """Change an authorisation, or create one with an empty `id`. Public page auth/updateAuthCollection."""
        return await self._write("auth/updateAuthCollection", authorisation)

    async def update_transfer(self, transfer: Mapping[str, Any]) -> dict[str, Any]:
        """Change an authorisation transfer, or create one with an empty `id`. Public page auth/updateAuthTransfer."""
        return await self._write("auth/updateAuthTransfer", transfer)

    async def _read(self, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return data_object(await self.session.call(endpoint, body, of_org=True), endpoint)

    async def _write(self, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self.session.call(endpoint, body, of_org=True, writes=True)
