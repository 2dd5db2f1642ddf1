"""Alarm management through the broker: conditions, operators, maintenance windows, suppression, restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from tests.bridge_under_test import LINE, MAC, VOIP, RunningBridge, Site, open_site, retained
from tests.end_to_end.test_selection import change
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ACTIVE = "fleet2mqtt/alarm/active/"
CONDITIONS: dict[str, Any] = {"conditions": {}}
NO_DELAY = CONDITIONS | {"suppression_delay": 0}


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


async def drop_gateway(site: Site, bridge: RunningBridge, *, online: bool = False) -> None:
    site.ums.set_online(MAC, online, push=False)
    await bridge.refresh(backend="hq_voip")


async def active(bridge: RunningBridge, device: str, alarm: str, **wanted: Any) -> dict[str, Any]:
    """The retained alarm, once it has these members."""
    topic = f"{ACTIVE}{device}/{alarm}"

    def shown() -> dict[str, Any] | None:
        message = bridge.seen.latest(topic)
        if message is None or not message.payload:
            return None
        body: dict[str, Any] = message.json
        return body if {name: body[name] for name in wanted} == wanted else None

    return await wait_until(shown, lambda: f"{topic} with {wanted}: {bridge.seen.latest(topic)}", PATIENCE)


async def is_cleared(bridge: RunningBridge, device: str, alarm: str) -> None:
    topic = f"{ACTIVE}{device}/{alarm}"

    async def gone() -> bool:
        return not (await retained(bridge.broker, topic)).get(topic)

    await wait_for_answer(gone, lambda: f"{topic} cleared", PATIENCE)


def types(bridge: RunningBridge, topic: str = "event", device: str = VOIP) -> list[str]:
    return [message.json["type"] for message in bridge.seen.all(f"fleet2mqtt/alarm/{topic}/+/{device}")]


async def have_types(bridge: RunningBridge, *wanted: str, topic: str = "event", device: str = VOIP) -> None:
    await wait_until(
        lambda: types(bridge, topic, device) == list(wanted),
        lambda: f"{topic} {wanted}: {types(bridge, topic, device)}",
        PATIENCE,
    )


async def do(bridge: RunningBridge, name: str, **arguments: Any) -> dict[str, Any]:
    answer = await bridge.ask(name, **arguments)
    assert answer["status"] == "ok", answer
    data: dict[str, Any] = answer["data"]
    return data


def soon(**offset: float) -> str:
    return (datetime.now(UTC) + timedelta(**offset)).isoformat()


async def test_condition_is_raised_acknowledged_and_cleared(site: Site) -> None:
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await drop_gateway(site, bridge)
        raised = await active(bridge, VOIP, "gateway_offline", state="active", acknowledged=False)
        assert (raised["severity"], raised["source"], raised["alarm_type"]) == (
            "critical",
            "condition",
            "gateway_offline",
        )
        await bridge.shows(VOIP, "alarm_active", "ON")
        data = await do(bridge, "alarm_acknowledge", id=raised["id"], operator="Li", text="on it")
        assert (data["changed"], data["alarm"]["type"], data["alarm"]["operator"]) == (True, "acknowledged", "Li")
        await active(bridge, VOIP, "gateway_offline", acknowledged=True, acknowledged_by="Li")
        again = await do(bridge, "alarm_acknowledge", device=VOIP, alarm="gateway_offline")
        assert (again["changed"], again["seq"]) == (False, None)
        await drop_gateway(site, bridge, online=True)
        await is_cleared(bridge, VOIP, "gateway_offline")
        await have_types(bridge, "raised", "acknowledged", "cleared")
        await bridge.shows(VOIP, "alarm_active", "OFF")
        found = await do(bridge, "alarm", id=raised["id"])
        assert [change["type"] for change in found["changes"]] == ["raised", "acknowledged", "cleared"]
        assert (found["alarm"]["state"], found["alarm"]["acknowledged_by"]) == ("cleared", "Li")
        listed = await do(bridge, "alarms", device=VOIP, text="gateway_offline")
        assert [event["type"] for event in listed["alarms"]] == ["raised", "acknowledged", "cleared"]


async def test_backend_counts_its_alarms_by_severity(site: Site) -> None:
    offline = {"for": [{"id": VOIP, "enabled": True, "severity": "warning"}]}
    only = {"conditions": {"*": {"enabled": False}, "gateway_offline": offline}}

    async def has(**counts: int) -> None:
        for name, number in counts.items():
            for key, expected in (("", number), ("_warning", number), ("_critical", 0)):
                await bridge.shows("hq_voip", f"{name}_alarms{key}", expected)

    async with site.bridge(branch=None, alarms=only) as bridge:
        await bridge.settle()
        await drop_gateway(site, bridge)
        raised = await active(bridge, VOIP, "gateway_offline")
        await has(active=1, unacknowledged=1, shelved=0)
        await do(bridge, "alarm_acknowledge", id=raised["id"])
        await do(bridge, "alarm_shelve", id=raised["id"], until=soon(hours=1))
        await has(active=1, unacknowledged=0, shelved=1)
        await drop_gateway(site, bridge, online=True)
        await has(active=0, unacknowledged=0, shelved=0)


async def test_condition_survives_a_restart_without_an_event(site: Site) -> None:
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await drop_gateway(site, bridge)
        raised = await active(bridge, VOIP, "gateway_offline")
        acknowledged = await do(bridge, "alarm_acknowledge", id=raised["id"])
        await active(bridge, VOIP, "gateway_offline", acknowledged=True)
        await bridge.crash()
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await active(bridge, VOIP, "gateway_offline", acknowledged=True, id=raised["id"])
        await drop_gateway(site, bridge, online=True)
        await is_cleared(bridge, VOIP, "gateway_offline")
        await wait_until(lambda: "cleared" in types(bridge), "the clear event", PATIENCE)
        # The crash may repeat an event, with its seq.
        events = [message.json for message in bridge.seen.all(f"fleet2mqtt/alarm/event/+/{VOIP}")]
        assert [event["type"] for event in events if event["seq"] > acknowledged["seq"]] == ["cleared"]


async def test_alarm_of_a_device_that_was_excluded_for_a_while_begins_anew(site: Site) -> None:
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await drop_gateway(site, bridge)
        raised = await active(bridge, VOIP, "gateway_offline")
        await do(bridge, "alarm_acknowledge", id=raised["id"], operator="Li")
        await do(bridge, "alarm_shelve", id=raised["id"], until=soon(hours=1))
        await do(bridge, "maintenance_add", selector={"device": VOIP})
        await change(site, bridge, exclude=[{"id": VOIP}])
        await is_cleared(bridge, VOIP, "gateway_offline")
        assert (await do(bridge, "alarms", state="active", device=VOIP))["alarms"] == []
        assert (await do(bridge, "maintenance_list"))["windows"] == []
        assert (await do(bridge, "alarm", id=raised["id"]))["alarm"]["state"] == "cleared"
        assert (await bridge.ask("alarm_unshelve", id=raised["id"]))["data"]["changed"] is False
        await change(site, bridge, exclude=None)
        await bridge.refresh(backend="hq_voip")
        again = await active(
            bridge, VOIP, "gateway_offline", acknowledged=False, shelved_until=None, suppressed_by=None
        )
        assert again["id"] != raised["id"]
        await have_types(bridge, "raised", "acknowledged", "shelved", "raised")
        await drop_gateway(site, bridge, online=True)
        await is_cleared(bridge, VOIP, "gateway_offline")


async def test_rules_that_change_while_alarms_are_active_apply_to_what_comes_then(site: Site) -> None:
    def vendor(code: int) -> Any:
        return site.ums.raise_alarm(MAC, push=False, event_id=code, name=f"code_{code}", line_id="7")

    rules = {"recovers": [{"raised": 41, "by": 42}], "severity": {"41": "minor"}}
    async with site.bridge(branch=None, hq_voip={"alarms": rules}) as bridge:
        await bridge.settle()
        await site.push(vendor(41))
        raised = await active(bridge, VOIP, "41_line_7", severity="minor")
        await change(site, bridge, alarms={"clear_after": {"43": 3600}})
        await site.push(vendor(42))  # nothing says any more that this ends the other
        await have_types(bridge, "raised", "raised")
        await bridge.refresh(backend="hq_voip")  # so that no poll reads that one by the rules that come next
        await active(bridge, VOIP, "41_line_7", id=raised["id"])
        await change(site, bridge, alarms=rules | {"severity": {"41": "warning"}})
        await active(bridge, VOIP, "41_line_7", severity="minor")
        await site.push(vendor(42))
        await is_cleared(bridge, VOIP, "41_line_7")
        await site.push(vendor(41))
        last = await active(bridge, VOIP, "41_line_7", severity="warning")
        await change(site, bridge, alarms=None)
        closed = await do(bridge, "alarm_close", id=last["id"], operator="Li")
        assert closed["changed"]
        await is_cleared(bridge, VOIP, "41_line_7")


async def waiting(site: Site) -> dict[str, Any]:
    """Return what waits for a delay, by device."""
    return {device: changes for each in await site.inventories() for device, changes in each["waiting"].items()}


async def test_delay_of_a_condition_goes_on_after_a_restart(site: Site) -> None:
    delayed = {"conditions": {"gateway_offline": {"on_delay": 3600}}}
    found = []
    for _ in range(2):
        async with site.bridge(branch=None, alarms=delayed) as bridge:
            await bridge.settle()
            await drop_gateway(site, bridge)
            await bridge.shows(VOIP, "connection_status", "OFF")
        found.append((await waiting(site))[VOIP]["gateway_offline"])
    (since, waited, clears), again = found
    assert (since, clears) == (again[0], again[2]) == (since, False)
    assert 0 < waited < again[1]


async def test_shelved_alarm_goes_to_the_suppressed_topic_until_its_time(site: Site) -> None:
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await drop_gateway(site, bridge)
        raised = await active(bridge, VOIP, "gateway_offline")
        until = soon(seconds=4)
        await do(bridge, "alarm_shelve", id=raised["id"], until=until, operator="Li")
        await active(bridge, VOIP, "gateway_offline", shelved_by="Li")
        await do(bridge, "alarm_acknowledge", id=raised["id"])
        await have_types(bridge, "acknowledged", topic="suppressed")
        await have_types(bridge, "raised", "shelved", "unshelved")
        late = bridge.seen.all(f"fleet2mqtt/alarm/event/critical/{VOIP}")[-1].json
        assert (late["state"], late["operator"], late["shelved_until"]) == ("active", "fleet2mqtt", None)
        await active(bridge, VOIP, "gateway_offline", shelved_until=None, acknowledged=True)


async def test_shelf_beyond_the_maximum_is_refused(site: Site) -> None:
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await drop_gateway(site, bridge)
        raised = await active(bridge, VOIP, "gateway_offline")
        for until in (soon(hours=25), soon(seconds=-1)):
            answer = await bridge.ask("alarm_shelve", id=raised["id"], until=until)
            assert answer["error"]["code"] == "invalid_arguments"
        answer = await bridge.ask("alarm_close", id=raised["id"])
        assert answer["error"]["code"] == "still_active"
        answer = await bridge.ask("alarm_acknowledge", id="hq_voip:none")
        assert answer["error"]["code"] == "unknown_alarm"


async def test_alarm_of_a_line_is_suppressed_while_its_gateway_is_offline(site: Site) -> None:
    async with site.bridge(branch=None, alarms=NO_DELAY) as bridge:
        await bridge.settle()
        site.ums.set_line(MAC, "FXO-7", con_state="1")
        await bridge.refresh(backend="hq_voip")
        await active(bridge, LINE, "line_below_threshold", suppressed_by=None)
        await drop_gateway(site, bridge)
        parent = await active(bridge, VOIP, "gateway_offline")
        suppressed = await active(bridge, LINE, "line_below_threshold", suppressed_by=parent["id"])
        await do(bridge, "alarm_acknowledge", id=suppressed["id"])
        await have_types(bridge, "acknowledged", topic="suppressed", device=LINE)
        await drop_gateway(site, bridge, online=True)
        await active(bridge, LINE, "line_below_threshold", suppressed_by=None)
        site.ums.set_line(MAC, "FXO-7", con_state="2")
        await bridge.refresh(backend="hq_voip")
        await have_types(bridge, "raised", "cleared", device=LINE)


async def test_maintenance_window_suppresses_and_its_end_is_announced_once(site: Site) -> None:
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        window = await do(
            bridge, "maintenance_add", selector={"device": VOIP}, end=soon(hours=1), operator="Li", text="new cable"
        )
        assert window["active"]
        await bridge.shows(VOIP, "maintenance", "ON")
        await drop_gateway(site, bridge)
        await active(bridge, VOIP, "gateway_offline", suppressed_by=f"maintenance:{window['id']}")
        await have_types(bridge, "raised", topic="suppressed")
        listed = await do(bridge, "maintenance_list")
        assert [each["id"] for each in listed["windows"]] == [window["id"]]
        await do(bridge, "maintenance_remove", id=window["id"])
        await have_types(bridge, "unsuppressed")
        await bridge.shows(VOIP, "maintenance", "OFF")
        await active(bridge, VOIP, "gateway_offline", suppressed_by=None)
        assert types(bridge) == ["unsuppressed"]


async def test_switch_opens_and_ends_maintenance_across_a_crash(site: Site) -> None:
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        result = await bridge.set_key(VOIP, "maintenance", "ON")
        assert result["status"] == "confirmed", result
        await bridge.crash()
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await bridge.shows(VOIP, "maintenance", "ON")
        await drop_gateway(site, bridge)
        await have_types(bridge, "raised", topic="suppressed")
        assert types(bridge) == []
        result = await bridge.set_key(VOIP, "maintenance", "OFF")
        assert result["status"] == "confirmed", result
        await have_types(bridge, "unsuppressed")


async def test_vendors_recovery_pair_clears(site: Site) -> None:
    rules = {"alarms": {"recovers": {"raised": 33, "by": 34}, "severity": {33: "warning"}}}
    async with site.bridge(branch=None, alarms=CONDITIONS, hq_voip=rules) as bridge:
        await bridge.settle()
        await site.push(site.ums.raise_alarm(MAC, push=False, event_id=33, line_id="7"))
        raised = await active(bridge, VOIP, "33_line_7", severity="warning", state="active")
        await site.push(site.ums.raise_alarm(MAC, push=False, event_id=34, line_id="7"))
        await is_cleared(bridge, VOIP, "33_line_7")
        await have_types(bridge, "raised", "cleared")
        found = await do(bridge, "alarm", id=raised["id"])
        assert [change["type"] for change in found["changes"]] == ["raised", "cleared"]


async def test_vendors_alarms_are_ignored_and_described_by_rules(site: Site) -> None:
    rules = {"alarms": {"ignore": [33], "texts": {35: {"en": "Extension lost", "zh-Hans": "分机丢失"}}}}
    async with site.bridge(branch=None, language="zh-Hans", hq_voip=rules) as bridge:
        await bridge.settle()
        await site.push(site.ums.raise_alarm(MAC, push=False, event_id=33))
        await site.push(site.ums.raise_alarm(MAC, push=False, event_id=35))
        [event] = await bridge.event_count(1)
        assert (event["code"], event["description"], event["description_en"]) == (35, "分机丢失", "Extension lost")
        assert {each["code"] for each in (await do(bridge, "alarms", device=VOIP))["alarms"]} == {35}


async def test_alarm_without_recovery_can_be_acknowledged(site: Site) -> None:
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await site.push(site.ums.raise_alarm(MAC, push=False, event_id=33, line_id="7"))
        await have_types(bridge, "raised")
        event = bridge.seen.all(f"fleet2mqtt/alarm/event/+/{VOIP}")[0].json
        await do(bridge, "alarm_acknowledge", id=event["id"], operator="Li")
        await have_types(bridge, "raised", "acknowledged")
        listed = await do(bridge, "alarms", acknowledged=True)
        assert [each["acknowledged_by"] for each in listed["alarms"]] == ["Li", "Li"]
        assert (await do(bridge, "alarm_acknowledge", id=event["id"]))["changed"] is False
        answer = await bridge.ask("alarm_close", id=event["id"])
        assert answer["error"]["code"] == "not_active"


async def test_alarm_is_cleared_after_the_time_of_its_rule(site: Site) -> None:
    site.ums.history.clear()  # it has such an alarm, which the rule would clear first on a slow machine
    async with site.bridge(branch=None, alarms=CONDITIONS, hq_voip={"alarms": {"clear_after": {33: 1}}}) as bridge:
        await bridge.settle()
        await site.push(site.ums.raise_alarm(MAC, push=False, event_id=33, line_id="7"))
        await have_types(bridge, "raised", "cleared")
        await is_cleared(bridge, VOIP, "33_line_7")


async def test_backend_that_cannot_be_reached_is_an_alarm(site: Site) -> None:
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await site.stop_vendors()
        for _ in range(3):
            await bridge.refresh(backend="hq_voip")
        await active(bridge, "hq_voip", "backend_unreachable", severity="critical")
        await bridge.shows("hq_voip", "backend_status", "unreachable")


async def test_backend_that_denies_access_is_an_alarm_until_it_does_not(site: Site) -> None:
    async with site.bridge(hq_voip=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        site.gateways.fault_injector.inject("status", status=401)
        await bridge.refresh(backend="branch")
        await active(bridge, "branch", "backend_denied", severity="critical")
        site.gateways.fault_injector.clear()
        await bridge.refresh(backend="branch")
        await is_cleared(bridge, "branch", "backend_denied")
        await have_types(bridge, "raised", "cleared", device="branch")


async def test_backend_with_old_data_is_an_alarm(site: Site) -> None:
    every = {"scan_interval": {"devices": 0.1, "details": 3600, "mappings": 3600}, "stale_after": 0.5}
    async with site.bridge(hq_voip=None, branch=every, alarms=CONDITIONS) as bridge:
        await active(bridge, "branch", "backend_stale", severity="major")


async def test_bridge_itself_has_alarms(site: Site) -> None:
    """Of what it could not read, and of what the broker does not take: here of nothing, by a threshold below it."""
    filling = {"conditions": {"outbox_filling": {"threshold": -1}}}
    async with site.bridge(branch=None, alarms=filling) as bridge:
        await active(bridge, "bridge", "outbox_filling", severity="major")
        await site.push(b"no JSON")
        await active(bridge, "bridge", "dead_letters", severity="warning")
        [letter] = (await do(bridge, "dead_letters"))["dead_letters"]
        await do(bridge, "dead_letters", op="discard", id=letter["id"])
        await is_cleared(bridge, "bridge", "dead_letters")


async def test_filters_of_the_alarms_request(site: Site) -> None:
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await site.push(site.ums.raise_alarm(MAC, push=False, event_id=33, line_id="7"))
        await drop_gateway(site, bridge)
        await active(bridge, VOIP, "gateway_offline")
        names = {
            "gateway_offline": {"state": "active", "device": VOIP},
            "eEMS_NOTIFY_IPEXT_OFFLINE": {"text": "ipext", "since": soon(minutes=-1)},
        }
        for name, filters in names.items():
            listed = await do(bridge, "alarms", **filters)
            assert [each["name"] for each in listed["alarms"]] == [name], filters
        nothing: tuple[dict[str, Any], ...] = (
            {"backend": "branch"},
            {"severity": "minor"},
            {"since": soon(days=1)},
            {"shelved": True},
        )
        for filters in nothing:
            assert (await do(bridge, "alarms", **filters))["alarms"] == [], filters
        both = {"device": VOIP, "severity": ["critical", "major"], "since": soon(minutes=-1), "until": soon(days=1)}
        assert len((await do(bridge, "alarms", **both))["alarms"]) == 2


async def test_what_suppresses_and_what_clears_is_known_after_a_crash(site: Site) -> None:
    rules = {"alarms": {"clear_after": {33: 1}}}
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        site.ums.set_line(MAC, "FXO-7", con_state="1")
        await bridge.refresh(backend="hq_voip")
        await active(bridge, LINE, "line_below_threshold", suppressed_by=None)
        await drop_gateway(site, bridge)
        parent = await active(bridge, VOIP, "gateway_offline")
        await active(bridge, LINE, "line_below_threshold", suppressed_by=parent["id"])
        await bridge.crash()
    async with site.bridge(branch=None, alarms=NO_DELAY, hq_voip={"alarms": {"clear_after": {33: 3600}}}) as bridge:
        await bridge.settle()
        await active(bridge, LINE, "line_below_threshold", suppressed_by=parent["id"])
        await site.push(site.ums.raise_alarm(MAC, push=False, event_id=33, line_id="7"))
        await active(bridge, VOIP, "33_line_7")
        assert "unsuppressed" not in types(bridge, device=LINE)
        await bridge.crash()
    async with site.bridge(branch=None, alarms=NO_DELAY, hq_voip=rules) as bridge:
        await is_cleared(bridge, VOIP, "33_line_7")


async def test_retained_alarm_that_ended_before_a_crash_is_cleared(site: Site) -> None:
    topic = f"{ACTIVE}{VOIP}/gateway_offline"
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await bridge.settle()
        await drop_gateway(site, bridge)
        raised = await active(bridge, VOIP, "gateway_offline")
        await drop_gateway(site, bridge, online=True)
        await is_cleared(bridge, VOIP, "gateway_offline")
        await bridge.crash()
    await site.broker.publish(topic, raised, retain=True)
    async with site.bridge(branch=None, alarms=CONDITIONS) as bridge:
        await is_cleared(bridge, VOIP, "gateway_offline")


async def test_options_of_conditions_for_all_a_backend_and_some_devices(site: Site) -> None:
    """An option of a backend goes before one for all, a selector before both; operators' own conditions count."""
    everywhere = {"gateway_offline": {"severity": "minor"}, "line_below_threshold": {"enabled": False}}
    here = {
        "gateway_offline": {"severity": "major", "for": [{"id": "hq_voip_*22e", "severity": "warning"}]},
        "line_weak": {"entity": "con_state", "values": "below_threshold", "kind": "line", "text": "weak"},
    }
    options = {"alarms": {"conditions": here}}
    async with site.bridge(alarms={"conditions": everywhere}, hq_voip=options) as bridge:
        await bridge.settle()
        site.ums.set_line(MAC, "FXO-7", con_state="1")
        await bridge.refresh(backend="hq_voip")
        weak = await active(bridge, LINE, "line_weak", severity="major")
        assert weak["description_en"] == "weak"
        for mac in site.ums.devices:
            site.ums.set_online(mac, False, push=False)
        await bridge.refresh(backend="hq_voip")
        await active(bridge, VOIP, "gateway_offline", severity="warning")
        [other] = [
            id_ for id_ in await bridge.devices() if id_.startswith("hq_voip_") and id_.count("_") == 2 and id_ != VOIP
        ]
        await active(bridge, other, "gateway_offline", severity="major")
        assert not bridge.seen.all(f"{ACTIVE}{LINE}/line_below_threshold")
