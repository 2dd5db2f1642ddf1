"""Platform `omstation`: Jiutong operation-management stations, cabinets that keep GPS locks. See README.md here."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from bridge.api import open_api
from bridge.backend import Backend, Context, Source
from bridge.backends.omstation.actions import site_actions
from bridge.backends.omstation.client import Client
from bridge.backends.omstation.entities import MANUFACTURER, TITLE
from bridge.backends.omstation.parsing import ENVELOPE, parse
from bridge.backends.omstation.polls import poll_authorisations, poll_lattices, poll_stations, read_device
from bridge.backends.omstation.schemas import OPTIONS as SCHEMA
from bridge.backends.omstation.session import Session
from bridge.backends.omstation.site import Site
from bridge.backends.omstation.stations import Stations
from bridge.backends.omstation.token_file import TokenFile
from bridge.pace import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["SCHEMA", "connect"]

CONCURRENCY = 1


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend]:
    """Open one omstation; nothing is sent, the login neither, before the first poll."""
    options = context.options
    async with open_api(options, envelope=ENVELOPE, pace=Pace(concurrency=CONCURRENCY), parse=parse) as api:
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
