"""Platform `sangfor_ac`: Sangfor AC access controllers and their BBC centre. See README.md beside this file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fleet2mqtt.platforms.sangfor_ac.actions import ACTIONS, backend_actions
from fleet2mqtt.platforms.sangfor_ac.appliance import Appliance
from fleet2mqtt.platforms.sangfor_ac.call_selection import CallSelection
from fleet2mqtt.platforms.sangfor_ac.capabilities import Capabilities
from fleet2mqtt.platforms.sangfor_ac.client import Client
from fleet2mqtt.platforms.sangfor_ac.conditions import CONDITIONS
from fleet2mqtt.platforms.sangfor_ac.coordinator import Coordinator
from fleet2mqtt.platforms.sangfor_ac.device_store import DeviceStore
from fleet2mqtt.platforms.sangfor_ac.entities import (
    BINDINGS,
    GROUPS,
    LIBRARIES,
    MANUFACTURER,
    ONLINE_USERS,
    POLICIES,
    STATUS,
    TITLE,
    USERS,
    appliance_entities,
)
from fleet2mqtt.platforms.sangfor_ac.matched_users import MatchedUsers, is_pattern
from fleet2mqtt.platforms.sangfor_ac.schemas import OPTIONS as SCHEMA
from fleet2mqtt.platforms.sangfor_ac.schemas import check_options as check
from fleet2mqtt.platforms.sangfor_ac.transport import ENVELOPE, Transport, parse
from fleet2mqtt.platforms.sangfor_ac.watchlist import Bindings, Groups, Users, Watch
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.device_cache import DeviceCache
from fleet2mqtt.sdk.http_client import HttpClient, open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from fleet2mqtt.sdk.updates import UpdateFactory

__all__ = ["ACTIONS", "CONDITIONS", "KINDS", "SCHEMA", "check", "connect"]

KINDS = frozenset(("net_policy", "flux_policy", "user_group", "user", "binding"))
"""Kinds of sub-devices, for rules of selection."""

CONCURRENCY = 1
_LANGUAGES = {"zh": "zh-CN", "en": "en-US"}


@asynccontextmanager
async def connect(context: Context) -> AsyncIterator[Backend[Coordinator]]:
    """Open one AC; nothing is sent before the first poll."""
    options = context.options
    limiter = RateLimiter(concurrency=CONCURRENCY, spacing=options["spacing"], idle=True)
    async with open_http_client(options, envelope=ENVELOPE, rate_limiter=limiter, parse=parse) as http:
        coordinator = _coordinator(context, http)
        yield Backend(
            name=context.name,
            platform="sangfor_ac",
            client=coordinator,
            sources=_sources(context, coordinator),
            read=coordinator.read_device,
            actions=backend_actions(coordinator),
            calls=http.calls,
            quota={"concurrency": CONCURRENCY, "spacing": options["spacing"]},
            title=TITLE,
            manufacturer=MANUFACTURER,
        )


def _coordinator(context: Context, http: HttpClient) -> Coordinator:
    options = context.options
    allow: tuple[str, ...] | None = options.get("allow")
    may_log_out = "user_logout" in (allow or ())
    store = _store(context, can_log_out=allow is None or may_log_out)
    watch = _watch(options["watch"])
    matched = MatchedUsers(backend=context.name, patterns=watch.patterns, limit=options["watch"]["max_users"])
    matched.load(context.checkpoint(context.name))
    appliance = appliance_entities(store.appliance.interfaces, options["rank_unit"])
    throughput = {name: options["throughput"][name] for name in ("unit", "interface")}
    return Coordinator(
        name=context.name,
        client=Client(transport=_transport(options, http)),
        store=store,
        update=UpdateFactory(context.name),
        capabilities=Capabilities(backend=context.name),
        watch=watch,
        matched=matched,
        selection=CallSelection.of(context, store, appliance),
        save_checkpoint=context.save_checkpoint,
        throughput={name: value for name, value in throughput.items() if value is not None},
        ip_range=options["ip_range_template"],
        extends=options["user_fields"] == "extend",
        may_log_out=may_log_out,
        primary_fails=context.primary_fails,
    )


def _watch(options: Mapping[str, Any]) -> Watch:
    groups, users, bindings = (tuple(dict.fromkeys(options[kind])) for kind in ("groups", "users", "bindings"))
    return Watch(
        groups=groups,
        users=tuple(name for name in users if not is_pattern(name)),
        bindings=bindings,
        patterns=tuple(name for name in users if is_pattern(name)),
    )


def _store(context: Context, *, can_log_out: bool) -> DeviceStore:
    options = context.options
    cache = DeviceCache(backend=context.name, ids=context.ids, about={"manufacturer": MANUFACTURER})
    return DeviceStore(
        cache=cache,
        appliance=Appliance(
            cache=cache,
            zone=context.zone,
            interfaces=tuple(dict.fromkeys(options["throughput"]["interfaces"])),
            rank_unit=options["rank_unit"],
        ),
        groups=Groups(cache=cache),
        users=Users(cache=cache, zone=context.zone, can_log_out=can_log_out),
        bindings=Bindings(cache=cache),
    )


def _transport(options: Mapping[str, Any], http: HttpClient) -> Transport:
    return Transport(
        http=http,
        key=options["key"],
        spacing=options["spacing"],
        headers={"Accept-Language": _LANGUAGES[options["language"]]},
        prefix="" if options["url"].endswith("/v1") else "/v1",
    )


def _sources(context: Context, coordinator: Coordinator) -> tuple[Source, ...]:
    polls = {
        STATUS: coordinator.poll_status,
        ONLINE_USERS: coordinator.poll_online_users,
        POLICIES: coordinator.poll_policies,
        GROUPS: coordinator.poll_groups,
        LIBRARIES: coordinator.poll_libraries,
        BINDINGS: coordinator.poll_bindings,
        USERS: coordinator.poll_users,
    }
    return tuple(
        Source(
            name=name,
            interval=context.interval(name),
            poll=poll,
            primary=name == STATUS,
            freshness=(lambda: coordinator.store.appliance.clock) if name == STATUS else None,
        )
        for name, poll in polls.items()
    )
