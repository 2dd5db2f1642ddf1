"""The sources: what they ask, what stays the same object, what an inventory is, and what is not taken for news."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.errors import BadReply, Rejected
from bridge.model import Origin
from tests.backends.sangfor_ac.connected import (
    BOUND,
    GROUP,
    HELLO,
    NAME,
    PAIR,
    SOURCES,
    USER,
    WATCH,
    calls,
    simulated,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.backends.sangfor_ac.simulator import Simulator
    from tests.backends.context import Run

ONLINE, GROUPS = "online-users", "group/netpolicy"


@pytest.fixture
async def ac() -> AsyncIterator[tuple[Simulator, Run]]:
    async with simulated(watch=WATCH) as (simulator, run):
        await run.poll()
        simulator.mischief.calls.clear()
        yield simulator, run


async def test_nothing_is_sent_before_the_first_poll() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        assert not simulator.mischief.calls
        assert tuple(source.name for source in run.backend.sources) == SOURCES


async def test_the_same_objects_while_nothing_changes(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    before = dict(run.devices)
    for update in await run.poll("policies", "groups", "libraries", "bindings"):
        assert update.origin is Origin.POLL
    assert [id_ for id_, device in run.devices.items() if before[id_] is not device] == []
    simulator.net_policies[0]["policy_info"]["status"] = False
    await run.poll("policies")
    assert run.state(HELLO) == {"status": "OFF"}
    assert [id_ for id_, device in run.devices.items() if before[id_] is not device] == [HELLO]


async def test_ids_stay_across_runs_and_orders() -> None:
    claims: dict[str, str] = {}
    async with simulated(watch=WATCH, claims=claims) as (_, run):
        await run.poll()
        before = {id_: tuple(sorted(row.key for row in device.entities)) for id_, device in run.devices.items()}
    async with simulated(watch=WATCH, claims=claims) as (simulator, run):
        simulator.net_policies.reverse()
        simulator.flux_policies.reverse()
        await run.poll(*reversed(SOURCES))
        assert {id_: tuple(sorted(row.key for row in one.entities)) for id_, one in run.devices.items()} == before


async def test_a_policy_that_is_gone_leaves_the_inventory_and_an_empty_list_does_not_count(
    ac: tuple[Simulator, Run],
) -> None:
    simulator, run = ac
    assert run.ids("net_policies") == {id_ for id_, one in run.devices.items() if one.scope == "net_policies"}
    assert run.ids("flux_policies") == {id_ for id_, one in run.devices.items() if one.scope == "flux_policies"}
    simulator.net_policies.pop(0)
    await run.poll("policies")
    listed = run.ids("net_policies")
    assert listed is not None
    assert HELLO not in listed
    run.inventories.clear()
    simulator.mischief.inject("empty")
    await run.poll("policies")
    assert run.inventories == []
    assert run.devices[GROUP].entity("netpolicy_policy1") is not None


async def test_switches_follow_the_policies(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    simulator.net_policies.pop(0)
    simulator.net_policies[1]["policy_info"]["name"] = "renamed"
    await run.poll("policies")
    keys = {row.key for row in run.devices[GROUP].entities}
    assert keys >= {"netpolicy", "netpolicy_policy1", "netpolicy_policy2", "netpolicy_renamed"}
    assert "netpolicy_hello" not in keys
    assert run.state(GROUP)["netpolicy_renamed"] == "OFF"
    assert run.state(GROUP)["netpolicy_policy2"] == "ON"


async def test_groups_need_no_policies_to_be_known() -> None:
    async with simulated(watch=WATCH) as (_, run):
        await run.poll("groups")
        assert set(run.state(GROUP)) == {"netpolicy", "netpolicy_policy1", "netpolicy_policy2"}
        assert run.inventories == []


async def test_a_group_that_is_not_there_is_unavailable(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    removed = simulator.groups.pop("/hello")
    await run.poll("groups")
    assert not run.devices[GROUP].available
    assert run.state(GROUP)["netpolicy"] == 2
    assert run.ids("groups") == {GROUP}
    assert not (await run.read(GROUP)).available
    simulator.groups["/hello"] = removed
    assert (await run.read(GROUP)).available


async def test_a_group_that_never_was() -> None:
    async with simulated(watch={"groups": ["/nobody", "/hello"]}) as (simulator, run):
        await run.poll("policies", "groups")
        nobody = run.devices[run.named("groups", "/nobody")]
        assert (nobody.available, nobody.state["netpolicy"]) == (False, None)
        assert run.devices[GROUP].available
        assert [call.query["path"] for call in calls(simulator, GROUPS)] == ["/nobody", "/hello"]


async def test_a_group_with_a_chinese_name_is_encoded() -> None:
    async with simulated(watch={"groups": ["/研发部"]}) as (simulator, run):
        await run.poll("groups")
        assert calls(simulator, GROUPS)[0].query["path"] == "/研发部"
        assert run.state(run.named("groups", "/研发部"))["netpolicy"] == 0


async def test_watched_users_are_found_in_the_list_of_all(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    await run.poll("online_users")
    (call,) = calls(simulator, ONLINE)
    assert {key: call.body[key] for key in ("status", "terminal")} == {"status": "all", "terminal": "all"}
    assert "filter" not in call.body
    assert call.query == {"_method": "GET"}
    del simulator.online["1.1.1.1"]
    await run.poll("online_users")
    gone = run.state(USER)
    assert (gone.pop("online"), gone.pop("enable")) == ("OFF", "ON")
    assert set(gone.values()) == {None}
    assert run.ids("users") == {USER}
    assert run.state(NAME)["online_user"] == 1


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("nested", [False, True])
async def test_accounts_of_watched_users(nested: bool, text: bool) -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.nested_user_fields, simulator.expiry_as_text = nested, text
        await run.poll("users")
        (call,) = simulator.mischief.calls
        assert (call.method, call.path, call.query["name"]) == ("GET", "/v1/user", "a")
        assert run.state(USER) == {"enable": "ON", "expire_time": None}
        assert run.ids("users") == {USER}
        await run.act("user_modify", name="a", enable=False, expire_time="2030-01-02 03:04:05")
        await run.poll("users")
        assert run.state(USER) == {"enable": "OFF", "expire_time": "2030-01-02T03:04:05+08:00"}
        told = run.devices[USER].attributes["expire_time"]
        assert told == {"date": "2030-01-02 03:04:05"} | ({} if text else {"enable": True})
        await run.poll("online_users")
        assert (run.state(USER)["online"], run.state(USER)["enable"]) == ("ON", "OFF")
        simulator.users["a"]["enable"] = True
        assert (await run.read(USER)).state["enable"] == "ON"


async def test_a_user_without_an_account(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    simulator.remove_user("a")
    await run.poll("users")
    assert run.devices[USER].available
    assert run.devices[USER].entity("online") is not None
    assert run.devices[USER].entity("enable") is run.devices[USER].entity("expire_time") is None
    assert run.ids("users") == {USER}
    assert (await run.read(USER)).state["online"] == "ON"


async def test_an_account_that_is_not_told_now_stays(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    run.inventories.clear()
    simulator.mischief.inject("error", "/v1/user")
    with pytest.raises(Rejected, match="Unknow error"):
        await run.poll("users")
    assert run.ids("users") is None
    await run.poll("online_users")
    assert run.state(USER)["enable"] == "ON"
    simulator.online.clear()
    assert (await run.read(USER)).state["online"] == "OFF"  # which the account has no part in
    simulator.mischief.inject("error", "/v1/online-users")
    with pytest.raises(Rejected, match="Unknow error"):
        await run.read(USER)


async def test_among_many_watched_users_are_asked_for_together() -> None:
    async with simulated(devices=250, watch={"users": ["a", "zhangwei"]}) as (simulator, run):
        await run.poll("online_users")
        asked = [call.body.get("filter") for call in calls(simulator, ONLINE)]
        assert (
            asked
            == [None, {"type": "user", "value": ["a", "zhangwei"]}, {"type": "user", "value": ["zhangwei"]}][
                : len(asked)
            ]
        )
        assert len(asked) >= 2
        assert run.state(NAME)["online_user"] == 250
        assert run.state(USER)["online"] == "ON"
        chosen = run.devices[run.named("users", "zhangwei")]
        assert chosen.state["online"] == "ON"
        addresses = [row["ip"] for row in simulator.online.values() if row["name"] == "zhangwei"]
        assert chosen.state["ip"] in addresses


async def test_a_name_that_too_many_are_like_is_not_known_to_be_offline() -> None:
    async with simulated(devices=250, watch={"users": ["zhang"]}) as (simulator, run):
        for row in list(simulator.online.values()):
            row["name"] = f"zhang{row['ip']}"
        await run.poll("online_users")
        user = run.named("users", "zhang")
        assert run.state(user)["online"] is None
        last = next(iter(simulator.online.values()))
        last["name"] = "zhang"
        await run.poll("online_users")
        assert run.state(user)["online"] == "ON"
        last["name"] = "zhangsan"
        await run.poll("online_users")
        assert run.state(user)["online"] == "ON"  # what was known stays


async def test_who_is_online_twice_shows_the_newest_login(ac: tuple[Simulator, Run]) -> None:
    _, run = ac
    login = {"ip": "7.7.7.7", "name": "a", "group": "/hello"}
    await run.act("user_login", **login)
    await run.poll("online_users")
    assert (run.state(USER)["ip"], run.state(USER)["authway"]) == ("7.7.7.7", "single_sign_on")
    assert run.devices[USER].attributes["online"] == {"logins": 2, "ips": ["7.7.7.7", "1.1.1.1"]}


async def test_terminals_that_nobody_knows(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    simulator.online["1.1.1.1"] |= {"terminal": 7, "authway": 9}
    await run.poll("online_users")
    assert (run.state(USER)["terminal"], run.state(USER)["authway"]) == ("unknown", "unknown")
    assert run.devices[USER].attributes["terminal"] == {"raw": 7}
    assert run.devices[USER].attributes["authway"] == {"raw": 9}


async def test_a_binding_that_is_gone(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    simulator.bindings.clear()
    simulator.ipmac.clear()
    await run.poll("bindings")
    assert run.state(BOUND) == {"enable": None, "user_bindings": 0}
    assert run.state(PAIR) == {"enable": None, "user_bindings": 0, "ip": None, "mac": None, "desc": None}
    assert run.ids("bindings") == {BOUND, PAIR}


async def test_bindings_that_only_begin_alike_do_not_count() -> None:
    async with simulated(watch={"bindings": ["1.1.1."]}) as (simulator, run):
        simulator.fuzzy_bindings = True
        await run.poll("bindings")
        assert len(calls(simulator, "ipmac-bindinfo")) == 0
        assert run.state(run.named("bindings", "1.1.1."))["user_bindings"] == 0


async def test_a_mac_in_any_notation() -> None:
    async with simulated(watch={"bindings": ["11:11:11:11:11:11"]}) as (simulator, run):
        await run.poll("bindings")
        state = run.state(run.named("bindings", "11-11-11-11-11-11"))
        assert (state["user_bindings"], state["ip"]) == (2, "1.1.1.2")
        assert {call.query["search"] for call in simulator.mischief.calls} == {"11-11-11-11-11-11"}


async def test_the_other_path_of_ip_mac_bindings(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    await run.poll("bindings")
    assert len(calls(simulator, "bindinfo/ipmac-bindinfo")) == 0
    simulator.ipmac_under_bindinfo = True
    await run.poll("bindings")
    assert len(calls(simulator, "bindinfo/ipmac-bindinfo")) == 1
    assert run.state(PAIR)["mac"] == "11-11-11-11-11-11"
    simulator.ipmac.clear()
    await run.poll("bindings")
    assert run.state(PAIR)["mac"] is None


async def test_the_path_of_ip_mac_bindings_may_redirect(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    simulator.ipmac_under_bindinfo = True
    simulator.redirects = {"/v1/ipmac-bindinfo"}
    simulator.ipmac["1.1.1.2"]["mac"] = "AA-BB-CC-DD-EE-FF"
    await run.poll("bindings")
    assert run.state(PAIR)["mac"] == "AA-BB-CC-DD-EE-FF"


async def test_the_clock_tells_whether_the_data_is_alive(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    fresh = run.source("status").fresh
    assert fresh is not None
    before = fresh()
    assert before is not None
    simulator.utc_offset_hours += 1
    await run.poll("status")
    assert fresh() not in (None, before)
    simulator.empty_bodies = {"/v1/status/sys-time"}
    await run.poll("status")
    assert fresh() is None


async def test_reading_single_devices(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    simulator.status["cpu-usage"] = 99
    simulator.net_policies[0]["policy_info"]["status"] = False
    simulator.flux_policies[0]["policy_enable"] = False
    simulator.group_policies["/hello"] = []
    simulator.online["1.1.1.1"]["terminal"] = 1
    simulator.bindings[0]["enable"] = False
    channel = run.named("flux_policies", "时延敏感型应用保障")
    assert (await run.read(NAME)).state["cpu_usage"] == 99
    assert (await run.read(HELLO)).state["status"] == "OFF"
    assert (await run.read(channel)).state["policy_enable"] == "OFF"
    assert (await run.read(GROUP)).state["netpolicy"] == 0
    assert (await run.read(USER)).state["terminal"] == "mobile"
    assert (await run.read(PAIR)).state["enable"] == "OFF"
    assert (await run.read(BOUND)).state["enable"] == "ON"
    update = await run.backend.read(run.devices[GROUP])
    assert update.origin is Origin.COMMAND
    assert [device.id for device in update.devices] == [GROUP]


async def test_reading_what_is_not_there(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    simulator.net_policies.pop(0)
    with pytest.raises(Rejected) as caught:
        await run.read(HELLO)
    assert caught.value.code == "not_listed"
    simulator.mischief.inject("error", "/v1/group/netpolicy")
    with pytest.raises(Rejected, match="Unknow error"):
        await run.read(GROUP)
    simulator.mischief.inject("error", "/v1/ipmac-bindinfo")
    with pytest.raises(Rejected, match="Unknow error"):
        await run.read(PAIR)
    simulator.mischief.clear()
    simulator.redirects = {"*/ipmac-bindinfo"}
    simulator.ipmac.clear()
    assert (await run.read(PAIR)).state["mac"] == "11-11-11-11-11-11"  # nobody said otherwise


@pytest.mark.parametrize(
    ("quirk", "rows"),
    [
        ({}, {"send": 12_480_000, "recv": 58_440_000}),
        ({"unit_ignored": True}, {"send": 12_480_000, "recv": 58_440_000}),
        ({"unit_ignored": True, "unit_missing": True}, {"send": 12_480_000, "recv": 58_440_000}),
        ({"numbers_as_text": True}, {"send": 12_480_000, "recv": 58_440_000}),
    ],
)
@pytest.mark.parametrize("unit", ["bits", "bytes"])
async def test_throughput_trusts_the_unit_of_the_answer(
    quirk: dict[str, bool], rows: dict[str, int], unit: str
) -> None:
    async with simulated(throughput={"unit": unit}) as (simulator, run):
        for name, value in quirk.items():
            setattr(simulator, name, value)
        await run.poll("status")
        assert calls(simulator, "status/throughput")[0].body["filter"] == {"unit": unit}
        assert {name: run.state(NAME)[f"throughput_{name}"] for name in rows} == rows


async def test_throughput_of_one_interface() -> None:
    async with simulated(throughput={"interface": "eth2"}) as (simulator, run):
        await run.poll("status")
        assert calls(simulator, "status/throughput")[0].body["filter"] == {"unit": "bits", "interface": "eth2"}
        assert run.state(NAME)["throughput_send"] == 2_480_000


async def test_numbers_as_texts_and_braces_for_lists(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    before = {id_: dict(device.state) for id_, device in run.devices.items()}
    simulator.numbers_as_text = True
    simulator.braces_for_empty = True
    await run.poll()
    moving = {"sys_time", "online_time"}
    for id_, state in before.items():
        assert {k: v for k, v in run.state(id_).items() if k not in moving} == {
            k: v for k, v in state.items() if k not in moving
        }
    simulator.group_policies["/hello"] = []
    simulator.online.clear()
    await run.poll("groups", "online_users")
    assert run.state(GROUP)["netpolicy"] == 0
    assert run.state(USER)["online"] == "OFF"


@pytest.mark.parametrize("old", [False, True])
async def test_channels_as_devices_send_them(old: bool) -> None:
    async with simulated() as (simulator, run):
        simulator.device_fluxpolicy = True
        simulator.old_father_id = old
        await run.poll("policies")
        channel = run.devices[run.named("flux_policies", "1")]
        assert (channel.name, channel.id) == ("时延敏感型应用保障", f"{NAME}_flux_policy_1")
        assert channel.state["policy_enable"] == "ON"
        assert channel.state["max_bandwidth_down"] == 100_000_000
        assert channel.state["single_user_limit_up"] is None
        child = run.devices[run.named("flux_policies", "2")]
        assert child.name == "时延敏感型应用保障/视频会议保障"
        assert child.state["single_user_limit_down"] == 8_000_000


async def test_channels_as_the_table_spells_them() -> None:
    async with simulated() as (simulator, run):
        await run.poll("policies")
        before = {id_: device for id_, device in run.devices.items() if device.scope == "flux_policies"}
        simulator.table_spelling = True
        await run.poll("policies")
        assert {id_: run.devices[id_] for id_ in before} == before
        assert len(before) == 4


async def test_an_answer_without_data_is_no_news(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    before = {id_: dict(device.state) for id_, device in run.devices.items()}
    simulator.empty_bodies = {"*"}
    for source in SOURCES:
        with pytest.raises(BadReply):
            await run.poll(source)
    assert {id_: dict(device.state) for id_, device in run.devices.items()} == before
    simulator.empty_bodies = {"/v1/status/c*", "/v1/status/throughput"}
    await run.poll("status")
    assert run.state(NAME)["cpu_usage"] == before[NAME]["cpu_usage"]


async def test_nothing_but_success_publishes_no_zeros() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.mischief.inject("garbage", text='{"code": 0, "message": "Successfully"}')
        for source in SOURCES:
            with pytest.raises(BadReply):
                await run.poll(source)
        assert not any(value for device in run.devices.values() for value in device.state.values())
        assert set(run.devices) <= {NAME}


@pytest.mark.parametrize("data", ["null", '""', "[]", "{}", '"x"', "false", '{"x": 1}'])
async def test_odd_data_does_no_harm(data: str) -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.mischief.inject("garbage", text=f'{{"code": 0, "data": {data}}}')
        for source in SOURCES:
            try:
                await run.poll(source)
            except BadReply as error:
                assert error.code == "no_data"  # noqa: PT017 - what is raised depends on what the call expects
        for device in run.devices.values():
            assert not [v for k, v in device.state.items() if v not in (None, 0, "OFF") and k != "version"]
