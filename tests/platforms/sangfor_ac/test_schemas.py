"""The published JSON Schemas accept what the actions accept, and refuse what they refuse; options."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import voluptuous as vol

from fleet2mqtt.errors import BackendError, CommandError
from fleet2mqtt.platforms.sangfor_ac import SCHEMA, check
from fleet2mqtt.sdk.api import describe
from tests.platforms.sangfor_ac.connected import BINDING

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.state import Simulator
    from tests.platforms.context import Run

MAC = "11-11-11-11-11-11"
LOGIN = {"ip": "1.1.1.1", "name": "a"}
LIMIT = {"enable": True, "ipmac": ["1.1.1.1"]}

ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("group_add", {"path": "/a"}),
    ("group_add", {"path": "/研发部/测试", "desc": ""}),
    ("group_delete", {"path": "/a"}),
    ("group_modify", {"path": "/a", "desc": "x"}),
    ("group_policy_list", {"path": "/a"}),
    ("group_policy_add", {"group": "/a", "policy": ["p", 7]}),
    ("group_policy_modify", {"group": "/a", "policy": []}),
    ("net_policy_list", {}),
    ("user_binding_search", {}),
    ("user_binding_search", {"search": 112233445566}),
    ("user_binding_add", BINDING),
    ("user_binding_add", BINDING | {"addr_type": "ipmac", "addr": f"1.1.1.1+{MAC}", "noauth": {"expire_time": 5}}),
    ("user_binding_add", BINDING | {"addr_type": "mac", "addr": "aabb.ccdd.eeff", "time": "2018-05-14"}),
    ("user_binding_delete", {"addr": "fe80::1"}),
    ("ip_mac_binding_search", {"search": "a"}),
    ("ip_mac_binding_add", {"ip": "1.1.1.1", "mac": MAC}),
    ("ip_mac_binding_add", {"ip": "1.1.1.1", "mac": 112233445566, "desc": "x"}),
    ("ip_mac_binding_delete", {"ip": "1.1.1.1"}),
    ("online_users", {}),
    ("online_users", {"status": "frozen", "terminal": "iot", "filter": {"type": "user", "value": ["a", 5]}}),
    ("online_users", {"filter": {"type": "ip", "value": [{"first": "1.1.1.1", "last": "1.1.1.9"}, "1.1.1.1"]}}),
    ("user_logout", {"ip": "1.1.1.1"}),
    ("user_login", LOGIN),
    ("user_login", LOGIN | {"group": "/a", "mac": MAC, "show_name": ""}),
    ("user_login", LOGIN | {"father_path": "/a"}),
    ("user_get", {"name": 5}),
    ("user_search", {"search_value": ""}),
    ("user_search", {"search_type": "mac", "search_value": MAC}),
    ("user_search", {"search_type": "ip", "search_value": {"start": "1.1.1.1", "end": "1.1.1.9"}}),
    ("user_search", {"search_value": "a", "extend": {"user_status": "all", "public": True, "custom_cfg": [{"a": 1}]}}),
    ("user_add", {"name": "b"}),
    ("user_add", {"name": "b", "expire_time": "", "custom_cfg": [{"id": "1", "value": "x"}]}),
    ("user_add", {"name": "b", "expire_time": "2030-12-31 23:59:59", "limit_ipmac": LIMIT, "bind_cfg": [{"mac": MAC}]}),
    ("user_modify", {"name": "b", "enable": False}),
    ("user_modify", {"name": "b", "limit_ipmac": ["1.1.1.1"], "custom_cfg": {"a": 1}}),
    ("user_modify", {"name": "b", "limit_ipmac": LIMIT}),
    ("user_delete", {"name": "b"}),
    ("user_net_policy_list", {"user": "a", "dn": "example.org"}),
    ("user_flux_policy_add", {"user": "a", "policy": ["p"]}),
    ("throughput", {"unit": "bits", "interface": "eth0"}),
    ("user_rank", {"top": 5, "line": "1", "ips": ["1.1.1.1"]}),
    ("app_rank", {"line": 1}),
]

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("group_add", {"path": "hello"}),
    ("group_add", {"path": ""}),
    ("group_add", {"path": 5}),
    ("group_add", {"path": "/a", "colour": "red"}),
    ("group_add", {}),
    ("group_delete", {"path": "/" + "x" * 255}),
    ("group_modify", {"path": "/hello"}),
    ("group_policy_add", {"group": "/hello", "policy": []}),
    ("group_policy_add", {"group": "hello", "policy": ["p"]}),
    ("group_policy_delete", {"group": "/hello", "policy": "hello"}),
    ("group_policy_modify", {"group": "/hello"}),
    ("net_policy_list", {"path": "/a"}),
    ("user_binding_search", {"search": ""}),
    ("user_binding_search", {"search": True}),
    ("user_binding_add", BINDING | {"addr": "1.1.1"}),
    ("user_binding_add", BINDING | {"addr": 5}),
    ("user_binding_add", BINDING | {"addr": "1.1.1.1+1"}),
    ("user_binding_add", BINDING | {"addr_type": "IP"}),
    ("user_binding_add", BINDING | {"noauth": {"expire_time": -1}}),
    ("user_binding_add", {key: value for key, value in BINDING.items() if key != "limitlogon"}),
    ("user_binding_delete", {"addr": ""}),
    ("ip_mac_binding_add", {"ip": "1.1.1.256", "mac": MAC}),
    ("ip_mac_binding_add", {"ip": "01.1.1.1", "mac": MAC}),
    ("ip_mac_binding_add", {"ip": "1.1.1.1", "mac": "11"}),
    ("ip_mac_binding_add", {"ip": "1.1.1.1", "mac": 5}),
    ("ip_mac_binding_add", {"mac": MAC}),
    ("ip_mac_binding_delete", {"ip": MAC}),
    ("online_users", {"status": "online"}),
    ("online_users", {"filter": {"type": "user", "value": []}}),
    ("online_users", {"filter": {"type": "ip", "value": [{"first": "1.1.1.1"}]}}),
    ("online_users", {"filter": {"type": "user", "value": [{"first": "1.1.1.1", "last": "1.1.1.9"}]}}),
    ("user_logout", {"ip": "a"}),
    ("user_login", {"ip": "1.1.1.1"}),
    ("user_login", LOGIN | {"mac": "x"}),
    ("user_login", LOGIN | {"group": "a"}),
    ("user_login", LOGIN | {"group": "/a", "father_path": "/a"}),
    ("user_search", {"search_type": "name", "search_value": "a"}),
    ("user_search", {"search_type": "ip", "search_value": "1.1.1.1"}),
    ("user_search", {"search_value": {"start": "1.1.1.1", "end": "1.1.1.9"}}),
    ("user_add", {}),
    ("user_add", {"name": ""}),
    ("user_add", {"name": "b", "expire_time": "tomorrow"}),
    ("user_add", {"name": "b", "expire_time": "2030-01-02T03:04:05+08:00"}),
    ("user_add", {"name": "b", "expire_time": "2030-13-01"}),
    ("user_add", {"name": "b", "bind_cfg": [{"ip": "1.1.1"}]}),
    ("user_add", {"name": "b", "custom_cfg": "x"}),
    ("user_modify", {"name": "b"}),
    ("user_modify", {"name": "b", "show_name": "c"}),
    ("user_modify", {"name": "b", "enable": "yes"}),
    ("user_delete", {"name": ""}),
    ("user_net_policy_add", {"user": "a", "policy": []}),
    ("user_flux_policy_modify", {"user": "a"}),
    ("throughput", {"unit": "kbps"}),
    ("user_rank", {"top": 0}),
    ("user_rank", {"users": ["a"], "ips": ["1.1.1.1"]}),
    ("app_rank", {"users": ["a"]}),
]


def schema_of(run: Run, name: str) -> dict[str, Any]:
    action = next(action for action in run.backend.actions if action.name == name)
    arguments: dict[str, Any] = describe(action)["arguments"]
    jsonschema.Draft202012Validator.check_schema(arguments)
    return arguments


@pytest.mark.parametrize(("name", "arguments"), ACCEPTED)
async def test_schema_accepts_what_the_action_accepts(
    fresh: tuple[Simulator, Run], name: str, arguments: dict[str, Any]
) -> None:
    """Defect 4.9."""
    simulator, run = fresh
    jsonschema.validate(arguments, schema_of(run, name), jsonschema.Draft202012Validator)
    with suppress(BackendError):  # the AC may refuse what it does not have; it was asked
        await run.act(name, **arguments)
    assert simulator.fault_injector.calls


@pytest.mark.parametrize(("name", "arguments"), REFUSED)
async def test_schema_refuses_what_the_action_refuses(
    fresh: tuple[Simulator, Run], name: str, arguments: dict[str, Any]
) -> None:
    """Defect 4.9."""
    simulator, run = fresh
    assert not jsonschema.Draft202012Validator(schema_of(run, name)).is_valid(arguments)
    with pytest.raises((vol.Invalid, CommandError)):
        await run.act(name, **arguments)
    assert not simulator.fault_injector.calls


async def test_actions_have_cases(fresh: tuple[Simulator, Run]) -> None:
    _, run = fresh
    policies = {
        f"user_{kind}_policy_{what}" for kind in ("net", "flux") for what in ("list", "add", "delete", "modify")
    }
    cases = {name for name, _ in ACCEPTED} | policies | {"group_policy_delete", "flux_policy_list"}
    assert {action.name for action in run.backend.actions} <= cases


@pytest.mark.parametrize("url", ["http://10.0.2.5:9999", "http://10.0.2.5:9999/v1", "https://proxy/ac/v1"])
def test_url_with_or_without_version_is_accepted(url: str) -> None:
    """Defect 4.8."""
    assert list(check({"url": url})) == []


@pytest.mark.parametrize("url", ["http://10.0.2.5:9999/v1/group", "http://10.0.2.5:9999/v1/status/version"])
def test_url_of_a_single_call_is_refused(url: str) -> None:
    """Defect 4.8."""
    (problem,) = check({"url": url})
    assert problem.path == ["url"]
    assert "without a call's path" in problem.msg


def test_watch_takes_patterns_and_a_limit() -> None:
    watch = vol.Schema(dict(SCHEMA))({"key": "k", "watch": {"users": ["a", "it-*"]}})["watch"]
    assert (watch["users"], watch["max_users"]) == (["a", "it-*"], 100)


@pytest.mark.parametrize("number", [0, 1001, 2.5, True, "10"])
def test_limit_of_matched_users_that_is_none_is_refused(number: Any) -> None:
    with pytest.raises(vol.Invalid):
        vol.Schema(dict(SCHEMA))({"key": "k", "watch": {"max_users": number}})
