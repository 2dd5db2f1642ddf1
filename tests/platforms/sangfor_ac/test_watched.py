"""What is watched: newer news wins whichever source it is from, and what is no longer watched goes."""

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
from fleet2mqtt.platforms.sangfor_ac.device_cache import Shelf
from fleet2mqtt.platforms.sangfor_ac.watchlist import Groups, Users
from tests.platforms.sangfor_ac.connected import BOUND, GROUP, NAME, PAIR, SOURCES, USER, WATCH, simulated

ROW = {"name": "a", "ip": "1.1.1.1", "login_time": 1526352600}
ACCOUNT = {"name": "a", "enable": True}


def _shelf(scope: str) -> Shelf:
    return Shelf(backend=NAME, ids=Ids(), scope=scope, kind=scope)


def test_of_a_user_newer_news_of_each_kind_wins() -> None:
    users = Users(shelf=_shelf("users"), zone=ZoneInfo("Asia/Shanghai"), logout=False)
    assert users.devices("a") == ()
    users.see("a", users.logins("a", [ROW]), requested_at=5)
    users.learn("a", ACCOUNT, requested_at=2)
    for logins, account, requested_at in (((), None, 1), (None, ACCOUNT | {"enable": "1"}, 6)):
        users.see("a", logins, requested_at)
        users.learn("a", account, requested_at)
        (user,) = users.devices("a", "b")
        assert (user.state["online"], user.state["ip"], user.state["enable"]) == ("ON", "1.1.1.1", "ON")
    users.see("a", (), requested_at=7)
    users.learn("a", None, requested_at=7)
    (user,) = users.devices("a")
    assert (user.state["online"], user.state.get("enable")) == ("OFF", None)


def test_of_a_group_newer_news_wins() -> None:
    groups = Groups(shelf=_shelf("groups"))
    groups.learn("/a", ("p",), requested_at=5)
    groups.learn("/a", (), requested_at=4)
    groups.learn("/a", None, requested_at=4)
    (group,) = groups.devices(())
    assert (group.state["netpolicy"], group.available) == (1, True)


def _registry() -> Registry:
    return Registry(time.monotonic, lambda _: ())


async def test_no_source_takes_anothers_news_for_old() -> None:
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


async def test_what_is_no_longer_watched_goes_after_two_rounds_of_an_ac_that_answers() -> None:
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


async def test_a_dead_ac_takes_nothing_with_it() -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("status", status=503)
        for source in SOURCES:
            with suppress(BackendError):
                await run.poll(source)
        assert len(simulator.fault_injector.calls) >= 3
        assert run.inventories == []
