"""The blueprints as automations: what they act on, what they leave alone, and what a restart makes of them."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import CoreState, HomeAssistant, SupportsResponse
from homeassistant.exceptions import HomeAssistantError
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import async_fire_time_changed, async_mock_service

from tests.integration.bridge import alarm
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from homeassistant.core import ServiceCall

MISSED = 150
BLUEPRINTS = Path(__file__).parents[2] / "blueprints"
SIGNAL, STATE = "sensor.sim_signal", "sensor.sim_state"
GOOD, BAD = "-60", "-120"


@pytest.fixture
def told(hass: HomeAssistant, tmp_path: Path) -> list[ServiceCall]:
    """Calls of the automations, with a configuration folder that has the blueprints."""
    hass.config.config_dir = str(tmp_path)
    shutil.copytree(BLUEPRINTS, tmp_path / "blueprints")
    calls: list[ServiceCall] = async_mock_service(hass, "test", "tell")
    return calls


async def automate(hass: HomeAssistant, blueprint: str, **inputs: Any) -> None:
    use = {"path": f"fleet2mqtt/{blueprint}.yaml", "input": inputs}
    automation = {"id": "it", "alias": "it", "use_blueprint": use}
    assert await async_setup_component(hass, "automation", {"automation": [automation]})
    await hass.async_block_till_done()
    assert hass.states.is_state("automation.it", "on")


def tell(what: str) -> dict[str, Any]:
    return {"action": "test.tell", "data": {"what": what}}


async def failover(hass: HomeAssistant, **inputs: Any) -> None:
    acts = {f"{kind}_actions": [tell(f"{kind} {{{{ reason }}}}")] for kind in ("bad", "good")}
    await automate(hass, "sim_failover", **{"signal": SIGNAL, "patience": {"seconds": 60}, **acts, **inputs})


async def measure(hass: HomeAssistant, signal: str, *, seconds: int = 61) -> None:
    """Set the signal of the channel, and let a minute pass."""
    hass.states.async_set(SIGNAL, signal)
    await acting(hass, 0)
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=seconds))
    await acting(hass, 0)


async def acting(hass: HomeAssistant, runs: int, minutes: float = 0) -> None:
    """Wait until the automation has this many runs under way, letting time go by.

    While there are any, Home Assistant is never done with what it has to do.
    """

    def reached() -> bool:
        state = hass.states.get("automation.it")
        if state is not None and state.attributes["current"] == runs:
            return True
        if minutes:
            async_fire_time_changed(hass, dt_util.utcnow() + timedelta(minutes=minutes, seconds=1))
        return False

    await wait_until(reached, f"{runs} runs to be under way")
    if not runs:
        await hass.async_block_till_done()


def whats(told: list[ServiceCall]) -> list[str]:
    return [call.data["what"] for call in told]


async def run_by_hand(hass: HomeAssistant) -> None:
    """Trigger an automation as the button *Run* does."""
    await hass.services.async_call("automation", "trigger", {"entity_id": "automation.it"}, blocking=True)
    await hass.async_block_till_done()


async def test_failover_runs_when_channel_degrades_and_recovers(hass: HomeAssistant, told: list[ServiceCall]) -> None:
    hass.states.async_set(SIGNAL, GOOD)
    await failover(hass)
    await measure(hass, BAD)
    await measure(hass, "-104")  # above the threshold, not by the margin
    await measure(hass, GOOD)
    await measure(hass, BAD, seconds=30)  # not for long
    await measure(hass, GOOD)
    await measure(hass, "unavailable")
    assert whats(told) == ["bad -120 dBm", "good -60 dBm", "good -60 dBm", "bad unavailable"]


async def test_failover_treats_bad_state_as_bad_signal(hass: HomeAssistant, told: list[ServiceCall]) -> None:
    hass.states.async_set(SIGNAL, GOOD)
    hass.states.async_set(STATE, "1")
    await failover(hass, state=[STATE], bad_states=["0", "7"])
    hass.states.async_set(STATE, "7")
    await measure(hass, GOOD)
    hass.states.async_set(STATE, "1")
    await measure(hass, GOOD)
    assert whats(told) == ["bad -60 dBm, 7", "good -60 dBm, 1"]


async def test_failover_without_bad_states_counts_no_state_as_bad(hass: HomeAssistant, told: list[ServiceCall]) -> None:
    """Faults 5.18: 0 is the state of the document's own healthy sample."""
    hass.states.async_set(SIGNAL, GOOD)
    hass.states.async_set(STATE, "1")
    await failover(hass, state=[STATE])
    hass.states.async_set(STATE, "0")
    await measure(hass, GOOD)
    assert whats(told) == []
    await measure(hass, BAD)
    assert whats(told) == ["bad -120 dBm, 0"]


