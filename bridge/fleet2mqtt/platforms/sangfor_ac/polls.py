"""The sources: what each asks for, one call after another, and what it makes of the answers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fleet2mqtt.devices.model import Device, Update
from fleet2mqtt.errors import BackendError, InvalidResponse, Rejected
from fleet2mqtt.platforms.sangfor_ac.client import (
    FLUX_POLICIES,
    GROUP_POLICIES,
    IP_MAC_BINDING,
    NET_POLICIES,
    ONLINE,
    USER,
    USER_BINDINGS,
    Client,
    Online,
)
from fleet2mqtt.platforms.sangfor_ac.coordinator import EVERYONE, Site, by_name
from fleet2mqtt.platforms.sangfor_ac.models import AppRank, UserRank, mac_of
from fleet2mqtt.platforms.sangfor_ac.schemas import is_ip
from fleet2mqtt.platforms.sangfor_ac.transport import is_missing
from fleet2mqtt.sdk import vendor_json

if TYPE_CHECKING:
    from fleet2mqtt.platforms.sangfor_ac.capabilities import Round
    from fleet2mqtt.platforms.sangfor_ac.models import OnlineUser
    from fleet2mqtt.platforms.sangfor_ac.session import Row

TOP = 10

FIGURES: MappingProxyType[str, Callable[[Client], Awaitable[Any]]] = MappingProxyType(
    {
        "version": Client.version,
        "online_user": Client.online_user,
        "session_num": Client.session_num,
        "cpu_usage": Client.cpu_usage,
        "mem_usage": Client.mem_usage,
        "disk_usage": Client.disk_usage,
        "bandwidth_usage": Client.bandwidth_usage,
        "log": Client.log,
    }
)
"""Fields of the AC's record, and the calls that answer them."""
_NOTHING = (InvalidResponse, Rejected)
"""How what is not there may be answered, beside what says so: by nothing, or as 未知错误,获取数据失败!"""


async def poll_status(site: Site) -> AsyncIterator[Update]:
    """Chapter 1. A system without it is asked for its net policies instead, to know that it is there."""
    turn = site.round()
    site.box.clock = None
    for field, call in FIGURES.items():
        value = await turn.ask(f"status/{field.replace('_', '-')}", partial(call, site.client))
        if value is not None:
            site.box.learn(**{field: value})
    await _ask_more(site, turn)
    site.box.spoke |= turn.answered > 0
    if _lacks_figures(site, turn):
        requested_at = time.monotonic()
        news = site.take_policies(await _sign_of_life(site))
        site.features.lack(turn.missing | turn.faults)
        yield site.update(requested_at, *news)
    else:
        turn.close()
    yield site.update(None, (site.box.device(),))


def _lacks_figures(site: Site, turn: Round) -> bool:
    """Whether chapter 1 is not there: all of it missing or, as with some systems, never answered with anything."""
    if turn.answered:
        return False
    return not turn.faults or not (site.box.spoke or any(type(fault) not in _NOTHING for fault in turn.faults.values()))


async def _ask_more(site: Site, turn: Round) -> None:
    client, box = site.client, site.box
    clock = await turn.ask("status/sys-time", client.sys_time)
    if clock is not None:
        box.clock = clock
        box.learn(sys_time=vendor_json.moment(clock, site.zone))
    throughput = await turn.ask("status/throughput", partial(client.throughput, dict(site.throughput)))
    if throughput is not None:
        box.learn(throughput=throughput)
    users = await turn.ask("status/user-rank", partial(client.user_rank, {"top": TOP, "line": "0"}))
    if users is not None:
        box.learn(user_rank=tuple(map(UserRank.model_validate, users)))
    apps = await turn.ask("status/app-rank", partial(client.app_rank, {"top": TOP, "line": "0"}))
    if apps is not None:
        box.learn(app_rank=tuple(map(AppRank.model_validate, apps)))


async def _sign_of_life(site: Site) -> tuple[Row, ...]:
    try:
        rows = await site.client.net_policies()
    except BackendError as error:
        if is_missing(error):
            site.features.doubt()
        raise
    site.features.have(NET_POLICIES)
    return rows


