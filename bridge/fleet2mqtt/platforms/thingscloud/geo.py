"""Positions, and the conversion from GCJ-02, the shifted coordinates of maps made in China, to WGS-84."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

from fleet2mqtt.sdk import vendor_json

_AXIS = 6_378_245.0
_FLATTENING = 0.006_693_421_622_965_943
_STEPS = 5


class Coordinates(StrEnum):
    """The conversion of positions: none, or GCJ-02 to WGS-84."""

    NONE = "none"
    GCJ02 = "gcj02"


def position(value: Any, coordinates: Coordinates) -> dict[str, float] | None:
    """Return degrees from `{lat, lng}`; None for 0, 0, which means no fix, and for values that are no position."""
    fields = value if isinstance(value, dict) else {}
    lat, lng = vendor_json.number(fields.get("lat")), vendor_json.number(fields.get("lng"))
    if lat is None or lng is None or (lat == 0 and lng == 0) or abs(lat) > 90 or abs(lng) > 180:
        return None
    if coordinates is Coordinates.GCJ02:
        lat, lng = _wgs84(lat, lng)
    return {"latitude": lat, "longitude": lng}


def _wgs84(lat: float, lng: float) -> tuple[float, float]:
    """Return the WGS-84 point of a GCJ-02 point, to less than a metre: the shift has no inverse in closed form."""
    wgs_lat, wgs_lng = lat, lng
    for _ in range(_STEPS):
        shifted_lat, shifted_lng = _gcj02(wgs_lat, wgs_lng)
        wgs_lat, wgs_lng = wgs_lat + lat - shifted_lat, wgs_lng + lng - shifted_lng
    return round(wgs_lat, 6), round(wgs_lng, 6)


def _gcj02(lat: float, lng: float) -> tuple[float, float]:
    if not (0.8293 <= lat <= 55.8271 and 72.004 <= lng <= 137.8347):
        return lat, lng
    x, y = lng - 105.0, lat - 35.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * math.sqrt(abs(x))
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * math.sqrt(abs(x))
    both = (20.0 * math.sin(6.0 * x * math.pi) + 20.0 * math.sin(2.0 * x * math.pi)) * 2.0 / 3.0
    north += (
        both + _waves(y, 20.0, 40.0) + (160.0 * math.sin(y / 12 * math.pi) + 320 * math.sin(y * math.pi / 30)) / 1.5
    )
    east += both + _waves(x, 20.0, 40.0) + (150.0 * math.sin(x / 12 * math.pi) + 300 * math.sin(x / 30 * math.pi)) / 1.5
    radians = lat / 180.0 * math.pi
    curvature = 1 - _FLATTENING * math.sin(radians) ** 2
    root = math.sqrt(curvature)
    north = north * 180.0 / ((_AXIS * (1 - _FLATTENING)) / (curvature * root) * math.pi)
    east = east * 180.0 / (_AXIS / root * math.cos(radians) * math.pi)
    return lat + north, lng + east


def _waves(angle: float, short: float, long: float) -> float:
    return (short * math.sin(angle * math.pi) + long * math.sin(angle / 3.0 * math.pi)) * 2.0 / 3.0
