"""Commands: every way in which one can end, in the order of the contract, each with exactly one result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from fleet2mqtt.simulators.smart_gateway import FIRST_RULE, SECOND_SN
from tests.bridge_under_test import (
    CHANNEL,
    GATEWAY,
    LINE,
    SN,
    VOIP,
    RunningBridge,
    Site,
    open_site,
    reply_to,
)
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

SET = "/api/v1/devices/set"
QUERY = "/api/v1/devices/query"
CANARY = "canary-hotspot-8b1f"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("commands")) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(site: Site) -> AsyncIterator[RunningBridge]:
    async with site.bridge() as bridge:
        await bridge.settle()
        yield bridge


@pytest.fixture
def bridge(site: Site, running: RunningBridge) -> RunningBridge:
    """The bridge that all tests share, with vendors that behave."""
    site.gateways.fault_injector.clear()
    site.ums.fault_injector.clear()
    site.gateways.apply_delay = 0
    return running


def enabled(site: Site) -> bool:
    return bool(site.gateways.gateways[SN]["channel"]["0"]["enable"])


def other(site: Site) -> str:
    """Return the value that the switch does not have now."""
    return "OFF" if enabled(site) else "ON"


def writes(site: Site) -> int:
    return sum(call.path == SET for call in site.gateways.fault_injector.calls)


async def test_set_key_with_a_plain_value_ends_confirmed(site: Site, bridge: RunningBridge) -> None:
    for wanted in ("OFF", "ON"):
        result = await bridge.set_key(CHANNEL, "enable", wanted)
        assert result.keys() == {"transaction", "device", "key", "status", "requested", "observed", "error", "ts"}
        assert (result["device"], result["key"], result["status"]) == (CHANNEL, "enable", "confirmed")
        assert (result["requested"], result["observed"], result["error"]) == (wanted, wanted, None)
        assert enabled(site) == (wanted == "ON")


async def test_set_with_several_keys_ends_in_a_result_for_each(bridge: RunningBridge) -> None:
    token = bridge.transaction()
    wanted = {"today_used_flow_correction": 12.5, "remain_flow_correction": 3}
    await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", {**wanted, "transaction": token})
    await wait_until(lambda: sum(r["transaction"] == token for r in bridge.results(CHANNEL)) == len(wanted), "results")
    found = {r["key"]: r for r in bridge.results(CHANNEL) if r["transaction"] == token}
    assert {key: result["observed"] for key, result in found.items()} == wanted
    assert {result["status"] for result in found.values()} == {"confirmed"}


async def test_set_with_keys_that_belong_together_is_one_call(site: Site, bridge: RunningBridge) -> None:
    """Faults 3.6: a remote site must not be cut off half-way."""
    wan = f"{GATEWAY}_channel_8"
    wanted = {"is_dhcp": "OFF", "ip": "192.168.100.77", "mask": "255.255.255.0", "gateway": "192.168.100.7"}
    written = writes(site)
    found = await set_together(bridge, wan, wanted)
    assert {key: (result["status"], result["observed"]) for key, result in found.items()} == {
        key: ("confirmed", value) for key, value in wanted.items()
    }
    assert writes(site) == written + 1


async def test_rule_moved_with_its_new_address_ends_confirmed_for_both_keys(site: Site, bridge: RunningBridge) -> None:
    """Faults 3.5, 3.6."""
    rule = f"branch_mapping_{FIRST_RULE}"
    site.gateways.set_network(SECOND_SN, "lan", ip="10.1.0.1", mask="255.255.0.0")
    found = await set_together(bridge, rule, {"subnet_ip": "192.168.4.3", "gateway": "上海一"})
    assert {result["error"]["code"] for result in found.values()} == {"address_outside_lan"}
    found = await set_together(bridge, rule, {"subnet_ip": "10.1.0.9", "gateway": "上海一"})
    assert {result["status"] for result in found.values()} == {"confirmed"}
    assert site.gateways.assigned(SECOND_SN, FIRST_RULE) == {
        "uuid": FIRST_RULE,
        "name": "NMS_UDPPort",
        "ip": "10.1.0.9",
    }


async def set_together(bridge: RunningBridge, device: str, wanted: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Set several keys of a device in one message; return the results by key."""
    token = bridge.transaction()
    await bridge.broker.publish(f"fleet2mqtt/device/{device}/set", {**wanted, "transaction": token})
    await wait_until(lambda: sum(r["transaction"] == token for r in bridge.results(device)) == len(wanted), "results")
    return {r["key"]: r for r in bridge.results(device) if r["transaction"] == token}


async def test_set_publishes_state_before_result(site: Site, bridge: RunningBridge) -> None:
    wanted = other(site)
    token = bridge.transaction()
    await bridge.set(CHANNEL, {"enable": wanted, "transaction": token})
    passed = bridge.seen.all(f"fleet2mqtt/device/{CHANNEL}/#")
    command = next(i for i, m in enumerate(passed) if m.topic.endswith("/set") and m.json["transaction"] == token)
    result = next(i for i, m in enumerate(passed) if m.topic.endswith("/result") and m.json["transaction"] == token)
    shown = [i for i, m in enumerate(passed[:result]) if m.topic.endswith("/state") and m.json["enable"] == wanted]
    assert shown
    assert command < shown[-1] < result
    assert passed[shown[-1]].json["_meta"]["source"] == "command"