async def poll_libraries(site: Site) -> AsyncIterator[Update]:
    """The rule libraries."""
    turn = site.round()
    rows = await turn.ask("status/insidelib", site.client.insidelib)
    turn.close()
    site.box.take_libraries(rows or ())
    yield site.update(None, (site.box.device(),))


async def poll_policies(site: Site) -> AsyncIterator[Update]:
    """The net policies, also as switches of the watched groups, and the bandwidth channels."""
    turn = site.round()
    requested_at = time.monotonic()
    rows = await turn.ask(NET_POLICIES, site.client.net_policies)
    if rows is not None:
        yield site.update(requested_at, *site.take_policies(rows))
        yield site.update(None, site.group_devices())
    requested_at = time.monotonic()
    rows = await turn.ask(FLUX_POLICIES, site.client.flux_policies)
    if rows is not None:
        yield site.update(requested_at, *site.policies.take_flux(rows))
    turn.close()


async def poll_groups(site: Site) -> AsyncIterator[Update]:
    """The net policies of the watched groups."""
    turn = site.round()
    for path in site.watch.groups:
        requested_at = time.monotonic()
        found = await turn.ask(GROUP_POLICIES, partial(site.ask_group, path))
        if found is not None:
            site.groups.learn(path, found[0], requested_at)
            yield site.update(None, _of(site.group_devices(), path))
    turn.close()
    if turn.whole and (site.policies.names or not site.watch.groups):
        yield site.update(None, (), site.watched(site.groups.shelf, site.watch.groups))


async def poll_online_users(site: Site) -> AsyncIterator[Update]:
    """How many users are online, and which of the watched ones."""
    turn = site.round()
    requested_at = time.monotonic()
    everyone = await turn.ask(ONLINE, partial(site.client.online_users, EVERYONE))
    if everyone is not None:
        site.box.learn(online_user=everyone.count)
        yield site.update(None, (site.box.device(),))
        if site.watch.users:
            async for name, logins in _watched_users(site, turn, everyone):
                site.users.see(name, logins, requested_at)
            devices = site.users.devices(*site.watch.users)
            yield site.update(None, devices, site.watched(site.users.shelf, site.watch.users))
    turn.close()


async def poll_users(site: Site) -> AsyncIterator[Update]:
    """The accounts of the watched users."""
    turn = site.round()
    for name in site.watch.users:
        requested_at = time.monotonic()
        found = await turn.ask(USER, partial(site.ask_account, name))
        if found is not None:
            site.users.learn(name, found[0], requested_at)
            yield site.update(None, site.users.devices(name))
    turn.close()
    if turn.whole:
        yield site.update(None, (), site.watched(site.users.shelf, site.watch.users))


async def _watched_users(
    site: Site, turn: Round, everyone: Online
) -> AsyncIterator[tuple[str, tuple[OnlineUser, ...] | None]]:
    """Where each is online: from the list of all where that is whole, else asked for together, else one by one."""
    names = site.watch.users
    found: Online | None = everyone
    if everyone.truncated:
        found = await turn.ask(ONLINE, partial(site.client.online_users, by_name(names)))
    for name in names:
        logins = None if found is None else site.users.logins(name, found.users)
        if found is not None and found.truncated and not logins:
            logins = await turn.ask(ONLINE, partial(site.ask_user, name))
        yield name, logins


async def poll_bindings(site: Site) -> AsyncIterator[Update]:
    """What the watched searches find."""
    turn = site.round()
    for search in site.watch.bindings:
        requested_at = time.monotonic()
        users = await turn.ask(USER_BINDINGS, partial(site.client.user_bindings, search))
        pair = None
        if is_ip(search) or mac_of(search):
            pair = await turn.ask(IP_MAC_BINDING, partial(site.client.ip_mac_bindings, search))
        if users is not None or pair is not None:
            yield site.update(requested_at, (site.bindings.learn(search, users, pair),))
    turn.close()
    if turn.whole:
        yield site.update(None, (), site.watched(site.bindings.shelf, site.watch.bindings))


def _of(devices: Iterable[Device], vendor_id: str) -> tuple[Device, ...]:
    return tuple(device for device in devices if device.vendor_id == vendor_id)