@pytest.mark.parametrize(("signal", "expected"), [(BAD, ["bad -120 dBm"]), ("-103", []), (GOOD, ["good -60 dBm"])])
async def test_failover_run_manually_acts_on_channel_state(
    hass: HomeAssistant, told: list[ServiceCall], signal: str, expected: list[str]
) -> None:
    hass.states.async_set(SIGNAL, signal)
    await failover(hass)
    await run_by_hand(hass)
    assert whats(told) == expected


@pytest.mark.parametrize(
    ("before", "waiting", "after", "expected"),
    [
        (BAD, 1, BAD, ["bad -120 dBm"]),
        ("unavailable", 1, BAD, ["bad -120 dBm"]),
        (BAD, 1, GOOD, ["good -60 dBm"]),
        (GOOD, 0, GOOD, []),
    ],
)
async def test_failover_runs_for_change_during_home_assistant_restart(
    hass: HomeAssistant, told: list[ServiceCall], before: str, waiting: int, after: str, expected: list[str]
) -> None:
    hass.states.async_set(SIGNAL, before)
    await start_with_failover(hass)
    await acting(hass, waiting)
    assert whats(told) == []
    hass.states.async_set(SIGNAL, after)
    await acting(hass, 0, minutes=1)
    await measure(hass, after)
    assert whats(told) == expected


async def test_channel_unavailable_after_start_is_lost(hass: HomeAssistant, told: list[ServiceCall]) -> None:
    await start_with_failover(hass)
    await acting(hass, 1)
    await acting(hass, 0, minutes=2)
    assert whats(told) == ["bad unknown"]


async def start_with_failover(hass: HomeAssistant) -> None:
    hass.set_state(CoreState.not_running)
    await failover(hass)
    hass.set_state(CoreState.running)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)


async def test_change_during_failover_runs_afterwards(hass: HomeAssistant, told: list[ServiceCall]) -> None:
    hass.states.async_set(SIGNAL, GOOD)
    await failover(hass, bad_actions=[{"delay": {"minutes": 10}}, tell("bad")])
    hass.states.async_set(SIGNAL, BAD)
    await acting(hass, 1, minutes=1)
    hass.states.async_set(SIGNAL, GOOD)
    await acting(hass, 2, minutes=1)
    assert whats(told) == []
    await acting(hass, 0, minutes=10)
    assert whats(told) == ["bad", "good -60 dBm"]


SHOWN = tell("{{ title }}|{{ message }}|{{ alarm.id }}")


async def notification(hass: HomeAssistant, **inputs: Any) -> None:
    await automate(hass, "alarm_notification", **{"actions": [SHOWN], **inputs})


async def test_notification_filters_by_severity_and_backend(hass: HomeAssistant, told: list[ServiceCall]) -> None:
    await notification(hass, severities=["critical", "minor"], backends=["voip", "things"], cleared=True)
    for seq, said in enumerate(
        (
            {"device": "d", "description": "down", "raised_at": "2026-03-01"},
            {"severity": "minor", "backend": "things", "device_name": "Hall", "device": "d"},
            {"severity": "major"},
            {"backend": "lab"},
            {"type": "cleared", "severity": "cleared", "device": "d"},
        )
    ):
        hass.bus.async_fire("fleet2mqtt_alarm", alarm(seq, **said))
    await hass.async_block_till_done()
    assert whats(told) == [
        "d: raised (critical)|down, 2026-03-01|voip:0",
        "Hall: raised (minor)|alarm 1|voip:1",
        "d: cleared (cleared)|alarm 4|voip:4",
    ]


