"""The entities of a relay: each is one description, with its reading and its writing side by side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fleet2mqtt.devices.model import Component, Device, EntityCategory, EntityDescription, Name, Update, on_off
from fleet2mqtt.platforms._template.models import RelayRecord, Writer
from fleet2mqtt.sdk.vendor_json import iso

READINGS = "readings"
"""The source that owns the keys of a reading: they keep their values after a restart until it has answered."""


def _has(field: str) -> Callable[[RelayRecord], bool]:
    """Return a test for the presence of a field: an entity exists as long as the vendor sends it, blank or not."""
    return lambda record: field in record.relay.model_fields_set


def _reading(field: str) -> Callable[[RelayRecord], Any]:
    def value(record: RelayRecord) -> Any:
        return None if record.reading is None or record.reading_missed else getattr(record.reading, field)

    return value


def _has_reading(field: str) -> Callable[[RelayRecord], bool]:
    return lambda record: record.reading is not None and field in record.reading.model_fields_set


async def _write_group(writer: Writer, device: Device, values: Mapping[str, Any]) -> Update | None:
    """Send several settings of one `set` in one call."""
    return await writer.write_settings(device, values)


def _write(setting: str) -> Callable[[Writer, Device, Any], Awaitable[Update | None]]:
    async def write(writer: Writer, device: Device, value: Any) -> Update | None:
        return await writer.write_settings(device, {setting: value})

    return write


RELAY: tuple[EntityDescription[RelayRecord, Writer], ...] = (
    EntityDescription(
        key="relay",  # public and permanent: part of topics, unique ids and users' rules
        name=Name("Relay", "继电器"),
        component=Component.SWITCH,
        value=lambda record: on_off(record.relay.relay),
        exists=_has("relay"),
        essential=True,  # part of `entities: minimal`
        write=_write("relay"),
        group="settings",
        write_group=_write_group,
    ),
    EntityDescription(
        key="limit",
        name=Name("Current limit", "电流上限"),
        component=Component.NUMBER,
        value=lambda record: record.relay.limit,
        exists=_has("limit"),
        write=_write("limit"),
        group="settings",
        write_group=_write_group,
        category=EntityCategory.CONFIG,
        device_class="current",
        unit="A",
        minimum=1,
        maximum=16,
        step=1,
    ),
    EntityDescription(
        key="temperature",
        name=Name("Temperature", "温度"),
        value=_reading("temperature"),
        exists=_has_reading("temperature"),
        source=READINGS,
        device_class="temperature",
        state_class="measurement",
        unit="°C",
    ),
    EntityDescription(
        key="read_at",
        name=Name("Read at", "读取时间"),
        value=lambda record: iso(_reading("at")(record)),
        exists=_has_reading("at"),
        source=READINGS,
        device_class="timestamp",
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
    ),
)
