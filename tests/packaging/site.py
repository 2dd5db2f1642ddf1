"""Surroundings in which each installation is tried: a broker, a simulator, and the device that must be published."""

from __future__ import annotations

import shlex
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.broker import HOST, Broker
from tests.commandline import OM50, simulator
from tests.process import Ended, ran
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.recording import Message, Recording

ROOT = Path(__file__).parents[2]
INSTALLS = 600.0
"""Seconds for what downloads or builds."""
STATE = f"fleet2mqtt/device/hq_{OM50.lower()}/state"


@dataclass(slots=True, kw_only=True)
class Site:
    """A broker, and the URL of a simulator of UMS. What has been waited for is over: it has to come again."""

    broker: Broker
    seen: Recording
    url: str
    _over: int = 0

    async def device(self) -> None:
        """Wait until a device of the simulator has its state at the broker."""
        await self._wait(lambda message: message.topic == STATE and b"_meta" in message.payload)

    async def offline(self) -> None:
        """Wait until the bridge has published that it is offline."""
        await self._wait(lambda message: (message.topic, message.payload) == ("fleet2mqtt/bridge/state", b"offline"))

    def forget(self) -> None:
        """Have everything that was seen so far be over."""
        self._over = len(self.seen.messages)

    async def _wait(self, match: Callable[[Message], bool]) -> None:
        def found() -> int | None:
            """Return how many messages are over once this one is."""
            messages = tuple(self.seen.messages)
            return next((place + 1 for place in range(self._over, len(messages)) if match(messages[place])), None)

        def missing() -> str:
            last = [f"{message.topic} {message.payload[:200]!r}" for message in tuple(self.seen.messages)[-20:]]
            return "\n  ".join((f"a message after the first {self._over}; the last ones:", *last))

        self._over = await wait_until(found, missing)


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
    settings = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    return await installer_shell(f'{settings}exec "$uv" {shlex.join(arguments)}')


async def installer_shell(script: str) -> Ended:
    """Run a script in bash, in which `$uv` is the installer of scripts/setup; it must end well."""
    begin = f"cd {shlex.quote(str(ROOT))}\nsource scripts/installer.sh\ninstall_uv >&2\n"
    ended = await ran("bash", "-euc", begin + script, patience=INSTALLS)
    assert ended.code == 0, ended.output + ended.errors
    return ended
