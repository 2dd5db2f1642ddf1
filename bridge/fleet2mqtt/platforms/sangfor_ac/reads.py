"""Reading one device now: after a write, and when somebody asks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, Rejected
from fleet2mqtt.platforms.sangfor_ac.client import ONLINE, USER
from fleet2mqtt.platforms.sangfor_ac.models import mac_of
from fleet2mqtt.platforms.sangfor_ac.polls import poll_status
from fleet2mqtt.platforms.sangfor_ac.schemas import is_ip
from fleet2mqtt.platforms.sangfor_ac.transport import is_missing

if TYPE_CHECKING:
    from fleet2mqtt.platforms.sangfor_ac.coordinator import Site

Devices = tuple[Device, ...]

_OF_MANY = frozenset(("backend", "groups", "users"))


async def read_device(site: Site, device: Device) -> Update:
    """Ask for this device now. Raises BackendError; Rejected if the AC does not list it."""
    requested_at = time.monotonic()
    found = await _READERS[device.scope](site, device.vendor_id)
    mine = tuple(each for each in found if each.id == device.id)
    if not mine:
        raise Rejected(f"the AC does not list {device.vendor_id}", endpoint=device.scope, code="not_listed")
    # What is made of many answers is known as of now, not since the first was asked for.
    return site.update(None if device.scope in _OF_MANY else requested_at, mine, origin=UpdateOrigin.COMMAND)


async def _read_box(site: Site, _: str) -> Devices:
    return tuple([device async for update in poll_status(site) for device in update.devices])


async def _read_net_policy(site: Site, _: str) -> Devices:
    return site.take_policies(await site.client.net_policies())[0]


async def _read_flux_policy(site: Site, _: str) -> Devices:
    return site.policies.take_flux(await site.client.flux_policies())[0]


async def _read_group(site: Site, path: str) -> Devices:
    requested_at = time.monotonic()
    (policies,) = await site.ask_group(path)
    site.groups.learn(path, policies, requested_at)
    return site.group_devices()


async def _read_user(site: Site, name: str) -> Devices:
    """Where it is online, which a read-back is about, and its account; what of it this system has."""
    turn, requested_at = site.round(), time.monotonic()
    seen = await turn.ask(ONLINE, partial(site.ask_user, name))
    if ONLINE in turn.faults:
        raise turn.faults[ONLINE]
    if turn.answered:
        site.users.see(name, seen, requested_at)
    requested_at = time.monotonic()
    found = await turn.ask(USER, partial(site.ask_account, name))
    if found is not None:
        site.users.learn(name, found[0], requested_at)
    turn.close()
    return site.users.devices(name)


async def _read_binding(site: Site, search: str) -> Devices:
    users = await site.client.user_bindings(search)
    pair = None
    if is_ip(search) or mac_of(search):
        try:
            pair = await site.client.ip_mac_bindings(search)
        except BackendError as error:
            if not is_missing(error):
                raise
    return (site.bindings.learn(search, users, pair),)


_READERS: MappingProxyType[str, Callable[[Site, str], Awaitable[Devices]]] = MappingProxyType(
    {
        "backend": _read_box,
        "net_policies": _read_net_policy,
        "flux_policies": _read_flux_policy,
        "groups": _read_group,
        "users": _read_user,
        "bindings": _read_binding,
    }
)
