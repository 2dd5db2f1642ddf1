"""Requests: the bridge's own, the vendors' actions, and every way in which one is refused."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from fleet2mqtt.simulators.smart_gateway.data import FREE_RULE, SECOND_SN
from tests.bridge_under_test import CHANNEL, GATEWAY, MAC, SN, VOIP, RunningBridge, Site, open_site, reply_to
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

BRANCH = "backend/branch"
TYPES = {"object", "string", "integer", "number", "boolean", "array", "null"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("requests")) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(site: Site) -> AsyncIterator[RunningBridge]:
    async with site.bridge(branch={"allow": ["mapping_delete", "user_logout"]}) as bridge:
        await bridge.settle()
        yield bridge


@pytest.fixture
def bridge(site: Site, running: RunningBridge) -> RunningBridge:
    """The bridge that all tests share, with vendors that behave."""
    site.gateways.fault_injector.clear()
    site.ums.fault_injector.clear()
    return running


async def test_request_health_returns_the_bridges_and_every_backends(bridge: RunningBridge) -> None:
    answer = await bridge.ask("health")
    assert answer.keys() == {"transaction", "status", "data", "error"}
    assert answer["data"]["bridge"]["outbox"]["depth"] == 0
    assert {name: each["available"] for name, each in answer["data"]["backends"].items()} == {
        "hq_voip": True,
        "branch": True,
    }


async def test_request_devices_returns_pages(bridge: RunningBridge) -> None:
    whole = await bridge.devices()
    found: list[str] = []
    after, more = "", True
    while more:
        data = (await bridge.ask("devices", limit=7, after=after))["data"]
        found += [device["id"] for device in data["devices"]]
        after, more = data["after"], data["more"]
        assert len(data["devices"]) <= 7
    assert found == sorted(whole)
    assert whole[CHANNEL].keys() == {
        "id",
        "backend",
        "name",
        "via",
        "model",
        "available",
        "keys",
        "state",
        "attributes",
    }
    only = (await bridge.ask("devices", backend="branch", limit=1000))["data"]["devices"]
    assert {device["backend"] for device in only} == {"branch"}


async def test_request_alarms_returns_those_after_a_seq(site: Site, bridge: RunningBridge) -> None:
    start = (await bridge.ask("alarms", limit=1000))["data"]["last_seq"]
    raised = [site.ums.raise_alarm(MAC, push=False)["id"] for _ in range(5)]
    await bridge.refresh(backend="hq_voip")
    data = (await bridge.ask("alarms", after=start, limit=3))["data"]
    rest = (await bridge.ask("alarms", after=data["after"], limit=3))["data"]
    none = (await bridge.ask("alarms", after=rest["after"], limit=3))["data"]
    assert (none["alarms"], none["after"]) == ([], start + 5)
    assert (data["more"], rest["more"], data["first_seq"], data["last_seq"]) == (True, False, 1, start + 5)
    told = [alarm["id"] for alarm in (*data["alarms"], *rest["alarms"])]
    assert sorted(told) == sorted(f"hq_voip:{id_}" for id_ in raised)


async def test_request_refresh_polls_the_backend_named(site: Site, bridge: RunningBridge) -> None:
    site.gateways.set_base(SN, remark="fresh")
    site.gateways.fault_injector.inject("error", "/api/v1/mapping/list", code=7001)
    report = await bridge.refresh(device=CHANNEL)
    assert report.keys() == {"branch"}
    assert report["branch"]["devices"] == {"ok": True, "error": None}
    assert not report["branch"]["mappings"]["ok"]
    await bridge.shows(GATEWAY, "remark", "fresh")


async def test_action_allowed_that_is_another_platforms_is_logged_at_the_start(bridge: RunningBridge) -> None:
    logged = (
        "backends.branch.allow[1]: user_logout is an action of sangfor_ac and has no effect here; "
        "those that have to be allowed are device_delete, mapping_delete"
    )
    await wait_until(lambda: any(logged in warning for warning in bridge.warnings()), "a warning")


async def test_request_log_level_changes_the_logger(bridge: RunningBridge) -> None:
    for level in ("debug", "info", "warning"):
        answer = await bridge.ask("log_level", level=level, logger="bridge.test")
        assert answer["data"] == {"level": level, "logger": "bridge.test"}
        assert logging.getLogger("fleet2mqtt.test").level == logging.getLevelNamesMapping()[level.upper()]


async def test_request_dead_letters_lists_retries_and_discards(site: Site, bridge: RunningBridge) -> None:
    for body in (b'{"password": "sesame"', b"[]"):
        assert (await site.push(body))[0] == 400
    listed = (await bridge.ask("dead_letters"))["data"]
    first, second = listed["dead_letters"]
    assert listed["total"] == 2
    assert (first["backend"], first["kind"], first["count"], second["body"]) == ("hq_voip", "event", 1, "[]")
    assert "sesame" not in first["body"]
    retried = (await bridge.ask("dead_letters", op="retry"))["data"]["retried"]
    assert [retried[str(each["id"])]["ok"] for each in (first, second)] == [False, False]
    for each in (first, second):
        assert (await bridge.ask("dead_letters", op="discard", id=each["id"]))["data"] == {"discarded": each["id"]}
    assert (await bridge.ask("dead_letters"))["data"] == {"dead_letters": [], "total": 0}
    for op in ("retry", "discard"):
        assert (await bridge.ask("dead_letters", op=op, id=999))["error"]["code"] == "unknown_dead_letter"


FAULTS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("nothing", "bridge", {}, "unknown_request"),
    ("nothing", BRANCH, {}, "unknown_request"),
    ("device_list", "backend/nowhere", {}, "unknown_backend"),
    ("devices", "bridge", {"limit": 0}, "invalid_arguments"),
    ("devices", "bridge", {"limit": True}, "invalid_arguments"),
    ("devices", "bridge", {"backend": "nowhere"}, "unknown_backend"),
    ("alarms", "bridge", {"after": True}, "invalid_arguments"),
    ("dead_letters", "bridge", {"op": "discard", "id": True}, "invalid_arguments"),
    ("device_list", "backend/hq_voip", {"offset": True}, "invalid_arguments"),
    ("devices", "bridge", {"color": "red"}, "invalid_arguments"),
    ("log_level", "bridge", {}, "invalid_arguments"),
    ("refresh", "bridge", {"device": "nobody"}, "unknown_device"),
    ("refresh", "bridge", {"backend": "nowhere"}, "unknown_backend"),
    ("refresh", "bridge", {"device": "bridge"}, "unknown_backend"),
    ("forget", "bridge", {}, "unknown_device"),
    ("forget", "bridge", {"devices": ["nobody"]}, "unknown_device"),
    ("dead_letters", "bridge", {"op": "discard"}, "unknown_dead_letter"),
    ("mapping_assign", BRANCH, {"rule": "x"}, "invalid_arguments"),
    ("mapping_add", BRANCH, {"name": "x", "ip": "10.0.0.1", "port": "0", "protocol": 0}, "invalid_arguments"),
    ("mapping_edit", BRANCH, {"uuid": "none", "name": "x"}, "unknown_rule"),
    ("device_delete", BRANCH, {"sn": SN}, "not_allowed"),
    ("health", "bridge", {"expires_at": "2020-01-01T00:00:00Z"}, "expired"),
    ("health", "bridge", {"expires_at": "2020-01-01T00:00:00"}, "malformed"),
)


@pytest.mark.parametrize("case", FAULTS)
async def test_request_that_is_wrong_ends_with_code_and_reason(
    site: Site, bridge: RunningBridge, case: tuple[str, str, dict[str, Any], str]
) -> None:
    name, where, arguments, code = case
    before = [call.path for call in site.gateways.fault_injector.calls if not call.path.endswith("list")]
    topic = f"fleet2mqtt/{where}/response/{name}"
    seen = len(bridge.seen.all(topic))
    await bridge.broker.publish(f"fleet2mqtt/{where}/request/{name}", arguments)
    await wait_until(lambda: len(bridge.seen.all(topic)) > seen, "a response")
    answer = bridge.seen.all(topic)[-1].json
    assert (answer["status"], answer["data"], answer["error"]["code"]) == ("error", None, code)
    assert answer["error"]["message"]
    assert [call.path for call in site.gateways.fault_injector.calls if not call.path.endswith("list")] == before


@pytest.mark.parametrize("payload", [b"{", b"[1]", b"5", b"\xff", b'{"transaction": [1]}', b'{"transaction": true}'])
async def test_request_that_is_no_object_ends_malformed(bridge: RunningBridge, payload: bytes) -> None:
    topic = "fleet2mqtt/bridge/response/health"
    seen = len(bridge.seen.all(topic))
    await bridge.broker.publish("fleet2mqtt/bridge/request/health", payload)
    await wait_until(lambda: len(bridge.seen.all(topic)) > seen, "a response")
    assert bridge.seen.all(topic)[-1].json["error"]["code"] == "malformed"


async def test_malformed_request_has_its_transaction_in_the_response(bridge: RunningBridge) -> None:
    topic = "fleet2mqtt/bridge/response/health"
    first = await bridge.ask("health", transaction="mine")
    for malformed in ({"expires_at": "soon"}, {}):
        await bridge.broker.publish("fleet2mqtt/bridge/request/health", {"transaction": "mine"} | malformed)
    await wait_until(lambda: sum(m.json["transaction"] == "mine" for m in bridge.seen.all(topic)) == 3, "all answers")
    _, refused, again = [m.json for m in bridge.seen.all(topic) if m.json["transaction"] == "mine"]
    assert (refused["status"], refused["error"]["code"]) == ("error", "malformed")
    assert again == first, "a refusal takes no answer's place"


async def test_action_that_the_vendor_rejects_ends_with_its_code(site: Site, bridge: RunningBridge) -> None:
    answer = await bridge.ask("device_register", BRANCH, sn=SN, alias="again")
    assert answer["error"]["code"] == 7007
    site.gateways.fault_injector.inject("reset", "/api/v1/devices/regist")
    answer = await bridge.ask("device_register", BRANCH, sn="NEW1", alias="again")
    assert answer["error"]["code"] == "connection_lost"


async def test_request_transaction_repeated_gets_the_same_response_and_runs_once(
    site: Site, bridge: RunningBridge
) -> None:
    def calls() -> int:
        return sum(call.path.endswith("/regist") for call in site.gateways.fault_injector.calls)

    request = {"sn": "ONCE1", "alias": "once", "transaction": "register-once"}
    before = calls()
    topic = "fleet2mqtt/backend/branch/response/device_register"
    for _ in range(2):
        await bridge.ask("device_register", BRANCH, **request)
    await wait_until(
        lambda: sum(m.json["transaction"] == "register-once" for m in bridge.seen.all(topic)) == 2, "the answer again"
    )
    answers = [message.json for message in bridge.seen.all(topic) if message.json["transaction"] == "register-once"]
    assert answers[0] == answers[1]
    assert answers[0]["status"] == "ok"
    assert calls() == before + 1


async def test_response_topic_gets_the_response_with_its_correlation_data(bridge: RunningBridge) -> None:
    properties = reply_to("requester/7", b"seven")
    await bridge.broker.publish("fleet2mqtt/bridge/request/health", properties=properties)
    answer = await bridge.seen.wait(lambda message: message.topic == "requester/7")
    assert (answer.json["status"], answer.correlation) == ("ok", b"seven")


async def test_actions_on_port_mappings_add_change_and_delete(site: Site, bridge: RunningBridge) -> None:
    rule = {"name": "Camera", "ip": "192.168.16.60", "port": "554,8000-8010", "protocol": 2}
    uuid = (await bridge.ask("mapping_add", BRANCH, **rule))["data"]["uuid"]
    device = f"branch_mapping_{uuid}"
    await bridge.shows(device, "gateway", "unassigned")
    await bridge.ask("mapping_edit", BRANCH, uuid=uuid, mark="front door")
    await bridge.shows(device, "mark", "front door")
    for action, sn, ip in (("mapping_assign", SN, "192.168.4.9"), ("mapping_reassign", SN, "192.168.4.10")):
        assert (await bridge.ask(action, BRANCH, rule=uuid, sn=sn, ip=ip))["status"] == "ok"
        await bridge.shows(device, "subnet_ip", ip)
    assert site.gateways.assigned(SN, uuid)
    site.gateways.set_network(SECOND_SN, "lan", ip="192.168.4.1", mask="255.255.255.0")
    assert (await bridge.set(device, {"gateway": "上海一"}))["status"] == "confirmed"
    assert (await bridge.ask("mapping_unassign", BRANCH, sn=SECOND_SN, rules=[uuid]))["status"] == "ok"
    await bridge.shows(device, "gateway", "unassigned")
    listed = (await bridge.ask("mapping_list", BRANCH))["data"]["list"]
    assert [row["mark"] for row in listed if row["uuid"] == uuid] == ["front door"]
    assert (await bridge.ask("mapping_delete", BRANCH, rules=[uuid]))["status"] == "ok"
    assert uuid not in site.gateways.rules
    await bridge.refresh(backend="branch")
    assert device not in await bridge.devices()
    assert FREE_RULE in site.gateways.rules


async def test_info_lists_actions_with_json_schemas(bridge: RunningBridge) -> None:
    info = bridge.seen.latest("fleet2mqtt/bridge/info")
    assert info
    actions = {action["name"]: action for backend in info.json["backends"].values() for action in backend["actions"]}
    assert {"mapping_list", "mapping_assign", "device_register", "fxo_test", "alarm_history"} <= actions.keys()
    assert [name for name, action in actions.items() if action["destructive"]] == [
        "device_delete",
        "mapping_delete",
        "login",
    ]
    for action in actions.values():
        assert action.keys() == {"name", "summary", "destructive", "arguments"}
        assert action["arguments"]["type"] == "object"
        check_schema(action["arguments"])
    assign = actions["mapping_assign"]["arguments"]
    assert (assign["properties"].keys(), set(assign["required"])) == ({"rule", "sn", "ip"}, {"rule", "sn", "ip"})


def check_schema(schema: dict[str, Any]) -> None:
    """Check that a schema uses JSON Schema 2020-12 as the bridge does."""
    kinds = schema.get("type", "object")
    assert set([kinds] if isinstance(kinds, str) else kinds) <= TYPES, schema
    assert isinstance(schema.get("properties", {}), dict)
    assert set(schema.get("required", ())) <= schema.get("properties", {}).keys()
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("allOf", ())]
    below += [schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
    for each in below:
        check_schema(each)


async def test_action_returns_live_figures_of_the_vendor(bridge: RunningBridge) -> None:
    answer = await bridge.ask("fxo_status", "backend/hq_voip", device_mac=MAC, limit=2)
    assert len(answer["data"]["detects"]) == 2
    assert VOIP in await bridge.devices()
