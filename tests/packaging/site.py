"""What every way to install the bridge is tried with: a broker, a simulator, and the device that must arrive."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.broker import HOST, Broker
from tests.commandline import OM50, simulator
from tests.process import Ended, ran

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.recording import Recording

ROOT = Path(__file__).parents[2]
INSTALLS = 600.0
"""Seconds for what downloads or builds."""
STATE = f"fleet2mqtt/device/hq_{OM50.lower()}/state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A broker, and the URL of a simulator of UMS."""

    broker: Broker
    seen: Recording
    url: str

    async def device(self) -> None:
        """Wait until a device of the simulator has its state at the broker."""
        await self.seen.wait(lambda message: message.topic == STATE and b"_meta" in message.payload)


@asynccontextmanager
async def open_site(folder: Path, broker: Broker | None = None) -> AsyncIterator[Site]:
    """Run a broker and a simulator on loopback."""
    async with (
        broker or Broker(directory=folder / "broker") as running,
        running.record("fleet2mqtt/#") as seen,
        simulator("ums") as (url, _),
    ):
        yield Site(broker=running, seen=seen, url=url)


def configuration(site: Site) -> dict[str, object]:
    """Return a configuration for a site, without `data_dir`."""
    return {
        "mqtt": {"host": HOST, "port": site.broker.port},
        "push": {"host": HOST, "port": 0},
        "web": {"host": HOST, "port": 0},
        "backends": {"hq": {"platform": "ums", "url": site.url}},
    }


async def uv(*arguments: str, **environment: str) -> Ended:
    """Run the installer of scripts/setup, with the package index of this machine."""
    source = 'cd "$1"; shift; source scripts/installer.sh; install_uv >&2; exec "$uv" "$@"'
    settings = [f"{name}={value}" for name, value in (os.environ | environment).items()]
    ended = await ran("env", *settings, "bash", "-euc", source, "bash", str(ROOT), *arguments, patience=INSTALLS)
    assert ended.code == 0, ended.errors
    return ended
