"""Platform `smart_gateway`: back ends of bonded-SIM "smart gateways" (IG200). See README.md beside this file."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from bridge.api import open_api
from bridge.backend import Backend, Context, Source
from bridge.backends.smart_gateway.actions import site_actions
from bridge.backends.smart_gateway.client import ENVELOPE, Client
from bridge.backends.smart_gateway.entities import channel_rows
from bridge.backends.smart_gateway.gateways import Gateways
from bridge.backends.smart_gateway.parsing import parse
from bridge.backends.smart_gateway.polls import poll_details, poll_devices, poll_mappings, read_device
from bridge.backends.smart_gateway.rules import Rules
from bridge.backends.smart_gateway.schemas import OPTIONS as SCHEMA
from bridge.backends.smart_gateway.settings import SetBody
from bridge.backends.smart_gateway.site import Site
from bridge.pace import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["SCHEMA", "connect"]


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend]:
    """Open one back end; nothing is sent before the first poll."""
    options = context.options
    async with open_api(options, envelope=ENVELOPE, pace=Pace(concurrency=1), parse=parse) as api:
        client = Client(api=api, set_path=options["set_path"])
        rows = channel_rows(options["units"]["traffic"])
        queried = None if options["query"] == "all" else tuple(options["query"])
        gateways = Gateways(name=context.name, ids=context.ids, channel_rows=rows, queried=queried)
        site = Site(
            name=context.name,
            client=client,
            gateways=gateways,
            rules=Rules(gateways=gateways, recall=context.watermark),
            keep=context.keep,
            page_size=options["page_size"],
            first_page=options["first_page"],
            set_body=SetBody(options["set_body"]),
        )
        yield Backend(
            name=context.name,
            platform="smart_gateway",
            client=site,
            sources=_sources(context, site),
            read=partial(read_device, site),
            actions=site_actions(site),
            calls=api.calls,
            quota={"concurrency": 1},
            title="Smart gateway back end",
            configuration_url=options["url"],
        )


def _sources(context: Context, site: Site) -> tuple[Source, ...]:
    polls = {"devices": poll_devices, "details": poll_details, "mappings": poll_mappings}
    return tuple(
        Source(
            name=name,
            interval=context.interval(name),
            poll=partial(poll, site),
            primary=name == "devices",
            fresh=site.gateways.clock if name == "devices" else None,
        )
        for name, poll in polls.items()
    )
