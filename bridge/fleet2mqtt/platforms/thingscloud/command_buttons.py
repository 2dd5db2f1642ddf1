"""Device commands that the user configured as buttons: 下发命令到设备 in the document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fleet2mqtt.devices.model import Component, Device, EntityDescription, Name
from fleet2mqtt.platforms.thingscloud.models import DeviceInfo, DeviceWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandButton:
    """A command by its `method` and `params`, for these types and devices (ids); for all where neither is named."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    types: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    def applies_to(self, info: DeviceInfo) -> bool:
        """Return whether a device has this button."""
        return not (self.types or self.devices) or info.type in self.types or info.id in self.devices


def build_button(key: str, button: CommandButton) -> EntityDescription:
    """Build the entity description of a button."""
    name = button.name or button.method
    return EntityDescription(
        key=key,
        name=Name(name, name),
        component=Component.BUTTON,
        exists=lambda _: True,
        write=partial(_press, button),
        icon="mdi:gesture-tap-button",
    )


async def _press(button: CommandButton, writer: DeviceWriter, device: Device, _: Any) -> None:
    await writer.press_command(device, button.method, button.params)
