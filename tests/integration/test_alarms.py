"""Alarms on the bus: each once, whatever happened in between."""

from __future__ import annotations

from typing import Any

import pytest
from homeassistant.const import EVENT_HOMEASSISTANT_STARTED, EVENT_STATE_CHANGED, STATE_UNAVAILABLE
from homeassistant.core import CoreState, Event, EventStateChangedData, HomeAssistant, callback
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_capture_events

from custom_components.fleet2mqtt.alarms import store
from tests.integration.bridge import Bridge, Refusal, alarm
from tests.integration.conftest import DOMAIN


async def settle(hass: HomeAssistant) -> None:
    await hass.async_block_till_done(wait_background_tasks=True)


def fired(events: list[Any]) -> list[int]:
    return [event.data["seq"] for event in events]


@pytest.fixture
def stored(hass_storage: dict[str, Any], entry: MockConfigEntry) -> None:
    """Home Assistant has fired number 3 before it went away."""
    key = f"{DOMAIN}.{entry.entry_id}"
    hass_storage[key] = {"version": 1, "minor_version": 1, "key": key, "data": {"seq": 3}}


async def test_first_setup_fires_no_old_alarm(hass: HomeAssistant, bridge: Bridge, entry: MockConfigEntry) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.history = [alarm(seq) for seq in range(1, 500)]
    await hass.config_entries.async_setup(entry.entry_id)
    await settle(hass)
    bridge.raise_alarm(500)
    await settle(hass)
    assert fired(events) == [500]
    assert dict(events[0].data) == alarm(500) | {"alarm_severity": "critical"}


async def test_missed_alarms_fire_once_in_order(
    hass: HomeAssistant, stored: None, bridge: Bridge, entry: MockConfigEntry
) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.history = [alarm(seq) for seq in range(1, 251)]
    await hass.config_entries.async_setup(entry.entry_id)
    await settle(hass)
    assert fired(events) == list(range(4, 251))
    bridge.say("alarm/event/critical/dev", alarm(250), retain=False)
    bridge.say("bridge/state", "online")
    bridge.health(outbox={"last_seq": 250})
    await settle(hass)
    assert len(events) == 247


async def test_backlog_alarm_is_fired_only_when_published(
    hass: HomeAssistant, stored: None, bridge: Bridge, entry: MockConfigEntry
) -> None:
    """The backlog of a first run is in the history (faults.md 3.13)."""
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.history = [alarm(4) | {"backlog": True}, alarm(5), alarm(6) | {"backlog": True}]
    await hass.config_entries.async_setup(entry.entry_id)
    await settle(hass)
    assert fired(events) == [5]
    bridge.raise_alarm(7)
    bridge.say("alarm/event/critical/dev", alarm(8) | {"backlog": True}, retain=False)
    await settle(hass)
    assert fired(events) == [5, 7, 8]


async def test_withheld_event_is_not_fired_when_read_back(
    hass: HomeAssistant, stored: None, bridge: Bridge, entry: MockConfigEntry
) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.history = [
        alarm(4) | {"suppressed": True, "suppressed_by": "maintenance:1"},
        alarm(5),
        alarm(6, id="voip:4", type="unsuppressed"),
        alarm(7) | {"suppressed": True, "suppressed_by": None},
    ]
    await hass.config_entries.async_setup(entry.entry_id)
    await settle(hass)
    assert (fired(events), entry.runtime_data.alarms.last) == ([5, 6], 7)
    bridge.history.append(alarm(8) | {"suppressed": True})  # published elsewhere: only the number is missing
    bridge.raise_alarm(9)
    await settle(hass)
    assert fired(events) == [5, 6, 9]


