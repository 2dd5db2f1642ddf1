"""Coordinator: presence and accounts of watched users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.errors import Rejected
from tests.platforms.sangfor_ac.connected import NAME, USER, WATCH, calls, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.app import Simulator
    from tests.platforms.context import Run

ONLINE = "online-users"
ALL = ("all", "all")


async def test_presence_whole_list_needs_one_call(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    await run.poll("online_users")
    call, _ = calls(simulator, ONLINE)  # the second one is for those who are frozen
    assert {key: call.body[key] for key in ("status", "terminal")} == {"status": "all", "terminal": "all"}
    assert "filter" not in call.body
    assert call.query == {"_method": "GET"}
    del simulator.online["1.1.1.1"]
    await run.poll("online_users")
    gone = run.state(USER)
    assert (gone.pop("online"), gone.pop("enable")) == ("OFF", "ON")
    assert set(gone.values()) == {None}
    assert run.ids("users") == {USER}


async def test_online_count_belongs_to_one_call() -> None:
    """Defect 3.7: the list of online users counts only what the status call does not."""
    async with simulated(devices=5) as (simulator, run):
        simulator.row_limit = 3
        text = '{"code": 0, "message": "Success", "data": {"count": 50, "users": []}}'
        simulator.fault_injector.inject("garbage", "/v1/online-users", text=text)
        for source in ("status", "online_users", "status", "online_users"):
            await run.poll(source)
            assert run.state(NAME)["online_user"] == 5


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 404}, {"kind": "error"}])
async def test_online_count_call_cannot_be_had_list_is_counted(fault: dict[str, Any]) -> None:
    """Defect 3.7."""
    async with simulated(devices=5) as (simulator, run):
        simulator.fault_injector.inject(path="/v1/status/online-user", **fault)
        for _ in range(3):
            await run.poll("status", "online_users")
        assert run.state(NAME)["online_user"] == 5
        await run.poll("status")
        assert run.state(NAME)["online_user"] == 5


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("nested", [False, True])
async def test_accounts_of_watched_users_are_polled(nested: bool, text: bool) -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.nested_user_fields, simulator.expiry_as_text = nested, text
        await run.poll("users")
        (call,) = simulator.fault_injector.calls
        assert (call.method, call.path, call.query["name"]) == ("GET", "/v1/user", "a")
        assert run.state(USER) == {"enable": "ON", "expire_time": None}
        assert run.ids("users") == {USER}
        await run.act("user_modify", name="a", enable=False, expire_time="2030-01-02 03:04:05")
        await run.poll("users")
        assert run.state(USER) == {"enable": "OFF", "expire_time": "2030-01-02T03:04:05+08:00"}
        attributes = run.devices[USER].attributes["expire_time"]
        assert attributes == {"date": "2030-01-02 03:04:05"} | ({} if text else {"enable": True})
        await run.poll("online_users")
        assert (run.state(USER)["online"], run.state(USER)["enable"]) == ("ON", "OFF")
        simulator.users["a"]["enable"] = True
        assert (await run.read(USER)).state["enable"] == "ON"


async def test_user_without_account_has_presence(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    simulator.remove_user("a")
    await run.poll("users")
    assert run.devices[USER].available
    assert run.devices[USER].entity("online") is not None
    assert run.devices[USER].entity("enable") is run.devices[USER].entity("expire_time") is None
    assert run.ids("users") == {USER}
    assert (await run.read(USER)).state["online"] == "ON"


async def test_account_call_fails_values_stay(polled: tuple[Simulator, Run]) -> None:
    simulator, run = polled
    run.inventories.clear()
    simulator.fault_injector.inject("error", "/v1/user")
    with pytest.raises(Rejected, match="Unknow error"):
        await run.poll("users")
    assert run.ids("users") is None
    await run.poll("online_users")
    assert run.state(USER)["enable"] == "ON"
    simulator.online.clear()
    assert (await run.read(USER)).state["online"] == "OFF"  # which the account has no part in
    simulator.fault_injector.inject("error", "/v1/online-users")
    with pytest.raises(Rejected, match="Unknow error"):
        await run.read(USER)


async def test_presence_truncated_list_users_are_searched() -> None:
    async with simulated(devices=250, watch={"users": ["a", "zhangwei"]}) as (simulator, run):
        await run.poll("online_users")
        everyone = [
            call.body for call in calls(simulator, ONLINE) if (call.body["status"], call.body["terminal"]) == ALL
        ]
        filters = [body.get("filter") for body in everyone]
        assert (
            filters
            == [None, {"type": "user", "value": ["a", "zhangwei"]}, {"type": "user", "value": ["zhangwei"]}][
                : len(filters)
            ]
        )
        assert len(filters) >= 2
        assert run.state(USER)["online"] == "ON"
        chosen = run.devices[run.named("users", "zhangwei")]
        assert chosen.state["online"] == "ON"
        addresses = [item["ip"] for item in simulator.online.values() if item["name"] == "zhangwei"]
        assert chosen.state["ip"] in addresses


async def test_presence_too_many_similar_names_is_unknown() -> None:
    async with simulated(devices=250, watch={"users": ["zhang"]}) as (simulator, run):
        for item in list(simulator.online.values()):
            item["name"] = f"zhang{item['ip']}"
        await run.poll("online_users")
        user = run.named("users", "zhang")
        assert run.state(user)["online"] is None
        last = next(iter(simulator.online.values()))
        last["name"] = "zhang"
        await run.poll("online_users")
        assert run.state(user)["online"] == "ON"
        last["name"] = "zhangsan"
        for _ in range(2):
            await run.poll("online_users")
            assert run.state(user)["online"] == "ON"  # as known from the poll before
        await run.poll("online_users")
        assert run.state(user)["online"] is None


async def test_presence_two_logins_newest_is_shown(polled: tuple[Simulator, Run]) -> None:
    _, run = polled
    login = {"ip": "7.7.7.7", "name": "a", "group": "/hello"}
    await run.act("user_login", **login)
    await run.poll("online_users")
    assert (run.state(USER)["ip"], run.state(USER)["authway"]) == ("7.7.7.7", "single_sign_on")
    assert run.devices[USER].attributes["online"] == {"logins": 2, "ips": ["7.7.7.7", "1.1.1.1"]}


async def test_online_time_login_time_missing_is_shown(polled: tuple[Simulator, Run]) -> None:
    """Defect 5.16: with a login time it would only cause a state with each poll."""
    simulator, run = polled
    await run.poll("online_users")
    assert run.devices[USER].entity("online_time") is None
    before = run.devices[USER]
    simulator.online["1.1.1.1"]["login_time"] -= 0
    await run.poll("online_users")
    assert run.devices[USER] is before
    text = '{"code": 0, "data": {"count": 1, "users": [{"name": "a", "ip": "1.1.1.1", "online_time": 8}]}}'
    simulator.fault_injector.inject("garbage", "/v1/online-users", text=text)
    await run.poll("online_users")
    assert run.state(USER)["online_time"] == 8


async def test_login_unknown_enumeration_is_unknown_with_raw(polled: tuple[Simulator, Run]) -> None:
    """Defect 3.9."""
    simulator, run = polled
    simulator.online["1.1.1.1"] |= {"terminal": 7, "authway": 9}
    await run.poll("online_users")
    assert (run.state(USER)["terminal"], run.state(USER)["authway"]) == ("unknown", "unknown")
    assert run.devices[USER].attributes["terminal"] == {"raw": 7}
    assert run.devices[USER].attributes["authway"] == {"raw": 9}
