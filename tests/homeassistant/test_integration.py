"""The integration in a real Home Assistant, with the real bridge: found, set up, asked, left alone and come back to."""

from __future__ import annotations

import json
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.broker import Broker
from tests.homeassistant.bench import GATEWAY, MAC, THING, Bench, bench
from tests.homeassistant.hass import PROJECT, Hass
from tests.waiting import wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.recording import Recording

pytestmark = pytest.mark.asyncio(loop_scope="session")  # what is started for all has to go on running

DOMAIN = "fleet2mqtt"
HEALTH = "binary_sensor.fleet2mqtt_health_connectivity"
CHANNEL = f"branch_{GATEWAY.lower()}_channel_0"
FOLDER = "blueprints/automation/fleet2mqtt"
TOLD = "test/told"


def tell(topic: str, payload: str) -> list[dict[str, Any]]:
    return [{"action": "mqtt.publish", "data": {"topic": topic, "payload": payload}}]


AUTOMATIONS: dict[str, dict[str, Any]] = {
    "alarm_notification": {
        "severities": ["critical", "major"],
        "backends": ["voip"],
        "actions": tell(TOLD, "{{ alarm.description }}|{{ alarm.seq }}"),
    },
    "sim_failover": {
        "signal": f"sensor.{CHANNEL}_signal",
        "state": [f"sensor.{CHANNEL}_state"],
        "threshold": -100,
        "bad_states": ["7"],
        "patience": {"seconds": 0},
        "bad_actions": tell("test/sim", "bad {{ reason }}"),
        "good_actions": tell("test/sim", "good"),
    },
}
TITLED = "{{ title }}|{{ message }}"
ESCALATION: dict[str, Any] = {
    "severities": ["critical"],
    "wait": {"seconds": 1},
    "escalations": 1000,  # until somebody cares
    "actions": tell("test/escalation", "{{ level }} {{ alarm.id }}"),
    "escalation_actions": tell("test/escalation", "{{ level }} {{ alarm.id }}"),
}
DIGEST: dict[str, Any] = {
    "position": "input_text.position",
    "window": {"seconds": 1},
    "actions": tell("test/digest", TITLED),
}
LINES: dict[str, Any] = {"backend": "voip", "gateways": [MAC], "always": True, "actions": tell("test/lines", TITLED)}
# Not of the integration: actions that this test has fail, Home Assistant's echo of a device that goes (it clears the
# discovery topic once more), and what its MQTT entities say of a state that is cleared before they are gone.
OTHERS = ("components.websocket_api", "No device components to cleanup")
CALLS: tuple[tuple[str, dict[str, Any], Any], ...] = (
    ("fxo_test", {"device_mac": MAC}, lambda data: len(data["detects"]) > 0),
    ("alarm_statistics", {"macs": [MAC]}, lambda data: len(data["metricHistoryStatistics"]) == 1),
    ("event_statistics", {}, lambda data: "events_statistics" in str(data)),
    ("alarm_history", {"device_mac": MAC, "limit": 2}, lambda data: 1 <= len(data["metricHistorys"]) <= 2),
    ("group_policy_list", {"path": "/hello"}, lambda data: data == {"policy": ["policy1", "policy2"]}),
    ("group_policy_add", {"group": "/hello", "policy": ["hello"]}, lambda data: data["code"] == 0),
    ("group_policy_delete", {"group": "/hello", "policy": ["hello"]}, lambda data: data["code"] == 0),
    ("group_policy_modify", {"group": "/hello", "policy": ["policy1"]}, lambda data: data["code"] == 0),
    ("user_net_policy_add", {"user": "a", "policy": ["policy1"]}, lambda data: data["code"] == 0),
    ("user_net_policy_list", {"user": "a"}, lambda data: "policy1" in data["policy"]),
    (
        "user_binding_add",
        {"enable": True, "name": "a", "addr_type": "ip", "addr": "1.1.1.9", "limitlogon": False},
        lambda data: data["code"] == 0,
    ),
    ("user_binding_search", {"search": "1.1.1.9"}, lambda data: data["bindings"][0]["name"] == "a"),
    ("user_binding_delete", {"addr": "1.1.1.9"}, lambda data: data["code"] == 0),
    ("ip_mac_binding_add", {"ip": "1.1.1.3", "mac": "aabb.ccdd.eeff"}, lambda data: data["code"] == 0),
    ("ip_mac_binding_search", {"search": "1.1.1.3"}, lambda data: data["bindings"][0]["mac"] == "AA-BB-CC-DD-EE-FF"),
    ("online_users", {"status": "all"}, lambda data: data["count"] == len(data["users"]) > 0),
    ("user_logout", {"ip": "1.1.1.1"}, lambda data: data["code"] == 0),
    ("device_command", {"device": THING, "method": "reboot", "params": {"delay": 1}}, lambda data: data["id"] > 0),
    ("device_data", {"device": THING, "identifier": "stream", "type": "text", "msg": "hi"}, lambda data: data == {}),
    ("cloud_attributes_set", {"device": THING, "attributes": {"temperature": 21}}, lambda data: data == {}),
    ("device_register", {"sn": "172DE6AC98FFFF", "alias": "new"}, lambda data: data["code"] == 0),
    ("device_delete", {"sn": "172DE6AC98FFFF"}, lambda data: data["code"] == 0),
)


