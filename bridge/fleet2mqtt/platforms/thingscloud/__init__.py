"""ThingsCloud, an IoT platform: devices with free attributes, alarms, groups, users of one project. See README.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleet2mqtt.platforms.thingscloud.actions import actions
from fleet2mqtt.platforms.thingscloud.alarm_matching import Ledger
from fleet2mqtt.platforms.thingscloud.alarms import CatchUp
from fleet2mqtt.platforms.thingscloud.auth import Tokens, check, credentials_of
from fleet2mqtt.platforms.thingscloud.client import ENVELOPE, Client, parse
from fleet2mqtt.platforms.thingscloud.coordinator import System
from fleet2mqtt.platforms.thingscloud.entities import MANUFACTURER, TITLE
from fleet2mqtt.platforms.thingscloud.push import pushes
from fleet2mqtt.platforms.thingscloud.schemas import OPTIONS as SCHEMA
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.http_client import open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter

__all__ = ["SCHEMA", "check", "connect"]


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend]:
    """One project. Nothing is asked of it until a source is polled."""
    options = context.options
    credentials = credentials_of(options)
    pace = RateLimiter(concurrency=1, spacing=1 / options["rate"])
    async with open_http_client(options, envelope=ENVELOPE, pace=pace, parse=parse) as api:
        ledger = Ledger(context.checkpoint)
        path = context.data_dir / f"{context.name}.token.json"
        system = System(context, Client(api, Tokens(api, credentials, path)))
        yield Backend(
            name=context.name,
            platform="thingscloud",
            client=system,
            sources=_sources(context, system, CatchUp(context, system, ledger)),
            read=system.read,
            actions=actions(system),
            pushes=pushes(context, system, ledger),
            calls=api.calls,
            quota={"concurrency": 1, "requests_per_second": options["rate"]},
            title=TITLE,
            manufacturer=MANUFACTURER,
            configuration_url=options["url"],
        )


def _sources(context: Context, system: System, catch_up: CatchUp) -> tuple[Source, ...]:
    polls = {
        "devices": system.poll_devices,
        "attributes": system.poll_attributes,
        "schema": system.poll_schema,
        "alarms": catch_up.poll,
        "stat": system.poll_stat,
        "meta": system.poll_meta,
    }
    return tuple(
        Source(name=name, interval=context.interval(name), poll=poll, primary=name == "devices")
        for name, poll in polls.items()
    )
