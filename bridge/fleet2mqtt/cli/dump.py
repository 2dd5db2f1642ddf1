"""`fleet2mqtt dump`: one inventory of a backend as JSON."""

from __future__ import annotations

from typing import Any

from fleet2mqtt.cli.check import open_backends
from fleet2mqtt.config.models import Config
from fleet2mqtt.contract.payloads import stamp
from fleet2mqtt.devices.model import Device
from fleet2mqtt.errors import BackendError


async def dump(config: Config, name: str) -> dict[str, Any]:
    """One inventory of a backend: every source polled once; secrets were dropped where its answers were parsed."""
    async with open_backends(config) as backends:
        backend = backends[name]
        devices: dict[str, Device] = {}
        faults = {}
        for source in backend.sources:
            try:
                async for update in source.poll():
                    devices |= {device.id: device for device in update.devices}
            except BackendError as error:
                faults[source.name] = str(error)
        return {
            "backend": name,
            "platform": backend.platform,
            "at": stamp(),
            "faults": faults,
            "devices": [_device(device) for device in devices.values()],
        }


def _device(device: Device) -> dict[str, Any]:
    return {
        "id": device.id,
        "native": device.vendor_id,
        "name": device.name,
        "model": device.model,
        "via": device.via,
        "available": device.available,
        "state": device.state,
        "attributes": device.attributes,
    }
