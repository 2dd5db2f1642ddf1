"""Actions: their calls, responses, and the arguments that are refused before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import voluptuous as vol
from voluptuous_openapi import convert

from fleet2mqtt.errors import AuthenticationError, CommandError, Rejected
from fleet2mqtt.platforms.smart_gateway.error_codes import CODES
from tests.platforms.smart_gateway.connected import OTHER, SET, SIM, SN, calls, simulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet2mqtt.simulators.smart_gateway import Simulator
    from tests.platforms.context import Run

FREE = "7fa20c64d9b83e15a07"
HELD = "ebfa83fe9b9aa6a83fe"
RULE = {"name": "SSH", "ip": "192.168.16.60", "port": "22,2200-2299", "protocol": 2}

_REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("device_register", {"sn": "A"}),
    ("device_register", {"sn": "", "alias": "x"}),
    ("device_list", {"limit": 0}),
    ("device_list", {"filtration": 4}),
    ("device_list", {"page": True}),
    ("device_query", {"sns": []}),
    ("device_set", {"sn": SN, "base": {"state": "running"}}),
    ("device_set", {"sn": SN, "base": {}}),
    ("device_set", {"sn": SN, "channel": {"0": {"signal": 1}}}),
    ("device_set", {"sn": SN, "network": {"lan": {"ip": "192.168.4"}}}),
    ("device_set", {"sn": SN, "network": {"lan": {"ip": "192.168.4.1\n"}}}),
    ("device_set", {"sn": SN, "parameters": {"top": 2}}),
    ("mapping_add", RULE | {"port": "22;23"}),
    ("mapping_add", RULE | {"port": "0"}),
    ("mapping_add", RULE | {"port": "70000"}),
    ("mapping_add", RULE | {"port": "30-20"}),
    ("mapping_add", RULE | {"port": ""}),
    ("mapping_add", RULE | {"port": True}),
    ("mapping_add", RULE | {"protocol": 3}),
    ("mapping_add", RULE | {"protocol": True}),
    ("mapping_edit", {"name": "SSH"}),
    ("mapping_delete", {"rules": []}),
    ("mapping_assign", {"rule": FREE, "sn": SN, "ip": "router"}),
    ("mapping_unassign", {"rules": [HELD]}),
]


@pytest.fixture
async def backend() -> AsyncIterator[tuple[Simulator, Run]]:
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.fault_injector.calls.clear()
        yield simulator, run


def _rule(run: Run, name: str) -> dict[str, Any]:
    return next(dict(device.state) for device in run.devices.values() if device.name == name)


async def test_actions_of_a_backend_are_all_of_the_document(backend: tuple[Simulator, Run]) -> None:
    _, run = backend
    assert {action.name: (action.destructive, action.refresh) for action in run.backend.actions} == {
        "device_register": (False, ("devices", "details")),
        "device_delete": (True, ("devices", "details")),
        "device_list": (False, ()),
        "device_query": (False, ()),
        "device_chart": (False, ()),
        "device_set": (False, ("devices", "details")),
        "mapping_list": (False, ()),
        "mapping_add": (False, ("mappings",)),
        "mapping_edit": (False, ("mappings",)),
        "mapping_delete": (True, ("mappings", "devices")),
        "mapping_assign": (False, ("mappings", "devices")),
        "mapping_reassign": (False, ("mappings", "devices")),
        "mapping_unassign": (False, ("mappings", "devices")),
    }
    for action in run.backend.actions:
        assert action.summary
        assert convert(vol.Schema(dict(action.schema)), openapi_version="3.1.0")["type"] == "object"


@pytest.mark.parametrize(("name", "arguments"), _REFUSED)
async def test_action_with_invalid_arguments_sends_nothing(
    backend: tuple[Simulator, Run], name: str, arguments: dict[str, Any]
) -> None:
    simulator, run = backend
    with pytest.raises(vol.Invalid):
        await run.act(name, **arguments)
    assert not simulator.fault_injector.calls


async def test_registered_device_is_listed_until_deleted(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.bare_success = True
    assert await run.act("device_register", sn="ADE55ADEA475567FC", alias="广州") == {"code": 0, "msg": "success"}
    await run.poll("devices")
    assert run.devices["branch_ade55adea475567fc"].name == "广州"
    with pytest.raises(Rejected, match="registered already") as caught:
        await run.act("device_register", sn="ADE55ADEA475567FC", alias="深圳")
    assert caught.value.code == 7007
    await run.act("device_delete", sn="ADE55ADEA475567FC")
    assert calls(simulator, "/api/v1/devices/delete")[0].method == "POST"
    await run.poll("devices")
    assert run.ids("gateways") == {"branch_172de6ac9832de", "branch_abcd21dcf318ba"}


async def test_list_and_query_responses_contain_no_secret(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.set_network(SN, "hotspot", passwd="c4nary")
    found = await run.act("device_list", filtration=1, condition="上海1")
    assert found["count"] == 2
    assert [row["base"]["sn"] for row in found["devices"]] == [SN]
    assert found["devices"][0]["network"]["hotspot"]["name"] == "我的Wi-Fi"
    assert "passwd" not in found["devices"][0]["network"]["hotspot"]
    queried = await run.act("device_query", sns=[SN, OTHER])
    assert set(queried["devices"]) == {SN, OTHER}
    assert "chart" not in queried["devices"][SN]
    assert "sealed" not in repr(queried)
    assert "wifiKey" not in repr(queried)
    with_chart = await run.act("device_query", sns=[SN], chart=True)
    assert with_chart["devices"][SN]["chart"]["total"]["rateUp"]


async def test_device_chart_returns_the_requested_channels(backend: tuple[Simulator, Run]) -> None:
    _, run = backend
    found = await run.act("device_chart", sn=SN)
    assert found["sn"] == SN
    assert {"rateUp", "rateDown"} <= set(found["chart"]["total"])
    assert {"0", "8"} <= set(found["chart"]["channel"])
    assert {"rateUp", "rateDown", "rtt"} <= set(found["chart"]["channel"]["0"])
    one = await run.act("device_chart", sn=SN, channel=["8"])
    assert set(one["chart"]["channel"]) == {"8"}
    with pytest.raises(Rejected) as caught:
        await run.act("device_chart", sn="FFFF")
    assert caught.value.code == "not_found"


async def test_device_set_sends_several_settings_in_one_call(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    change = {"channel": {"0": {"net": "SA", "apn": "3gnet"}}, "parameters": {"lock": 1}, "base": {"remark": "r"}}
    assert (await run.act("device_set", sn=SN, **change))["code"] == 0
    assert calls(simulator, SET)[0].body == {"devices": {SN: {**change, "base": {"sn": SN, "remark": "r"}}}}
    after = await run.read(SIM)
    assert (after.state["net"], after.state["apn"]) == ("sa", "3gnet")
    with pytest.raises(CommandError) as caught:
        await run.act("device_set", sn=SN)
    assert caught.value.code == "nothing_to_set"


async def test_rule_actions_add_edit_assign_unassign_and_delete(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    uuid = (await run.act("mapping_add", **RULE))["uuid"]
    assert calls(simulator, "/api/v1/mapping/add")[0].body == RULE | {"mark": ""}
    listed = await run.act("mapping_list")
    assert {row["uuid"] for row in listed["list"] if row["name"] == "SSH"} == {uuid}
    with pytest.raises(Rejected, match="a rule of this name exists already"):
        await run.act("mapping_add", **RULE)
    await run.act("mapping_edit", uuid=uuid, port="22", mark="new")
    sent = calls(simulator, "/api/v1/mapping/edit")[0].body
    assert sent | RULE | {"uuid": uuid, "addr": RULE["ip"], "port": "22", "mark": "new"} == sent
    assert set(sent) == {"uuid", "name", "ip", "addr", "port", "protocol", "devName", "sn", "devType", "mark"}
    await run.poll("mappings")
    assert _rule(run, "SSH") | {"port": "22", "mark": "new", "protocol": "tcp_udp"} == _rule(run, "SSH")
    await run.act("mapping_assign", rule=uuid, sn=SN, ip="192.168.4.60")
    await run.act("mapping_reassign", rule=uuid, sn=SN, ip="192.168.4.61")
    await run.poll()
    assert (_rule(run, "SSH")["gateway"], _rule(run, "SSH")["subnet_ip"]) == ("上海1", "192.168.4.61")
    assert (await run.act("mapping_unassign", sn=SN, rules=[uuid]))["msg"] == []
    await run.poll()
    assert (_rule(run, "SSH")["gateway"], _rule(run, "SSH")["subnet_ip"]) == ("unassigned", "192.168.4.61")
    assert (await run.act("mapping_delete", rules=[uuid]))["msg"] == []
    await run.poll("mappings")
    assert f"branch_mapping_{uuid}" not in (run.ids("mappings") or ())


async def test_mapping_edit_of_an_unknown_rule_is_refused(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    with pytest.raises(CommandError) as caught:
        await run.act("mapping_edit", uuid="ffff", name="x")
    assert caught.value.code == "unknown_rule"
    assert [call.method for call in simulator.fault_injector.calls] == ["GET"]


@pytest.mark.parametrize("code", [0, 7004])
async def test_partial_failure_names_the_failed_uuids(backend: tuple[Simulator, Run], code: int) -> None:
    simulator, run = backend
    simulator.partial_code = code
    with pytest.raises(Rejected, match="ffff") as caught:
        await run.act("mapping_delete", rules=[FREE, "ffff"])
    assert (caught.value.code, caught.value.data) == (code or "partial_failure", {"failed": ["ffff"]})
    with pytest.raises(Rejected, match="ffff") as caught:
        await run.act("mapping_unassign", sn=SN, rules=[HELD, "ffff"])
    assert (caught.value.code, caught.value.data) == (code or "partial_failure", {"failed": ["ffff"]})


@pytest.mark.parametrize("code", sorted(set(CODES) - {0}))
async def test_error_code_of_the_document_is_explained(backend: tuple[Simulator, Run], code: int) -> None:
    simulator, run = backend
    simulator.fault_injector.inject("error", "/api/v1/devices/regist", code=code, text="原文")
    with pytest.raises((Rejected, AuthenticationError)) as caught:
        await run.act("device_register", sn="A1", alias="x")
    assert (caught.value.code, str(caught.value)) == (code, f"{CODES[code].meaning} (原文)")
    assert isinstance(caught.value, AuthenticationError) is (code in {7016, 7017, 7019})


def test_error_code_names_are_unique_lower_snake_case() -> None:
    names = [code.name for code in CODES.values()]
    assert len(set(names)) == len(CODES) == 24
    assert all(name.replace("_", "").islower() for name in names)