@pytest.mark.parametrize("backends", [[], [""]], ids=["none", "an empty row of the form"])
async def test_blueprint_without_backend_covers_all(
    hass: HomeAssistant, told: list[ServiceCall], backends: list[str]
) -> None:
    await notification(hass, backends=backends)
    hass.bus.async_fire("fleet2mqtt_alarm", alarm(1))
    hass.bus.async_fire("fleet2mqtt_alarm", alarm(2, type="cleared"))
    await hass.async_block_till_done()
    assert len(told) == 1


async def test_notification_run_manually_is_shown(hass: HomeAssistant, told: list[ServiceCall]) -> None:
    await notification(hass)
    await run_by_hand(hass)
    assert whats(told) == [
        "fleet2mqtt: raised (critical)|The automation was run by hand; there is no alarm.|test",
    ]


async def test_notification_of_many_alarms_loses_none(hass: HomeAssistant, told: list[ServiceCall]) -> None:
    """Many alarms after a long absence, sent to a slow service."""
    await notification(hass, actions=[{"wait_template": "{{ is_state('test.go', 'on') }}"}, SHOWN])
    for seq in range(MISSED):
        hass.bus.async_fire("fleet2mqtt_alarm", alarm(seq))
    await acting(hass, MISSED)
    hass.states.async_set("test.go", "on")
    await acting(hass, 0)
    assert len(told) == MISSED


class Bridge:
    """The bridge as the blueprints ask it, by `fleet2mqtt.request` and `fleet2mqtt.fxo_test`."""

    def __init__(self, hass: HomeAssistant) -> None:
        self.alarm: dict[str, Any] | None = {}
        self.history: list[dict[str, Any]] = []
        self.devices: list[dict[str, str]] = []
        self.lines: dict[str, list[dict[str, str]]] = {}
        self.asked: list[dict[str, Any]] = []
        for name, answer in (("request", self._request), ("fxo_test", self._test)):
            hass.services.async_register("fleet2mqtt", name, answer, supports_response=SupportsResponse.OPTIONAL)

    async def _request(self, call: ServiceCall) -> Any:
        name, asked = call.data["action"], call.data["arguments"]
        self.asked.append({"action": name, **asked})
        answers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "alarm": self._alarm,
            "alarms": self._alarms,
            "device_list": lambda asked: {"devices": self.devices[asked["offset"] :][: asked["limit"]]},
        }
        return {"backend": call.data.get("backend"), "data": answers[name](asked)}

    async def _test(self, call: ServiceCall) -> Any:
        if call.data["device_mac"] not in self.lines:
            raise HomeAssistantError("the gateway is offline")
        return {"backend": call.data["backend"], "data": {"detects": self.lines[call.data["device_mac"]]}}

    def _alarm(self, _: dict[str, Any]) -> Any:
        if self.alarm is None:
            raise HomeAssistantError("the bridge is offline")
        state = {"state": "active", "acknowledged": False, "shelved_until": None, "suppressed_by": None}
        return {"alarm": state | self.alarm}

    def _alarms(self, asked: dict[str, Any]) -> Any:
        found = [
            each for each in self.history if each["seq"] > asked["after"] and each["severity"] in asked["severity"]
        ]
        page = found[: asked["limit"]]
        return {
            "alarms": page,
            "more": len(found) > len(page),
            "after": page[-1]["seq"] if page else asked["after"],
            "last_seq": self.history[-1]["seq"] if self.history else 0,
        }


@pytest.fixture
def asked(hass: HomeAssistant) -> Bridge:
    return Bridge(hass)


LEVEL = tell("{{ level }} {{ title }}|{{ message }}")


async def escalation(hass: HomeAssistant, **inputs: Any) -> None:
    acts = {"actions": [LEVEL], "escalation_actions": [LEVEL], "wait": {"minutes": 10}, "escalations": 2}
    await automate(hass, "alarm_escalation", **{"bridge": "entry", **acts, **inputs})


