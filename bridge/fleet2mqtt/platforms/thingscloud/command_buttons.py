"""Commands that the user wants as buttons: 下发命令到设备 in the document, with everything but the device fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fleet2mqtt.devices.model import Component, Device, EntityDescription, Name
from fleet2mqtt.platforms.thingscloud.models import DeviceInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A command by its `method` and `params`, for these types and devices (ids); for all where neither is named."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    types: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    def suits(self, info: DeviceInfo) -> bool:
        """Whether a device has this button."""
        return not (self.types or self.devices) or info.type in self.types or info.id in self.devices


def button_row(key: str, button: Button) -> EntityDescription:
    """The row of a button."""
    name = button.name or button.method
    return EntityDescription(
        key=key,
        name=Name(name, name),
        component=Component.BUTTON,
        exists=lambda _: True,
        write=partial(_press, button),
        icon="mdi:gesture-tap-button",
    )


async def _press(button: Button, system: Any, device: Device, _: Any) -> None:
    await system.send_command(device.vendor_id, button.method, button.params)
