"""`fleet2mqtt demo`: a broker, a simulator of every platform, and the bridge between them."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from fleet2mqtt import app
from fleet2mqtt.cli import demo_cluster
from fleet2mqtt.cli.ports import HOST, reserved_port
from fleet2mqtt.cli.process import OK, cluster_module, configure_logging, print_line, stop_on_signals
from fleet2mqtt.cli.simulate import SimulatorOptions, options_for, simulator
from fleet2mqtt.config import loader
from fleet2mqtt.config.models import BackendConfig, Config, Protocol
from fleet2mqtt.devices.selection import Detail, Rule
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.mqtt import embedded_broker
from fleet2mqtt.sdk import api
from fleet2mqtt.sdk.api import platforms

SCAN_INTERVAL = 5.0
"""Seconds between two polls of every source of a small fleet."""
DEVICES_A_SECOND = 5
"""Devices of which a source reads one after another in a second, with everything in one process."""
LARGE = 50
"""Devices of each platform beyond which only essential entities are published, and no sub-devices.

500 devices of each platform have 13,000 lines, channels and compartments. Home Assistant subscribes to what it
discovered only when no discovery message came for a moment, so with all of them it shows nothing for many minutes.
"""
QUEUE = "max_queued_messages 0\nmax_queued_bytes 0\n"
"""By default mosquitto drops what a busy subscriber, such as Home Assistant with thousands of devices, is late for."""
BROKER_START = 30.0
"""Seconds that mosquitto has to listen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Ports and sizes of a demo. A port that is in use is replaced by a free one."""

    host: str = HOST
    mqtt_port: int = 1883
    web_port: int = 8099
    devices: int = 4
    language: str = "en"
    broker: str = "auto"


async def run(options: argparse.Namespace) -> int:
    """Run the demo until SIGTERM or Ctrl-C; print what there is to see."""
    demo = DemoOptions(
        host=options.host,
        mqtt_port=options.port,
        web_port=options.web_port,
        devices=options.devices,
        language=options.language,
        broker=options.broker,
    )
    stop = stop_on_signals()
    if options.cluster:
        await _run_cluster(demo, options, stop)
        return OK
    async with open_demo(demo) as (config, about):
        print_line(about, options.translate)
        await app.run(config, configure_logging(options, config), stop)
    return OK


async def _run_cluster(demo: DemoOptions, options: argparse.Namespace, stop: asyncio.Event) -> None:
    """Run a cluster around the same simulators. Raises ConfigError."""
    cluster_module("fleet2mqtt.cluster.status")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet2mqtt-demo-")))
        push_port = stack.enter_context(reserved_port(0))
        cluster = await stack.enter_async_context(demo_cluster.open_cluster(folder))
        config, about, values = await stack.enter_async_context(_surroundings(demo, folder, push_port))
        values["backends"] = {name: _explicit(values["backends"][name], each) for name, each in config.backends.items()}
        await stack.enter_async_context(demo_cluster.start_nodes(cluster, folder, values, push_port))
        print_line(about, options.translate)
        print_line(cluster.about())
        await cluster.run(stop)


def _explicit(options: dict[str, Any], backend: BackendConfig) -> dict[str, Any]:
    """Return the options of a backend with the intervals of the demo, for a configuration file."""
    return options | {"scan_interval": dict(backend.options["scan_interval"])}


@asynccontextmanager
async def open_demo(options: DemoOptions) -> AsyncIterator[tuple[Config, str]]:
    """Run everything around the bridge; yield its configuration and a text about what there is to see."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet2mqtt-demo-")))
        push_port = stack.enter_context(reserved_port(0))
        config, about, _ = await stack.enter_async_context(_surroundings(options, folder, push_port))
        yield config, about


@asynccontextmanager
async def _surroundings(
    options: DemoOptions, folder: Path, push_port: int
) -> AsyncIterator[tuple[Config, str, dict[str, Any]]]:
    """Run a broker and the simulators; yield the configuration, a text about it, and its options as in a file."""
    async with AsyncExitStack() as stack:
        mqtt_port, web_port = (
            stack.enter_context(_reserved_port(port, options.host)) for port in (options.mqtt_port, options.web_port)
        )
        protocol = await stack.enter_async_context(_broker(mqtt_port, folder, options))
        backends: dict[str, Any] = {}
        for platform in sorted(platforms()):
            secret = secrets.token_urlsafe(12)
            push = f"http://{HOST}:{push_port}/push/{platform}/{secret}"
            simulated = SimulatorOptions(devices=options.devices, push=push)
            url = await stack.enter_async_context(simulator(platform, simulated))
            backends[platform] = {"platform": platform, "url": url, "push": {"secret": secret}} | options_for(platform)
        values = {
            "mqtt": {"host": _reachable(options.host), "port": mqtt_port, "protocol": protocol},
            "language": options.language,
            "push": {"host": HOST, "port": push_port},
            "web": {"host": options.host, "port": web_port},
            "backends": backends,
        }
        config = loader.parse(yaml.safe_dump(values), folder / "demo.yaml")
        frequent = {name: _for_demo(each, options.devices) for name, each in config.backends.items()}
        about = _about(config.base_topic, frequent, options.host, mqtt_port, web_port, protocol)
        if options.devices > LARGE:
            about += (
                "  With so many devices only what an operator alarms on is published (option entities: minimal),\n"
                "  and no lines, channels and other sub-devices (option exclude).\n"
            )
        yield replace(config, data_dir=folder / "data", backends=frequent), about, values


