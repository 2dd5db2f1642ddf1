"""Actions on alarms and maintenance windows: what the bridge is asked, for alarms and for devices."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import voluptuous as vol
import yaml
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import device_registry as dr
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser

from custom_components.fleet2mqtt.alarm_actions import CHANGES, NAMES
from custom_components.fleet2mqtt.topics import Topics
from tests.integration.bridge import Bridge, Refusal
from tests.integration.conftest import DOMAIN

FORMS: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "custom_components/fleet2mqtt/services.yaml").read_text("utf-8")
)
BY_AUTOMATION = {"operator": "Home Assistant"}


async def call(hass: HomeAssistant, name: str, entry: MockConfigEntry, /, **data: Any) -> Any:
    target = {"config_entry_id": entry.entry_id}
    answer = await hass.services.async_call(DOMAIN, name, target | data, blocking=True, return_response=True)
    assert answer is not None
    assert answer["backend"] is None
    return answer["data"]


@pytest.fixture
async def device(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> str:
    """A gateway of the bridge, as MQTT discovery makes it, with two active alarms."""
    bridge.answers["alarms"] = lambda asked: {"alarms": [{"id": f"{asked['device']}:{each}"} for each in (1, 2)]}
    return add_device(hass, "fleet2mqtt_voip_1")


def add_device(hass: HomeAssistant, identifier: str) -> str:
    (mqtt_entry,) = hass.config_entries.async_entries("mqtt")
    registry = dr.async_get(hass)
    found = registry.async_get_or_create(config_entry_id=mqtt_entry.entry_id, identifiers={("mqtt", identifier)})
    return found.id


@pytest.mark.parametrize("name", CHANGES)
async def test_alarm_is_changed_by_id(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, name: str) -> None:
    bridge.answers[name] = lambda _: {"changed": True, "seq": 7, "alarm": {"id": "voip:1"}}
    data = await call(hass, name, loaded, id="voip:1", operator="Li", text="on my way")
    assert data == {"alarms": [{"changed": True, "seq": 7, "alarm": {"id": "voip:1"}}]}
    assert bridge.requests[-1] == (
        f"fleet2mqtt/bridge/request/{name}",
        {"id": "voip:1", "operator": "Li", "text": "on my way"},
    )


async def test_active_alarms_of_devices_are_changed(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, device: str
) -> None:
    data = await call(hass, "alarm_acknowledge", loaded, device_id=device)
    assert len(data["alarms"]) == 2
    assert bridge.asked("alarms")[-1] == {"state": "active", "device": "voip_1", "limit": 1000}
    assert bridge.asked("alarm_acknowledge") == [{"id": f"voip_1:{each}", **BY_AUTOMATION} for each in (1, 2)]
    await call(hass, "alarm_acknowledge", loaded, device_id=[device], alarm="gateway_offline")
    assert bridge.asked("alarm_acknowledge")[-1] == {"device": "voip_1", "alarm": "gateway_offline", **BY_AUTOMATION}


async def test_refused_alarm_stops_no_other(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, device: str
) -> None:
    def refuse_first(asked: dict[str, Any]) -> Any:
        if asked["id"] == "voip_1:1":
            raise Refusal("still_active", "the condition still holds")
        return {"changed": True}

    bridge.answers["alarm_close"] = refuse_first
    with pytest.raises(ServiceValidationError, match="the condition still holds"):
        await call(hass, "alarm_close", loaded, device_id=device)
    assert [asked["id"] for asked in bridge.asked("alarm_close")] == ["voip_1:1", "voip_1:2"]


async def test_user_is_the_operator(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, hass_admin_user: MockUser
) -> None:
    await hass.services.async_call(
        DOMAIN,
        "alarm_acknowledge",
        {"config_entry_id": loaded.entry_id, "id": "voip:1"},
        blocking=True,
        context=Context(user_id=hass_admin_user.id),
    )
    assert bridge.asked("alarm_acknowledge")[-1]["operator"] == hass_admin_user.name


async def test_shelf_ends_at_a_time_or_after_a_duration(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    await hass.config.async_set_time_zone("Asia/Shanghai")
    await call(hass, "alarm_shelve", loaded, id="voip:1", until="2026-12-06 02:00:00")
    assert bridge.asked("alarm_shelve")[-1]["until"] == "2026-12-06T02:00:00+08:00"
    await call(hass, "alarm_shelve", loaded, id="voip:1", until="2026-12-06T02:00:00+00:00")
    assert bridge.asked("alarm_shelve")[-1]["until"] == "2026-12-06T02:00:00+00:00"
    before = dt_util.utcnow()
    await call(hass, "alarm_shelve", loaded, id="voip:1", duration={"hours": 2})
    until = datetime.fromisoformat(bridge.asked("alarm_shelve")[-1]["until"])
    assert before + timedelta(hours=2) <= until <= dt_util.utcnow() + timedelta(hours=2)


async def test_maintenance_window_is_added_for_what_is_selected(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, device: str
) -> None:
    await hass.config.async_set_time_zone("Asia/Shanghai")
    await call(
        hass,
        "maintenance_add",
        loaded,
        device_id=device,
        backend="voip",
        selector={"model": "OM*"},
        start="2026-12-05 22:00:00",
        duration={"hours": 4},
        recurrence="FREQ=WEEKLY;BYDAY=SA",
        text="new cables",
    )
    assert bridge.asked("maintenance_add")[-1] == {
        "selector": {"model": "OM*", "backend": "voip", "device": "voip_1"},
        "start": "2026-12-05T22:00:00+08:00",
        "end": "2026-12-06T02:00:00+08:00",
        "recurrence": "FREQ=WEEKLY;BYDAY=SA",
        "time_zone": "Asia/Shanghai",
        "text": "new cables",
        **BY_AUTOMATION,
    }
    await call(hass, "maintenance_add", loaded, group="Branch 7")
    added = bridge.asked("maintenance_add")[-1]
    assert (added["selector"], "end" in added) == ({"group": "Branch 7"}, False)
    with pytest.raises(ServiceValidationError, match="ac, branch, things, voip"):
        await call(hass, "maintenance_add", loaded, backend="nobody")


async def test_maintenance_windows_are_listed_and_removed(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    bridge.answers["maintenance_list"] = lambda _: {"windows": [{"id": "w1", "active": True}]}
    assert await call(hass, "maintenance_list", loaded) == {"windows": [{"id": "w1", "active": True}]}
    await call(hass, "maintenance_remove", loaded, id="w1")
    assert bridge.asked("maintenance_remove") == [{"id": "w1"}]


async def test_device_of_another_bridge_is_refused(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    sent = len(bridge.requests)
    for unknown in (add_device(hass, "lab_voip_1"), "gone"):
        with pytest.raises(ServiceValidationError, match="no device of this bridge"):
            await call(hass, "alarm_acknowledge", loaded, device_id=unknown)
    assert len(bridge.requests) == sent


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("alarm_acknowledge", {}),
        ("alarm_acknowledge", {"id": "voip:1", "device_id": "d"}),
        ("alarm_shelve", {"id": "voip:1"}),
        ("alarm_shelve", {"id": "voip:1", "until": "2026-12-06 02:00:00", "duration": "01:00:00"}),
        ("maintenance_add", {}),
        ("maintenance_remove", {}),
    ],
)
async def test_incomplete_call_is_refused(
    hass: HomeAssistant, loaded: MockConfigEntry, name: str, data: dict[str, Any]
) -> None:
    with pytest.raises(vol.Invalid):
        await call(hass, name, loaded, **data)


def test_device_of_a_base_topic_that_is_no_segment() -> None:
    """Identifiers have a hash then, as docs/mqtt.md says: these are the bridge's."""
    assert Topics("Site/A").device_of("site_a_voip_1") is None
    assert Topics("Site/A").device_of("site_a_2cd2f6a1_voip_1") == "voip_1"


@pytest.mark.parametrize("name", NAMES)
async def test_schema_has_the_fields_of_the_form(hass: HomeAssistant, loaded: MockConfigEntry, name: str) -> None:
    schema: Any = hass.services.async_services()[DOMAIN][name].schema
    (fields,) = (each for each in getattr(schema, "validators", [schema]) if isinstance(each, vol.Schema))
    form = FORMS[name]["fields"]
    assert {str(key) for key in fields.schema} == form.keys()
    required = {str(key) for key in fields.schema if isinstance(key, vol.Required)}
    assert required == {field for field, about in form.items() if about.get("required")}
