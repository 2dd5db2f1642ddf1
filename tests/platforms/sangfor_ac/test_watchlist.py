"""Watchlist: newer data wins in every source, and devices that are no longer watched are removed."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from itertools import count
from zoneinfo import ZoneInfo

from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Update
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import BackendError
from fleet2mqtt.platforms.sangfor_ac.watchlist import Groups, Users
from fleet2mqtt.sdk.device_cache import DeviceCache
from tests.platforms.sangfor_ac.connected import BOUND, GROUP, NAME, PAIR, SOURCES, USER, WATCH, simulated

LOGIN = {"name": "a", "ip": "1.1.1.1", "login_time": 1526352600}
ACCOUNT = {"name": "a", "enable": True}


def _cache() -> DeviceCache:
    return DeviceCache(backend=NAME, ids=Ids())


def test_user_older_data_of_each_source_is_not_applied() -> None:
    users = Users(cache=_cache(), zone=ZoneInfo("Asia/Shanghai"), can_log_out=False)
    assert users.devices("a") == ()
    users.apply_presence("a", users.logins("a", [LOGIN]), requested_at=5)
    users.apply_account("a", ACCOUNT, requested_at=2)
    for logins, account, requested_at in (((), None, 1), (None, ACCOUNT | {"enable": "1"}, 6)):
        users.apply_presence("a", logins, requested_at)
        users.apply_account("a", account, requested_at)
        (user,) = users.devices("a", "b")
        assert (user.state["online"], user.state["ip"], user.state["enable"]) == ("ON", "1.1.1.1", "ON")
    users.apply_presence("a", (), requested_at=7)
    users.apply_account("a", None, requested_at=7)
    (user,) = users.devices("a")
    assert (user.state["online"], user.state.get("enable")) == ("OFF", None)


def test_group_older_data_is_not_applied() -> None:
    groups = Groups(cache=_cache())
    groups.apply("/a", ("p",), requested_at=5)
    groups.apply("/a", (), requested_at=4)
    groups.apply("/a", None, requested_at=4)
    (group,) = groups.devices((), policies_known=True)
    assert (group.state["netpolicy"], group.available) == (1, True)


def _registry() -> Registry:
    return Registry(time.monotonic, lambda _: ())


async def test_sources_of_one_device_concurrent_polls_all_are_applied() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        registry = _registry()

        async def poll(source: str) -> None:
            async for update in run.source(source).poll():
                registry.accept(update, "")

        for source in SOURCES:
            await poll(source)
        simulator.group_policies["/hello"] = ["policy1"]
        simulator.users["a"]["enable"] = False
        del simulator.online["1.1.1.1"]
        simulator.net_policies.pop()
        simulator.answer_delay = 0.05  # all of them have begun before the first is answered
        await asyncio.gather(*map(poll, ("policies", "groups", "users", "online_users")))
        assert registry.devices[GROUP].state["netpolicy"] == 1
        user = registry.devices[USER].state
        assert (user["online"], user["enable"]) == ("OFF", "OFF")


async def test_watchlist_shortened_devices_are_removed_after_two_polls() -> None:
    assignments: dict[str, str] = {}
    registry, moments = _registry(), count()

    def accept(updates: list[Update]) -> None:
        for update in updates:
            registry.accept(update, str(next(moments)))

    watched = {GROUP, USER, BOUND, PAIR}
    async with simulated(watch=WATCH, assignments=assignments) as (_, run):
        accept(await run.poll())
        accept(await run.poll())
        assert watched <= registry.devices.keys()
    everything = set(registry.devices)
    async with simulated(assignments=assignments) as (_, run):
        for _ in range(3):  # before anything is heard of the AC nothing goes
            accept(await run.poll("groups", "bindings", "users"))
        assert set(registry.devices) == everything
        accept(await run.poll())
        assert set(registry.devices) == everything
        accept(await run.poll())
        assert set(registry.devices) == everything - watched


async def test_watchlist_empty_inventory_is_confirmed() -> None:
    """Defect 3.10."""
    async with simulated() as (_, run):
        await run.poll()
        watched = [one for one in run.inventories if one.scope in ("groups", "users", "bindings")]
        assert {(one.scope, one.ids, one.confirmed_empty) for one in watched} == {
            (scope, frozenset(), True) for scope in ("groups", "users", "bindings")
        }


async def test_ac_unavailable_sends_no_inventory() -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("status", status=503)
        for source in SOURCES:
            with suppress(BackendError):
                await run.poll(source)
        assert len(simulator.fault_injector.calls) >= 3
        assert run.inventories == []
