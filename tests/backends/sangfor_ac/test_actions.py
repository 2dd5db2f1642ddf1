"""Every action: what it sends, what it answers, and what of its arguments is refused before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import voluptuous as vol
from voluptuous_openapi import convert

from bridge.backends import sangfor_ac
from bridge.errors import BadReply, CommandError, Rejected
from tests.backends.sangfor_ac.connected import GROUP, WATCH, calls, connected, simulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.backends.sangfor_ac.simulator import Simulator
    from tests.backends.context import Run

BINDING: dict[str, Any] = {"enable": True, "name": "a", "addr_type": "ip", "addr": "1.1.1.9", "limitlogon": True}
SAMPLE = {"desc": "", "mac": "11-11-11-11-11-11", "ip": "1.1.1.2"}
SUCCESS = {"code": 0, "message": "Success"}

_GROUPS, _BINDINGS, _ONLINE, _USERS = ("groups",), ("bindings",), ("online_users",), ("users",)
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


@pytest.fixture
async def ac() -> AsyncIterator[tuple[Simulator, Run]]:
    async with simulated(watch=WATCH) as (simulator, run):
        yield simulator, run


def _body(simulator: Simulator, path: str) -> dict[str, Any]:
    """What was sent last, without the signature."""
    body = calls(simulator, path)[-1].body
    return {key: value for key, value in body.items() if key not in {"random", "md5"}}


async def test_which_there_are(ac: tuple[Simulator, Run]) -> None:
    _, run = ac
    assert {action.name: (action.destructive, action.refresh) for action in run.backend.actions} == _ACTIONS
    for action in run.backend.actions:
        assert action.summary
        assert convert(vol.Schema(dict(action.schema)), openapi_version="3.1.0")["type"] == "object"
        assert set(action.refresh) <= {source.name for source in run.backend.sources}


@pytest.mark.parametrize(("name", "arguments"), _REFUSED)
async def test_arguments_are_checked_first(ac: tuple[Simulator, Run], name: str, arguments: dict[str, Any]) -> None:
    simulator, run = ac
    with pytest.raises(vol.Invalid):
        await run.act(name, **arguments)
    assert not simulator.mischief.calls


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
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(vol.Invalid):
        vol.Schema(sangfor_ac.SCHEMA)({"key": "k"} | options)


def test_a_key_is_needed() -> None:
    with pytest.raises(vol.Invalid, match="the shared key"):
        vol.Schema(sangfor_ac.SCHEMA)({})


async def test_groups_from_adding_to_deleting(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    assert (await run.act("group_add", path="/hello/new"))["code"] == 0
    assert _body(simulator, "group") == {"path": "/hello/new", "desc": ""}
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


async def test_policies_of_a_group(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    path = "group/netpolicy"
    assert await run.act("group_policy_list", path="/hello") == {"policy": ["policy1", "policy2"]}
    answer = await run.act("group_policy_add", group="/hello", policy=["hello", "全员审计"])
    assert answer == {"code": 0, "message": "Successfully", "data": "Modify group policy success!"}
    assert _body(simulator, path) == {"opr": "add", "group": "/hello", "policy": ["hello", "全员审计"]}
    await run.act("group_policy_delete", group="/hello", policy=["policy1"])
    assert _body(simulator, path)["opr"] == "del"
    assert (await run.act("group_policy_list", path="/hello"))["policy"] == ["policy2", "hello", "全员审计"]
    await run.act("group_policy_modify", group="/hello", policy=["policy1"])
    assert await run.act("group_policy_list", path="/hello") == {"policy": ["policy1"]}
    await run.poll("groups")
    assert run.state(GROUP)["netpolicy"] == 1
    await run.act("group_policy_modify", group="/hello", policy=[])
    assert await run.act("group_policy_list", path="/hello") == {"policy": []}
    with pytest.raises(Rejected):
        await run.act("group_policy_list", path="/nobody")


async def test_policies_as_the_ac_has_them(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    simulator.braces_for_empty = True
    net = (await run.act("net_policy_list"))["policies"]
    assert len(net) == len(simulator.net_policies)
    assert net[0]["policy_info"]["name"] == "hello"
    assert net[0]["user_info"]["ou"] == net[0]["user_info"]["sourceip"] == []
    flux = (await run.act("flux_policy_list"))["policies"]
    assert flux[0]["assured_bandwidth"] == ["20000000", "20000000"]
    assert flux[0]["children"][0]["children"] == []


async def test_user_bindings(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    path = "bindinfo/user-bindinfo"
    await run.act("user_binding_add", **BINDING, noauth={"enable": True, "indate": 1_900_000_000})
    assert _body(simulator, path) == BINDING | {"desc": "", "noauth": {"enable": True, "expire_time": 1_900_000_000}}
    (found,) = (await run.act("user_binding_search", search="1.1.1.9"))["bindings"]
    assert found["noauth"] == {"enable": True, "indate": 1_900_000_000, "expire_time": 1_900_000_000}
    with pytest.raises(Rejected, match="exists already"):
        await run.act("user_binding_add", **found)
    assert await run.act("user_binding_delete", addr="1.1.1.9") == SUCCESS
    assert _body(simulator, path) == {"addr": "1.1.1.9"}
    assert await run.act("user_binding_search", search="1.1.1.9") == {"bindings": []}
    await run.act("user_binding_add", **found)  # a row as it was found can be added again
    pair = BINDING | {"addr_type": "ipmac", "addr": "1.1.1.9+aa:bb:cc:dd:ee:ff"}
    await run.act("user_binding_add", **pair)
    assert _body(simulator, path) == pair | {
        "desc": "",
        "addr": "1.1.1.9+AA-BB-CC-DD-EE-FF",
        "noauth": {"enable": False, "expire_time": 0},
    }
    await run.act("user_binding_delete", addr="aabbccddeeff")
    assert _body(simulator, path) == {"addr": "AA-BB-CC-DD-EE-FF"}
    assert len((await run.act("user_binding_search", search="a"))["bindings"]) == 4
    with pytest.raises(Rejected):
        await run.act("user_binding_search")
    simulator.bindings_without_search = True
    assert len((await run.act("user_binding_search"))["bindings"]) == 4
    del simulator.bindings[0]["noauth"]
    assert "noauth" not in (await run.act("user_binding_search", search="1.1.1.2"))["bindings"][0]


async def test_ip_mac_bindings(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    assert await run.act("ip_mac_binding_search", search="1.1.1.2") == {"bindings": [SAMPLE]}
    assert await run.act("ip_mac_binding_search", search="11:11:11:11:11:11") == {"bindings": [SAMPLE]}
    assert await run.act("ip_mac_binding_search", search="1.1.1.3") == {"bindings": []}
    assert await run.act("ip_mac_binding_add", ip="1.1.1.3", mac="aabb.ccdd.eeff") == SUCCESS
    assert _body(simulator, "bindinfo/ipmac-bindinfo") == {"ip": "1.1.1.3", "mac": "AA-BB-CC-DD-EE-FF", "desc": ""}
    assert await run.act("ip_mac_binding_delete", ip="1.1.1.3") == SUCCESS
    assert calls(simulator, "bindinfo/ipmac-bindinfo")[-1].query == {"_method": "DELETE"}
    assert await run.act("ip_mac_binding_search", search="1.1.1.3") == {"bindings": []}
    assert len(calls(simulator, "ipmac-bindinfo")) == 4
    simulator.missing_chapters = {"bindings"}
    with pytest.raises(Rejected) as caught:
        await run.act("ip_mac_binding_search", search="1.1.1.3")
    assert (caught.value.code, caught.value.endpoint) == (404, "GET ipmac-bindinfo")


async def test_the_fault_of_the_other_path_counts(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    simulator.mischief.inject("status", "/v1/ipmac-bindinfo", status=404)
    simulator.mischief.inject("error", "/v1/bindinfo/ipmac-bindinfo", code=5, text="no")
    with pytest.raises(Rejected, match="no") as caught:
        await run.act("ip_mac_binding_search", search="1.1.1.3")
    assert caught.value.endpoint == "GET bindinfo/ipmac-bindinfo"


async def test_a_binding_that_is_not_found_in_chinese() -> None:
    async with simulated(language="zh") as (_, run):
        assert await run.act("ip_mac_binding_search", search="1.1.1.3") == {"bindings": []}


@pytest.mark.parametrize("text", ["绑定不存在", "There is no data!", "The user doesn't exist", "record not found"])
async def test_ways_to_say_that_something_is_not_there(ac: tuple[Simulator, Run], text: str) -> None:
    simulator, run = ac
    simulator.mischief.inject("error", text=text)
    assert await run.act("ip_mac_binding_search", search="1.1.1.3") == {"bindings": []}
    assert await run.act("user_binding_search", search="1.1.1.3") == {"bindings": []}


async def test_online_users(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    found = await run.act("online_users", filter={"type": "user", "value": ["a"]})
    assert _body(simulator, "online-users") == {
        "status": "all",
        "terminal": "all",
        "filter": {"type": "user", "value": ["a"]},
    }
    assert found["truncated"] is False
    assert "1.1.1.1" in [row["ip"] for row in found["users"]]
    found = await run.act("online_users", filter={"type": "mac", "value": ["11:11:11:11:11:11"]})
    assert [row["name"] for row in found["users"]] == ["a"]
    ranges = [{"first": "1.1.1.0", "last": "1.1.1.9"}, "10.0.0.0-10.255.255.255"]
    found = await run.act("online_users", filter={"type": "ip", "value": ranges})
    assert _body(simulator, "online-users")["filter"]["value"] == ["1.1.1.0-1.1.1.9", "10.0.0.0-10.255.255.255"]
    assert found["count"] == len(found["users"]) == 2
    simulator.mischief.calls.clear()
    with pytest.raises(CommandError) as caught:
        await run.act("online_users", filter={"type": "user", "value": ranges[:1]})
    assert caught.value.code == "invalid_arguments"
    assert not simulator.mischief.calls


async def test_more_than_a_hundred_online_users() -> None:
    async with simulated(devices=101) as (_, run):
        found = await run.act("online_users")
        assert (found["count"], found["truncated"], len(found["users"])) == (101, True, 100)
        rest = await run.act("online_users", status="active", terminal="mobile")
        assert rest["truncated"] is False


async def test_another_way_to_write_ranges() -> None:
    async with simulated(ip_range_template="{last}~{first}") as (simulator, run):
        with pytest.raises(Rejected):
            await run.act("online_users", filter={"type": "ip", "value": [{"first": "1.1.1.1", "last": "1.1.1.2"}]})
        assert _body(simulator, "online-users")["filter"]["value"] == ["1.1.1.2~1.1.1.1"]


async def test_logging_in_and_out(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    path = "online-users"
    assert await run.act("user_logout", ip="1.1.1.1") == SUCCESS
    assert (_body(simulator, path), calls(simulator, path)[-1].query) == ({"ip": "1.1.1.1"}, {"_method": "DELETE"})
    with pytest.raises(Rejected, match="no data"):
        await run.act("user_logout", ip="1.1.1.1")
    login = {"ip": "1.1.1.1", "name": "a", "show_name": "a", "mac": "11:11:11:11:11:11"}
    assert await run.act("user_login", **login, father_path="/hello") == SUCCESS
    sent = login | {"mac": "11-11-11-11-11-11", "group": "/hello"}
    assert (_body(simulator, path), calls(simulator, path)[-1].query) == (sent, {})
    assert simulator.online["1.1.1.1"]["father_path"] == "/hello"
    await run.act("user_login", ip="1.1.1.1", name="a", group="/default")
    assert simulator.online["1.1.1.1"]["father_path"] == "/default"


async def test_local_users(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    user = (await run.act("user_get", name="a"))["user"]
    assert (user["name"], user["father_path"]) == ("a", "/default")
    assert "password" not in str(user)
    with pytest.raises(Rejected, match="no data"):
        await run.act("user_get", name="nobody")
    found = await run.act("user_search", search_value="a", extend={"user_status": "enabled"})
    assert _body(simulator, "user") == {
        "search_type": "user",
        "search_value": "a",
        "extend": {"user_status": "enabled"},
    }
    assert found["truncated"] is False
    assert "a" in [row["name"] for row in found["users"]]
    span = {"start": "9.9.9.1", "end": "9.9.9.20"}
    assert await run.act("user_search", search_type="ip", search_value=span) == {"truncated": False, "users": []}
    simulator.mischief.calls.clear()
    for kind, value in (("ip", "1.1.1.1"), ("user", span)):
        with pytest.raises(CommandError):
            await run.act("user_search", search_type=kind, search_value=value)
    assert not simulator.mischief.calls


async def test_local_users_from_adding_to_deleting(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    extended = {"enable": False, "self_pass": {"enable": True, "password": "s3cret"}, "custom_cfg": {"部门": "研发"}}
    plain = {"name": "b", "desc": "x", "father_path": "/hello", "expire_time": "2030-01-02 03:04:00"}
    answer = await run.act("user_add", **plain | {"expire_time": "2030-01-02T03:04"}, **extended)
    assert answer == {"code": 0, "message": "Successfully", "data": "Add user success!"}
    assert _body(simulator, "user") == plain | {"extend": extended}
    user = (await run.act("user_get", name="b"))["user"]
    assert (user["father_path"], user["enable"], user["expire_time"]["date"]) == ("/hello", False, plain["expire_time"])
    with pytest.raises(Rejected, match="exists already"):
        await run.act("user_add", name="b")
    answer = await run.act("user_modify", name="b", expire_time="", father_path="/default", enable=True)
    assert answer["data"] == "Modify user success!"
    change = {"expire_time": "", "extend": {"father_path": "/default", "enable": True}}
    assert (_body(simulator, "user"), calls(simulator, "user")[-1].query) == (
        {"name": "b", "data": change},
        {"_method": "PUT"},
    )
    user = (await run.act("user_get", name="b"))["user"]
    assert (user["father_path"], user["enable"], user["expire_time"]["date"]) == ("/default", True, "")
    assert (await run.act("user_delete", name="b"))["data"] == "Delete user success!"
    assert (_body(simulator, "user"), calls(simulator, "user")[-1].query) == ({"name": "b"}, {"_method": "DELETE"})
    with pytest.raises(Rejected, match="no data"):
        await run.act("user_delete", name="b")
    simulator.mischief.calls.clear()
    with pytest.raises(CommandError, match="nothing to change"):
        await run.act("user_modify", name="a")
    assert not simulator.mischief.calls


async def test_local_users_where_extension_fields_are_flat() -> None:
    async with simulated(user_fields="flat") as (simulator, run):
        simulator.flat_user_fields = True
        await run.act("user_add", name="b", enable=False, father_path="/hello")
        assert _body(simulator, "user") == {"name": "b", "enable": False, "father_path": "/hello"}
        await run.act("user_modify", name="b", limit_ipmac={"enable": True, "ipmac": ["1.1.1.1"]}, father_path="/")
        change = {"limit_ipmac": {"enable": True, "ipmac": ["1.1.1.1"]}, "extend": {"father_path": "/"}}
        assert _body(simulator, "user") == {"name": "b", "data": change}
        assert (simulator.users["b"]["enable"], simulator.users["b"]["father_path"]) == (False, "/")
        await run.act("user_modify", name="b", desc="x")
        assert _body(simulator, "user")["data"] == {"desc": "x"}


async def test_a_local_user_of_another_name_is_not_taken_for_it(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    simulator.mischief.inject("garbage", text='{"code": 0, "data": [{"name": "ab"}, {"name": "a", "desc": "x"}]}')
    assert await run.act("user_get", name="a") == {"user": {"name": "a", "desc": "x"}}
    with pytest.raises(BadReply, match="no data"):
        await run.act("user_get", name="b")


@pytest.mark.parametrize(
    ("kind", "before", "more"),
    [("net", ["经理专用"], ["hello", "policy1"]), ("flux", [], ["下载限速", "视频会议保障"])],
)
async def test_policies_of_a_user(ac: tuple[Simulator, Run], kind: str, before: list[str], more: list[str]) -> None:
    simulator, run = ac
    name, path = f"user_{kind}_policy", f"user/{kind}policy"
    assert await run.act(f"{name}_list", user="a") == {"policy": before}
    answer = await run.act(f"{name}_add", user="a", policy=more)
    assert answer == {"code": 0, "message": "Successfully", "data": "Modify user policy success!"}
    assert _body(simulator, path) == {"opr": "add", "user": "a", "policy": more}
    await run.act(f"{name}_delete", user="a", policy=more[:1])
    assert _body(simulator, path)["opr"] == "del"
    assert await run.act(f"{name}_list", user="a", dn="example.org") == {"policy": [*before, *more[1:]]}
    assert {k: calls(simulator, path)[-1].query[k] for k in ("user", "dn")} == {"user": "a", "dn": "example.org"}
    await run.act(f"{name}_modify", user="a", policy=[], dn="example.org")
    assert _body(simulator, path) == {"opr": "modify", "user": "a", "policy": [], "dn": "example.org"}
    simulator.braces_for_empty = True
    assert await run.act(f"{name}_list", user="a") == {"policy": []}
    with pytest.raises(Rejected, match="no data"):
        await run.act(f"{name}_list", user="nobody")


async def test_more_than_a_hundred_local_users() -> None:
    async with simulated(devices=150) as (_, run):
        found = await run.act("user_search", search_value="")
        assert (found["truncated"], len(found["users"])) == (True, 100)


async def test_throughput_and_ranks(ac: tuple[Simulator, Run]) -> None:
    simulator, run = ac
    assert await run.act("throughput", unit="bytes") == {
        "send": 1_560_000,
        "recv": 7_305_000,
        "unit": "bytes",
        "bits_per_second": {"send": 12_480_000, "recv": 58_440_000},
    }
    assert (await run.act("throughput", interface="eth2"))["send"] == 310_000
    users = (await run.act("user_rank", users=["a"]))["rank"]
    assert _body(simulator, "status/user-rank") == {"filter": {"top": 10, "line": "0", "users": ["a"]}}
    assert [row["ip"] for row in users] == ["1.1.1.1"]
    assert users[0]["detail"]["data"]
    apps = (await run.act("app_rank", top=2, line="2"))["rank"]
    assert _body(simulator, "status/app-rank") == {"filter": {"top": 2, "line": "2"}}
    assert len(apps) == 2
    assert apps[0]["user_data"]["data"]


async def test_nothing_is_sent_before_it_is_asked_for() -> None:
    async with connected("http://127.0.0.1:1") as run:
        assert not run.backend.calls
