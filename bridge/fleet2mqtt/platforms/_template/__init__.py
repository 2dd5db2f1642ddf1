"""Template of a platform: copy it, see README.md here. It works against its own simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleet2mqtt.platforms._template.actions import ACTIONS, backend_actions
from fleet2mqtt.platforms._template.client import ENVELOPE, Client
from fleet2mqtt.platforms._template.conditions import CONDITIONS
from fleet2mqtt.platforms._template.coordinator import DEVICES, READINGS, Coordinator
from fleet2mqtt.platforms._template.device_store import DeviceStore
from fleet2mqtt.platforms._template.schemas import OPTIONS as SCHEMA
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.device_cache import DeviceCache
from fleet2mqtt.sdk.http_client import open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from fleet2mqtt.sdk.sweep import Sweep
from fleet2mqtt.sdk.updates import UpdateFactory

# The core looks for these in the module that the entry point names; ACTIONS is what the names in `allow` are checked
# against, CONDITIONS are alarms of the bridge itself, KINDS the kinds of sub-devices (Device.kind) that rules may name.
# A function check(options) is optional: it yields vol.Invalid for options that contradict each other.
__all__ = ["ACTIONS", "CONDITIONS", "KINDS", "SCHEMA", "connect"]

KINDS = frozenset[str]()  # a relay has no parts
CONCURRENCY = 2


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend[Coordinator]]:
    """Open one backend; nothing is sent before the first poll."""
    options = context.options
    # The rate limiter bounds what the vendor has to bear; commands overtake polls in it.
    async with open_http_client(options, envelope=ENVELOPE, rate_limiter=RateLimiter(concurrency=CONCURRENCY)) as api:
        cache = DeviceCache(backend=context.name, ids=context.ids, about={"manufacturer": "Example"})
        coordinator = Coordinator(
            client=Client(api=api, key=options["api_key"]),
            store=DeviceStore(cache=cache),
            update=UpdateFactory(context.name),
            sweep=Sweep(primary_fails=context.primary_fails),
            selects=context.selects,
        )
        yield Backend(
            name=context.name,
            platform="_template",
            client=coordinator,
            sources=_sources(context, coordinator),
            read=coordinator.read_device,
            actions=backend_actions(coordinator),
            calls=api.calls,
            quota={"concurrency": CONCURRENCY},
            title="Example relay cloud",
        )


def _sources(context: Context, coordinator: Coordinator) -> tuple[Source, ...]:
    # The primary source decides whether the backend is available. A secondary one that fails makes its own entities
    # unavailable and nothing else.
    return (
        Source(name=DEVICES, interval=context.interval(DEVICES), poll=coordinator.poll_devices, primary=True),
        Source(name=READINGS, interval=context.interval(READINGS), poll=coordinator.poll_readings),
    )
