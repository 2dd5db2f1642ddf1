"""Looking without running: `check` tries everything read-only, `dump` reads one inventory."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from fleet2mqtt.app import mqtt_settings
from fleet2mqtt.config.models import Config
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.selection import SelectionFilter
from fleet2mqtt.errors import BackendError, Disconnected
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.outbox import open_outbox
from fleet2mqtt.sdk.api import Backend
from fleet2mqtt.unit import ActiveBackends, BackendConnector

BROKER_PATIENCE = 25.0
"""Seconds that `check` gives the broker."""


@asynccontextmanager
async def open_backends(config: Config) -> AsyncIterator[dict[str, Backend]]:
    """The backends, with nothing kept: a look leaves the data directory alone."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet2mqtt-")))
        outbox = await stack.enter_async_context(open_outbox(folder / "outbox.sqlite"))
        active = ActiveBackends()
        selection = SelectionFilter(active.selection_of)
        connector = BackendConnector(ids=Ids(), data_dir=folder, outbox=outbox, active=active, selection=selection)
        yield {name: await stack.enter_async_context(connector.connect(each)) for name, each in config.backends.items()}


async def check(config: Config) -> list[tuple[str, str | None]]:
    """Try the broker and each backend's primary sources; gives what was tried, and its fault if any."""
    report = [await _check_broker(config)]
    async with open_backends(config) as backends:
        for backend in backends.values():
            for source in backend.sources:
                if source.primary:
                    fault = await _first(backend, source.name)
                    report.append((f"{backend.name} ({backend.platform}, {source.name})", fault))
    return report


async def _check_broker(config: Config) -> tuple[str, str | None]:
    if config.mqtt is None:
        return "mqtt (the broker inside)", None
    name = f"mqtt {config.mqtt.host}:{config.mqtt.port}"
    settings = mqtt_settings(config.mqtt, "", Topics(config.base_topic, config.discovery.prefix))
    # An id of its own: with that of the bridge it would take over the connection of one that runs.
    settings = replace(settings, client_id=f"fleet2mqtt-check-{secrets.token_hex(3)}")
    mqtt = MqttClient(settings, ())
    try:
        async with asyncio.timeout(BROKER_PATIENCE):
            return f"{name}, MQTT {await mqtt.probe()}", None
    except TimeoutError:
        return name, f"no answer within {BROKER_PATIENCE:g} s"
    except Disconnected as error:
        return name, str(error).removeprefix(f"{config.mqtt.host}:{config.mqtt.port}: ")


async def _first(backend: Backend, source_name: str) -> str | None:
    source = next(source for source in backend.sources if source.name == source_name)
    try:
        async for _ in source.poll():
            break
    except BackendError as error:
        return str(error)
    return None
