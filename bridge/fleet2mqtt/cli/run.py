"""`fleet2mqtt run`: the bridge."""

from __future__ import annotations

import argparse
import asyncio
import signal

from fleet2mqtt import app
from fleet2mqtt.cli.process import OK, configure_logging, stop_on_signals
from fleet2mqtt.config.loader import load


async def run(options: argparse.Namespace) -> int:
    """Run the bridge until SIGTERM or Ctrl-C; SIGHUP reloads its configuration."""
    config = load(options.config)
    reload = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    await app.run(config, configure_logging(options, config), stop_on_signals(), reload=reload)
    return OK
