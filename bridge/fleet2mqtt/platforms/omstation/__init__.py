"""Platform `omstation`: Jiutong operation-management stations, cabinets that keep GPS locks. See README.md here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fleet2mqtt.platforms.omstation.actions import site_actions
from fleet2mqtt.platforms.omstation.auth import Session
from fleet2mqtt.platforms.omstation.client import Client
from fleet2mqtt.platforms.omstation.coordinator import Site
from fleet2mqtt.platforms.omstation.device_store import Stations
from fleet2mqtt.platforms.omstation.entities import MANUFACTURER, TITLE
from fleet2mqtt.platforms.omstation.parsing import ENVELOPE, parse
from fleet2mqtt.platforms.omstation.polls import poll_authorisations, poll_lattices, poll_stations, read_device
from fleet2mqtt.platforms.omstation.schemas import OPTIONS as SCHEMA
from fleet2mqtt.platforms.omstation.token_store import TokenFile
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.http_client import open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter

__all__ = ["SCHEMA", "connect"]

CONCURRENCY = 1


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend]:
    """Open one omstation; nothing is sent, the login neither, before the first poll."""
    options = context.options
    async with open_http_client(
        options, envelope=ENVELOPE, pace=RateLimiter(concurrency=CONCURRENCY), parse=parse
    ) as api:
        file = TokenFile(context.data_dir / f"{context.name}.token.json")
        session = Session(api=api, options=options, file=file)
        site = Site(
            name=context.name,
            url=options["url"],
            client=Client(session=session),
            stations=Stations(name=context.name, ids=context.ids),
        )
        yield Backend(
            name=context.name,
            platform="omstation",
            client=site,
            sources=_sources(context, site),
            read=partial(read_device, site),
            actions=site_actions(site),
            calls=api.calls,
            quota={"concurrency": CONCURRENCY},
            title=TITLE,
            manufacturer=MANUFACTURER,
            configuration_url=options["url"],
        )


def _sources(context: Context, site: Site) -> tuple[Source, ...]:
    polls = {"stations": poll_stations, "lattices": poll_lattices, "authorisations": poll_authorisations}
    return tuple(
        Source(
            name=name,
            interval=context.interval(name),
            poll=partial(poll, site),
            primary=name == "stations",
        )
        for name, poll in polls.items()
    )
