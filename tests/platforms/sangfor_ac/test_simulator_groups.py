"""The simulated AC against its document: groups and policies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.platforms.sangfor_ac.simulated import (
    BAD_FORMAT,
    EXISTS,
    FLUX_POLICIES,
    GROUP,
    GROUP_POLICIES,
    NET_POLICIES,
    NOT_FOUND,
    PROTECTED,
    USER,
    Ac,
)

SAMPLE_CHANNEL: dict[str, Any] = {
    "name": "时延敏感型应用保障",
    "target_applications": "DNS,游戏,金融行情,金融交易,网络会议,ICMP,远程登录,网上银行",
    "target_users": "所有用户",
    "ip_group": "全部",
    "active_time": "全天",
    "line": "线路1",
    "assured_bandwidth": ["20000000", "20000000"],
    "max_bandwidth": ["100000000", "100000000"],
    "single_user_limit": ["-1", "-1"],
    "priority": "High",
    "policy_enable": True,
    "is_default_child": False,
    "is_low_speed": False,
}


async def test_simulator_groups_modify_add_and_delete(ac: Ac) -> None:
    groups = ac.simulator.groups
    answer = await ac.post(GROUP, {"path": "/hello", "desc": "description"}, "PUT")
    assert answer == {"code": 0, "data": "Modify group success!", "message": "Successfully"}
    assert groups["/hello"] == "description"
    assert (await ac.post(GROUP, {"path": "/hello/world/new", "desc": "x"}))["code"] == 0
    assert await ac.post(GROUP, {"path": "/hello/world/new"}) == EXISTS
    assert (await ac.post(USER, {"name": "b", "father_path": "/hello/world/new"}))["code"] == 0
    answer = await ac.post(GROUP, {"path": "/hello/world"}, "DELETE")
    assert answer == {"code": 0, "message": "Successfully", "data": "Delete group success!"}
    assert await ac.get(USER, name="b") == NOT_FOUND
    assert "/hello" in groups
    assert not {"/hello/world", "/hello/world/new"} & set(groups)
    assert await ac.post(GROUP, {"path": "/hello/world"}, "DELETE") == NOT_FOUND
    assert await ac.post(GROUP, {"path": "/hello/world", "desc": ""}, "PUT") == NOT_FOUND
    assert await ac.post(GROUP, {"path": "/default"}, "DELETE") == PROTECTED


@pytest.mark.parametrize(
    ("body", "method"),
    [
        ({"path": "/hello"}, "PUT"),
        ({"path": "/hello", "desc": None}, "PUT"),
        ({"path": "hello"}, "DELETE"),
        ({"path": 5}, "DELETE"),
        ({}, None),
        ({"path": "/x" * 16}, None),
        ({"path": "/new", "desc": 5}, None),
    ],
)
async def test_simulator_groups_wrong_body_is_refused(ac: Ac, body: dict[str, Any], method: str | None) -> None:
    before = dict(ac.simulator.groups)
    assert await ac.post(GROUP, body, method) == BAD_FORMAT
    assert ac.simulator.groups == before


async def test_simulator_group_policies_change(ac: Ac) -> None:
    async def change(opr: str, *policies: str) -> Any:
        body = {"opr": opr, "group": "/hello", "policy": list(policies)}
        assert await ac.post(GROUP_POLICIES, body) == {
            "code": 0,
            "message": "Successfully",
            "data": "Modify group policy success!",
        }
        return (await ac.get(GROUP_POLICIES, path="/hello"))["data"]

    sample = {"code": 0, "message": "Successfully", "data": ["policy1", "policy2"]}
    assert await ac.get(GROUP_POLICIES, path="/hello") == sample
    assert await change("add", "hello", "policy1") == ["policy1", "policy2", "hello"]
    assert await change("del", "policy1") == ["policy2", "hello"]
    assert await change("modify", "policy1") == ["policy1"]
    assert await change("modify") == []
    assert (await ac.get(GROUP_POLICIES, path="/研发部"))["data"] == []


async def test_simulator_group_policies_wrong_body_is_refused(ac: Ac) -> None:
    right = {"opr": "add", "group": "/hello", "policy": ["hello"]}
    for wrong in ({"opr": "set"}, {"group": "hello"}, {"policy": "hello"}, {"policy": [1]}, {"group": None}):
        assert await ac.post(GROUP_POLICIES, right | wrong) == BAD_FORMAT
    for unknown in ({"group": "/nobody"}, {"policy": ["nothing"]}):
        assert await ac.post(GROUP_POLICIES, right | unknown) == NOT_FOUND
    assert await ac.get(GROUP_POLICIES) == BAD_FORMAT
    assert await ac.get(GROUP_POLICIES, path="/nobody") == NOT_FOUND


async def test_simulator_policy_for_all_cannot_be_detached(ac: Ac) -> None:
    body = {"opr": "del", "group": "/default", "policy": ["全员审计"]}
    assert await ac.post(GROUP_POLICIES, body) == PROTECTED
    ac.simulator.silent_protection = True
    assert (await ac.post(GROUP_POLICIES, body))["code"] == 0
    assert (await ac.get(GROUP_POLICIES, path="/default"))["data"] == ["全员审计"]


async def test_simulator_net_policies_are_the_sample(ac: Ac) -> None:
    answer = await ac.get(NET_POLICIES)
    assert (answer["code"], answer["message"]) == (0, "Successfully")
    nobody = ("ou", "aduser", "adgroup", "exc_aduser", "attribute", "user_attr_grp", "sourceip")
    info = {
        "name": "hello",
        "type": "上网权限策略",
        "founder": "admin",
        "expire": "永久生效",
        "status": True,
        "depict": "",
    }
    everywhere = {"location": ["所有位置"], "terminal": ["所有终端"], "target_area": ["全部"], "local": ""}
    assert answer["data"][0] == {"policy_info": info, "user_info": {name: [] for name in nobody} | everywhere}
    assert {item["policy_info"]["status"] for item in answer["data"]} == {True, False}


async def test_simulator_flux_policies_are_the_sample(ac: Ac) -> None:
    answer = await ac.get(FLUX_POLICIES)
    assert (answer["code"], answer["message"]) == (0, "")
    first = answer["data"][0]
    assert {name: first[name] for name in SAMPLE_CHANNEL} == SAMPLE_CHANNEL
    assert set(first) == {*SAMPLE_CHANNEL, "children"}
    assert [set(child) for child in first["children"]] == [set(first)]


async def test_simulator_user_policies_change(ac: Ac) -> None:
    for path, policy in (("user/netpolicy", "hello"), ("user/fluxpolicy", "下载限速")):
        before = (await ac.get(path, user="a", dn=""))["data"]
        assert (await ac.post(path, {"user": "a", "opr": "add", "policy": [policy], "dn": ""}))["code"] == 0
        assert (await ac.get(path, user="a"))["data"] == [*before, policy]
        assert (await ac.post(path, {"user": "a", "opr": "del", "policy": [policy]}))["code"] == 0
        assert (await ac.get(path, user="a"))["data"] == before
        assert await ac.get(path) == BAD_FORMAT
        assert await ac.get(path, user="nobody") == NOT_FOUND
    body = {"user": "a", "opr": "del", "policy": ["经理专用"]}
    assert await ac.post("user/netpolicy", body) == PROTECTED
    assert await ac.post("user/netpolicy", body | {"dn": 5}) == BAD_FORMAT
    assert (await ac.get(USER, name="a"))["data"]["policy"][0]["name"] == "经理专用"
