"""Every action of the integration: its request, its response, and its error where there is none."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import voluptuous as vol
from homeassistant.core import HomeAssistant, SupportsResponse
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.fleet2mqtt.alarm_actions import NAMES
from tests.integration.bridge import INFO, Bridge, Refusal
from tests.integration.conftest import DOMAIN

CALLS: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("mapping_list", "branch", {}, {}),
    (
        "mapping_add",
        "branch",
        {"name": "cam", "ip": "10.0.0.9", "port": "80", "protocol": "2"},
        {"name": "cam", "ip": "10.0.0.9", "port": "80", "protocol": 2},
    ),
    ("mapping_edit", "branch", {"uuid": "u", "mark": "x"}, {"uuid": "u", "mark": "x"}),
    ("mapping_delete", "branch", {"rules": "u"}, {"rules": ["u"]}),
    *(
        (name, "branch", {"rule": "u", "sn": "S", "ip": "192.168.4.5"}, {"rule": "u", "sn": "S", "ip": "192.168.4.5"})
        for name in ("mapping_assign", "mapping_reassign")
    ),
    ("mapping_unassign", "branch", {"sn": "S", "rules": ["u"]}, {"sn": "S", "rules": ["u"]}),
    ("device_register", "branch", {"sn": "S", "alias": "a"}, {"sn": "S", "alias": "a"}),
    ("device_delete", "branch", {"sn": "S"}, {"sn": "S"}),
    ("group_policy_list", "ac", {"path": "/g"}, {"path": "/g"}),
    *(
        (name, "ac", {"group": "/g", "policy": ["p"]}, {"group": "/g", "policy": ["p"]})
        for name in ("group_policy_add", "group_policy_delete", "group_policy_modify")
    ),
    *(
        (f"user_{kind}_policy_{verb}", "ac", {"user": "z", "policy": "p"}, {"user": "z", "policy": ["p"]})
        for kind in ("net", "flux")
        for verb in ("add", "delete", "modify")
    ),
    *(
        (f"user_{kind}_policy_list", "ac", {"user": "z", "dn": "cn=z"}, {"user": "z", "dn": "cn=z"})
        for kind in ("net", "flux")
    ),
    ("user_binding_search", "ac", {"search": "zhang"}, {"search": "zhang"}),
    (
        "user_binding_add",
        "ac",
        {"enable": True, "name": "z", "addr_type": "ip", "addr": "10.0.0.5", "limitlogon": False},
        {"enable": True, "name": "z", "addr_type": "ip", "addr": "10.0.0.5", "limitlogon": False},
    ),
    ("user_binding_delete", "ac", {"addr": "10.0.0.5"}, {"addr": "10.0.0.5"}),
    ("ip_mac_binding_search", "ac", {"search": "10.0.0.5"}, {"search": "10.0.0.5"}),
    ("ip_mac_binding_add", "ac", {"ip": "10.0.0.5", "mac": "m"}, {"ip": "10.0.0.5", "mac": "m"}),
    ("ip_mac_binding_delete", "ac", {"ip": "10.0.0.5"}, {"ip": "10.0.0.5"}),
    ("online_users", "ac", {"status": "active"}, {"status": "active"}),
    ("user_logout", "ac", {"ip": "10.0.0.5"}, {"ip": "10.0.0.5"}),
    ("device_command", "things", {"device": "d", "method": "reboot"}, {"device_id": "d", "method": "reboot"}),
    (
        "device_data",
        "things",
        {"device": "d", "identifier": "stream", "type": "json", "msg": {"a": 1}},
        {"device_id": "d", "identifier": "stream", "type": "json", "msg": {"a": 1}},
    ),
    (
        "cloud_attributes_set",
        "things",
        {"device": "d", "attributes": {"room": 1}},
        {"device_id": "d", "attributes": {"room": 1}},
    ),
    ("fxo_test", "voip", {"device_mac": "000EA93D022E"}, {"device_mac": "000EA93D022E"}),
    ("alarm_statistics", "voip", {"macs": "000EA93D022E"}, {"macs": ["000EA93D022E"]}),
    (
        "event_statistics",
        "voip",
        {"start_time": "2021-03-09T17:55:40", "limit": 5.0},
        {"startTime": "2021-03-09 17:55:40", "limit": 5},
    ),
    ("alarm_history", "voip", {"device_mac": "000EA93D022E"}, {"metric_history_producer": "000EA93D022E"}),
)


async def call(hass: HomeAssistant, name: str, entry: MockConfigEntry, /, **data: Any) -> Any:
    target = {"config_entry_id": entry.entry_id}
    return await hass.services.async_call(DOMAIN, name, target | data, blocking=True, return_response=True)


async def fault(hass: HomeAssistant, name: str, entry: MockConfigEntry, /, **data: Any) -> HomeAssistantError:
    with pytest.raises(HomeAssistantError) as raised:
        await call(hass, name, entry, **data)
    return raised.value


@pytest.mark.parametrize(("name", "backend", "given", "asked"), CALLS, ids=[call[0] for call in CALLS])
async def test_action_selects_only_matching_backend(
    hass: HomeAssistant,
    bridge: Bridge,
    loaded: MockConfigEntry,
    name: str,
    backend: str,
    given: dict[str, Any],
    asked: dict[str, Any],
) -> None:
    bridge.answers[name] = lambda _: {"list": [1, 2]}
    assert await call(hass, name, loaded, **given) == {"backend": backend, "data": {"list": [1, 2]}}
    assert bridge.requests[-1] == (f"fleet2mqtt/backend/{backend}/request/{name}", asked)


async def test_action_table_is_tested(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    assert {name for name, *_ in CALLS} | {"request", *NAMES} == set(hass.services.async_services()[DOMAIN])


async def test_reading_action_requires_response(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    reads = {
        name
        for name in hass.services.async_services()[DOMAIN]
        if hass.services.supports_response(DOMAIN, name) is SupportsResponse.ONLY
    }
    searches = {
        "user_net_policy_list",
        "user_flux_policy_list",
        "group_policy_list",
        "user_binding_search",
        "ip_mac_binding_search",
        "online_users",
    }
    assert reads == searches | {
        "mapping_list",
        "alarm_statistics",
        "event_statistics",
        "alarm_history",
        "maintenance_list",
    }


async def test_request_action_passes_any_request(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    answer = await call(hass, "request", loaded, action="devices", arguments={"limit": 1})
    assert answer == {"backend": None, "data": {"asked": {"limit": 1}}}
    answer = await call(hass, "request", loaded, action="device_list", backend="voip")
    assert answer == {"backend": "voip", "data": {"asked": {}}}
    assert bridge.requests[-1][0] == "fleet2mqtt/backend/voip/request/device_list"


@pytest.mark.parametrize(
    ("code", "key", "kind"),
    [
        ("invalid_arguments", "invalid_arguments", ServiceValidationError),
        ("not_allowed", "not_allowed", ServiceValidationError),
        ("unknown_request", "unknown_request", ServiceValidationError),
        ("unknown_alarm", "unknown_alarm", ServiceValidationError),
        ("still_active", "wrong_state", ServiceValidationError),
        ("busy", "not_now", HomeAssistantError),
        ("timeout", "not_now", HomeAssistantError),
        (7006, "vendor_error", HomeAssistantError),
    ],
)
async def test_rejection_raises_with_message(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, code: Any, key: str, kind: type
) -> None:
    def refuse(_: dict[str, Any]) -> None:
        raise Refusal(code, "so it is")

    bridge.answers["mapping_list"] = refuse
    error = await fault(hass, "mapping_list", loaded)
    assert type(error) is kind
    assert (error.translation_domain, error.translation_key) == (DOMAIN, key)
    assert "so it is" in str(error)


async def test_request_without_response_times_out(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    bridge.silent.add("mapping_list")
    loaded.runtime_data.link.timeout = 0.01
    assert (await fault(hass, "mapping_list", loaded)).translation_key == "no_answer"
    assert loaded.runtime_data.link.waiting == 0


async def test_bridge_lost_during_action_raises(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    bridge.silent.add("mapping_list")
    for stray in ({"transaction": "of another"}, "no json"):
        bridge.say("backend/branch/response/mapping_list", stray, retain=False)
    hass.loop.call_later(0.01, bridge.say, "bridge/state", "offline")
    assert (await fault(hass, "mapping_list", loaded)).translation_key == "bridge_offline"
    sent = len(bridge.requests)
    assert (await fault(hass, "mapping_list", loaded)).translation_key == "bridge_offline"
    assert len(bridge.requests) == sent


async def test_backend_is_selected_by_argument(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    two = {name: {"platform": "ums", "actions": [{"name": "fxo_test"}]} for name in ("hq", "lab")}
    bridge.info(backends=two)
    error = await fault(hass, "fxo_test", loaded, device_mac="m")
    assert error.translation_key == "name_a_backend"
    assert "hq, lab" in str(error)
    assert (await call(hass, "fxo_test", loaded, device_mac="m", backend="lab"))["backend"] == "lab"
    assert (await fault(hass, "mapping_list", loaded)).translation_key == "no_backend"
    assert (await fault(hass, "fxo_test", loaded, device_mac="m", backend="x")).translation_key == "unknown_backend"
    error = await fault(hass, "request", loaded, action="mapping_list", backend="hq")
    assert error.translation_key == "unknown_request"
    bridge.info(backends=INFO["backends"])


async def test_entry_is_selected_by_argument(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    stranger = MockConfigEntry(domain="other")
    stranger.add_to_hass(hass)
    assert (await fault(hass, "mapping_list", stranger)).translation_key == "unknown_entry"
    await hass.config_entries.async_unload(loaded.entry_id)
    assert (await fault(hass, "mapping_list", loaded)).translation_key == "not_loaded"


async def test_arguments_are_checked_before_anything_is_sent(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    sent = len(bridge.requests)
    with pytest.raises(vol.Invalid):
        await call(hass, "mapping_add", loaded, name="cam", ip="10.0.0.9", port="80", protocol="7")
    with pytest.raises(vol.Invalid):
        await call(hass, "mapping_list", loaded, surprise=1)
    assert len(bridge.requests) == sent


async def test_yaml_date_is_sent_as_text(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    await call(hass, "cloud_attributes_set", loaded, device="d", attributes={"since": date(2026, 3, 9)})
    assert bridge.requests[-1][1] == {"device_id": "d", "attributes": {"since": "2026-03-09"}}


@pytest.mark.parametrize("name", ["#", "devices/all", "+", "", "devices\n"])
async def test_invalid_name_is_not_requested(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, name: str
) -> None:
    """A topic of more levels nobody listens to, and wildcards cannot be published to."""
    sent = len(bridge.requests)
    with pytest.raises(vol.Invalid):
        await call(hass, "request", loaded, action=name)
    assert len(bridge.requests) == sent
