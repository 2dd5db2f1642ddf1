"""Configured command buttons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet2mqtt.config.loader import parse
from fleet2mqtt.devices.model import Component
from fleet2mqtt.errors import ConfigError, Rejected, Unconfirmed
from fleet2mqtt.simulators.thingscloud import Simulator
from tests.platforms.thingscloud.connected import DEVICE, FIRST, NAME, OTHER, Run, calls, simulated
from tests.platforms.thingscloud.project import Project, attribute, running

RESTART = {"method": "restart", "name": "Restart", "params": {"delay": 5}}


def buttons(run: Run, device: str = DEVICE) -> dict[str, str]:
    """The buttons of a device, and what they are called."""
    rows = run.devices[device].entities
    return {row.key: row.name.en for row in rows if row.component is Component.BUTTON}


def sent(simulator: Simulator) -> list[tuple[str, Any]]:
    return [(one.device, {**one.body, "id": None}) for one in simulator.sent if one.kind == "command"]


async def test_button_sends_its_command_to_its_device() -> None:
    async with simulated(buttons={"restart": RESTART, "beep": {"method": "beep"}}) as (simulator, run):
        await run.poll("devices", "attributes")
        assert buttons(run) == buttons(run, OTHER) == {"command_restart": "Restart", "command_beep": "beep"}
        before = len(calls(simulator, f"device/{FIRST}/attributes_raw"))
        await run.write(DEVICE, "command_restart", None)
        await run.write(OTHER, "command_beep", None)
        (first, restart), (second, beep) = sent(simulator)
        assert [f"{NAME}_{first}", f"{NAME}_{second}"] == [DEVICE, OTHER]
        assert restart == {"method": "restart", "params": {"delay": 5}, "id": None}
        assert beep == {"method": "beep", "params": {}, "id": None}
        (call,) = calls(simulator, f"control/device/{FIRST}/command")
        assert call.body["id"] > 1_500_000_000_000
        await run.poll("attributes")
        assert len(calls(simulator, f"device/{FIRST}/attributes_raw")) == before + 1


async def test_refused_button_raises_the_vendors_text() -> None:
    async with simulated(buttons={"restart": RESTART}) as (simulator, run):
        await run.poll("devices")
        simulator.fault_injector.inject("error", "*/command", code=1001, text="设备离线")
        with pytest.raises(Rejected, match="设备离线"):
            await run.write(DEVICE, "command_restart", None)


async def test_button_of_an_offline_device_is_unconfirmed() -> None:
    async with simulated(buttons={"restart": RESTART}) as (simulator, run):
        await run.poll("devices")
        simulator.set_online(FIRST, online=False)
        with pytest.raises(Unconfirmed) as unconfirmed:
            await run.write(DEVICE, "command_restart", None)
        assert unconfirmed.value.code == "device_offline"
        assert len(sent(simulator)) == 1


async def test_button_is_limited_to_types_or_devices() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices")
        kind = simulator.devices[FIRST].type
    given = {"a": {"method": "a", "types": [kind]}, "b": {"method": "b", "devices": [FIRST]}}
    given["c"] = {"method": "c", "types": ["other"], "devices": ["other"]}
    async with simulated(buttons=given) as (simulator, run):
        await run.poll("devices")
        assert buttons(run) == {"command_a": "a", "command_b": "b"}
        assert buttons(run, OTHER) == {}
        simulator.change(FIRST, type="other")
        await run.poll("devices")
        assert buttons(run) == {"command_b": "b", "command_c": "c"}


async def test_button_key_is_not_shared_with_an_attribute() -> None:
    project = Project(attributes=[attribute("command_beep", 1), attribute("alarms_major", 1)])
    async with running(project, buttons={"beep": {"method": "beep"}}) as run:
        await run.poll("devices", "attributes")
        assert buttons(run) == {"command_beep": "beep"}
        keys = [row.key for row in run.devices[DEVICE].entities]
        assert len([key for key in keys if key.startswith(("command_beep_", "alarms_major_"))]) == 2
        assert "alarms_major" not in keys


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ("{Restart: {method: a}}", "buttons.Restart: expected a key of a-z 0-9 _, 32 at most, the first a letter"),
        ("{restart: {}}", "buttons.restart.method: missing; expected the method of a command"),
        ("{restart: {method: a, params: 5}}", "buttons.restart.params: expected a mapping, lines like key: value"),
        ("{restart: {method: ''}}", "buttons.restart.method: expected a text in one line that is not empty"),
    ],
)
def test_invalid_button_is_a_configuration_problem(option: str, fault: str) -> None:
    login = "app_id: x, access_key: k, secret_key: s"
    text = f"backends:\n  t: {{platform: thingscloud, url: 'http://a', {login},\n    buttons: "
    with pytest.raises(ConfigError) as raised:
        parse(f"{text}{option}}}\n", Path("/nowhere/f.yaml"))
    assert raised.value.problems == [f"/nowhere/f.yaml:3: backends.t.{fault}"]
