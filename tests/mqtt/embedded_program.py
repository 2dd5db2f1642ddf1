"""Run the bridge with the embedded broker on a given port; the command line uses 1883 only.

python tests/mqtt/embedded_program.py CONFIGURATION PORT
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from fleet2mqtt import app
from fleet2mqtt.config.loader import load
from fleet2mqtt.ops import logging
from fleet2mqtt.redaction import Redaction


async def run(path: str, port: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = load(Path(path))
    log = logging.configure("info", as_json=False, redact=Redaction(config.secrets))
    await app.run(config, log, stop, embedded_port=int(port))


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
