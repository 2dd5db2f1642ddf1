"""Notifications to systemd (sd_notify), for units of Type=notify with a watchdog.

The protocol is a datagram to the socket that NOTIFY_SOCKET names; a library for it would be larger.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from fleet2mqtt.aio import wait_for_event

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceManager:
    """systemd, or nobody where `address` is None. It expects a sign of life every `watchdog` seconds; None is never."""

    address: str | None = None
    watchdog: float | None = None

    def report_ready(self) -> None:
        """Report that the service has started."""
        self._notify("READY=1")

    async def run(self, stop: asyncio.Event) -> None:
        """Report that the event loop runs, twice within the time of the watchdog, until `stop`; report that, too."""
        while self.watchdog is not None and not await wait_for_event(stop, self.watchdog / 2):
            self._notify("WATCHDOG=1")
        await stop.wait()
        self._notify("STOPPING=1")

    def _notify(self, state: str) -> None:
        if self.address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(state.encode(), self.address)
        except OSError as error:
            _LOG.warning("systemd is not notified of %s: %s", state, error.strerror)


def service_manager(variables: Mapping[str, str] = os.environ) -> ServiceManager:
    """Return the service manager that started this process, as its environment variables say."""
    address = variables.get("NOTIFY_SOCKET")
    if not address:
        return ServiceManager()
    is_meant = variables.get("WATCHDOG_PID") in (None, str(os.getpid()))
    microseconds = variables.get("WATCHDOG_USEC") if is_meant else None
    return ServiceManager(
        address="\0" + address[1:] if address.startswith("@") else address,
        watchdog=int(microseconds) / 1e6 if microseconds else None,
    )
