"""The entities of the organisation, a station and a compartment. All of them are read-only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from fleet2mqtt.devices.model import Component, EntityCategory, EntityDescription, Name, Value, on_off
from fleet2mqtt.platforms.omstation.assets import UNKNOWN, known, position
from fleet2mqtt.platforms.omstation.models import Asset, CompartmentRecord, FleetRecord, StationRecord
from fleet2mqtt.sdk.vendor_json import iso

MANUFACTURER: Final = "Jointech"
TITLE: Final = "Jiutong omstation"

STATIONS: Final = "stations"
LATTICES: Final = "lattices"
AUTHORISATIONS: Final = "authorisations"
ASSETS: Final = "assets"
"""The sources, which own the keys that they read."""

COMPARTMENT_KIND: Final = "compartment"
DIAGNOSTIC = EntityCategory.DIAGNOSTIC
FULL = 100
MAX_LATITUDE = 90
MAX_LONGITUDE = 180

SumsT = TypeVar("SumsT", bound=FleetRecord | StationRecord)


def _has_statistic(field: str) -> Callable[[FleetRecord | StationRecord], bool]:
    return lambda record: field in record.statistics.model_fields_set


def _statistic(record: FleetRecord | StationRecord, field: str) -> int | float | None:
    value: int | float | None = None if record.statistics_missed else getattr(record.statistics, field)
    return value


def _problem(record: FleetRecord | StationRecord) -> Value:
    count = _statistic(record, "sumAbnormalCount")
    return None if count is None else on_off(count > 0)


def _sum(record: type[SumsT], source: str, definition: tuple[str, str, Name, str]) -> EntityDescription[SumsT]:
    del record  # names the type
    key, field, name, icon = definition
    return EntityDescription(
        key=key,
        name=name,
        value=lambda each: _statistic(each, field),
        exists=_has_statistic(field),
        source=source,
        enabled=key not in _USUALLY_DISABLED,
        essential=key == "sum_low_inventory_count",
        state_class="measurement",
        icon=f"mdi:{icon}",
    )


_USUALLY_DISABLED = frozenset(("sum_in_storage_count", "sum_in_charge_count", "sum_lattice_count"))
"""Sums that others tell, or that change only when a station is rebuilt."""
_SUMS = (
    ("sum_low_inventory_count", "sumLowInventoryCount", Name("Low inventory", "低库存数"), "package-variant-minus"),
    ("sum_in_storage_count", "sumInStorageCount", Name("Locks in storage", "在库数"), "package-variant-closed"),
    ("sum_available_count", "sumAvailableCount", Name("Locks available", "可用数"), "lock-check-outline"),
    ("sum_full_charge_count", "sumFullChargeCount", Name("Locks fully charged", "满电数"), "battery"),
    ("sum_in_charge_count", "sumInChargeCount", Name("Locks charging", "充电中数"), "battery-charging"),
    ("sum_abnormal_count", "sumAbnormalCount", Name("Abnormal compartments", "异常数"), "alert-circle-outline"),
    ("sum_lattice_count", "sumLatticeCount", Name("Compartments", "格口总数"), "locker-multiple"),
    ("sum_empty_lattice_count", "sumEmptyLatticeCount", Name("Empty compartments", "空格口数"), "locker"),
)


def _sums(record: type[SumsT], source: str) -> tuple[EntityDescription[SumsT], ...]:
    """Return the sums that the organisation and a station share, and `problem` where something is abnormal."""
    sums = [_sum(record, source, definition) for definition in _SUMS]
    problem: EntityDescription[SumsT] = EntityDescription(
        key="problem",
        name=Name("Problem", "故障"),
        component=Component.BINARY_SENSOR,
        value=_problem,
        exists=_has_statistic("sumAbnormalCount"),
        source=source,
        essential=True,
        device_class="problem",
    )
    return (*sums, problem)


def _position(record: StationRecord) -> Value:
    """Return the place in degrees; None for 0.0, 0.0, which the vendor sends where no place was set."""
    lat, lon = record.station.centerLat, record.station.centerLon
    if lat is None or lon is None or (lat == 0 and lon == 0) or abs(lat) > MAX_LATITUDE or abs(lon) > MAX_LONGITUDE:
        return None
    return {"latitude": lat, "longitude": lon}


def _station_has(field: str) -> Callable[[StationRecord], bool]:
    return lambda record: field in record.station.model_fields_set


def _security_device(record: StationRecord) -> Mapping[str, Value] | None:
    return None if record.station.deviceId is None else {"device_id": record.station.deviceId}


def _open_authorisations(record: FleetRecord) -> Value:
    counts = record.authorisations
    return None if counts is None else counts.unused + counts.in_use


def _open_by_status(record: FleetRecord) -> Mapping[str, Value] | None:
    counts = record.authorisations
    return None if counts is None else {"unused": counts.unused, "in_use": counts.in_use}


def _has_field(field: str) -> Callable[[CompartmentRecord], bool]:
    """Return a test for the presence of a field; "" and null are values of it."""
    return lambda record: field in record.lattice.model_fields_set


def _flag(key: str, field: str, en: str, zh: str, **other: Any) -> EntityDescription[CompartmentRecord]:
    return EntityDescription(
        key=key,
        name=Name(en, zh),
        component=Component.BINARY_SENSOR,
        value=lambda record: on_off(getattr(record.lattice, field)),
        exists=_has_field(field),
        **other,
    )


def _film(record: CompartmentRecord) -> Mapping[str, Value] | None:
    return None if record.lattice.fileUrl is None else {"file_url": record.lattice.fileUrl}


def _lock_type(record: CompartmentRecord) -> Mapping[str, Value] | None:
    lattice = record.lattice
    return None if lattice.deviceId is None or lattice.deviceType is None else {"device_type": lattice.deviceType}


def _asset(
    key: str, name: Name, value: Callable[[Asset], Value], component: Component = Component.SENSOR, **other: Any
) -> EntityDescription[CompartmentRecord]:
    """Return an entity of the lock in a compartment. Without a lock, or with one that nobody knows, it is unknown."""
    return EntityDescription(
        key=key,
        name=name,
        component=component,
        value=lambda record: None if record.asset is None else value(record.asset),
        exists=lambda record: record.has_assets,
        source=ASSETS,
        **other,
    )


def _battery(asset: Asset) -> int | float | None:
    percent = known(asset.battery)
    return percent if percent is not None and 0 <= percent <= FULL else None


def _raw_battery(record: CompartmentRecord) -> Mapping[str, Value] | None:
    """Return a battery level that is none in per cent."""
    percent = None if record.asset is None else known(record.asset.battery)
    return None if record.asset is None or percent is None or _battery(record.asset) is not None else {"raw": percent}


def _online(asset: Asset) -> Value:
    """Return ON for 1 and OFF for 0; any other status, -1 above all, is unknown."""
    return on_off(asset.onlineStatus == 1) if asset.onlineStatus in (0, 1) else None


def _signal(key: str, field: str, name: Name, icon: str) -> EntityDescription[CompartmentRecord]:
    return _asset(
        key,
        name,
        lambda asset: known(getattr(asset, field)),
        state_class="measurement",
        category=DIAGNOSTIC,
        enabled=False,
        icon=f"mdi:{icon}",
    )


FLEET: tuple[EntityDescription[FleetRecord], ...] = (
    EntityDescription(
        key="org_name",
        name=Name("Organisation", "组织名称"),
        value=lambda record: record.org_name,
        exists=lambda _: True,
        category=DIAGNOSTIC,
        icon="mdi:domain",
    ),
    EntityDescription(
        key="login_time",
        name=Name("Last login", "最近登录时间"),
        value=lambda record: record.login_time,
        exists=lambda _: True,
        device_class="timestamp",
        category=DIAGNOSTIC,
    ),
    EntityDescription(
        key="time_diff",
        name=Name("Time difference", "时差"),
        value=lambda record: record.time_diff,
        exists=lambda _: True,
        device_class="duration",
        unit="s",
        category=DIAGNOSTIC,
        enabled=False,
    ),
    _sum(
        FleetRecord, STATIONS, ("sum_station_count", "sumStationCount", Name("Stations", "站点总数"), "locker-multiple")
    ),
    *_sums(FleetRecord, STATIONS),
    EntityDescription(
        key="open_authorisations",
        name=Name("Open authorisations", "未完成授权数"),
        value=_open_authorisations,
        attributes=_open_by_status,
        source=AUTHORISATIONS,
        state_class="measurement",
        icon="mdi:key-chain",
    ),
    EntityDescription(
        key="open_transfers",
        name=Name("Open authorisation transfers", "未完成授权转移数"),
        value=lambda record: None if record.authorisations is None else record.authorisations.transfers,
        source=AUTHORISATIONS,
        state_class="measurement",
        icon="mdi:key-arrow-right",
    ),
)

STATION: tuple[EntityDescription[StationRecord], ...] = (
    EntityDescription(
        key="position",
        name=Name("Position", "位置"),
        component=Component.DEVICE_TRACKER,
        value=_position,
        exists=_station_has("centerLat"),
    ),
    EntityDescription(
        key="total_count",
        name=Name("Configured compartments", "配置格口数"),
        value=lambda record: record.station.totalCount,
        attributes=_security_device,
        exists=_station_has("totalCount"),
        enabled=False,
        state_class="measurement",
        icon="mdi:locker-multiple",
    ),
    *_sums(StationRecord, LATTICES),
)
"""Without `sumStationCount`, which does not concern a single station."""

COMPARTMENT: tuple[EntityDescription[CompartmentRecord], ...] = (
    EntityDescription(
        key="occupied",
        name=Name("Occupied", "有锁"),
        component=Component.BINARY_SENSOR,
        value=lambda record: on_off(record.lattice.deviceId is not None),
        attributes=_film,
        exists=_has_field("deviceId"),
        device_class="occupancy",
    ),
    EntityDescription(
        key="device_id",
        name=Name("Lock", "锁编号"),
        value=lambda record: record.lattice.deviceId,
        attributes=_lock_type,
        exists=_has_field("deviceId"),
        icon="mdi:lock",
    ),
    _flag("connect_power", "connectPower", "Power connected", "接通电源", device_class="plug"),
    _flag("is_full", "isFull", "Fully charged", "已充满", icon="mdi:battery"),
    _flag("is_failure", "isFailure", "Failure", "故障", device_class="problem", essential=True),
    EntityDescription(
        key="lock_status",
        name=Name("Lock status", "锁状态"),
        value=lambda record: record.lattice.lockStatus,
        exists=_has_field("lockStatus"),
        enabled=False,
        icon="mdi:lock-question",
    ),
    EntityDescription(
        key="update_time",
        name=Name("Updated", "更新时间"),
        value=lambda record: iso(record.lattice.updateTime),
        exists=_has_field("updateTime"),
        device_class="timestamp",
        category=DIAGNOSTIC,
        enabled=False,
    ),
    _asset(
        "lock_battery",
        Name("Lock battery", "锁电量"),
        _battery,
        attributes=_raw_battery,
        essential=True,
        device_class="battery",
        state_class="measurement",
        unit="%",
    ),
    _asset(
        "lock_online",
        Name("Lock online", "锁在线"),
        _online,
        Component.BINARY_SENSOR,
        essential=True,
        device_class="connectivity",
    ),
    _asset("lock_position", Name("Lock position", "锁位置"), position, Component.DEVICE_TRACKER),
    _asset(
        "lock_gps_time",
        Name("Lock positioned", "锁定位时间"),
        lambda asset: iso(asset.gpsTime),
        device_class="timestamp",
    ),
    _signal("lock_gps_signal", "gpsSignal", Name("Lock satellite signal", "锁卫星信号"), "satellite-variant"),
    _signal("lock_gsm_signal", "gsmSignal", Name("Lock mobile signal", "锁移动信号"), "signal"),
    _asset(
        "lock_network_type",
        Name("Lock network type", "锁网络类型"),
        lambda asset: None if asset.networkType == str(UNKNOWN) else asset.networkType,
        category=DIAGNOSTIC,
        enabled=False,
        icon="mdi:network-outline",
    ),
)
