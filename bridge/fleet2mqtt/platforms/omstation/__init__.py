"""Platform `omstation`: Jiutong operation-management stations, cabinets that keep GPS locks. See README.md here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleet2mqtt.platforms.omstation.actions import backend_actions
from fleet2mqtt.platforms.omstation.auth import Session
from fleet2mqtt.platforms.omstation.client import Client
from fleet2mqtt.platforms.omstation.coordinator import Coordinator
from fleet2mqtt.platforms.omstation.device_store import DeviceStore
from fleet2mqtt.platforms.omstation.entities import AUTHORISATIONS, LATTICES, MANUFACTURER, STATIONS, TITLE
from fleet2mqtt.platforms.omstation.envelope import ENVELOPE, parse
from fleet2mqtt.platforms.omstation.schemas import OPTIONS as SCHEMA
from fleet2mqtt.platforms.omstation.window import QueryWindow
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.device_cache import DeviceCache
from fleet2mqtt.sdk.http_client import open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from fleet2mqtt.sdk.sweep import Sweep
from fleet2mqtt.sdk.token_store import TokenStore
from fleet2mqtt.sdk.updates import UpdateFactory

__all__ = ["SCHEMA", "connect"]

CONCURRENCY = 1


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend[Coordinator]]:
    """Open one backend; nothing is sent before the first poll, the login neither."""
    options = context.options
    async with open_http_client(
        options, envelope=ENVELOPE, pace=RateLimiter(concurrency=CONCURRENCY), parse=parse
    ) as api:
        session = Session(
            api=api,
            options=options,
            store=TokenStore(context.data_dir / f"{context.name}.token.json"),
        )
        cache = DeviceCache(backend=context.name, ids=context.ids, about={"manufacturer": MANUFACTURER})
        coordinator = Coordinator(
            client=Client(session=session),
            store=DeviceStore(cache=cache),
            update=UpdateFactory(context.name),
            sweep=Sweep(primary_fails=context.primary_fails),
            window=QueryWindow(
                start=options["window"]["start"],
                future_days=options["window"]["future_days"],
                as_time=options["window"]["format"] == "time",
            ),
        )
        yield Backend(
            name=context.name,
            platform="omstation",
            client=coordinator,
            sources=_sources(context, coordinator),
            read=coordinator.read_device,
            actions=backend_actions(coordinator),
            calls=api.calls,
            quota={"concurrency": CONCURRENCY},
            title=TITLE,
            manufacturer=MANUFACTURER,
        )


def _sources(context: Context, coordinator: Coordinator) -> tuple[Source, ...]:
    polls = {
        STATIONS: coordinator.poll_stations,
        LATTICES: coordinator.poll_lattices,
        AUTHORISATIONS: coordinator.poll_authorisations,
    }
    return tuple(
        Source(name=name, interval=context.interval(name), poll=poll, primary=name == STATIONS)
        for name, poll in polls.items()
    )
