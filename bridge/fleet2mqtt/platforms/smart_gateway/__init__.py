"""Platform `smart_gateway`: systems of bonded-SIM "smart gateways" (IG200). See README.md beside this file."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fleet2mqtt.devices.model import EntityDescriptions
from fleet2mqtt.platforms.smart_gateway.actions import ACTIONS, backend_actions
from fleet2mqtt.platforms.smart_gateway.client import API, ENVELOPE, Client
from fleet2mqtt.platforms.smart_gateway.concurrency import Concurrency
from fleet2mqtt.platforms.smart_gateway.conditions import CONDITIONS
from fleet2mqtt.platforms.smart_gateway.coordinator import Coordinator
from fleet2mqtt.platforms.smart_gateway.device_store import Area, DeviceStore
from fleet2mqtt.platforms.smart_gateway.entities import (
    BACKEND,
    DETAILS,
    GATEWAY,
    MAPPINGS,
    channel_entities,
    rule_entities,
    usage_entities,
)
from fleet2mqtt.platforms.smart_gateway.fields import requested_fields
from fleet2mqtt.platforms.smart_gateway.json_repair import parse
from fleet2mqtt.platforms.smart_gateway.mapping_store import MappingStore
from fleet2mqtt.platforms.smart_gateway.models import ChannelRecord, Writer
from fleet2mqtt.platforms.smart_gateway.schemas import OPTIONS as SCHEMA
from fleet2mqtt.platforms.smart_gateway.usage import Units, UsageStore
from fleet2mqtt.platforms.smart_gateway.writes import SetBody
from fleet2mqtt.sdk.api import Backend, Calls, Context, Source
from fleet2mqtt.sdk.device_cache import DeviceCache
from fleet2mqtt.sdk.http_client import open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from fleet2mqtt.sdk.sweep import Sweep
from fleet2mqtt.sdk.updates import UpdateFactory

__all__ = ["ACTIONS", "CONDITIONS", "KINDS", "SCHEMA", "connect"]

KINDS = frozenset(("channel", "rule"))
"""Kinds of sub-devices, for rules of selection."""


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend[Coordinator]]:
    """Open one backend; nothing is sent before the first poll."""
    options = {**context.options, "url": context.options["url"].removesuffix(API)}
    concurrency = options["concurrency"]
    rate_limiter = RateLimiter(concurrency=concurrency)
    shows_channels = not context.excludes_kind("channel")
    shows_rules = not context.excludes_kind("rule") and context.interval("mappings") < math.inf
    async with open_http_client(options, envelope=ENVELOPE, rate_limiter=rate_limiter, parse=parse) as api:
        units = Units(**options["units"])
        channels = channel_entities(units)
        usage = _usage(context, units) if shows_channels else None
        queried = _queried(context, options["query"], channels if shows_channels else ())
        gateways = DeviceStore(
            cache=DeviceCache(backend=context.name, ids=context.ids),
            channel_entities=channels,
            running_states=frozenset(options["running_states"]),
            up_states=frozenset(options["up_states"]),
            area=Area(options["area"]),
            queried=queried,
            shows_channels=shows_channels,
            usage=usage,
        )
        coordinator = Coordinator(
            client=Client(api=api, set_path=options["set_path"]),
            gateways=gateways,
            mappings=MappingStore(gateways=gateways, checkpoint=context.checkpoint),
            update=UpdateFactory(context.name),
            save_checkpoint=context.save_checkpoint,
            page_size=options["page_size"],
            first_page=options["first_page"],
            set_body=SetBody(options["set_body"]),
            details=Sweep(primary_fails=context.primary_fails),
            selects=context.selects,
            requested=requested_fields(
                context.publishes, queries_all=queried is None, channels=shows_channels, rules=shows_rules
            ),
            concurrency=Concurrency(backend=context.name, rate_limiter=rate_limiter, wanted=concurrency),
        )
        try:
            yield _backend(context, coordinator, api.calls, concurrency)
        finally:
            if usage is not None:
                await usage.save(now=True)


def _backend(
    context: Context, coordinator: Coordinator, calls: Mapping[str, Calls], concurrency: int
) -> Backend[Coordinator]:
    return Backend(
        name=context.name,
        platform="smart_gateway",
        client=coordinator,
        sources=_sources(context, coordinator),
        read=coordinator.read_device,
        actions=backend_actions(coordinator),
        calls=calls,
        quota={"concurrency": concurrency},
        title="Smart gateway back end",
    )


def _usage(context: Context, units: Units) -> UsageStore | None:
    """Return the meters of SIM usage, None where no entity shows them."""
    if not any(map(context.publishes, usage_entities(units.usage))):
        return None
    return UsageStore(
        path=context.data_dir / f"{context.name}.usage.json",
        zone=context.zone,
        reset_day=context.options["billing_day"],
        units=units,
    )


def _queried(
    context: Context, query: str | list[str], channels: EntityDescriptions[ChannelRecord, Writer]
) -> tuple[str, ...] | None:
    """Return the gateways whose details are polled, None for all; no gateway where no entity needs them."""
    tables: tuple[EntityDescriptions, ...] = (GATEWAY, channels)
    if not any(context.is_enabled(entity) for table in tables for entity in table if entity.source == DETAILS):
        return ()
    return None if query == "all" else tuple(query)


def _sources(context: Context, coordinator: Coordinator) -> tuple[Source, ...]:
    return (
        Source(
            name="devices",
            interval=context.interval("devices"),
            poll=coordinator.poll_devices,
            primary=True,
            freshness=coordinator.gateways.freshness,
        ),
        Source(name="details", interval=context.interval("details"), poll=coordinator.poll_details),
        Source(
            name="mappings",
            interval=context.interval("mappings"),
            poll=coordinator.poll_mappings,
            entities=(*rule_entities(()), *(entity for entity in BACKEND if entity.source == MAPPINGS)),
            kind="rule",
        ),
    )
