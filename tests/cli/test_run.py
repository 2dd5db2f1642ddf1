"""`fleet2mqtt run` as a process: how it begins, how it ends, and that it keeps secrets."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt import __version__
from tests.broker import HOST, Broker
from tests.commandline import write
from tests.process import BRIDGE, Process, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartBroker

STATE = "fleet2mqtt/bridge/state"


def mqtt(broker: Broker, **more: Any) -> dict[str, Any]:
    return {"host": HOST, "port": broker.port, **more}


async def address(bridge: Process, option: str) -> str:
    """Return the address on which the bridge says that it listens."""
    line = await bridge.says(f"{option} listens on")
    return f"http://{line.split()[-1]}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_after_a_signal_publishes_offline_and_ends_with_0(
    number: signal.Signals, broker: Broker, tmp_path: Path
) -> None:
    async with broker.record(STATE) as seen:
        async with running(*BRIDGE, "run", "-c", write(tmp_path, mqtt=mqtt(broker))) as bridge:
            await seen.wait(lambda message: message.text == "online")
            bridge.process.send_signal(number)
            assert await bridge.ends() == 0
        await seen.wait(lambda message: message.text == "offline")
    assert [message.text for message in seen.messages] == ["online", "offline"]
    assert (await broker.retained(STATE))[STATE].payload == b"offline"
    own = [line for line in broker.log().splitlines() if re.search(r"(from|to) fleet2mqtt-", line)]
    published = [(at, line) for at, line in enumerate(own) if "Received PUBLISH" in line]
    at, last = published[-1]
    mid = re.search(rf"r1, (m\d+), '{STATE}'", last)
    assert mid, last
    assert [line for line in own[at:] if "Sending PUBACK" in line and f"({mid[1]}," in line]
    assert "Received DISCONNECT" in own[-1], "so that the broker forgets the will"
    assert "Traceback" not in bridge.output


async def test_start_logs_version_configuration_and_backends(tmp_path: Path) -> None:
    path = write(tmp_path)
    async with running(*BRIDGE, "run", "-c", path) as bridge:
        line = await bridge.says("starts with")
    assert f"fleet2mqtt {__version__} starts with {path}: backends hq (ums)" in line


async def test_sighup_with_a_changed_file_applies_it(broker: Broker, tmp_path: Path) -> None:
    path = write(tmp_path, mqtt=mqtt(broker))
    async with broker.record(STATE) as seen, running(*BRIDGE, "run", "-c", path) as bridge:
        await seen.wait(lambda message: message.text == "online")
        bridge.process.send_signal(signal.SIGHUP)  # as log rotation does
        await bridge.says("is reloaded: nothing has changed")
        write(tmp_path, mqtt=mqtt(broker), backends={"other": {"platform": "ums", "url": "http://127.0.0.1:1"}})
        bridge.process.send_signal(signal.SIGHUP)
        await bridge.says("is reloaded: ")
        await bridge.says("other: devices fails")
        (tmp_path / "fleet2mqtt.yaml").write_text("backends: 5")
        bridge.process.send_signal(signal.SIGHUP)
        await bridge.says("the configuration is not reloaded, the running one stays")
        await bridge.says("fleet2mqtt.yaml:1: backends: expected a mapping")
        assert [message.text for message in seen.messages] == ["online"]
        bridge.process.terminate()
        assert await bridge.ends() == 0


async def test_run_without_a_broker_ends_with_0_after_a_signal(tmp_path: Path) -> None:
    async with running(*BRIDGE, "run", "-c", write(tmp_path)) as bridge:
        await bridge.says("no connection to")
        bridge.process.terminate()
        assert await bridge.ends() == 0
    assert "Traceback" not in bridge.output


async def test_wrong_broker_password_is_logged_with_its_remedy_and_retried(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    broker = await start_broker(users={"fleet": "right-one"})
    path = write(tmp_path, mqtt=mqtt(broker, username="fleet", password="wrong-one"))
    async with running(*BRIDGE, "run", "-c", path) as bridge:
        line = await bridge.says("the broker refuses us")
        assert "check mqtt.username, mqtt.password" in line
        assert "trying again" in line
        assert "wrong-one" not in bridge.output


async def test_json_log_is_json_in_every_line(broker: Broker, tmp_path: Path) -> None:
    path = write(tmp_path, mqtt=mqtt(broker))
    async with running(*BRIDGE, "run", "-c", path, "--log-format", "json", "--log-level", "debug") as bridge:
        await bridge.says("connected to")
        await bridge.says("hq: devices fails")
        bridge.process.terminate()
        assert await bridge.ends() == 0
    lines = [json.loads(line) for line in bridge.lines]
    assert all(line.keys() >= {"ts", "level", "logger", "message"} for line in lines)
    assert {"info", "warning"} <= {line["level"] for line in lines}