async def test_escalation_until_the_most_often(hass: HomeAssistant, told: list[ServiceCall], asked: Bridge) -> None:
    await escalation(hass)
    hass.bus.async_fire("fleet2mqtt_alarm", alarm(1, device="d", description="down"))
    await acting(hass, 1)
    await wait_until(lambda: len(told) == 1, "the alarm to be told of")
    await acting(hass, 0, minutes=10)
    assert whats(told) == [f"{level} d: alarm 1 (critical)|down" for level in range(3)]
    assert asked.asked == [{"action": "alarm", "id": "voip:1"}] * 2


@pytest.mark.parametrize(
    "end",
    [
        {"acknowledged": True},
        {"state": "cleared"},
        {"shelved_until": "2026-03-01T00:00:00+00:00"},
        {"suppressed_by": "maintenance:1"},
    ],
    ids=lambda end: next(iter(end)),
)
async def test_escalation_ends_when_somebody_cares(
    hass: HomeAssistant, told: list[ServiceCall], asked: Bridge, end: dict[str, Any]
) -> None:
    await escalation(hass)
    hass.bus.async_fire("fleet2mqtt_alarm", alarm(1, device="d"))
    await acting(hass, 1)
    asked.alarm = end
    await acting(hass, 0, minutes=10)
    assert len(told) == 1


async def test_escalation_goes_on_while_the_bridge_does_not_answer(
    hass: HomeAssistant, told: list[ServiceCall], asked: Bridge
) -> None:
    asked.alarm = None
    await escalation(hass, escalations=1)
    hass.bus.async_fire("fleet2mqtt_alarm", alarm(1, device="d"))
    await acting(hass, 1)
    await acting(hass, 0, minutes=10)
    assert len(told) == 2


async def test_escalation_is_of_raised_alarms_only(hass: HomeAssistant, told: list[ServiceCall], asked: Bridge) -> None:
    await escalation(hass, escalations=0, backends=["voip"])
    for seq, said in enumerate(
        (
            {"type": "acknowledged"},
            {"type": "cleared"},
            {"severity": "minor"},
            {"backend": "lab"},
            {"type": "unsuppressed", "state": "cleared"},
            {"type": "unsuppressed", "state": "active"},
        )
    ):
        hass.bus.async_fire("fleet2mqtt_alarm", alarm(seq, device="d", **said))
    await hass.async_block_till_done()
    assert whats(told) == ["0 d: alarm 5 (critical)|alarm 5"]
    await run_by_hand(hass)
    assert len(told) == 2


POSITION = "input_text.position"


async def digest(hass: HomeAssistant, **inputs: Any) -> None:
    assert await async_setup_component(hass, "input_text", {"input_text": {"position": {}}})
    acts = {"actions": [tell("{{ title }}|{{ message }}")], "position": POSITION, "most": 2}
    await automate(hass, "alarm_digest", **{"bridge": "entry", **acts, **inputs})


def storm(asked: Bridge, hass: HomeAssistant, first: int, last: int, **more: Any) -> None:
    for seq in range(first, last + 1):
        asked.history.append(alarm(seq, device="d", **more))
        hass.bus.async_fire("fleet2mqtt_alarm", asked.history[-1])


async def test_storm_is_told_of_in_one_message(hass: HomeAssistant, told: list[ServiceCall], asked: Bridge) -> None:
    await digest(hass)
    storm(asked, hass, 1, 1100)
    asked.history += [
        alarm(1101, severity="major", device="d"),
        alarm(1102, type="acknowledged"),
        alarm(1103, suppressed=True),
        alarm(1104, severity="minor"),
    ]
    await acting(hass, 2)
    await acting(hass, 0, minutes=1)
    assert whats(told) == ["1101 alarms|1100 critical, 1 major: d: alarm 1 (critical); d: alarm 2 (critical); …"]
    assert hass.states.is_state(POSITION, "1104")
    storm(asked, hass, 1105, 1105)
    await acting(hass, 1)
    await acting(hass, 0, minutes=1)
    assert whats(told)[1:] == ["d: alarm 1105 (critical)|1 critical: d: alarm 1105 (critical)"]


