"""Actions for users, online and local: requests and responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import CommandError, InvalidResponse, Rejected
from tests.platforms.sangfor_ac.connected import SUCCESS, body_of, calls, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.app import Simulator
    from tests.platforms.context import Run


async def test_online_users_action_filters(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    found = await run.act("online_users", filter={"type": "user", "value": ["a"]})
    assert body_of(simulator, "online-users") == {
        "status": "all",
        "terminal": "all",
        "filter": {"type": "user", "value": ["a"]},
    }
    assert found["truncated"] is False
    assert "1.1.1.1" in [item["ip"] for item in found["users"]]
    found = await run.act("online_users", filter={"type": "mac", "value": ["11:11:11:11:11:11"]})
    assert [item["name"] for item in found["users"]] == ["a"]
    ranges = [{"first": "1.1.1.0", "last": "1.1.1.9"}, "10.0.0.0-10.255.255.255"]
    found = await run.act("online_users", filter={"type": "ip", "value": ranges})
    assert body_of(simulator, "online-users")["filter"]["value"] == ["1.1.1.0-1.1.1.9", "10.0.0.0-10.255.255.255"]
    assert found["count"] == len(found["users"]) == 2
    simulator.fault_injector.calls.clear()
    with pytest.raises(CommandError) as caught:
        await run.act("online_users", filter={"type": "user", "value": ranges[:1]})
    assert caught.value.code == "invalid_arguments"
    assert not simulator.fault_injector.calls


async def test_online_users_action_more_than_100_is_truncated() -> None:
    async with simulated(devices=101) as (_, run):
        found = await run.act("online_users")
        assert (found["count"], found["truncated"], len(found["users"])) == (101, True, 100)
        rest = await run.act("online_users", status="active", terminal="mobile")
        assert rest["truncated"] is False


async def test_online_users_action_range_template_is_used() -> None:
    async with simulated(ip_range_template="{last}~{first}") as (simulator, run):
        with pytest.raises(Rejected):
            await run.act("online_users", filter={"type": "ip", "value": [{"first": "1.1.1.1", "last": "1.1.1.2"}]})
        assert body_of(simulator, "online-users")["filter"]["value"] == ["1.1.1.2~1.1.1.1"]


async def test_login_and_logout_actions_send_vendor_fields(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    path = "online-users"
    assert await run.act("user_logout", ip="1.1.1.1") == SUCCESS
    assert (body_of(simulator, path), calls(simulator, path)[-1].query) == ({"ip": "1.1.1.1"}, {"_method": "DELETE"})
    with pytest.raises(Rejected, match="no data"):
        await run.act("user_logout", ip="1.1.1.1")
    login = {"ip": "1.1.1.1", "name": "a", "show_name": "a", "mac": "11:11:11:11:11:11"}
    assert await run.act("user_login", **login, father_path="/hello") == SUCCESS
    sent = login | {"mac": "11-11-11-11-11-11", "group": "/hello"}
    assert (body_of(simulator, path), calls(simulator, path)[-1].query) == (sent, {})
    assert simulator.online["1.1.1.1"]["father_path"] == "/hello"
    await run.act("user_login", ip="1.1.1.1", name="a", group="/default")
    assert simulator.online["1.1.1.1"]["father_path"] == "/default"


async def test_local_user_actions_get_and_search(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    user = (await run.act("user_get", name="a"))["user"]
    assert (user["name"], user["father_path"]) == ("a", "/default")
    assert "password" not in str(user)
    with pytest.raises(Rejected, match="no data"):
        await run.act("user_get", name="nobody")
    found = await run.act("user_search", search_value="a", extend={"user_status": "enabled"})
    assert body_of(simulator, "user") == {
        "search_type": "user",
        "search_value": "a",
        "extend": {"user_status": "enabled"},
    }
    assert found["truncated"] is False
    assert "a" in [item["name"] for item in found["users"]]
    span = {"start": "9.9.9.1", "end": "9.9.9.20"}
    assert await run.act("user_search", search_type="ip", search_value=span) == {"truncated": False, "users": []}
    simulator.fault_injector.calls.clear()
    for kind, value in (("ip", "1.1.1.1"), ("user", span)):
        with pytest.raises(CommandError):
            await run.act("user_search", search_type=kind, search_value=value)
    assert not simulator.fault_injector.calls


async def test_local_user_actions_add_modify_and_delete(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    extended = {"enable": False, "self_pass": {"enable": True, "password": "s3cret"}, "custom_cfg": {"部门": "研发"}}
    plain = {"name": "b", "desc": "x", "father_path": "/hello", "expire_time": "2030-01-02 03:04:00"}
    answer = await run.act("user_add", **plain | {"expire_time": "2030-01-02T03:04"}, **extended)
    assert answer == {"code": 0, "message": "Successfully", "data": "Add user success!"}
    assert body_of(simulator, "user") == plain | {"extend": extended}
    user = (await run.act("user_get", name="b"))["user"]
    assert (user["father_path"], user["enable"], user["expire_time"]["date"]) == ("/hello", False, plain["expire_time"])
    with pytest.raises(Rejected, match="exists already"):
        await run.act("user_add", name="b")
    answer = await run.act("user_modify", name="b", expire_time="", father_path="/default", enable=True)
    assert answer["data"] == "Modify user success!"
    change = {"expire_time": "", "extend": {"father_path": "/default", "enable": True}}
    assert (body_of(simulator, "user"), calls(simulator, "user")[-1].query) == (
        {"name": "b", "data": change},
        {"_method": "PUT"},
    )
    user = (await run.act("user_get", name="b"))["user"]
    assert (user["father_path"], user["enable"], user["expire_time"]["date"]) == ("/default", True, "")
    assert (await run.act("user_delete", name="b"))["data"] == "Delete user success!"
    assert (body_of(simulator, "user"), calls(simulator, "user")[-1].query) == ({"name": "b"}, {"_method": "DELETE"})
    with pytest.raises(Rejected, match="no data"):
        await run.act("user_delete", name="b")
    simulator.fault_injector.calls.clear()
    with pytest.raises(CommandError, match="nothing to change"):
        await run.act("user_modify", name="a")
    assert not simulator.fault_injector.calls


async def test_local_user_actions_flat_extension_fields_are_sent_flat() -> None:
    async with simulated(user_fields="flat") as (simulator, run):
        simulator.flat_user_fields = True
        await run.act("user_add", name="b", enable=False, father_path="/hello")
        assert body_of(simulator, "user") == {"name": "b", "enable": False, "father_path": "/hello"}
        await run.act("user_modify", name="b", limit_ipmac={"enable": True, "ipmac": ["1.1.1.1"]}, father_path="/")
        change = {"limit_ipmac": {"enable": True, "ipmac": ["1.1.1.1"]}, "extend": {"father_path": "/"}}
        assert body_of(simulator, "user") == {"name": "b", "data": change}
        assert (simulator.users["b"]["enable"], simulator.users["b"]["father_path"]) == (False, "/")
        await run.act("user_modify", name="b", desc="x")
        assert body_of(simulator, "user")["data"] == {"desc": "x"}


async def test_user_get_other_name_is_not_returned(fresh: tuple[Simulator, Run]) -> None:
    simulator, run = fresh
    simulator.fault_injector.inject("garbage", text='{"code": 0, "data": [{"name": "ab"}, {"name": "a", "desc": "x"}]}')
    assert await run.act("user_get", name="a") == {"user": {"name": "a", "desc": "x"}}
    with pytest.raises(InvalidResponse, match="no data"):
        await run.act("user_get", name="b")


@pytest.mark.parametrize(
    ("kind", "before", "more"),
    [("net", ["经理专用"], ["hello", "policy1"]), ("flux", [], ["下载限速", "视频会议保障"])],
)
async def test_user_policy_actions_list_add_delete_and_modify(
    fresh: tuple[Simulator, Run], kind: str, before: list[str], more: list[str]
) -> None:
    simulator, run = fresh
    name, path = f"user_{kind}_policy", f"user/{kind}policy"
    assert await run.act(f"{name}_list", user="a") == {"policy": before}
    answer = await run.act(f"{name}_add", user="a", policy=more)
    assert answer == {"code": 0, "message": "Successfully", "data": "Modify user policy success!"}
    assert body_of(simulator, path) == {"opr": "add", "user": "a", "policy": more}
    await run.act(f"{name}_delete", user="a", policy=more[:1])
    assert body_of(simulator, path)["opr"] == "del"
    assert await run.act(f"{name}_list", user="a", dn="example.org") == {"policy": [*before, *more[1:]]}
    assert {k: calls(simulator, path)[-1].query[k] for k in ("user", "dn")} == {"user": "a", "dn": "example.org"}
    await run.act(f"{name}_modify", user="a", policy=[], dn="example.org")
    assert body_of(simulator, path) == {"opr": "modify", "user": "a", "policy": [], "dn": "example.org"}
    simulator.braces_for_empty = True
    assert await run.act(f"{name}_list", user="a") == {"policy": []}
    with pytest.raises(Rejected, match="no data"):
        await run.act(f"{name}_list", user="nobody")


async def test_user_search_100_results_are_truncated() -> None:
    async with simulated(devices=150) as (_, run):
        found = await run.act("user_search", search_value="")
        assert (found["truncated"], len(found["users"])) == (True, 100)