async def test_set_that_the_vendor_accepts_without_effect_ends_unconfirmed(site: Site, bridge: RunningBridge) -> None:
    wanted, truth = other(site), "ON" if enabled(site) else "OFF"
    site.gateways.fault_injector.inject("noop", SET)
    result = await bridge.set(CHANNEL, {"enable": wanted})
    assert (result["status"], result["requested"], result["observed"]) == ("unconfirmed", wanted, truth)
    assert result["error"]["code"] == "not_shown"
    assert bridge.state(CHANNEL)["enable"] == truth


async def test_set_that_the_vendor_rejects_ends_with_its_code_and_text(site: Site, bridge: RunningBridge) -> None:
    truth = "ON" if enabled(site) else "OFF"
    site.gateways.fault_injector.inject("error", SET, code=7006)
    result = await bridge.set(CHANNEL, {"enable": other(site)})
    assert result["status"] == "rejected"
    assert result["error"]["code"] == 7006
    assert "设备已下线" in result["error"]["message"]
    assert (result["observed"], bridge.state(CHANNEL)["enable"]) == (truth, truth)


async def test_set_whose_response_is_lost_ends_by_the_read_back(site: Site, bridge: RunningBridge) -> None:
    before, wanted = writes(site), other(site)
    site.gateways.fault_injector.inject("lost_answer", SET, times=1)
    result = await bridge.set(CHANNEL, {"enable": wanted})
    assert (result["status"], result["observed"]) == ("confirmed", wanted)
    assert writes(site) == before + 1


async def test_set_whose_call_is_lost_is_not_sent_again(site: Site, bridge: RunningBridge) -> None:
    before, wanted = writes(site), other(site)
    site.gateways.fault_injector.inject("reset", SET, times=1)
    result = await bridge.set(CHANNEL, {"enable": wanted})
    assert (result["status"], result["error"]["code"]) == ("failed", "connection_lost")
    assert result["observed"] != wanted
    assert writes(site) == before + 1


async def test_command_past_its_deadline_ends_expired_without_a_write(site: Site, bridge: RunningBridge) -> None:
    before = writes(site)
    past = datetime.now(UTC) - timedelta(seconds=1)
    result = await bridge.set(CHANNEL, {"enable": other(site), "expires_at": past.isoformat()})
    assert (result["status"], result["error"]["code"]) == ("expired", "expired")
    assert writes(site) == before


async def test_command_in_progress_is_superseded_by_a_newer_one(site: Site, bridge: RunningBridge) -> None:
    first, second = other(site), "ON" if enabled(site) else "OFF"
    site.gateways.fault_injector.inject("hang", SET, times=1)
    tokens = [bridge.transaction() for _ in range(3)]
    for token, value in zip(tokens, (first, first, second), strict=True):
        await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", {"enable": value, "transaction": token})
    await bridge.result(CHANNEL, tokens[1])  # the third is there
    site.gateways.fault_injector.clear()
    ended = [(await bridge.result(CHANNEL, token))["status"] for token in tokens]
    assert ended == ["superseded", "superseded", "confirmed"]
    assert bridge.state(CHANNEL)["enable"] == second


INVALID: tuple[tuple[str, str, Any, str], ...] = (
    ("nobody", "enable", "ON", "unknown_device"),
    (CHANNEL, "nothing", "ON", "unknown_key"),
    (CHANNEL, "signal", "-60", "read_only"),
    (CHANNEL, "enable", "MAYBE", "invalid_value"),
    (CHANNEL, "enable", b"\xff\xfe", "invalid_value"),
    (CHANNEL, "init_flow", "-1", "invalid_value"),
    (CHANNEL, "init_flow", "a lot", "invalid_value"),
    (CHANNEL, "net", "6g", "invalid_value"),
    (GATEWAY, "alias", "two\nlines", "invalid_value"),
    (GATEWAY, "lan_ip", "300.1.1.1", "invalid_value"),
    (VOIP, "test_fxo", "HOLD", "invalid_value"),
)


@pytest.mark.parametrize("case", INVALID)
async def test_command_that_cannot_be_tried_ends_invalid(
    site: Site, bridge: RunningBridge, case: tuple[str, str, Any, str]
) -> None:
    device, key, payload, code = case
    before = len(site.gateways.fault_injector.calls)
    result = await bridge.set_key(device, key, payload)
    assert (result["status"], result["error"]["code"]) == ("invalid", code)
    assert len(site.gateways.fault_injector.calls) == before


@pytest.mark.parametrize(
    "payload",
    ["", "{", "[]", '"ON"', "{}", '{"transaction": {}}', '{"transaction": true}', '{"enable": "ON", "expires_at": 5}'],
)
async def test_set_with_a_malformed_payload_ends_invalid(bridge: RunningBridge, payload: str) -> None:
    before = len(bridge.results(CHANNEL))
    await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", payload)
    await wait_until(lambda: len(bridge.results(CHANNEL)) > before, "a result")
    result = bridge.results(CHANNEL)[-1]
    assert (result["status"], result["error"]["code"], result["key"]) == ("invalid", "malformed", None)