@dataclass(slots=True)
class Site:
    """Home Assistant with the integration's files, the vendors, and the bridge while it runs."""

    hass: Hass
    broker: Broker
    bench: Bench
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start_bridge(self) -> None:
        await self.stack.enter_async_context(self.bench.bridge())

    async def stop_bridge(self) -> None:
        await self.stack.aclose()

    async def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.hass.ws("config_entries/get", domain=DOMAIN)
        return found

    async def entry(self) -> str:
        """The entry's id, once it is loaded."""

        async def loaded() -> str | None:
            return next((each["entry_id"] for each in await self.entries() if each["state"] == "loaded"), None)

        return await wait_for_answer(loaded, "the entry to be loaded")

    async def perform(self, action: str, data: Mapping[str, Any]) -> Any:
        """Perform an action; return its response."""
        target = {"config_entry_id": await self.entry()}
        return await self.hass.call_service(f"{DOMAIN}.{action}", {**target, **data}, response=True)

    async def issues(self) -> list[str]:
        listed = (await self.hass.ws("repairs/list_issues"))["issues"]
        return sorted(issue["translation_key"] for issue in listed if issue["domain"] == DOMAIN)

    async def raise_alarm(self, description: str) -> None:
        await self.bench.steer("voip", "alarm", {"mac": MAC, "level": "serious", "desc": description})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Start everything, and set the integration up from its discovery as a user does."""
    folder = tmp_path_factory.mktemp("integration")
    hass = Hass(
        directory=folder / "config",
        custom_components=PROJECT / "custom_components",
        configuration="automation: !include_dir_list automations\ninput_text: {position: }\n",
    )
    async with Broker(directory=folder / "broker") as broker, bench(broker, folder) as vendors, hass:
        await hass.setup_mqtt(broker)
        site = Site(hass, broker, vendors)
        await site.start_bridge()
        try:
            await hass.set_up_integration()
            await site.entry()
            yield site
        finally:
            await site.stop_bridge()


async def test_integration_owns_its_device_and_entities(site: Site) -> None:
    await site.hass.wait_state(HEALTH, lambda state: state["state"] == "on")
    await site.hass.wait_state("sensor.fleet2mqtt_health_alarms_in_the_last_day", lambda s: s["state"].isdigit())
    devices = [device for device in await site.hass.devices() if DOMAIN in dict(device["identifiers"])]
    assert [device["name"] for device in devices] == ["fleet2mqtt health"]
    entities = [each for each in (await site.hass.entities()).values() if each["device_id"] == devices[0]["id"]]
    assert len(entities) == 23
    assert {each["platform"] for each in entities} == {DOMAIN}
    assert await site.issues() == []


@pytest.mark.parametrize(("action", "data", "holds"), CALLS, ids=[call[0] for call in CALLS])
async def test_action_returns_vendor_data(site: Site, action: str, data: dict[str, Any], holds: Any) -> None:
    answer = await site.perform(action, data)
    assert holds(answer["data"]), answer


async def test_port_mapping_is_added_changed_and_deleted(site: Site) -> None:
    rule = {"name": "camera", "ip": "10.0.0.9", "port": "8081,23000-23010", "protocol": "2", "mark": ""}
    uuid = (await site.perform("mapping_add", rule))["data"]["uuid"]
    await site.perform("mapping_edit", {"uuid": uuid, "mark": "front door"})
    at = {"rule": uuid, "sn": GATEWAY, "ip": "192.168.4.5"}
    await site.perform("mapping_assign", at)
    await site.perform("mapping_reassign", {**at, "ip": "192.168.4.6"})
    listed = (await site.perform("mapping_list", {}))["data"]["list"]
    (mine,) = [each for each in listed if each["uuid"] == uuid]
    assert (mine["mark"], mine["sn"], mine["protocol"]) == ("front door", GATEWAY, 2)
    await site.perform("mapping_unassign", {"sn": GATEWAY, "rules": [uuid]})
    await site.perform("mapping_delete", {"rules": [uuid]})
    assert uuid not in str(await site.perform("mapping_list", {}))


async def test_request_action_sends_any_request(site: Site) -> None:
    page = await site.perform("request", {"action": "devices", "arguments": {"limit": 1}})
    assert len(page["data"]["devices"]) == 1
    listed = await site.perform("request", {"action": "device_list", "backend": "voip"})
    assert listed["backend"] == "voip"


@pytest.mark.parametrize(
    ("action", "data", "key", "text"),
    [
        ("ip_mac_binding_delete", {"ip": "1.1.1.3"}, "not_allowed", "ip_mac_binding_delete is not allowed: "),
        ("mapping_assign", {"rule": "nobody", "sn": GATEWAY, "ip": "x"}, "invalid_arguments", "an IPv4 address"),
        ("mapping_unassign", {"sn": "nobody", "rules": ["x"]}, "vendor_error", "mapping_unassign failed with"),
        ("mapping_list", {"backend": "nobody"}, "unknown_backend", "ac, branch, things, voip"),
    ],
)
async def test_rejected_action_raises_with_message(
    site: Site, action: str, data: dict[str, Any], key: str, text: str
) -> None:
    with pytest.raises(RuntimeError) as refused:
        await site.perform(action, data)
    assert f"'translation_key': '{key}'" in str(refused.value)
    assert text in str(refused.value)


async def test_diagnostics_and_system_health(site: Site) -> None:
    shown = await site.hass.rest("GET", f"/api/diagnostics/config_entry/{await site.entry()}")
    data = shown["data"]
    assert (data["online"], sorted(data["backends"])) == (True, ["ac", "branch", "things", "voip"])
    for secret in ("fleet2mqtt-sim", "demo-secret-key", "demo-access-key", "integration"):
        assert f'"{secret}"' not in json.dumps(data)


async def test_texts_exist_in_both_languages(site: Site) -> None:
    for language, name in (("en", "Add a port mapping"), ("zh-Hans", "添加端口映射")):
        asked = {"language": language, "category": "services", "integration": [DOMAIN]}
        texts = (await site.hass.ws("frontend/get_translations", **asked))["resources"]
        assert texts[f"component.{DOMAIN}.services.mapping_add.name"] == name


async def test_blueprints_run_and_no_alarm_is_missed(site: Site) -> None:
    await use_blueprints(site, **AUTOMATIONS)
    await site.hass.wait_state(f"sensor.{CHANNEL}_signal", lambda state: state["state"] != "unavailable")
    async with site.broker.record("test/#") as seen:
        channel = {"sn": GATEWAY, "channel": {"0": {"signal": -111}}}
        await site.bench.steer("branch", "gateway", channel)
        assert (await seen.wait(lambda message: message.topic == "test/sim")).text.startswith("bad -111")
        await site.bench.steer("branch", "gateway", {"sn": GATEWAY, "channel": {"0": {"signal": -60}}})
        await seen.wait(lambda message: message.text == "good")

        await site.raise_alarm("while all is well")
        await seen.wait(lambda message: message.text.startswith("while all is well"))
        await site.hass.stop()
        await site.raise_alarm("one while away")
        await site.raise_alarm("two while away")
        await site.hass.start()
        await seen.wait(lambda message: message.text.startswith("two while away"))
        await site.raise_alarm("afterwards")
        await seen.wait(lambda message: message.text.startswith("afterwards"))
        told = [message.text.split("|") for message in seen.all(TOLD)]
    assert [text for text, _ in told] == ["while all is well", "one while away", "two while away", "afterwards"]
    numbers = [int(number) for _, number in told]
    assert numbers == list(range(numbers[0], numbers[0] + 4))


async def use_blueprints(site: Site, **automations: dict[str, Any]) -> None:
    """Import the blueprints as a user does, and make an automation from each of these."""
    config = site.hass.directory
    if not (config / FOLDER).exists():
        shutil.copytree(PROJECT / FOLDER, config / FOLDER, ignore=shutil.ignore_patterns("__pycache__"))
        (config / "automations").mkdir()
    for name, inputs in automations.items():
        automation = {"id": name, "alias": name, "use_blueprint": {"path": f"{DOMAIN}/{name}.yaml", "input": inputs}}
        (config / "automations" / f"{name}.yaml").write_text(json.dumps(automation))
    assert set(await site.hass.ws("blueprint/list", domain="automation")) >= {
        f"{DOMAIN}/{each}.yaml" for each in automations
    }
    await site.hass.call_service("automation.reload", {})
    for name in automations:
        await site.hass.wait_state(f"automation.{name}", lambda state: state["state"] == "on")


async def test_alarm_blueprints_escalate_gather_and_test_lines(site: Site) -> None:
    bridge = {"bridge": await site.entry()}
    await use_blueprints(
        site, alarm_escalation=ESCALATION | bridge, alarm_digest=DIGEST | bridge, line_test=LINES | bridge
    )
    async with site.broker.record("test/#") as seen, site.hass.record("fleet2mqtt_alarm") as fired:
        await site.raise_alarm("nobody cares")
        await site.raise_alarm("nobody cares either")
        await wait_until(lambda: len(fired) == 2, "the alarms")
        for alarm in fired:
            for level in range(3):
                said = f"{level} {alarm['data']['id']}"
                await wait_until(lambda: said in texts(seen, "test/escalation"), said)  # noqa: B023
        for alarm in fired:
            [done] = (await site.perform("alarm_acknowledge", {"id": alarm["data"]["id"]}))["data"]["alarms"]
            assert done["alarm"]["acknowledged_by"] == "Test"
        await site.hass.wait_state("automation.alarm_escalation", lambda state: state["attributes"]["current"] == 0)

        [digest] = await wait_until(lambda: texts(seen, "test/digest"), "a digest")
        assert digest.startswith("2 alarms|2 critical: ")
        assert "nobody cares (critical)" in digest
        assert "nobody cares either (critical)" in digest

        await site.hass.call_service("automation.trigger", {"entity_id": "automation.line_test"})
        [report] = await wait_until(lambda: texts(seen, "test/lines"), "the report")
        assert report.startswith("Line test: ")
        assert " at 1 gateways|" in report


def texts(seen: Recording, topic: str) -> list[str]:
    return [message.text for message in seen.all(topic)]


async def test_operators_manage_alarms_by_actions(site: Site) -> None:
    async def ask(action: str, **arguments: Any) -> Any:
        return (await site.perform("request", {"action": action, "arguments": arguments}))["data"]

    async def active() -> list[dict[str, Any]]:
        found = (await ask("alarms", state="active", device=f"voip_{MAC.lower()}"))["alarms"]
        return [alarm for alarm in found if alarm["code"] == 77]

    await site.bench.steer("voip", "alarm", {"mac": MAC, "event_id": 77, "level": "normal"})
    await wait_for_answer(active, "the alarm to be active")
    [alarm] = await active()
    [gateway] = [
        each for each in await site.hass.devices() if ["mqtt", f"fleet2mqtt_{alarm['device']}"] in each["identifiers"]
    ]
    which, key = {"device_id": [gateway["id"]]}, {"alarm": "77_line_4"}

    for action, data, member, value in (
        ("alarm_acknowledge", which | {"operator": "Li", "text": "on my way"}, "acknowledged_by", "Li"),
        ("alarm_unacknowledge", {"id": alarm["id"]}, "acknowledged", False),
        ("alarm_shelve", which | key | {"duration": {"hours": 1}}, "shelved_by", "Test"),
        ("alarm_unshelve", which | key, "shelved_until", None),
    ):
        [answer] = (await site.perform(action, data))["data"]["alarms"]
        assert (answer["changed"], answer["alarm"][member]) == (True, value)
        assert (await active())[0][member] == value
    with pytest.raises(RuntimeError, match="more than 24 h ahead"):
        await site.perform("alarm_shelve", which | {"duration": {"hours": 25}})

    window = (await site.perform("maintenance_add", {"device_id": gateway["id"], "duration": {"hours": 1}}))["data"]
    assert (window["active"], window["operator"], window["selector"]) == (True, "Test", {"device": alarm["device"]})
    assert (await active())[0]["suppressed_by"] == f"maintenance:{window['id']}"
    [listed] = (await site.perform("maintenance_list", {}))["data"]["windows"]
    assert listed == window
    await site.perform("maintenance_remove", {"id": window["id"]})
    assert (await site.perform("maintenance_list", {}))["data"]["windows"] == []

    [closed] = (await site.perform("alarm_close", which | key))["data"]["alarms"]
    assert (closed["alarm"]["type"], closed["alarm"]["state"]) == ("closed", "cleared")
    assert await active() == []
    changes = (await ask("alarm", id=alarm["id"]))["changes"]
    expected = ["raised", "acknowledged", "unacknowledged", "shelved", "unshelved", "closed"]
    assert [change["type"] for change in changes] == expected
    assert changes[1]["text"] == "on my way"


async def test_absence_creates_issue_and_return_deletes_it(site: Site) -> None:
    entry = await site.entry()
    step = await site.hass.rest("POST", "/api/config/config_entries/options/flow", {"handler": entry})
    chosen = {"offline_after": {"hours": 0, "minutes": 0, "seconds": 2}}
    step = await site.hass.rest("POST", f"/api/config/config_entries/options/flow/{step['flow_id']}", chosen)
    assert step["type"] == "create_entry"
    await site.stop_bridge()
    await site.hass.wait_state(HEALTH, lambda state: state["state"] == "off")

    async def issue(expected: list[str]) -> bool:
        return await site.issues() == expected

    await wait_for_answer(lambda: issue(["bridge_offline"]), "the absence to be an issue")
    with pytest.raises(RuntimeError, match="bridge_offline"):
        await site.perform("mapping_list", {})
    await site.start_bridge()
    await wait_for_answer(lambda: issue([]), "the issue to go")
    await site.hass.wait_state(HEALTH, lambda state: state["state"] == "on")


async def test_unload_reload_and_removal_log_no_warning(site: Site) -> None:
    entry = await site.entry()
    await site.hass.rest("POST", f"/api/config/config_entries/entry/{entry}/reload")
    await site.hass.wait_state(HEALTH, lambda state: state["state"] == "on")
    await site.hass.rest("DELETE", f"/api/config/config_entries/entry/{entry}")
    assert await site.entries() == []
    assert HEALTH not in await site.hass.states()
    assert not (site.hass.directory / ".storage" / f"{DOMAIN}.{entry}").exists()
    assert site.hass.problems(*OTHERS) == []