async def test_changes_of_an_alarm_fire_each_and_without_severity(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    types = ("raised", "acknowledged", "unacknowledged", "acknowledged", "shelved", "unshelved", "closed")
    for seq, type_ in enumerate((*types, "unsuppressed", "cleared"), 1):
        bridge.raise_alarm(seq, id="voip:1", type=type_)
    bridge.say("alarm/event/critical/dev", bridge.history[3], retain=False)  # repeated by the broker
    await settle(hass)
    assert fired(events) == list(range(1, 10))
    assert [event.data["severity"] for event in events] == ["critical", *[None] * 6, "critical", "critical"]
    assert {event.data["alarm_severity"] for event in events} == {"critical"}


async def test_alarms_continue_after_reload(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.raise_alarm(1)
    await hass.config_entries.async_unload(loaded.entry_id)
    bridge.raise_alarm(2)
    await hass.config_entries.async_setup(loaded.entry_id)
    await settle(hass)
    assert fired(events) == [1, 2]


async def test_alarm_during_reload_fires_once(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.raise_alarm(1)
    await settle(hass)

    @callback
    def one_more(event: Event[EventStateChangedData]) -> None:
        state = event.data["new_state"]
        if state is not None and state.state == STATE_UNAVAILABLE and len(bridge.history) == 1:
            bridge.raise_alarm(2)

    hass.bus.async_listen(EVENT_STATE_CHANGED, one_more)
    assert await hass.config_entries.async_reload(loaded.entry_id)
    await settle(hass)
    assert fired(events) == [1, 2]


async def test_alarm_during_stop_is_not_fired(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    """Automations have been stopped then; it is fired after the start."""
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.history = [alarm(1)]
    bridge.raise_alarm(2)  # asks for what came before
    hass.set_state(CoreState.stopping)
    await settle(hass)
    bridge.raise_alarm(3)
    await settle(hass)
    assert (fired(events), loaded.runtime_data.alarms.last) == ([], 0)
    hass.set_state(CoreState.running)
    bridge.raise_alarm(4)
    await settle(hass)
    assert fired(events) == [1, 2, 3, 4]


async def test_alarm_before_start_is_not_fired(
    hass: HomeAssistant, stored: None, bridge: Bridge, entry: MockConfigEntry
) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    hass.set_state(CoreState.starting)
    await hass.config_entries.async_setup(entry.entry_id)
    bridge.history = [alarm(4)]
    bridge.raise_alarm(5)
    await settle(hass)
    assert fired(events) == []
    hass.set_state(CoreState.running)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await settle(hass)
    assert fired(events) == [4, 5]


async def test_gap_in_sequence_is_filled(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.history = [alarm(1), alarm(2)]
    bridge.raise_alarm(3)
    bridge.raise_alarm(4)  # while the others are being read
    await settle(hass)
    assert fired(events) == [1, 2, 3, 4]


async def test_sequence_in_health_reveals_missed_alarm(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.history = [alarm(1)]
    bridge.health(outbox={"last_seq": 1})
    await settle(hass)
    assert fired(events) == [1]


async def test_expired_alarms_are_not_requested_forever(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    bridge.first_seq, bridge.last_seq = 8, 7
    bridge.health(outbox={"last_seq": 7})
    await settle(hass)
    asked = len(bridge.asked("alarms"))
    bridge.health(outbox={"last_seq": 7})
    await settle(hass)
    assert len(bridge.asked("alarms")) == asked
    assert loaded.runtime_data.alarms.last == 7


async def test_bridge_with_restarted_sequence_fires_new_alarms(
    hass: HomeAssistant, stored: None, bridge: Bridge, entry: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    """Stored data of an older version has no time: no old alarm is fired."""
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.history = [alarm(1)]
    await hass.config_entries.async_setup(entry.entry_id)
    await settle(hass)
    assert "numbers its alarms anew" in caplog.text
    bridge.raise_alarm(2)
    await settle(hass)
    assert fired(events) == [2]


async def test_bridge_restored_from_backup_loses_and_repeats_no_alarm(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    for seq in range(1, 6):
        bridge.raise_alarm(seq)
    await settle(hass)
    await hass.config_entries.async_unload(loaded.entry_id)
    old = bridge.history[:2]
    again = [alarm(3, id="voip:5", received_at=alarm(10)["received_at"])]  # the vendor still tells of it
    missed = [alarm(seq, id=f"voip:new{seq}", received_at=alarm(10)["received_at"]) for seq in range(4, 104)]
    bridge.history = [*old, *again, *missed]
    await hass.config_entries.async_setup(loaded.entry_id)
    await settle(hass)
    assert fired(events) == [1, 2, 3, 4, 5, *range(4, 104)]
    bridge.raise_alarm(104)
    await settle(hass)
    assert fired(events)[-2:] == [103, 104]


async def test_reused_sequence_number_is_detected(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    for seq in range(1, 4):
        bridge.raise_alarm(seq)
    await settle(hass)
    bridge.say("alarm/event/critical/dev", alarm(2), retain=False)  # repeated by the broker
    await settle(hass)
    bridge.history = bridge.history[:1]
    bridge.raise_alarm(2, id="voip:another", received_at=alarm(9)["received_at"])
    await settle(hass)
    assert [event.data["id"] for event in events] == ["voip:1", "voip:2", "voip:3", "voip:another"]


async def test_bridge_that_lost_its_outbox_repeats_no_alarm(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    bridge.raise_alarm(1)
    bridge.raise_alarm(2, id="voip:1", type="cleared")
    await settle(hass)
    high = 1_790_000_000_000
    told = {"received_at": alarm(9)["received_at"]}
    bridge.history = [alarm(high, id="voip:1", **told), alarm(high + 1, id="voip:1", type="cleared", **told)]
    bridge.first_seq = high
    bridge.raise_alarm(high + 2, **told)
    await settle(hass)
    assert fired(events) == [1, 2, high + 2]
    assert loaded.runtime_data.alarms.last == high + 2


async def test_stored_alarm_ids_are_bounded(
    hass: HomeAssistant, stored: None, bridge: Bridge, entry: MockConfigEntry
) -> None:
    bridge.history = [alarm(seq) for seq in range(1, 1500)]
    await hass.config_entries.async_setup(entry.entry_id)
    await settle(hass)
    await hass.config_entries.async_unload(entry.entry_id)
    kept = await store(hass, entry.entry_id).async_load()
    assert kept is not None
    assert (kept["seq"], len(kept["fired"]), kept["fired"][-1]) == (1499, 1000, "raised voip:1499")
    assert kept["received_at"] == alarm(1499)["received_at"]


async def test_history_request_without_response_is_repeated(
    hass: HomeAssistant, stored: None, bridge: Bridge, entry: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    events = async_capture_events(hass, "fleet2mqtt_alarm")
    answers = {"count": 0}

    def broken(_: dict[str, Any]) -> Any:
        answers["count"] += 1
        if answers["count"] == 1:
            raise Refusal("outbox", "the disk is full")
        return {"alarms": "none"}

    sound, bridge.answers["alarms"] = bridge.answers["alarms"], broken
    bridge.history = [alarm(4)]
    await hass.config_entries.async_setup(entry.entry_id)
    await settle(hass)
    bridge.health(outbox={"last_seq": 4})
    await settle(hass)
    assert "the disk is full" in caplog.text
    assert caplog.text.count("cannot be read yet") >= 1
    assert fired(events) == []
    bridge.answers["alarms"] = sound
    bridge.health(outbox={"last_seq": 4}, uptime=120)
    await settle(hass)
    assert fired(events) == [4]
