"""New Rock UMS (eEMS), the manager of VoIP gateways: gateways, FXO lines, alarms, fleet figures. See README.md."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import voluptuous as vol

from fleet2mqtt.platforms.ums.actions import actions
from fleet2mqtt.platforms.ums.alarms import CatchUp
from fleet2mqtt.platforms.ums.client import ENVELOPE, Client
from fleet2mqtt.platforms.ums.coordinator import System
from fleet2mqtt.platforms.ums.entities import MANUFACTURER, TITLE
from fleet2mqtt.platforms.ums.models import parse
from fleet2mqtt.platforms.ums.push import pushes
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.http_client import open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from fleet2mqtt.sdk.validators import scan_interval

__all__ = ["SCHEMA", "connect"]

CONCURRENCY = 2

SCHEMA: Mapping[Any, Any] = {
    vol.Optional("page_size", default=100): vol.All(int, vol.Range(min=1, max=1000)),
    **scan_interval(devices=60, alarms=60, lines=300, status=300, statistics=300, events=300),
}


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend]:
    """One UMS. Nothing is asked of it until a source is polled."""
    pace = RateLimiter(concurrency=CONCURRENCY)
    async with open_http_client(context.options, envelope=ENVELOPE, pace=pace, parse=parse) as api:
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
