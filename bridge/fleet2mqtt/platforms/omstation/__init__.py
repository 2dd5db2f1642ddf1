"""Platform `omstation`: Jiutong operation-management stations, cabinets that keep GPS locks. See README.md here."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from fleet2mqtt.devices.model import EntityDescription, EntityDescriptions
from fleet2mqtt.platforms.omstation.actions import ACTIONS, backend_actions
from fleet2mqtt.platforms.omstation.assets import ASSETS as ASSETS_CALL
from fleet2mqtt.platforms.omstation.assets import PREFIX, AssetClient, AssetServer
from fleet2mqtt.platforms.omstation.auth import Session
from fleet2mqtt.platforms.omstation.client import Client
from fleet2mqtt.platforms.omstation.conditions import CONDITIONS
from fleet2mqtt.platforms.omstation.coordinator import Coordinator
from fleet2mqtt.platforms.omstation.device_store import DeviceStore
from fleet2mqtt.platforms.omstation.entities import (
    ASSETS,
    AUTHORISATIONS,
    COMPARTMENT,
    COMPARTMENT_KIND,
    FLEET,
    LATTICES,
    MANUFACTURER,
    STATION,
    STATIONS,
    TITLE,
)
from fleet2mqtt.platforms.omstation.envelope import ENVELOPE, parse
from fleet2mqtt.platforms.omstation.schemas import OPTIONS as SCHEMA
from fleet2mqtt.platforms.omstation.schemas import check
from fleet2mqtt.platforms.omstation.window import QueryWindow
from fleet2mqtt.sdk.api import Backend, Context, ServedCall, Source
from fleet2mqtt.sdk.device_cache import DeviceCache
from fleet2mqtt.sdk.http_client import HttpClient, open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from fleet2mqtt.sdk.sweep import Sweep
from fleet2mqtt.sdk.token_store import TokenStore
from fleet2mqtt.sdk.updates import UpdateFactory

__all__ = ["ACTIONS", "CONDITIONS", "KINDS", "SCHEMA", "check", "connect"]

KINDS = frozenset((COMPARTMENT_KIND,))
"""Kinds of sub-devices, for rules of selection."""

CONCURRENCY = 1


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend[Coordinator]]:
    """Open one backend; nothing is sent before the first poll, the login neither."""
    options = context.options
    async with AsyncExitStack() as stack:
        limiter = RateLimiter(concurrency=CONCURRENCY)
        api = await stack.enter_async_context(
            open_http_client(options, envelope=ENVELOPE, rate_limiter=limiter, parse=parse)
        )
        session = Session(
            api=api,
            options=options,
            store=TokenStore(context.data_dir / f"{context.name}.token.json"),
        )
        assets = await stack.enter_async_context(_asset_client(options, api)) if options["assets"]["url"] else None
        cache = DeviceCache(backend=context.name, ids=context.ids, about={"manufacturer": MANUFACTURER})
        store = DeviceStore(cache=cache, has_assets=assets is not None, selects=context.selects)
        server = AssetServer(find=store.find_lock, token=options["assets"]["server_token"])
        coordinator = Coordinator(
            client=Client(session=session),
            store=store,
            update=UpdateFactory(context.name),
            sweep=Sweep(primary_fails=context.primary_fails),
            window=QueryWindow(
                start=options["window"]["start"],
                future_days=options["window"]["future_days"],
                as_time=options["window"]["format"] == "time",
            ),
            assets=assets,
        )
        yield Backend(
            name=context.name,
            platform="omstation",
            client=coordinator,
            sources=_sources(context, coordinator),
            read=coordinator.read_device,
            actions=backend_actions(coordinator),
            served=(ServedCall(prefix=PREFIX, name=ASSETS_CALL, respond=server.respond),),
            calls=api.calls,
            quota={"concurrency": CONCURRENCY},
            title=TITLE,
            manufacturer=MANUFACTURER,
        )


@asynccontextmanager
async def _asset_client(options: Mapping[str, Any], api: HttpClient) -> AsyncIterator[AssetClient]:
    """Open the client of the asset system; its calls are counted with the others."""
    own = {**options, "url": options["assets"]["url"], "headers": {}}
    async with open_http_client(
        own, envelope=ENVELOPE, rate_limiter=RateLimiter(concurrency=CONCURRENCY), parse=parse
    ) as other:
        yield AssetClient(api=replace(other, calls=api.calls), token=options["assets"]["token"])


def _sources(context: Context, coordinator: Coordinator) -> tuple[Source, ...]:
    polls = {
        STATIONS: coordinator.poll_stations,
        LATTICES: coordinator.poll_lattices,
        AUTHORISATIONS: coordinator.poll_authorisations,
    }
    if coordinator.assets is not None and context.interval(LATTICES) < math.inf:  # they tell which locks there are
        polls[ASSETS] = coordinator.poll_assets
    return tuple(
        Source(
            name=name,
            interval=context.interval(name),
            poll=poll,
            primary=name == STATIONS,
            entities=_fed_by(name, context),
            kind=COMPARTMENT_KIND if name == ASSETS else None,
        )
        for name, poll in polls.items()
    )


def _fed_by(source: str, context: Context) -> tuple[EntityDescription, ...]:
    """Return the entities that a source feeds; lattices feed the sums of a station beside its compartments."""
    tables: tuple[EntityDescriptions, ...] = (FLEET, STATION, COMPARTMENT)
    fed = tuple(entity for table in tables for entity in table if entity.source == source)
    if source == LATTICES and not context.excludes_kind(COMPARTMENT_KIND):
        fed += tuple(entity for entity in COMPARTMENT if not entity.source)
    return fed
