"""`fleet2mqtt simulate`: the simulator of one platform, found by its entry point."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from aiohttp import web

from fleet2mqtt.cli.process import OK, print_line, stop_on_signals
from fleet2mqtt.contract.payloads import dumps
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.network import authority
from fleet2mqtt.push.http_server import cannot_listen, start_http_server

HOST = "127.0.0.1"
SIMULATORS = "fleet2mqtt.simulators"
"""The entry point group of simulators, by the platform's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """Address and content of a simulator; `push` is the URL that it pushes to."""

    host: str = HOST
    port: int = 0
    devices: int = 2
    push: str | None = None
    live: bool = True


async def run(options: argparse.Namespace) -> int:
    """Serve a simulator until SIGTERM or Ctrl-C; print its URL and the options of a backend for it."""
    stop = stop_on_signals()  # before anything is printed: whoever waits for that may end this process at once
    simulated = SimulatorOptions(
        host=options.host, port=options.port, devices=options.devices, push=options.push, live=not options.still
    )
    async with simulator(options.platform, simulated) as url:
        print_line(f"{options.platform} simulator on {url}", options.translate)
        for name, value in options_for(options.platform).items():
            print_line(f"  {name}: {dumps(value).decode()}")
        await stop.wait()
    return OK


@asynccontextmanager
async def simulator(platform: str, options: SimulatorOptions) -> AsyncIterator[str]:
    """Serve a platform's simulator; yield its URL. Raises ConfigError if it cannot listen."""
    app: web.Application = _load(platform).create(devices=options.devices, push_url=options.push, live=options.live)
    try:
        server = await start_http_server(app, options.host, options.port)
    except OSError as error:
        problem = cannot_listen(error, options.host, options.port)
        raise ConfigError([f"{problem}; choose another --port or --host"]) from error
    try:
        yield f"http://{authority(options.host, server.addresses[0][1])}"
    finally:
        await server.cleanup()


def options_for(platform: str) -> dict[str, Any]:
    """Return the options that a backend needs for the platform's simulator, besides its URL."""
    return dict(getattr(_load(platform), "DEMO", {}))


def _load(platform: str) -> Any:
    return entry_points(group=SIMULATORS)[platform].load()
