"""The vendor's wire models, by its own names, and the records that entity descriptions read.

Omstation document (login) and the vendor's public pages (all else).
"""

# ruff: noqa: N815 - the vendor's names

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator

from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.vendor_json import Boolean, Number, Text, Timestamp, WireModel


def _scalar(value: Any) -> int | float | str | None:
    number = vendor_json.number(value)
    return vendor_json.text(value) if number is None else number


Scalar = Annotated[int | float | str | None, BeforeValidator(_scalar)]
"""A value whose meaning the vendor leaves open: a number where it is one, else a text."""


class LoginData(WireModel):
    """`data` of login/userLogin, with `tokenId` under the name that parsing gave it. `timeDiff` in seconds."""

    login_token: Text = None
    orgId: Text = None
    orgName: Text = None
    timeDiff: Number = None
    loginTime: Timestamp = None
    loginTimestamp: Timestamp = None


class Statistics(WireModel):
    """`stationStatistics`, of an organisation or of one station."""

    sumStationCount: Number = None
    sumLowInventoryCount: Number = None
    sumInStorageCount: Number = None
    sumAvailableCount: Number = None
    sumFullChargeCount: Number = None
    sumAbnormalCount: Number = None
    sumLatticeCount: Number = None
    sumEmptyLatticeCount: Number = None
    sumInChargeCount: Number = None


class Station(WireModel):
    """An item of `stationInfoList`. `deviceId` is its security device; degrees, both 0.0 where no place was set."""

    id: Text = None
    stationName: Text = None
    deviceId: Text = None
    totalCount: Number = None
    orgId: Text = None
    orgName: Text = None
    centerLat: Number = None
    centerLon: Number = None


class Lattice(WireModel):
    """An item of `stationLatticeInfoList`: a compartment. `deviceId` is the lock in it, "" or null for none."""

    id: Text = None
    index: Text = None
    latticeNo: Text = None
    updateTime: Timestamp = None
    lockStatus: Scalar = None
    deviceId: Text = None
    connectPower: Boolean = None
    isFull: Boolean = None
    isFailure: Boolean = None
    fileUrl: Text = None
    deviceType: Scalar = None


class Asset(WireModel):
    """An item of the asset call's `data`: a lock. `battery` in %, degrees, `gpsTime` in UTC; -1 is unknown."""

    deviceId: Text = None
    deviceType: Scalar = None
    battery: Number = None
    onlineStatus: Number = None
    gpsSignal: Number = None
    gsmSignal: Number = None
    lat: Number = None
    lon: Number = None
    gpsTime: Timestamp = None
    networkType: Text = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StationRecord:
    """A station: its item in the list, and its sums once its lattices were read.

    `statistics_missed` is True if so many readings failed that the sums are no longer known.
    """

    station: Station
    statistics: Statistics = field(default_factory=Statistics)
    statistics_missed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CompartmentRecord:
    """A compartment of a station, with the lock in it and, where another system is asked for it, the lock's data."""

    lattice: Lattice
    has_assets: bool = False
    asset: Asset | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAuthorisations:
    """The number of open authorisations by status, and of authorisation transfers that are unused."""

    unused: int
    in_use: int
    transfers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRecord:
    """The organisation: values of the login (`time_diff` in s, `login_time` ISO 8601), sums, open authorisations."""

    org_name: str | None = None
    login_time: str | None = None
    time_diff: int | float | None = None
    statistics: Statistics = field(default_factory=Statistics)
    statistics_missed: bool = False
    authorisations: OpenAuthorisations | None = None
