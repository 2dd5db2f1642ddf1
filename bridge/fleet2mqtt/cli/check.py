"""`fleet2mqtt check`: a configuration is validated, and everything in it tried read-only."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from fleet2mqtt.app import mqtt_settings
from fleet2mqtt.cli.process import FAILED, OK, cluster_module, configure_logging, print_line
from fleet2mqtt.config.loader import load
from fleet2mqtt.config.models import ClusterConfig, Config, MqttConfig
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.selection import SelectionFilter
from fleet2mqtt.errors import BackendError, Disconnected, OutboxError
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.mqtt.takeover import try_takeover
from fleet2mqtt.network import authority
from fleet2mqtt.outbox import open_outbox
from fleet2mqtt.push import subscriber
from fleet2mqtt.sdk.api import Backend, Source, Subscription
from fleet2mqtt.unit import ActiveBackends, BackendConnector

BROKER_TIMEOUT = 25.0
"""Seconds that the broker has to accept a connection."""


async def run(options: argparse.Namespace) -> int:
    """Validate a configuration and try the broker and each backend; print a line for each."""
    config = load(options.config)
    configure_logging(options, config)
    for warning in config.warnings:
        print_line(f"{warning} (warning)", options.translate)
    print_line(f"{options.config}: valid", options.translate)
    report = await check(config)
    for tried, problem in report:
        print_line(f"{tried}: {problem or 'ok'}", options.translate)
    return FAILED if any(problem for _, problem in report) else OK


@asynccontextmanager
async def open_backends(config: Config) -> AsyncIterator[dict[str, Backend]]:
    """Connect the backends with a temporary data directory: that of the configuration stays as it is."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet2mqtt-")))
        outbox = await stack.enter_async_context(open_outbox(folder / "outbox.sqlite"))
        active = ActiveBackends()
        selection = SelectionFilter(active.selection_of)
        connector = BackendConnector(ids=Ids(), data_dir=folder, outbox=outbox, active=active, selection=selection)
        yield {name: await stack.enter_async_context(connector.connect(each)) for name, each in config.backends.items()}


async def check(config: Config) -> list[tuple[str, str | None]]:
    """Try the broker, and each backend's primary sources and subscription; return what was tried with its problem."""
    report = [await _check_broker(config)]
    if config.cluster is not None and config.mqtt is not None:
        report += await _check_cluster(config, config.cluster, config.mqtt)
    async with open_backends(config) as backends:
        for backend in backends.values():
            for source in backend.sources:
                if source.primary:
                    problem = await _poll_first_page(source)
                    report.append((f"{backend.name} ({backend.platform}, {source.name})", problem))
            if backend.subscription is not None:
                problem = await _try_subscription(backend.subscription)
                report.append((f"{backend.name} ({backend.platform}, subscribe)", problem))
    return report


async def _try_subscription(subscription: Subscription) -> str | None:
    """Connect to the vendor's MQTT broker and subscribe; return the error if that fails."""
    try:
        await subscriber.probe(subscription)
    except BackendError as error:
        return str(error)
    return None


async def _check_broker(config: Config) -> tuple[str, str | None]:
    if config.mqtt is None:
        return "mqtt (the embedded broker)", None
    address = authority(config.mqtt.host, config.mqtt.port)
    name = f"mqtt {address}"
    settings = mqtt_settings(config.mqtt, "", Topics(config.base_topic, config.discovery.prefix))
    # A client id of its own: with that of the bridge it would take over the session of one that runs.
    settings = replace(settings, client_id=f"fleet2mqtt-check-{secrets.token_hex(3)}")
    mqtt = MqttClient(settings, ())
    try:
        async with asyncio.timeout(BROKER_TIMEOUT):
            return f"{name}, MQTT {await mqtt.probe()}", None
    except TimeoutError:
        return name, f"no response within {BROKER_TIMEOUT:g} s"
    except Disconnected as error:
        return name, str(error).removeprefix(f"{address}: ").removeprefix(f"{config.mqtt.host}:{config.mqtt.port}: ")


async def _check_cluster(config: Config, cluster: ClusterConfig, broker: MqttConfig) -> list[tuple[str, str | None]]:
    """Try what a cluster relies on: session takeover, a database that loses nothing, clocks."""
    topics = Topics(config.base_topic, config.discovery.prefix)
    report = [("cluster, session takeover", await try_takeover(mqtt_settings(broker, "", topics)))]
    try:
        report += await cluster_module("fleet2mqtt.cluster.status").check(cluster)
    except OutboxError as error:
        report.append(("cluster, database", str(error)))
    return report


async def _poll_first_page(source: Source) -> str | None:
    """Poll a source until its first update; return the error if that fails."""
    try:
        async for _ in source.poll():
            break
    except BackendError as error:
        return str(error)
    return None
