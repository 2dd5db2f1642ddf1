"""What the organisation, a station and a lattice show: tables of rows. All of it is read-only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fleet2mqtt.devices.model import Component, EntityCategory, EntityDescription, Name, Value, on_off
from fleet2mqtt.platforms.omstation.models import FleetRecord, Lattice, StationRecord
from fleet2mqtt.sdk.vendor_json import iso

MANUFACTURER: Final = "Jointech"
TITLE: Final = "Jiutong omstation"

DIAGNOSTIC = EntityCategory.DIAGNOSTIC
LATITUDE = 90
LONGITUDE = 180

Read = Callable[[Any], Value]


def _given(field: str) -> Callable[[Lattice], bool]:
    """Whether the vendor shows this field at all; "" and null are values of it."""
    return lambda lattice: field in lattice.model_fields_set


def _sum(key: str, field: str, en: str, zh: str, icon: str) -> EntityDescription:
    return EntityDescription(
        key=key,
        name=Name(en, zh),
        value=lambda record: getattr(record.statistics, field),
        state_class="measurement",
        icon=f"mdi:{icon}",
    )


def _flag(key: str, field: str, en: str, zh: str, **more: Any) -> EntityDescription:
    return EntityDescription(
        key=key,
        name=Name(en, zh),
        component=Component.BINARY_SENSOR,
        value=lambda lattice: on_off(getattr(lattice, field)),
        exists=_given(field),
        **more,
    )


def _abnormal(record: FleetRecord | StationRecord) -> Value:
    count = record.statistics.sumAbnormalCount
    return None if count is None else on_off(count > 0)


def _position(record: StationRecord) -> Value:
    """Degrees; None for 0.0, 0.0, which is what the vendor says where no place was set."""
    lat, lon = record.station.centerLat, record.station.centerLon
    if lat is None or lon is None or (lat == 0 and lon == 0) or abs(lat) > LATITUDE or abs(lon) > LONGITUDE:
        return None
    return {"latitude": lat, "longitude": lon}


def _open(record: FleetRecord) -> Value:
    found = record.authorisations
    return None if found is None else found.unused + found.in_use


def _open_by_status(record: FleetRecord) -> Mapping[str, Value] | None:
    found = record.authorisations
    return None if found is None else {"unused": found.unused, "in_use": found.in_use}


def _film(lattice: Lattice) -> Mapping[str, Value] | None:
    return None if lattice.fileUrl is None else {"file_url": lattice.fileUrl}


def _type_of_lock(lattice: Lattice) -> Mapping[str, Value] | None:
    return None if lattice.deviceId is None or lattice.deviceType is None else {"device_type": lattice.deviceType}


_SUMS = (
    _sum(
        *("sum_low_inventory_count", "sumLowInventoryCount", "Low inventory", "低库存数"),
        icon="package-variant-minus",
    ),
    _sum("sum_in_storage_count", "sumInStorageCount", "Locks in storage", "在库数", icon="package-variant-closed"),
    _sum("sum_available_count", "sumAvailableCount", "Locks available", "可用数", icon="lock-check-outline"),
    _sum("sum_full_charge_count", "sumFullChargeCount", "Locks fully charged", "满电数", icon="battery"),
    _sum("sum_in_charge_count", "sumInChargeCount", "Locks charging", "充电中数", icon="battery-charging"),
    _sum("sum_abnormal_count", "sumAbnormalCount", "Abnormal compartments", "异常数", icon="alert-circle-outline"),
    _sum("sum_lattice_count", "sumLatticeCount", "Compartments", "格口总数", icon="locker-multiple"),
    _sum("sum_empty_lattice_count", "sumEmptyLatticeCount", "Empty compartments", "空格口数", icon="locker"),
)

_PROBLEM = EntityDescription(
    key="problem",
    name=Name("Problem", "故障"),
    component=Component.BINARY_SENSOR,
    value=_abnormal,
    device_class="problem",
)

FLEET = (
    EntityDescription(
        key="org_name",
        name=Name("Organisation", "组织名称"),
        value=lambda record: record.org_name,
        category=DIAGNOSTIC,
        icon="mdi:domain",
    ),
    EntityDescription(
        key="login_time",
        name=Name("Last login", "最近登录时间"),
        value=lambda record: record.login_time,
        device_class="timestamp",
        category=DIAGNOSTIC,
    ),
    EntityDescription(
        key="time_diff",
        name=Name("Time difference", "时差"),
        value=lambda record: record.time_diff,
        device_class="duration",
        unit="s",
        category=DIAGNOSTIC,
    ),
    _sum("sum_station_count", "sumStationCount", "Stations", "站点总数", icon="locker-multiple"),
    *_SUMS,
    _PROBLEM,
    EntityDescription(
        key="open_authorisations",
        name=Name("Open authorisations", "未完成授权数"),
        value=_open,
        attributes=_open_by_status,
        state_class="measurement",
        icon="mdi:key-chain",
    ),
    EntityDescription(
        key="open_transfers",
        name=Name("Open authorisation transfers", "未完成授权转移数"),
        value=lambda record: record.authorisations and record.authorisations.transfers,
        state_class="measurement",
        icon="mdi:key-arrow-right",
    ),
)

STATION = (
    EntityDescription(
        key="position",
        name=Name("Position", "位置"),
        component=Component.DEVICE_TRACKER,
        value=_position,
    ),
    EntityDescription(
        key="total_count",
        name=Name("Configured compartments", "配置格口数"),
        value=lambda record: record.station.totalCount,
        attributes=lambda record: record.station.deviceId and {"device_id": record.station.deviceId},
        exists=lambda _: True,
        state_class="measurement",
        icon="mdi:locker-multiple",
    ),
    *_SUMS,
    _PROBLEM,
)
"""Without `sumStationCount`, which is 1 for a station."""

LATTICE = (
    EntityDescription(
        key="occupied",
        name=Name("Occupied", "有锁"),
        component=Component.BINARY_SENSOR,
        value=lambda lattice: on_off(lattice.deviceId is not None) if _given("deviceId")(lattice) else None,
        attributes=_film,
        exists=_given("deviceId"),
        device_class="occupancy",
    ),
    EntityDescription(
        key="device_id",
        name=Name("Lock", "锁编号"),
        value=lambda lattice: lattice.deviceId,
        attributes=_type_of_lock,
        exists=_given("deviceId"),
        icon="mdi:lock",
    ),
    _flag("connect_power", "connectPower", "Power connected", "接通电源", device_class="plug"),
    _flag("is_full", "isFull", "Fully charged", "已充满", icon="mdi:battery"),
    _flag("is_failure", "isFailure", "Failure", "故障", device_class="problem"),
    EntityDescription(
        key="lock_status",
        name=Name("Lock status", "锁状态"),
        value=lambda lattice: lattice.lockStatus,
        exists=_given("lockStatus"),
        icon="mdi:lock-question",
    ),
    EntityDescription(
        key="update_time",
        name=Name("Updated", "更新时间"),
        value=lambda lattice: iso(lattice.updateTime),
        exists=_given("updateTime"),
        device_class="timestamp",
        category=DIAGNOSTIC,
        enabled=False,
    ),
)
