"""Positions: on maps made in China they are often shifted (GCJ-02) against what the rest of the world uses (WGS-84)."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

from fleet2mqtt.sdk import vendor_json

_AXIS = 6_378_245.0
_FLATTENING = 0.006_693_421_622_965_943
_STEPS = 5


class Coordinates(StrEnum):
    """What has to be done to positions: nothing, or GCJ-02 to WGS-84."""

    NONE = "none"
    GCJ02 = "gcj02"


def position(value: Any, coordinates: Coordinates) -> dict[str, float] | None:
    """Degrees from `{lat, lng}`; None for 0, 0, which means that there is no fix, and for what is no position."""
    fields = value if isinstance(value, dict) else {}
    lat, lng = vendor_json.number(fields.get("lat")), vendor_json.number(fields.get("lng"))
    if lat is None or lng is None or (lat == 0 and lng == 0) or abs(lat) > 90 or abs(lng) > 180:
        return None
    if coordinates is Coordinates.GCJ02:
        lat, lng = _wgs84(lat, lng)
    return {"latitude": lat, "longitude": lng}


def _wgs84(lat: float, lng: float) -> tuple[float, float]:
    """The point that is shown at this one, to less than a metre; the shift itself has no inverse in closed form."""
    at_lat, at_lng = lat, lng
    for _ in range(_STEPS):
        shown_lat, shown_lng = _gcj02(at_lat, at_lng)
        at_lat, at_lng = at_lat + lat - shown_lat, at_lng + lng - shown_lng
    return round(at_lat, 6), round(at_lng, 6)


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
    magic = 1 - _FLATTENING * math.sin(radians) ** 2
    root = math.sqrt(magic)
    north = north * 180.0 / ((_AXIS * (1 - _FLATTENING)) / (magic * root) * math.pi)
    east = east * 180.0 / (_AXIS / root * math.cos(radians) * math.pi)
    return lat + north, lng + east


def _waves(at: float, long: float, short: float) -> float:
    return (long * math.sin(at * math.pi) + short * math.sin(at / 3.0 * math.pi)) * 2.0 / 3.0
