"""ThingsCloud, an IoT platform: devices with free attributes, alarms, groups, users of one project. See README.md."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import voluptuous as vol

from fleet2mqtt.platforms.thingscloud.actions import ACTIONS, build_actions
from fleet2mqtt.platforms.thingscloud.alarm_matching import AlarmMatcher
from fleet2mqtt.platforms.thingscloud.alarms import Backfill
from fleet2mqtt.platforms.thingscloud.auth import TokenProvider, check_login, credentials_from
from fleet2mqtt.platforms.thingscloud.client import ENVELOPE, Client, parse
from fleet2mqtt.platforms.thingscloud.conditions import CONDITIONS
from fleet2mqtt.platforms.thingscloud.coordinator import Coordinator
from fleet2mqtt.platforms.thingscloud.entities import ALARM_STAT_ENTITIES, DEVICES_STAT_ENTITIES, MANUFACTURER, TITLE
from fleet2mqtt.platforms.thingscloud.push import build_pushes
from fleet2mqtt.platforms.thingscloud.schemas import OPTIONS as SCHEMA
from fleet2mqtt.platforms.thingscloud.subscription import build_subscription, check_subscribe
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.http_client import open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter

__all__ = ["ACTIONS", "CONDITIONS", "KINDS", "SCHEMA", "check", "connect"]

KINDS = frozenset[str]()
"""Kinds of sub-devices, for rules of selection."""


def check(options: Mapping[str, Any]) -> Iterator[vol.Invalid]:
    """Yield what is wrong in no option alone: in the logins, and in `subscribe`."""
    yield from check_login(options)
    yield from check_subscribe(options)


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend[Coordinator]]:
    """Open one project. Nothing is requested until a source is polled."""
    options = {**context.options, "url": base_url(context.options["url"])}
    limiter = RateLimiter(concurrency=1, spacing=1 / options["rate"])
    async with open_http_client(options, envelope=ENVELOPE, rate_limiter=limiter, parse=parse) as api:
        tokens = TokenProvider(api, credentials_from(options), context.data_dir / f"{context.name}.token.json")
        matcher = AlarmMatcher(context.checkpoint)
        coordinator = Coordinator(context, Client(api, tokens), matcher.has_active)
        yield Backend(
            name=context.name,
            platform="thingscloud",
            client=coordinator,
            sources=_sources(context, coordinator, Backfill(context, coordinator, matcher)),
            read=coordinator.read,
            actions=build_actions(coordinator),
            pushes=build_pushes(context, coordinator, matcher),
            subscription=build_subscription(context, coordinator.set_live),
            calls=api.calls,
            quota={"concurrency": 1, "requests_per_second": options["rate"]},
            title=TITLE,
            manufacturer=MANUFACTURER,
        )


def base_url(url: str) -> str:
    """Return the URL that paths are appended to: the document prints it with and without /api/v1."""
    return url.removesuffix("/api/v1")


def _sources(context: Context, coordinator: Coordinator, backfill: Backfill) -> tuple[Source, ...]:
    polls = {
        "devices": coordinator.poll_devices,
        "attributes": coordinator.poll_attributes,
        "schema": coordinator.poll_schema,
        "alarms": backfill.poll,
        "stat": coordinator.poll_stat,
        "meta": coordinator.poll_meta,
    }
    return tuple(
        Source(
            name=name,
            interval=context.interval(name),
            poll=poll,
            primary=name == "devices",
            needs_clock=name == "alarms",
            entities=(*DEVICES_STAT_ENTITIES, *ALARM_STAT_ENTITIES) if name == "stat" else (),
        )
        for name, poll in polls.items()
    )
