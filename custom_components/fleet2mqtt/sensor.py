"""Sensors of the bridge's health that MQTT discovery does not carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

from homeassistant.components.sensor import SensorDeviceClass, SensorEntity, SensorEntityDescription, SensorStateClass
from homeassistant.const import EntityCategory, UnitOfInformation, UnitOfTime
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.typing import StateType

from .coordinator import Fleet2MqttConfigEntry
from .entity import BridgeEntity
from .models import Json, Snapshot, figure

PARALLEL_UPDATES = 0

WINDOWS = ("last_hour", "last_day", "active")
SEVERITIES = ("critical", "major", "minor", "warning", "indeterminate")
SHOWN = {("last_day", "critical"), ("last_day", "major"), ("active", "critical"), ("active", "major")}


@dataclass(frozen=True, kw_only=True)
class Row(SensorEntityDescription):
    """The description of one sensor; a value of None is unknown."""

    value: Callable[[Snapshot], StateType]


def _health(*path: str) -> Callable[[Snapshot], Any]:
    return lambda snapshot: figure(snapshot.health, *path)


def _oldest(snapshot: Snapshot) -> StateType:
    """Return the age of the oldest waiting alarm in seconds, 0 if none waits."""
    age: StateType = figure(snapshot.health, "outbox", "oldest_age")
    return 0 if age is None and figure(snapshot.health, "outbox", "depth") == 0 else age


def _sum(window: str) -> Callable[[Snapshot], StateType]:
    return lambda snapshot: _total((snapshot.summary or {}).get(window))


def _total(counts: Json | None) -> int | None:
    return None if counts is None else sum(counts.values())


HEALTH = (
    Row(
        key="outbox_oldest_age",
        translation_key="outbox_oldest_age",
        device_class=SensorDeviceClass.DURATION,
        native_unit_of_measurement=UnitOfTime.SECONDS,
        state_class=SensorStateClass.MEASUREMENT,
        entity_category=EntityCategory.DIAGNOSTIC,
        value=_oldest,
    ),
    Row(
        key="loop_lag",
        translation_key="loop_lag",
        device_class=SensorDeviceClass.DURATION,
        native_unit_of_measurement=UnitOfTime.SECONDS,
        suggested_unit_of_measurement=UnitOfTime.MILLISECONDS,
        suggested_display_precision=1,
        state_class=SensorStateClass.MEASUREMENT,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value=_health("loop_lag"),
    ),
    Row(
        key="rss",
        translation_key="rss",
        device_class=SensorDeviceClass.DATA_SIZE,
        native_unit_of_measurement=UnitOfInformation.BYTES,
        suggested_unit_of_measurement=UnitOfInformation.MEBIBYTES,
        suggested_display_precision=1,
        state_class=SensorStateClass.MEASUREMENT,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value=_health("rss"),
    ),
    Row(
        key="last_seq",
        translation_key="last_seq",
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value=_health("outbox", "last_seq"),
    ),
)


def _alarms(window: str, severity: str) -> Row:
    """Return the sensors of alarm counts by severity; most are disabled by default."""
    return Row(
        key=f"alarms_{window}_{severity}",
        translation_key=f"alarms_{window}_{severity}",
        state_class=SensorStateClass.MEASUREMENT,
        entity_registry_enabled_default=(window, severity) in SHOWN,
        value=lambda snapshot: figure(snapshot.summary, window, severity),
    )


ALARMS = (
    *(
        Row(
            key=f"alarms_{window}",
            translation_key=f"alarms_{window}",
            state_class=SensorStateClass.MEASUREMENT,
            value=_sum(window),
        )
        for window in WINDOWS
    ),
    *(_alarms(window, severity) for window, severity in product(WINDOWS, SEVERITIES)),
)


async def async_setup_entry(
    hass: HomeAssistant, entry: Fleet2MqttConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the sensors of one bridge."""
    async_add_entities(BridgeSensor(entry.runtime_data, row) for row in (*HEALTH, *ALARMS))


class BridgeSensor(BridgeEntity, SensorEntity):
    """A sensor of the tables above."""

    entity_description: Row

    @property
    def native_value(self) -> StateType:
        """Newest value of the bridge."""
        return self.entity_description.value(self.coordinator.data)
