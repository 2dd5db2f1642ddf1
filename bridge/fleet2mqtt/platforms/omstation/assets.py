"""The asset call: lock data from another system, and the same data served to a station's system.

Public page "QueryAdminAssetListByFAssetIDs": the call is hosted by a third party or by JointCloud, so the bridge can be
its client and its server. -1 stands for what is not known.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from fleet2mqtt.errors import BackendError, InvalidResponse
from fleet2mqtt.platforms.omstation.envelope import PARAMETER_ERROR, SUCCESS, TOKEN_ERROR, list_member
from fleet2mqtt.platforms.omstation.models import Asset, CompartmentRecord, StationRecord
from fleet2mqtt.sdk.http_client import HttpClient
from fleet2mqtt.sdk.vendor_json import number

ASSETS = "QueryAdminAssetListByFAssetIDs"
PREFIX = "assets"
BATCH_SIZE = 50
MAX_IDS = 1000
"""Most locks in one request that is served."""
UNKNOWN = -1
MAX_LATITUDE = 90
MAX_LONGITUDE = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetClient:
    """Asks the system that has lock data. Raises BackendError."""

    api: HttpClient
    token: str = field(repr=False)

    async def query(self, ids: Sequence[str]) -> dict[str, Asset]:
        """Return the data of these locks by id, as far as the system knows them. Public page of the call."""
        path = "" if self.api.base.endswith(f"/{ASSETS}") else f"/{ASSETS}"
        body = {"assetIds": ",".join(ids)}
        try:
            response = await self.api.call(
                "POST", path, endpoint=ASSETS, headers={"token": self.token}, json=body, writes=False
            )
        except BackendError as error:
            text = str(error).replace(self.token, "***")
            raise type(error)(text, endpoint=error.endpoint, code=error.code) from None
        items = list_member(response, "data", ASSETS)
        if not all(isinstance(item, dict) for item in items):
            raise InvalidResponse(f"{ASSETS}: 'data' is no list of objects", endpoint=ASSETS, code="wrong_type")
        assets = [Asset.model_validate(item, context={"zone": UTC}) for item in items]
        return {asset.deviceId: asset for asset in assets if asset.deviceId is not None and asset.deviceId in ids}


def known(value: float | None) -> int | float | None:
    """Return a number, None for the -1 that stands for an unknown one."""
    return None if value == UNKNOWN else value


def position(asset: Asset) -> dict[str, float] | None:
    """Return an asset's place in degrees, None where it is unknown: -1 or 0.0 for both, or none on Earth."""
    lat, lon = asset.lat, asset.lon
    if lat is None or lon is None or lat == lon == UNKNOWN or lat == lon == 0:
        return None
    return {"latitude": lat, "longitude": lon} if abs(lat) <= MAX_LATITUDE and abs(lon) <= MAX_LONGITUDE else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetServer:
    """Responds to the call from what is known: `find(id)` returns a lock's station, compartment and asset.

    With a `token` the request must carry it in the header `token`, as the page shows.
    """

    find: Callable[[str], tuple[StationRecord | None, CompartmentRecord | None, Asset | None]]
    token: str | None = field(default=None, repr=False)

    def respond(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Return the response to a request's body; a refusal has code 102 or 104, an unknown lock is left out."""
        given = headers.get("token", "").encode("utf-8", "surrogateescape")
        if self.token is not None and not hmac.compare_digest(given, self.token.encode()):
            return _response(TOKEN_ERROR, "Token error or expired", None)
        ids = _asset_ids(body)
        if ids is None:
            return _response(PARAMETER_ERROR, f"Parameter error: assetIds has to be a text of 1 to {MAX_IDS} ids", None)
        return _response(SUCCESS, "Operation succeeded", [*self._assets(ids)])

    def _assets(self, ids: Iterable[str]) -> Iterable[dict[str, Any]]:
        for id_ in ids:
            station, compartment, asset = self.find(id_)
            if compartment is not None or asset is not None:
                stored = None if compartment is None else _stored(station, compartment)
                yield _asset(id_, asset, stored)


def _asset_ids(body: bytes) -> list[str] | None:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    text = content.get("assetIds") if isinstance(content, dict) else None
    if not isinstance(text, str):
        return None
    ids = list(dict.fromkeys(id_.strip() for id_ in text.split(",") if id_.strip()))
    return ids if 1 <= len(ids) <= MAX_IDS else None


def _stored(station: StationRecord | None, compartment: CompartmentRecord) -> Asset:
    """Return the data of a compartment's lock that the cabinet has itself: type, fully charged or not, and place."""
    lattice = compartment.lattice
    placed = station is not None and station.station.centerLat and station.station.centerLon
    return Asset(
        deviceType=lattice.deviceType,
        battery=100 if lattice.isFull else None,
        lat=station.station.centerLat if station is not None and placed else None,
        lon=station.station.centerLon if station is not None and placed else None,
        gpsTime=lattice.updateTime if placed else None,
    )


def _asset(id_: str, asset: Asset | None, stored: Asset | None) -> dict[str, Any]:
    """Return a lock as the page shows it: the asset system's values, then the cabinet's, then -1."""
    sources = [each for each in (asset, stored) if each is not None]
    place = next((each for each in sources if position(each) is not None), Asset())

    def value(name: str) -> Any:
        values = (known(number(getattr(each, name))) for each in sources)
        return next((each for each in values if each is not None), UNKNOWN)

    return {
        "deviceId": id_,
        "deviceType": value("deviceType"),
        **{name: value(name) for name in ("battery", "onlineStatus", "gpsSignal", "gsmSignal")},
        "lat": UNKNOWN if place.lat is None else place.lat,
        "lon": UNKNOWN if place.lon is None else place.lon,
        "gpsTime": _clock_time(place.gpsTime),
        "networkType": _network_type(asset),
    }


def _network_type(asset: Asset | None) -> int | str:
    """Return a number, as in the page's sample, unless the type is a text, as by the page's table."""
    text = None if asset is None else asset.networkType
    return UNKNOWN if text is None else int(text) if text.isascii() and text.isdecimal() else text


def _clock_time(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _response(code: int, message: str, data: Any) -> bytes:
    return orjson.dumps({"code": code, "message": message, "data": data})
