"""New Rock UMS (eEMS), the manager of VoIP gateways: gateways, FXO lines, alarms, fleet figures. See README.md."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import voluptuous as vol

from bridge.api import open_api
from bridge.backend import Backend, Context, Source, scan_interval
from bridge.backends.ums.actions import actions
from bridge.backends.ums.alarms import CatchUp
from bridge.backends.ums.client import ENVELOPE, Client
from bridge.backends.ums.entities import MANUFACTURER, TITLE
from bridge.backends.ums.models import parse
from bridge.backends.ums.pushes import pushes
from bridge.backends.ums.system import System
from bridge.pace import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["SCHEMA", "connect"]

CONCURRENCY = 2

SCHEMA: Mapping[Any, Any] = {
    vol.Optional("page_size", default=100): vol.All(int, vol.Range(min=1, max=1000)),
    **scan_interval(devices=60, alarms=60, lines=300, status=300, statistics=300, events=300),
}


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend]:
    """One UMS. Nothing is asked of it until a source is polled."""
    pace = Pace(concurrency=CONCURRENCY)
    async with open_api(context.options, envelope=ENVELOPE, pace=pace, parse=parse) as api:
        client = Client(api)
        system = System(context, client)
        yield Backend(
            name=context.name,
            platform="ums",
            client=system,
            sources=_sources(context, system),
            read=system.read,
            actions=actions(system),
            pushes=pushes(context, system),
            calls=api.calls,
            quota={"concurrency": CONCURRENCY},
            title=TITLE,
            manufacturer=MANUFACTURER,
            configuration_url=system.url,
        )


def _sources(context: Context, system: System) -> tuple[Source, ...]:
    every = context.interval
    return (
        Source(name="devices", interval=every("devices"), poll=system.poll_devices, primary=True),
        Source(name="alarms", interval=every("alarms"), poll=CatchUp(context, system).poll),
        Source(name="lines", interval=every("lines"), poll=system.poll_lines),
        Source(name="status", interval=every("status"), poll=system.poll_status, fresh=system.newest_statistics),
        Source(name="statistics", interval=every("statistics"), poll=system.poll_statistics),
        Source(name="events", interval=every("events"), poll=system.poll_events),
    )
