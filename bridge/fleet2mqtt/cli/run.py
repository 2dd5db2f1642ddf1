"""`fleet2mqtt run`: the bridge."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal

from fleet2mqtt import app
from fleet2mqtt.cli.process import OK, configure_logging, stop_on_signals
from fleet2mqtt.config.loader import load
from fleet2mqtt.ops.service_manager import service_manager

NEW_OBJECTS = 10_000
"""Objects after which the garbage collector looks at the new ones.

The interpreter's 700 are made by a few alarms, which still wait for the disk and the broker then: each look finds
nothing and makes them old, and the old ones are looked through again and again.
"""


async def run(options: argparse.Namespace) -> int:
    """Run the bridge until SIGTERM or Ctrl-C; SIGHUP reloads its configuration."""
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
    config = load(options.config)
    reload = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    log, stop, manager = configure_logging(options, config), stop_on_signals(), service_manager()
    async with asyncio.TaskGroup() as group:
        group.create_task(manager.run(stop), name="service manager")
        await app.run(config, log, stop, reload=reload, on_started=manager.report_ready)
    return OK