async def test_digest_of_a_bridge_that_numbers_anew(
    hass: HomeAssistant, told: list[ServiceCall], asked: Bridge
) -> None:
    await digest(hass)
    hass.states.async_set(POSITION, "500")
    storm(asked, hass, 7, 8)
    await acting(hass, 2)
    await acting(hass, 0, minutes=1)
    assert whats(told) == ["2 alarms|2 critical: d: alarm 7 (critical); d: alarm 8 (critical)"]
    assert hass.states.is_state(POSITION, "8")


def night() -> dict[str, str]:
    """Quiet hours that began an hour ago and end in one."""
    hour = timedelta(hours=1)
    return {name: f"{dt_util.now() + shift:%H:%M:%S}" for name, shift in (("quiet_from", -hour), ("quiet_to", hour))}


def in_an_hour(hass: HomeAssistant) -> None:
    """Let an hour go by."""
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(hours=1, seconds=1))


async def test_digest_of_the_night(hass: HomeAssistant, told: list[ServiceCall], asked: Bridge) -> None:
    await digest(hass, **night())
    storm(asked, hass, 1, 2, severity="major")
    await acting(hass, 2)
    await acting(hass, 0, minutes=1)
    assert told == []
    storm(asked, hass, 3, 3)
    await acting(hass, 1)
    await acting(hass, 0, minutes=1)
    assert [what.partition("|")[0] for what in whats(told)] == ["3 alarms"]
    storm(asked, hass, 4, 5, severity="major")
    await acting(hass, 2)
    await acting(hass, 0, minutes=1)
    assert len(told) == 1
    in_an_hour(hass)
    await wait_until(lambda: len(told) == 2, "the night to be told of")
    await acting(hass, 0)
    assert whats(told)[1] == "2 alarms|2 major: d: alarm 4 (major); d: alarm 5 (major)"


@pytest.mark.parametrize(("state", "expected"), [("active", 1), ("cleared", 0)])
async def test_escalation_waits_for_the_end_of_quiet_hours(
    hass: HomeAssistant,
    told: list[ServiceCall],
    asked: Bridge,
    state: str,
    expected: int,
) -> None:
    await escalation(hass, escalations=0, **night())
    hass.bus.async_fire("fleet2mqtt_alarm", alarm(1, severity="major", device="d"))
    await acting(hass, 1)
    hass.bus.async_fire("fleet2mqtt_alarm", alarm(2, device="d"))
    await wait_until(lambda: len(told) == 1, "the urgent one to be told of")
    asked.alarm = {"state": state}
    await acting(hass, 0, minutes=60)
    assert whats(told)[1:] == ["0 d: alarm 1 (major)|alarm 1"] * expected


async def test_lines_are_tested_and_reported(hass: HomeAssistant, told: list[ServiceCall], asked: Bridge) -> None:
    asked.devices = [{"device_mac": f"M{each:03}", "connection_status": "online"} for each in range(102)]
    asked.devices += [{"device_mac": "OFF", "connection_status": "offline"}]
    asked.lines = {f"M{each:03}": [{"line": "FXO-1", "con_state": "2"}] for each in range(101)}
    asked.lines["M007"] = [{"line": "FXO-1", "con_state": "0"}, {"line": "FXO-2", "con_state": "1"}]
    acts = {"actions": [tell("{{ title }}|{{ message }}")]}
    await automate(hass, "line_test", bridge="entry", backend="voip", **acts)
    await run_by_hand(hass)
    title, _, message = whats(told)[0].partition("|")
    assert title == "Line test: 2 faults at 101 gateways, 1 not tested"
    assert message == "M007 FXO-1: disconnected; M007 FXO-2: below the threshold. Not tested: M101"


@pytest.mark.parametrize("always", [True, False])
async def test_report_of_no_fault_is_optional(
    hass: HomeAssistant, told: list[ServiceCall], asked: Bridge, always: bool
) -> None:
    asked.lines = {"M1": [{"line": "FXO-1", "con_state": "2"}]}
    acts = {"actions": [tell("{{ title }}|{{ message }}")], "always": always, "gateways": ["M1", ""]}
    await automate(hass, "line_test", bridge="entry", backend="voip", **acts)
    await run_by_hand(hass)
    assert whats(told) == ["Line test: 0 faults at 1 gateways|no faults"] * always
    assert asked.asked == []
