"""A network namespace for one node, with a link of its own to each of several services: a link that is down loses all.

Sockets stay open on both sides, as when a cable is pulled out. It needs root, or sudo, and `ip` of iproute2.
"""

from __future__ import annotations

import os
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.mqtt.proxy import Proxy
from tests.process import ran

if TYPE_CHECKING:
    from typing import Self

_AS_ROOT = () if os.geteuid() == 0 else ("sudo", "-n")


async def _as_root(*command: str) -> str:
    done = await ran(*_AS_ROOT, *command)
    assert done.code == 0, f"{' '.join(command)} failed: {done.errors}"
    return done.output


@dataclass(slots=True)
class Link:
    """A pair of interfaces, of which one is in the namespace."""

    interface: str
    address: str
    """Of this side: where the node reaches what is relayed."""

    async def down(self) -> None:
        """Lose every packet from now on."""
        await _as_root("ip", "link", "set", self.interface, "down")

    async def up(self) -> None:
        """Carry packets again."""
        await _as_root("ip", "link", "set", self.interface, "up")


@dataclass(slots=True)
class Namespace:
    """A namespace without any network but its links."""

    name: str = field(default_factory=lambda: f"f2m{secrets.token_hex(3)}")
    _links: int = 0
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        await _as_root("ip", "netns", "add", self.name)
        self._stack.push_async_callback(_as_root, "ip", "netns", "del", self.name)
        await _as_root("ip", "-n", self.name, "link", "set", "lo", "up")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def command(self) -> tuple[str, ...]:
        """Return the command that starts a program inside, as the user of the tests."""
        user = ("setpriv", f"--reuid={os.getuid()}", f"--regid={os.getgid()}", "--init-groups")
        return (*_AS_ROOT, "ip", "netns", "exec", self.name, *(user if _AS_ROOT else ()))

    async def add_link(self) -> Link:
        """Connect the namespace to this machine by one more link, with a network that nobody else has."""
        here, there = f"{self.name}{self._links}", f"{self.name}{self._links}i"
        net = f"10.{200 + self._links}.{secrets.randbelow(250)}"
        self._links += 1
        await _as_root("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
        await _as_root("ip", "address", "add", f"{net}.1/30", "dev", here)
        await _as_root("ip", "link", "set", here, "up")
        await _as_root("ip", "-n", self.name, "address", "add", f"{net}.2/30", "dev", there)
        await _as_root("ip", "-n", self.name, "link", "set", there, "up")
        return Link(here, f"{net}.1")

    async def relay(self, link: Link, port: int) -> int:
        """Relay to a port of this machine by a link; return the port at the link's address."""
        proxy = await self._stack.enter_async_context(Proxy(port, link.address))
        return proxy.port

    async def end_processes(self) -> None:
        """Kill whatever runs inside."""
        if pids := (await _as_root("ip", "netns", "pids", self.name)).split():
            await _as_root("kill", "-KILL", *pids)
