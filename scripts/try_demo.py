"""Run `./scripts/demo` until its page shows devices of every backend, then end it with Ctrl-C.

    python3 scripts/try_demo.py

For .ci/run, with any Python that the demo itself accepts and nothing installed. Exits with 0 when the demo was ready,
showed devices, and ended with 0; otherwise the last line says what was missing.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEMO = Path(__file__).with_name("demo")
PATIENCE = 900.0
"""Seconds for setting up, starting and showing devices: generous, the first run installs everything."""
LOOK = re.compile(r"^ *look +(http://\S+)/$", re.MULTILINE)


def read(demo: subprocess.Popen[str], lines: list[str]) -> None:
    """Print what the demo prints and keep it."""
    assert demo.stdout is not None  # noqa: S101 - Popen was given a pipe
    for line in demo.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        lines.append(line)


def fetch(url: str) -> Any:
    """Return the JSON at a URL, or None while it is not there or answers that it is not ready."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the demo's own page, on loopback
            return json.load(answer)
    except urllib.error.URLError:
        return None


def wait_for(demo: subprocess.Popen[str], probe: Callable[[], str | None], deadline: float) -> str:
    """Return the first text that a probe gives. Exits when the demo ends or the deadline passes before that."""
    while not (found := probe()):
        if demo.poll() is not None:
            sys.exit(f"try_demo: ./scripts/demo ended with {demo.returncode} before it was ready")
        if time.monotonic() > deadline:
            sys.exit(f"try_demo: no devices of every backend within {PATIENCE:g} s")
        time.sleep(0.2)
    return found


def shown(page: str) -> str | None:
    """Return a summary of the page once the bridge is ready and every backend has devices."""
    ready, status = fetch(f"{page}/readyz"), fetch(f"{page}/api/status")
    if not ready or not status or not ready["ready"]:
        return None
    backends = {backend["name"] for backend in status["backends"] if backend["available"]}
    missing = ready["backends"].keys() - backends
    if missing or not status["devices"]["total"]:
        return None
    return f"{status['devices']['total']} devices of {', '.join(sorted(backends))}"


def run(demo: subprocess.Popen[str]) -> None:
    """Follow one demo from its first line to its exit code."""
    lines: list[str] = []
    reader = threading.Thread(target=read, args=(demo, lines), daemon=True)
    reader.start()
    deadline = time.monotonic() + PATIENCE

    def address() -> str | None:
        found = LOOK.search("".join(lines))
        return found[1] if found else None

    page = wait_for(demo, address, deadline)
    summary = wait_for(demo, lambda: shown(page), deadline)
    demo.send_signal(signal.SIGINT)
    if code := demo.wait(timeout=120):
        sys.exit(f"try_demo: ./scripts/demo ended with {code} after Ctrl-C")
    reader.join()
    print(f"try_demo: {summary}; ended by Ctrl-C")  # noqa: T201 - the program's result


def main() -> None:
    """Start the demo, and leave none behind whatever happens."""
    with subprocess.Popen([DEMO], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:  # noqa: S603
        try:
            run(demo)
        finally:
            if demo.poll() is None:
                demo.kill()


if __name__ == "__main__":
    main()
