"""Actions: their table, arguments that are refused before anything is sent, and those for groups and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import voluptuous as vol
from voluptuous_openapi import convert

from fleet2mqtt.errors import Rejected
from fleet2mqtt.platforms import sangfor_ac
from tests.platforms.sangfor_ac.connected import BINDING, GROUP, body_of, calls, connected

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.app import Simulator
    from tests.platforms.context import Run


_GROUPS, _BINDINGS, _ONLINE, _USERS = ("groups",), ("bindings",), ("online_users", "status"), ("users",)


_CHANGES = ("list", "add", "delete", "modify")


_ACTIONS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "group_add": (False, _GROUPS),
    "group_delete": (True, _GROUPS),
    "group_modify": (False, ()),
    "group_policy_list": (False, ()),
    "group_policy_add": (False, _GROUPS),
    "group_policy_delete": (False, _GROUPS),
    "group_policy_modify": (False, _GROUPS),
    "net_policy_list": (False, ()),
    "flux_policy_list": (False, ()),
    "user_binding_search": (False, ()),
    "user_binding_add": (False, _BINDINGS),
    "user_binding_delete": (True, _BINDINGS),
    "ip_mac_binding_search": (False, ()),
    "ip_mac_binding_add": (False, _BINDINGS),
    "ip_mac_binding_delete": (True, _BINDINGS),
    "online_users": (False, ()),
    "user_logout": (True, _ONLINE),
    "user_login": (False, _ONLINE),
    "user_get": (False, ()),
    "user_search": (False, ()),
    "user_add": (True, _USERS),
    "user_modify": (True, _USERS),
    "user_delete": (True, _USERS),
    **{f"user_{kind}_policy_{what}": (False, ()) for kind in ("net", "flux") for what in _CHANGES},
    "throughput": (False, ()),
    "user_rank": (False, ()),
    "app_rank": (False, ()),
}


_REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("group_add", {"path": "hello"}),
    ("group_add", {}),
    ("group_delete", {"path": ""}),
    ("group_delete", {"path": "/" + "x" * 255}),
    ("group_modify", {"path": "/hello"}),
    ("group_policy_add", {"group": "/hello", "policy": []}),
    ("group_policy_delete", {"group": "/hello", "policy": "hello"}),
    ("group_policy_modify", {"group": "/hello"}),
    ("user_binding_search", {"search": ""}),
    ("user_binding_search", {"search": 5.5}),
    ("user_binding_add", BINDING | {"addr": "1.1.1"}),
    ("user_binding_add", BINDING | {"addr": 5}),
    ("user_binding_add", BINDING | {"addr": "1.1.1.1+1"}),
    ("user_binding_add", BINDING | {"addr_type": "IP"}),
    ("user_binding_add", BINDING | {"noauth": {"expire_time": True}}),
    ("user_binding_add", BINDING | {"noauth": {"expire_time": -1}}),
    ("user_binding_add", {key: value for key, value in BINDING.items() if key != "limitlogon"}),
    ("user_binding_delete", {"addr": ""}),
    ("ip_mac_binding_add", {"ip": "1.1.1.1", "mac": "11"}),
    ("ip_mac_binding_add", {"ip": "1.1.1.1", "mac": 5}),
    ("ip_mac_binding_delete", {"ip": "11-11-11-11-11-11"}),
    ("online_users", {"status": "online"}),
    ("online_users", {"filter": {"type": "user", "value": []}}),
    ("online_users", {"filter": {"type": "ip", "value": [{"first": "1.1.1.1"}]}}),
    ("user_logout", {"ip": "a"}),
    ("user_login", {"ip": "1.1.1.1"}),
    ("user_login", {"ip": "1.1.1.1", "name": "a", "group": "/a", "father_path": "/a"}),
    ("user_search", {"search_type": "name", "search_value": "a"}),
    ("user_add", {}),
    ("user_add", {"name": "b", "expire_time": "tomorrow"}),
    ("user_add", {"name": "b", "expire_time": "2030-01-02T03:04:05+08:00"}),
    ("user_add", {"name": "b", "expire_time": 0}),
    ("user_add", {"name": "b", "self_pass": {"password": ""}}),
    ("user_add", {"name": "b", "bind_cfg": [{"ip": "1.1.1"}]}),
    ("user_modify", {"name": "b", "show_name": "c"}),
    ("user_modify", {"name": "b", "enable": "yes"}),
    ("user_delete", {"name": ""}),
    ("user_net_policy_add", {"user": "a", "policy": []}),
    ("user_flux_policy_modify", {"user": "a"}),
    ("throughput", {"unit": "kbps"}),
    ("user_rank", {"top": 0}),
    ("user_rank", {"top": 5.5}),
    ("user_rank", {"users": ["a"], "ips": ["1.1.1.1"]}),
    ("app_rank", {"users": ["a"]}),
]


async def test_actions_of_backend_are_complete(fresh: tuple[Simulator, Run]) -> None:
    _, run = fresh
    assert {action.name: (action.destructive, action.refresh) for action in run.backend.actions} == _ACTIONS
    for action in run.backend.actions:
        assert action.summary
        assert convert(vol.Schema(dict(action.schema)), openapi_version="3.1.0")["type"] == "object"
        assert set(action.refresh) <= {source.name for source in run.backend.sources}


@pytest.mark.parametrize(("name", "arguments"), _REFUSED)
async def test_action_wrong_arguments_sends_nothing(
    fresh: tuple[Simulator, Run], name: str, arguments: dict[str, Any]
) -> None:
    simulator, run = fresh
    with pytest.raises(vol.Invalid):
        await run.act(name, **arguments)
    assert not simulator.fault_injector.calls


@pytest.mark.parametrize(
    "options",
    [
        {"key": ""},
        {"key": 5},
        {"spacing": -1},
        {"spacing": True},
        {"language": "de"},
        {"watch": {"groups": ["hello"]}},
        {"watch": {"users": [""]}},
        {"watch": {"rooms": []}},
        {"throughput": {"unit": "kbps"}},
        {"ip_range_template": "{first}"},
        {"ip_range_template": "{first}-{last}{x}"},
        {"ip_range_template": 5},
        {"user_fields": "both"},
        {"scan_interval": {"status": 0}},
    ],
)
def test_options_wrong_value_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(vol.Invalid):
        vol.Schema(sangfor_ac.SCHEMA)({"key": "k"} | options)


def test_options_without_key_are_refused() -> None:
    with pytest.raises(vol.Invalid, match="the shared key"):
        vol.Schema(sangfor_ac.SCHEMA)({})


async def test_group_actions_add_modify_and_delete(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    assert (await run.act("group_add", path="/hello/new"))["code"] == 0
    assert body_of(simulator, "group") == {"path": "/hello/new", "desc": ""}
    with pytest.raises(Rejected, match="exists already") as caught:
        await run.act("group_add", path="/hello/new")
    assert (caught.value.code, caught.value.endpoint) == (1, "POST group")
    answer = await run.act("group_modify", path="/hello/new", desc="description")
    assert answer == {"code": 0, "message": "Successfully", "data": "Modify group success!"}
    assert calls(simulator, "group")[-1].query == {"_method": "PUT"}
    assert simulator.groups["/hello/new"] == "description"
    answer = await run.act("group_delete", path="/hello/new")
    assert answer == {"code": 0, "message": "Successfully", "data": "Delete group success!"}
    assert calls(simulator, "group")[-1].query == {"_method": "DELETE"}
    assert "/hello/new" not in simulator.groups
    with pytest.raises(Rejected, match="no data"):
        await run.act("group_delete", path="/hello/new")


async def test_group_policy_actions_change_the_list(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    path = "group/netpolicy"
    assert await run.act("group_policy_list", path="/hello") == {"policy": ["policy1", "policy2"]}
    answer = await run.act("group_policy_add", group="/hello", policy=["hello", "全员审计"])
    assert answer == {"code": 0, "message": "Successfully", "data": "Modify group policy success!"}
    assert body_of(simulator, path) == {"opr": "add", "group": "/hello", "policy": ["hello", "全员审计"]}
    await run.act("group_policy_delete", group="/hello", policy=["policy1"])
    assert body_of(simulator, path)["opr"] == "del"
    assert (await run.act("group_policy_list", path="/hello"))["policy"] == ["policy2", "hello", "全员审计"]
    await run.act("group_policy_modify", group="/hello", policy=["policy1"])
    assert await run.act("group_policy_list", path="/hello") == {"policy": ["policy1"]}
    await run.poll("groups")
    assert run.state(GROUP)["netpolicy"] == 1
    await run.act("group_policy_modify", group="/hello", policy=[])
    assert await run.act("group_policy_list", path="/hello") == {"policy": []}
    with pytest.raises(Rejected):
        await run.act("group_policy_list", path="/nobody")


async def test_policy_lists_return_the_vendors_items(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    simulator.braces_for_empty = True
    net = (await run.act("net_policy_list"))["policies"]
    assert len(net) == len(simulator.net_policies)
    assert net[0]["policy_info"]["name"] == "hello"
    assert net[0]["user_info"]["ou"] == net[0]["user_info"]["sourceip"] == []
    flux = (await run.act("flux_policy_list"))["policies"]
    assert flux[0]["assured_bandwidth"] == ["20000000", "20000000"]
    assert flux[0]["children"][0]["children"] == []


async def test_status_actions_return_throughput_and_ranks(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    assert await run.act("throughput", unit="bytes") == {
        "send": 1_560_000,
        "recv": 7_305_000,
        "unit": "bytes",
        "bits_per_second": {"send": 12_480_000, "recv": 58_440_000},
    }
    assert (await run.act("throughput", interface="eth2"))["send"] == 310_000
    users = (await run.act("user_rank", users=["a"]))["rank"]
    assert body_of(simulator, "status/user-rank") == {"filter": {"top": 10, "line": "0", "users": ["a"]}}
    assert [item["ip"] for item in users] == ["1.1.1.1"]
    assert users[0]["detail"]["data"]
    apps = (await run.act("app_rank", top=2, line="2"))["rank"]
    assert body_of(simulator, "status/app-rank") == {"filter": {"top": 2, "line": "2"}}
    assert len(apps) == 2
    assert apps[0]["user_data"]["data"]


async def test_connect_sends_nothing() -> None:
    async with connected("http://127.0.0.1:1") as run:
        assert not run.backend.calls
