"""ThingsCloud, an IoT platform: devices with free attributes, alarms, groups, users of one project. See README.md."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from bridge.api import open_api
from bridge.backend import Backend, Context, Source
from bridge.backends.thingscloud.actions import actions
from bridge.backends.thingscloud.alarms import CatchUp
from bridge.backends.thingscloud.client import ENVELOPE, Client, parse
from bridge.backends.thingscloud.entities import MANUFACTURER, TITLE
from bridge.backends.thingscloud.ledger import Ledger
from bridge.backends.thingscloud.pushes import pushes
from bridge.backends.thingscloud.schemas import OPTIONS as SCHEMA
from bridge.backends.thingscloud.system import System
from bridge.backends.thingscloud.tokens import Tokens, check, credentials_of
from bridge.pace import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["SCHEMA", "check", "connect"]


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend]:
    """One project. Nothing is asked of it until a source is polled."""
    options = context.options
    credentials = credentials_of(options)
    pace = Pace(concurrency=1, spacing=1 / options["rate"])
    async with open_api(options, envelope=ENVELOPE, pace=pace, parse=parse) as api:
        ledger = Ledger(context.watermark)
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