async def test_refused_set_has_its_transaction_in_the_result(bridge: RunningBridge) -> None:
    for token in ("soon", 1):
        result = await bridge.set(CHANNEL, {"enable": "ON", "expires_at": "soon", "transaction": token})
        assert (result["status"], result["error"]["code"]) == ("invalid", "malformed")
    await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/get", {"expires_at": "soon", "transaction": "read"})
    assert (await bridge.result(CHANNEL, "read"))["status"] == "confirmed"


async def test_transaction_repeated_gets_the_same_result_without_a_second_write(
    site: Site, bridge: RunningBridge
) -> None:
    command = {"enable": other(site), "transaction": "once"}
    before = writes(site)
    first = await bridge.set(CHANNEL, command)
    await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", command)
    await wait_until(lambda: sum(r["transaction"] == "once" for r in bridge.results(CHANNEL)) == 2, "the answer again")
    assert [r for r in bridge.results(CHANNEL) if r["transaction"] == "once"] == [first, first]
    assert writes(site) == before + 1


async def test_transaction_repeated_in_progress_gets_its_result_too(site: Site, bridge: RunningBridge) -> None:
    before = writes(site)
    topic = f"fleet2mqtt/device/{CHANNEL}/set"
    site.gateways.fault_injector.inject("slow", SET, seconds=0.03, times=1)
    command = {"enable": other(site), "transaction": "meanwhile"}
    for asker in ("asker/1", "asker/2"):
        await bridge.broker.publish(topic, command, properties=reply_to(asker, b"x"))
    first, second = [
        await bridge.seen.wait(lambda m, asker=asker: m.topic == asker)  # type: ignore[misc]
        for asker in ("asker/1", "asker/2")
    ]
    assert first.json == second.json
    assert first.json["status"] == "confirmed"
    assert writes(site) == before + 1


async def test_response_topic_gets_the_result_with_its_correlation_data(site: Site, bridge: RunningBridge) -> None:
    properties = reply_to("my/answers", b"\x01\x02")
    topic = f"fleet2mqtt/device/{CHANNEL}/set/enable"
    await bridge.broker.publish(topic, other(site), properties=properties)
    answer = await bridge.seen.wait(lambda message: message.topic == "my/answers")
    assert (answer.json["status"], answer.correlation) == ("confirmed", b"\x01\x02")


@pytest.mark.parametrize(("device", "key"), [(GATEWAY, "hotspot_passwd"), (f"{GATEWAY}_channel_4", "wifi_key")])
async def test_set_of_a_secret_ends_confirmed_and_shows_it_nowhere(
    bridge: RunningBridge, caplog: pytest.LogCaptureFixture, device: str, key: str
) -> None:
    caplog.set_level("DEBUG")
    before = len(bridge.seen.messages)
    result = await bridge.set(device, {key: CANARY})
    assert (result["status"], result["requested"], result["observed"]) == ("confirmed", None, None)
    await bridge.set_key(device, key, CANARY)
    await bridge.set_key("nobody", key, CANARY)
    said = [m for m in bridge.seen.messages[before:] if "/set" not in m.topic]
    assert said
    assert not [m.topic for m in said if CANARY.encode() in m.payload]
    assert CANARY not in caplog.text
    assert key not in bridge.state(device)


async def test_press_ends_confirmed_and_shows_its_findings(bridge: RunningBridge) -> None:
    before = bridge.state(LINE)["voltage"]
    result = await bridge.set_key(VOIP, "test_fxo", "PRESS")
    assert (result["status"], result["requested"]) == ("confirmed", "PRESS")
    await wait_until(lambda: bridge.state(LINE)["voltage"] != before, "another voltage")


async def test_get_reads_the_device_at_the_vendor(site: Site, bridge: RunningBridge) -> None:
    site.gateways.set_base(SN, remark="under the roof")
    token = bridge.transaction()
    await bridge.broker.publish(f"fleet2mqtt/device/{GATEWAY}/get", {"transaction": token})
    result = await bridge.result(GATEWAY, token)
    assert (result["status"], result["key"]) == ("confirmed", None)
    assert bridge.state(GATEWAY)["remark"] == "under the roof"
    site.gateways.set_base(SN, remark="in the yard")
    await bridge.broker.publish(f"fleet2mqtt/device/{GATEWAY}/get", {"transaction": token})
    await bridge.shows(GATEWAY, "remark", "in the yard")
    site.gateways.fault_injector.inject("error", QUERY, code=7001)
    await bridge.broker.publish(f"fleet2mqtt/device/{GATEWAY}/get", {"transaction": "again"})
    assert (await bridge.result(GATEWAY, "again"))["status"] == "rejected"
    await bridge.broker.publish("fleet2mqtt/device/nobody/get", {"transaction": "nobody"})
    assert (await bridge.result("nobody", "nobody"))["error"]["code"] == "unknown_device"
