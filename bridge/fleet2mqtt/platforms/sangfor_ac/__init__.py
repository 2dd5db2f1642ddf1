"""Platform `sangfor_ac`: Sangfor AC access controllers and their BBC centre. See README.md beside this file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fleet2mqtt.platforms.sangfor_ac.actions import ACTIONS, site_actions
from fleet2mqtt.platforms.sangfor_ac.appliance import Box
from fleet2mqtt.platforms.sangfor_ac.capabilities import Features
from fleet2mqtt.platforms.sangfor_ac.client import Client
from fleet2mqtt.platforms.sangfor_ac.coordinator import Site, Watch
from fleet2mqtt.platforms.sangfor_ac.device_cache import MANUFACTURER, Shelf
from fleet2mqtt.platforms.sangfor_ac.policies import Policies
from fleet2mqtt.platforms.sangfor_ac.polls import (
    poll_bindings,
    poll_groups,
    poll_libraries,
    poll_online_users,
    poll_policies,
    poll_status,
    poll_users,
)
from fleet2mqtt.platforms.sangfor_ac.reads import read_device
from fleet2mqtt.platforms.sangfor_ac.schemas import OPTIONS as SCHEMA
from fleet2mqtt.platforms.sangfor_ac.session import Session
from fleet2mqtt.platforms.sangfor_ac.transport import ENVELOPE, parse
from fleet2mqtt.platforms.sangfor_ac.watchlist import Bindings, Groups, Users
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.http_client import HttpClient, open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter

__all__ = ["ACTIONS", "SCHEMA", "connect"]

_LANGUAGES = {"zh": "zh-CN", "en": "en-US"}


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend]:
    """Open one AC; nothing is sent before the first poll."""
    options = context.options
    pace = RateLimiter(concurrency=1, spacing=options["spacing"], idle=True)
    async with open_http_client(options, envelope=ENVELOPE, pace=pace, parse=parse) as api:
        site = _site(context, api)
        yield Backend(
            name=context.name,
            platform="sangfor_ac",
            client=site,
            sources=_sources(context, site),
            read=site.read,
            actions=site_actions(site),
            calls=api.calls,
            quota={"concurrency": 1, "spacing": options["spacing"]},
            title="Sangfor AC",
            manufacturer=MANUFACTURER,
            configuration_url=options["url"],
        )


def _site(context: Context, api: HttpClient) -> Site:
    options = context.options
    shelf = partial(Shelf, backend=context.name, ids=context.ids)
    allow: tuple[str, ...] | None = options.get("allow")
    may_log_out = "user_logout" in (allow or ())
    return Site(
        name=context.name,
        client=Client(session=_session(options, api)),
        zone=context.zone,
        watch=Watch(**{kind: tuple(dict.fromkeys(names)) for kind, names in options["watch"].items()}),
        throughput=_given(options["throughput"]),
        ip_range=options["ip_range_template"],
        extends=options["user_fields"] == "extend",
        may_log_out=may_log_out,
        reader=read_device,
        features=Features(backend=context.name),
        box=Box(name=context.name, url=options["url"]),
        policies=Policies(
            net=shelf(scope="net_policies", kind="net_policy"), flux=shelf(scope="flux_policies", kind="flux_policy")
        ),
        groups=Groups(shelf=shelf(scope="groups", kind="group")),
        users=Users(shelf=shelf(scope="users", kind="user"), zone=context.zone, logout=allow is None or may_log_out),
        bindings=Bindings(shelf=shelf(scope="bindings", kind="binding")),
    )


def _session(options: Mapping[str, Any], api: HttpClient) -> Session:
    return Session(
        api=api,
        key=options["key"],
        spacing=options["spacing"],
        headers={"Accept-Language": _LANGUAGES[options["language"]]},
        prefix="" if options["url"].endswith("/v1") else "/v1",
    )


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _sources(context: Context, site: Site) -> tuple[Source, ...]:
    polls = {
        "status": poll_status,
        "online_users": poll_online_users,
        "policies": poll_policies,
        "groups": poll_groups,
        "libraries": poll_libraries,
        "bindings": poll_bindings,
        "users": poll_users,
    }
    return tuple(
        Source(
            name=name,
            interval=context.interval(name),
            poll=partial(poll, site),
            primary=name == "status",
            freshness=(lambda: site.box.clock) if name == "status" else None,
        )
        for name, poll in polls.items()
    )
