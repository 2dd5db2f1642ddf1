"""`fleet2mqtt run`: the bridge."""

from __future__ import annotations

import argparse
import asyncio
import signal

from fleet2mqtt import app
from fleet2mqtt.cli.memory import tune_memory
from fleet2mqtt.cli.process import OK, cluster_module, configure_logging, stop_on_signals
from fleet2mqtt.config.loader import load
from fleet2mqtt.ops.service_manager import service_manager


async def run(options: argparse.Namespace) -> int:
    """Run the bridge until SIGTERM or Ctrl-C; SIGHUP reloads its configuration."""
    tune_memory()
    config = load(options.config)
    reload = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    log, stop, manager = configure_logging(options, config), stop_on_signals(), service_manager()
    async with asyncio.TaskGroup() as group:
        group.create_task(manager.run(stop), name="service manager")
        if config.cluster is None:
            await app.run(config, log, stop, reload=reload, on_started=manager.report_ready)
        else:
            node = cluster_module("fleet2mqtt.node")
            await node.run(config, log, stop, reload=reload, on_started=manager.report_ready)
    return OK
