"""Commands that wait for the device's reply, by the app-side device API."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet2mqtt.config.loader import parse
from fleet2mqtt.errors import AuthenticationError, ConfigError, Rejected
from tests.platforms.thingscloud.connected import DEVICE, FIRST, calls, simulated

KEY = {"project_key": "demo-project-key"}


async def test_command_returns_the_devices_reply() -> None:
    async with simulated(device_api=KEY) as (simulator, run):
        await run.poll("devices")
        answer = await run.act("device_command", device_id=FIRST, method="restart", params={"after": 3}, id=7)
        reply = {"method": "restart", "params": {"result": 0}, "id": 7}
        assert answer == {"id": 7, "outcome": "replied", "reply": reply}
        assert simulator.sent[-1].body == {"method": "restart", "params": {"after": 3}, "id": 7}
        await run.act("device_command", device_id=FIRST, method="restart")
        assert len(calls(simulator, f"device/{FIRST}/certificate")) == 1


async def test_renewed_certificate_is_read_again() -> None:
    async with simulated(device_api=KEY) as (simulator, run):
        await run.poll("devices")
        await run.act("device_command", device_id=FIRST, method="restart")
        simulator.change(FIRST, access_token="renewed-token")
        assert (await run.act("device_command", device_id=FIRST, method="restart"))["outcome"] == "replied"
        assert len(simulator.sent) == 2


async def test_command_without_reply_is_rejected_with_the_vendors_text() -> None:
    async with simulated(device_api=KEY, buttons={"restart": {"method": "restart"}}) as (simulator, run):
        await run.poll("devices")
        simulator.set_online(FIRST, online=False)
        with pytest.raises(Rejected, match="设备未回复"):
            await run.act("device_command", device_id=FIRST, method="restart")
        with pytest.raises(Rejected, match="设备未回复"):
            await run.write(DEVICE, "command_restart", None)


async def test_command_without_the_device_api_has_an_unknown_outcome() -> None:
    async with simulated() as (_, run):
        assert await run.act("device_command", device_id=FIRST, method="a", id=7) == {"id": 7, "outcome": "unknown"}


async def test_wrong_project_key_is_denied_and_shows_no_secret() -> None:
    async with simulated(device_api={"project_key": "wrong-key"}) as (simulator, run):
        await run.poll("devices")
        token = simulator.devices[FIRST].access_token
        simulator.fault_injector.inject("error", "/app/*", code=9, text=f"no {token} of wrong-key")
        with pytest.raises(Rejected) as repeated:
            await run.act("device_command", device_id=FIRST, method="restart")
        simulator.fault_injector.clear()
        with pytest.raises(AuthenticationError) as denied:
            await run.act("device_command", device_id=FIRST, method="restart")
        for error in (repeated, denied):
            assert token not in str(error.value)
            assert "wrong-key" not in str(error.value)
        assert "wrong-key" not in repr(run.backend)


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ("device_api: {project_key: ''}", "device_api.project_key: expected a text in one line that is not empty"),
        ("full_sweep_interval: 5", "full_sweep_interval: expected a number of seconds from 60 to 604800"),
        ("full_sweep_interval: true", "full_sweep_interval: expected a number of seconds from 60 to 604800"),
    ],
)
def test_invalid_option_is_a_configuration_problem(option: str, fault: str) -> None:
    login = "app_id: x, access_key: k, secret_key: s"
    text = f"backends:\n  t: {{platform: thingscloud, url: 'http://a', {login},\n    {option}}}\n"
    with pytest.raises(ConfigError) as raised:
        parse(text, Path("/nowhere/f.yaml"))
    assert raised.value.problems == [f"/nowhere/f.yaml:3: backends.t.{fault}"]
