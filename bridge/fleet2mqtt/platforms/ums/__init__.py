"""New Rock UMS (eEMS), the manager of VoIP gateways: gateways, FXO lines, alarms, fleet figures. See README.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleet2mqtt.devices.model import EntityDescription
from fleet2mqtt.platforms.ums.actions import ACTIONS, actions
from fleet2mqtt.platforms.ums.backfill import Backfill
from fleet2mqtt.platforms.ums.client import ENVELOPE, Client, base_url
from fleet2mqtt.platforms.ums.conditions import CONDITIONS
from fleet2mqtt.platforms.ums.coordinator import Coordinator
from fleet2mqtt.platforms.ums.entities import (
    EVENTS,
    FLEET_ENTITIES,
    GATEWAY_ENTITIES,
    LINE_ENTITIES,
    LINE_KIND,
    LINES,
    MANUFACTURER,
    STATISTICS_ENTITIES,
    STATUS,
    TITLE,
)
from fleet2mqtt.platforms.ums.models import parse
from fleet2mqtt.platforms.ums.push import pushes
from fleet2mqtt.platforms.ums.schemas import OPTIONS as SCHEMA
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.http_client import open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter

__all__ = ["ACTIONS", "CONDITIONS", "KINDS", "SCHEMA", "connect"]

KINDS = frozenset((LINE_KIND,))
"""Kinds of sub-devices, for rules of selection."""


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend]:
    """Open one UMS. Nothing is requested from it until a source is polled."""
    concurrency: int = context.options["concurrency"]
    limiter = RateLimiter(concurrency=concurrency)
    options = {**context.options, "url": base_url(context.options["url"])}
    async with open_http_client(options, envelope=ENVELOPE, rate_limiter=limiter, parse=parse) as api:
        coordinator = Coordinator(context, Client(api))
        yield Backend(
            name=context.name,
            platform="ums",
            client=coordinator,
            sources=_sources(context, coordinator),
            read=coordinator.read,
            actions=actions(coordinator),
            pushes=pushes(context, coordinator),
            calls=api.calls,
            quota={"concurrency": concurrency},
            title=TITLE,
            manufacturer=MANUFACTURER,
            configuration_url=coordinator.url,
        )


def _sources(context: Context, coordinator: Coordinator) -> tuple[Source, ...]:
    every = context.interval
    return (
        Source(name="devices", interval=every("devices"), poll=coordinator.poll_devices, primary=True),
        Source(name="alarms", interval=every("alarms"), poll=Backfill(context, coordinator).poll, needs_clock=True),
        Source(
            name="lines",
            interval=every("lines"),
            poll=coordinator.poll_lines,
            entities=_fed_by(LINES, GATEWAY_ENTITIES) + LINE_ENTITIES,
            kind=LINE_KIND,
        ),
        Source(
            name="status",
            interval=every("status"),
            poll=coordinator.poll_status,
            freshness=coordinator.newest_statistics,
            entities=_fed_by(STATUS, FLEET_ENTITIES),
        ),
        # While this is not polled, `backfill` reads the counts once an hour: they show alarms that 3.2 hides.
        Source(
            name="statistics",
            interval=every("statistics"),
            poll=coordinator.poll_statistics,
            entities=STATISTICS_ENTITIES,
        ),
        Source(
            name="events",
            interval=every("events"),
            poll=coordinator.poll_events,
            entities=_fed_by(EVENTS, FLEET_ENTITIES),
        ),
    )


def _fed_by(source: str, entities: tuple[EntityDescription, ...]) -> tuple[EntityDescription, ...]:
    return tuple(entity for entity in entities if entity.source == source)
