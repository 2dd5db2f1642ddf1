"""`fleet2mqtt dump`: one inventory of a backend as JSON."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import Any

from fleet2mqtt.cli import fixture
from fleet2mqtt.cli.check import open_backends
from fleet2mqtt.cli.process import FAILED, OK, configure_logging, print_line
from fleet2mqtt.config.loader import load
from fleet2mqtt.config.models import Config
from fleet2mqtt.contract.payloads import dumps, stamp
from fleet2mqtt.devices.model import Device
from fleet2mqtt.errors import BackendError, ConfigError
from fleet2mqtt.redaction import Redaction, redact_json
from fleet2mqtt.sdk.exchanges import Exchanges


async def run(options: argparse.Namespace) -> int:
    """Print the devices of one backend with their states, without secrets."""
    config = load(options.config)
    if options.backend not in config.backends:
        known = ", ".join(config.backends)
        raise ConfigError([f"{options.config}: there is no backend {options.backend}; there is {known}"])
    configure_logging(options, config)
    exchanges = Exchanges()
    with exchanges.recording() if options.fixture else nullcontext():
        inventory = await dump(config, options.backend)
    found = redact_json(inventory, Redaction(config.secrets))
    if options.fixture:
        fixture.write(options.fixture, config.backends[options.backend], found, exchanges.made)
        print_line(
            f"{options.fixture}: {len(exchanges.made)} exchanges; look through them before you hand them on",
            options.translate,
        )
    else:
        print_line(dumps(found).decode())
    return FAILED if inventory["faults"] else OK


async def dump(config: Config, name: str) -> dict[str, Any]:
    """Poll every source of a backend once; return its devices. Secrets were dropped where responses were parsed."""
    async with open_backends(config) as backends:
        backend = backends[name]
        devices: dict[str, Device] = {}
        problems = {}
        for source in backend.sources:
            try:
                async for update in source.poll():
                    devices |= {device.id: device for device in update.devices}
            except BackendError as error:
                problems[source.name] = str(error)
        return {
            "backend": name,
            "platform": backend.platform,
            "at": stamp(),
            "faults": problems,
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
