"""See it work: an embedded broker, a simulator of every platform, and the bridge between them."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from fleet2mqtt.config import loader
from fleet2mqtt.config.models import BackendConfig, Config
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.mqtt import embedded_broker
from fleet2mqtt.push.http_server import cannot_listen, start_http_server
from fleet2mqtt.sdk.api import platforms

HOST = "127.0.0.1"
SIMULATORS = "fleet2mqtt.simulators"
"""The entry point group of simulators, by the platform's name."""
OFTEN = 5.0
"""Seconds between two polls of whatever is polled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Ports and sizes of a demo. A port that is taken is replaced by a free one."""

    mqtt_port: int = 1883
    web_port: int = 8099
    devices: int = 4
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where and how a simulator plays."""

    host: str = HOST
    port: int = 0
    devices: int = 2
    push: str | None = None
    live: bool = True


@asynccontextmanager
async def simulator(platform: str, stage: Stage) -> AsyncIterator[str]:
    """Serve a platform's simulator; gives its URL. Raises ConfigError where it cannot start_http_server."""
    app: web.Application = _simulator(platform).create(devices=stage.devices, push_url=stage.push, live=stage.live)
    try:
        runner = await start_http_server(app, stage.host, stage.port)
    except OSError as error:
        fault = cannot_listen(error, stage.host, stage.port)
        raise ConfigError([f"{fault}; choose another --port or --host"]) from error
    try:
        port = runner.addresses[0][1]
        yield f"http://{stage.host}:{port}"
    finally:
        await runner.cleanup()


def options_for(platform: str) -> dict[str, Any]:
    """What a backend's configuration needs beside the URL of the platform's simulator."""
    return dict(getattr(_simulator(platform), "DEMO", {}))


@asynccontextmanager
async def prepared(layout: Layout) -> AsyncIterator[tuple[Config, str]]:
    """Everything around the bridge, running; gives its configuration and a text that says what to look at."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet2mqtt-demo-")))
        mqtt = await stack.enter_async_context(embedded_broker.broker(embedded_broker.free_port(layout.mqtt_port)))
        web_port, push_port = embedded_broker.free_port(layout.web_port), embedded_broker.free_port()
        backends: dict[str, Any] = {}
        for platform in sorted(platforms()):
            secret = secrets.token_urlsafe(12)
            push = f"http://{HOST}:{push_port}/push/{platform}/{secret}"
            url = await stack.enter_async_context(simulator(platform, Stage(devices=layout.devices, push=push)))
            options = {"platform": platform, "url": url, "push": {"secret": secret}}
            backends[platform] = options | options_for(platform)
        written = {
            "mqtt": {"host": HOST, "port": mqtt, "protocol": embedded_broker.PROTOCOL},
            "language": layout.language,
            "push": {"host": HOST, "port": push_port},
            "web": {"host": HOST, "port": web_port},
            "backends": backends,
        }
        configured = loader.parse(yaml.safe_dump(written), folder / "demo.yaml")
        lively = {name: _lively(each) for name, each in configured.backends.items()}
        yield replace(configured, data_dir=folder / "data", backends=lively), _about(mqtt, web_port, configured)


def _lively(backend: BackendConfig) -> BackendConfig:
    """Polled so often that something is seen to happen."""
    intervals = {source: min(seconds, OFTEN) for source, seconds in backend.options["scan_interval"].items()}
    return replace(backend, options={**backend.options, "scan_interval": intervals})


def _simulator(platform: str) -> Any:
    return entry_points(group=SIMULATORS)[platform].load()


def _about(mqtt: int, web_port: int, configured: Config) -> str:
    base = configured.base_topic
    names = ", ".join(configured.backends)
    return f"""\
The demo runs: {names} are simulated, nothing leaves this machine. Ctrl-C ends it and leaves nothing behind.

  look    http://{HOST}:{web_port}/
  watch   mosquitto_sub -p {mqtt} -v -t '{base}/device/+/state'
  alarms  mosquitto_sub -p {mqtt} -v -t '{base}/alarm/event/#'
  switch  mosquitto_pub -p {mqtt} -t {base}/device/smart_gateway_172de6ac9832de_channel_0/set/enable -m ON
  Home Assistant: add the MQTT integration with host {HOST}, port {mqtt}; everything appears by itself.
"""
