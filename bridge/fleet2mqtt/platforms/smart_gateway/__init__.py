"""Platform `smart_gateway`: back ends of bonded-SIM "smart gateways" (IG200). See README.md beside this file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fleet2mqtt.platforms.smart_gateway.actions import site_actions
from fleet2mqtt.platforms.smart_gateway.client import ENVELOPE, Client
from fleet2mqtt.platforms.smart_gateway.coordinator import Site
from fleet2mqtt.platforms.smart_gateway.device_store import Gateways
from fleet2mqtt.platforms.smart_gateway.entities import channel_rows
from fleet2mqtt.platforms.smart_gateway.json_repair import parse
from fleet2mqtt.platforms.smart_gateway.mapping_store import Rules
from fleet2mqtt.platforms.smart_gateway.polls import poll_details, poll_devices, poll_mappings, read_device
from fleet2mqtt.platforms.smart_gateway.schemas import OPTIONS as SCHEMA
from fleet2mqtt.platforms.smart_gateway.writes import SetBody
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.http_client import open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter

__all__ = ["SCHEMA", "connect"]


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend]:
    """Open one back end; nothing is sent before the first poll."""
    options = context.options
    async with open_http_client(options, envelope=ENVELOPE, pace=RateLimiter(concurrency=1), parse=parse) as api:
        client = Client(api=api, set_path=options["set_path"])
        rows = channel_rows(options["units"]["traffic"])
        queried = None if options["query"] == "all" else tuple(options["query"])
        gateways = Gateways(name=context.name, ids=context.ids, channel_rows=rows, queried=queried)
        site = Site(
            name=context.name,
            client=client,
            gateways=gateways,
            rules=Rules(gateways=gateways, recall=context.checkpoint),
            keep=context.save_checkpoint,
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