@asynccontextmanager
async def _broker(port: int, folder: Path, options: DemoOptions) -> AsyncIterator[str]:
    """Run mosquitto where it is installed, else the embedded broker; yield the MQTT version that it speaks."""
    # Debian keeps the broker outside an ordinary user's PATH.
    mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if mosquitto is None and options.broker == "mosquitto":
        raise ConfigError(["mosquitto is not installed; leave --broker out for the embedded broker"])
    if mosquitto is None or options.broker == "embedded":
        async with embedded_broker.broker(port, options.host):
            yield Protocol.V311.value
        return
    configuration = folder / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} {options.host}\nallow_anonymous true\nlog_type error\n{QUEUE}", encoding="utf-8"
    )
    process = await asyncio.create_subprocess_exec(
        mosquitto, "-c", str(configuration), stdin=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    try:
        await _wait_until_listening(process, _reachable(options.host), port)
        yield Protocol.V5.value
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _wait_until_listening(process: asyncio.subprocess.Process, host: str, port: int) -> None:
    """Wait until mosquitto accepts connections. Raises ConfigError if it does not."""
    try:
        async with asyncio.timeout(BROKER_START):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection(host, port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return
    except TimeoutError:
        pass
    raise ConfigError([f"mosquitto does not start on port {port}; choose another --port"])


def _for_demo(backend: BackendConfig, devices: int) -> BackendConfig:
    """Return a backend that is polled as often as one process can, with the entities of a fleet of this size."""
    often = max(SCAN_INTERVAL, devices / DEVICES_A_SECOND)
    intervals = {source: min(seconds, often) for source, seconds in backend.options["scan_interval"].items()}
    selection = backend.selection
    if devices > LARGE:
        kinds = sorted(api.kinds(platforms()[backend.platform]()) or ())
        exclude = (*selection.exclude, *(Rule(kind=kind) for kind in kinds))
        selection = replace(selection, entities=Detail.MINIMAL, exclude=exclude)
    return replace(backend, options={**backend.options, "scan_interval": intervals}, selection=selection)


def _reserved_port(port: int, host: str) -> AbstractContextManager[int]:
    """Reserve a port. Raises ConfigError for an address that this machine does not have."""
    try:
        socket.getaddrinfo(host, port, family=socket.AF_INET)
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise ConfigError([f"cannot listen on {host}: {error.strerror}; choose another --host"]) from error
    return reserved_port(port, host)


def _reachable(host: str) -> str:
    """Return the address at which a server on this machine is reached."""
    return HOST if host in {"0.0.0.0", ""} else host  # noqa: S104 - compared, not listened on


def _about(  # noqa: PLR0913, PLR0917 - what the text names
    base: str, backends: dict[str, BackendConfig], host: str, mqtt_port: int, web_port: int, protocol: str
) -> str:
    reached = _reachable(host)
    at = "" if reached == HOST else f"-h {reached} "
    where = HOST if host == HOST else "<this machine's address>" if reached == HOST else host
    add = f"add the MQTT integration with host {where}, port {mqtt_port}"
    hint = (
        ""
        if protocol == Protocol.V5.value
        else "; in its form choose MQTT protocol 3.1.1\n  (Advanced options), which this broker speaks"
    )
    names = ", ".join(backends)
    reach = "nothing leaves this machine" if host == HOST else f"anyone who reaches {host} can use them"
    return f"""\
The demo runs: {names} are simulated, {reach}. Ctrl-C ends it and leaves nothing behind.

  look    http://{reached}:{web_port}/
  watch   mosquitto_sub {at}-p {mqtt_port} -v -t '{base}/device/+/state'
  alarms  mosquitto_sub {at}-p {mqtt_port} -v -t '{base}/alarm/event/#'
  switch  mosquitto_pub {at}-p {mqtt_port} -t {base}/device/smart_gateway_172de6ac9832de_channel_0/set/enable -m ON
  Home Assistant: {add}{hint}; everything appears by itself.
"""
