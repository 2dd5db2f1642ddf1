"""Write the data directory of this version into tests/data_dirs: once for each release.

    .venv/bin/python scripts/keep_data_dir.py

A bridge runs beside a simulator of every platform until it has delivered alarms, and then without its broker until
there are some that it cannot deliver. tests/end_to_end/test_data_dirs.py opens the directory with the same backends.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from fleet2mqtt import __version__
from fleet2mqtt.cli.ports import HOST, reserved_port
from fleet2mqtt.cli.simulate import options_for

KEPT = Path(__file__).parents[1] / "tests" / "data_dirs" / __version__
BACKENDS = {
    "hq_voip": "ums",
    "branch": "smart_gateway",
    "things": "thingscloud",
    "cabinets": "omstation",
    "office": "sangfor_ac",
}
PROGRAM = (sys.executable, "-m", "fleet2mqtt")
SECRET = "push-secret-4711"  # noqa: S105 - of simulators
ALARMS = 5
PATIENCE = 300.0
"""Seconds until the simulators have had so many alarms."""


def start(stack: ExitStack, *command: str) -> subprocess.Popen[str]:
    """Start a program, which ends with the stack."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own programs
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def wait_for_alarms(port: int, figure: str, least: int) -> None:
    """Wait until a figure of the bridge's outbox is large enough. Exits where it does not become so."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(1)
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/api/status", timeout=30) as response:
                outbox = json.load(response)["bridge"]["outbox"]
        except OSError:
            continue
        if outbox[figure] >= least:
            return
    sys.exit(f"scripts/keep_data_dir.py: {figure} stays below {least}")


def write(folder: Path, stack: ExitStack) -> None:
    """Run the bridge in a folder until its data directory has something of everything."""
    mqtt, push, web = (stack.enter_context(reserved_port(0)) for _ in range(3))
    (folder / "mosquitto.conf").write_text(f"listener {mqtt} {HOST}\nallow_anonymous true\n")
    mosquitto = shutil.which("mosquitto", path="/usr/bin:/usr/sbin:/usr/local/sbin") or "mosquitto"
    broker = start(stack, mosquitto, "-c", str(folder / "mosquitto.conf"))
    backends: dict[str, dict[str, Any]] = {}
    for name, platform in BACKENDS.items():
        url = f"http://{HOST}:{push}/push/{name}/{SECRET}"
        alive = ("--push", url) if platform == "ums" else ("--still",)
        simulator = start(stack, *PROGRAM, "simulate", platform, "--port", "0", *alive)
        assert simulator.stdout is not None  # noqa: S101 - start gave it a pipe
        address = simulator.stdout.readline().split()[-1]
        backends[name] = {"platform": platform, "url": address, "push": {"secret": SECRET}} | options_for(platform)
    listen = {"push": {"host": HOST, "port": push}, "web": {"host": HOST, "port": web}}
    options = {"mqtt": {"host": HOST, "port": mqtt}, "data_dir": "data", "backends": backends}
    (folder / "fleet2mqtt.yaml").write_text(yaml.safe_dump(options | listen))
    bridge = start(stack, *PROGRAM, "run", "-c", str(folder / "fleet2mqtt.yaml"))
    wait_for_alarms(web, "last_seq", ALARMS)
    broker.terminate()
    wait_for_alarms(web, "depth", ALARMS)
    bridge.terminate()
    if bridge.wait():
        sys.exit("scripts/keep_data_dir.py: the bridge has failed")


def main() -> None:
    """Write the directory; an existing one stays."""
    if KEPT.exists():
        sys.exit(f"scripts/keep_data_dir.py: {KEPT} exists")
    with tempfile.TemporaryDirectory() as folder:
        with ExitStack() as stack:
            write(Path(folder), stack)
        shutil.copytree(Path(folder, "data"), KEPT, ignore=shutil.ignore_patterns("lock"))


if __name__ == "__main__":
    main()
