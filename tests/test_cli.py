"""The command line: what it explains, what it refuses, and looking without touching anything."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from bridge.__main__ import main
from bridge.backend import platforms
from bridge.demo import options_for
from tests.broker import HOST, Broker, free_port
from tests.commandline import OM50, fleet2mqtt, get, post, simulator, write
from tests.process import BRIDGE, running
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartBroker

COMMANDS = ("run", "check", "dump", "demo", "simulate")
MODELS = {"smart_gateway": ("IG200",), "ums": ("OM50", "MX100G", "HX4G")}


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as somebody:
        somebody.bind((HOST, free_port()))
        somebody.listen()
        yield somebody.getsockname()[1]


# What it explains ------------------------------------------------------------------------------------------------


async def test_help_names_every_command_and_what_exit_codes_mean() -> None:
    ended = await fleet2mqtt("--help")
    assert ended.code == 0
    for command in COMMANDS:
        assert re.search(rf"^    {command} +\w+", ended.output, re.MULTILINE), command
    assert re.search(r"exit codes: 0 .*1 .*2 ", ended.output, re.DOTALL)


@pytest.mark.parametrize("command", COMMANDS)
async def test_help_explains_every_option(command: str) -> None:
    ended = await fleet2mqtt(command, "--help")
    assert ended.code == 0
    described = ended.output.split("\n\n")
    assert re.match(r"[A-Z].*\.$", described[1], re.DOTALL), "a description"
    assert described[2:]
    for section in described[2:]:
        entries = re.sub(r"\n {4,}", "    ", section).splitlines()[1:]
        assert entries
        assert [entry for entry in entries if not re.fullmatch(r" {2}\S.*? {2,}\S.*", entry)] == []


async def test_version() -> None:
    ended = await fleet2mqtt("--version")
    assert (ended.code, ended.output) == (0, f"fleet2mqtt {version('fleet2mqtt')}\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "required: COMMAND"),
        ("walk", "invalid choice: 'walk'"),
        ("run", "required: -c/--config"),
        ("check", "required: -c/--config"),
        ("dump -c x", "required: BACKEND"),
        ("run -c x --log-level loud", "invalid choice: 'loud'"),
        ("simulate ums", "required: --port"),
        ("simulate abacus --port 0", "invalid choice: 'abacus'"),
        ("simulate ums --port 65536", "--port: expected a whole number from 0 to 65535"),
        ("simulate ums --port 0 --devices -1", "--devices: expected"),
        ("demo --port -1", "--port: expected a whole number from 0 to 65535"),
        ("demo --web-port http", "--web-port: expected a whole number from 0 to 65535"),
        ("demo --devices many", "--devices: expected a whole number"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_line(arguments: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    output, errors = capsys.readouterr()
    assert ended.value.code == 2
    assert told in errors.splitlines()[-1]
    assert output == ""


# What it refuses -------------------------------------------------------------------------------------------------

FAULTY = """\
mqtt: {host: 127.0.0.1, port: 1, password: hush-hush}
data_dir: data
color: red
push:
  port: 99999
backends:
  hq: {platform: ums, url: 10.0.0.5}
  branch: {platform: abacus, url: "http://10.0.0.6"}
"""
FAULTS = (
    ":1: mqtt.password: a password needs a username",
    ":3: color: unknown option; allowed are",
    ":5: push.port: expected a whole number from 0 to 65535",
    ":7: backends.hq.url: expected a URL",
    ":8: backends.branch.platform: unknown platform",
)


@pytest.mark.parametrize("command", ["run", "check", "dump hq"])
def test_every_fault_of_a_configuration_is_told_with_its_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fleet2mqtt.yaml"
    path.write_text(FAULTY)
    code = main([*command.split(), "-c", str(path)])
    output, errors = capsys.readouterr()
    assert (code, output) == (2, "")
    lines = errors.splitlines()
    assert len(lines) == len(FAULTS)
    for line, fault in zip(lines, FAULTS, strict=True):
        assert line.startswith(f"{path}{fault}")
    assert "hush-hush" not in errors
    assert list(tmp_path.iterdir()) == [path], "nothing was started"


@pytest.mark.parametrize("command", ["run", "check", "dump hq"])
@pytest.mark.parametrize(("name", "told"), [("missing.yaml", "no such file"), ("", "is a directory")])
def test_a_file_that_cannot_be_read_is_named(
    command: str, name: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*command.split(), "-c", str(tmp_path / name)])
    output, errors = capsys.readouterr()
    assert (code, output) == (2, "")
    assert re.fullmatch(rf"{re.escape(str(tmp_path / name))}: cannot be read: .*{told}.*\n", errors)


async def test_a_faulty_configuration_ends_the_process_with_2(tmp_path: Path) -> None:
    path = tmp_path / "fleet2mqtt.yaml"
    path.write_text("backends: 5")
    ended = await fleet2mqtt("run", "-c", str(path))
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors.startswith(f"{path}:1: backends: expected a mapping")


@pytest.mark.parametrize("option", ["push", "web"])
async def test_a_port_that_is_taken_is_told_with_what_to_do(option: str, taken: int, tmp_path: Path) -> None:
    ended = await fleet2mqtt(
        "run", "-c", write(tmp_path, **{option: {"host": HOST, "port": taken}}), "--log-level", "warning"
    )
    assert ended.code == 2
    reason = f"{option}: cannot listen on {HOST}:{taken}: address already in use"
    assert ended.errors == f"{reason}; choose another {option}.port or {option}.host\n"


async def test_a_simulators_port_that_is_taken_is_told_with_what_to_do(taken: int) -> None:
    ended = await fleet2mqtt("simulate", "ums", "--port", str(taken))
    assert ended.code == 2
    told = f"cannot listen on {HOST}:{taken}: address already in use; choose another --port or --host\n"
    assert ended.errors == told


async def test_two_bridges_do_not_share_a_data_directory(tmp_path: Path) -> None:
    path = write(tmp_path)
    async with running(*BRIDGE, "run", "-c", path) as first:
        await first.says("web listens on")
        second = await fleet2mqtt("run", "-c", path)
        assert second.code == 2
        assert second.errors == f"data_dir: {tmp_path / 'data'} belongs to another bridge that is running\n"
        assert first.process.returncode is None


async def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = await fleet2mqtt("run", "-c", write(tmp_path, data_dir="file/data"))
    assert ended.code == 2
    assert ended.errors == f"data_dir: {tmp_path / 'file' / 'data'} cannot be written: Not a directory\n"


# Looking without touching ----------------------------------------------------------------------------------------


async def test_check_tries_everything_and_changes_nothing(broker: Broker, tmp_path: Path) -> None:
    async with simulator("ums", "--still") as (ums, _), simulator("smart_gateway", "--still") as (branch, _):
        backends = {
            "hq": {"platform": "ums", "url": ums},
            "branch": {"platform": "smart_gateway", "url": branch},
        }
        path = write(tmp_path, mqtt={"host": HOST, "port": broker.port, "will_delay": 0}, backends=backends)
        async with broker.record("#") as seen:
            ended = await fleet2mqtt("check", "-c", path)
            await broker.publish("after", "all")
            await seen.wait(lambda message: message.topic == "after")
        assert ended.code == 0, ended
        assert ended.output.splitlines() == [
            f"{path}: valid",
            f"mqtt {HOST}:{broker.port}, MQTT 5: ok",
            "hq (ums, devices): ok",
            "branch (smart_gateway, devices): ok",
        ]
        assert ended.errors == ""
        assert [message.topic for message in seen.messages] == ["after"]
        assert await broker.retained() == {}
        paths = {call["path"] for url in (ums, branch) for call in await get(f"{url}/_sim/calls")}
        assert paths == {"/s1/device", "/api/v1/devices/list"}
    assert not (tmp_path / "data").exists()


async def test_check_tells_each_fault_in_a_line(broker: Broker, tmp_path: Path) -> None:
    async with simulator("smart_gateway", "--still") as (branch, _):
        nobody = f"http://{HOST}:{free_port()}"
        backends = {
            "hq": {"platform": "ums", "url": nobody},
            "branch": {"platform": "smart_gateway", "url": branch},
        }
        ended = await fleet2mqtt(
            "check", "-c", write(tmp_path, mqtt={"host": HOST, "port": broker.port}, backends=backends)
        )
    assert ended.code == 1
    assert ended.errors == ""
    _, mqtt, hq, other = ended.output.splitlines()
    assert (mqtt, other) == (f"mqtt {HOST}:{broker.port}, MQTT 5: ok", "branch (smart_gateway, devices): ok")
    assert hq.startswith(f"hq (ums, devices): device_list: no connection to {nobody}")


async def test_check_tells_that_the_broker_is_down(tmp_path: Path) -> None:
    port = free_port()
    ended = await fleet2mqtt("check", "-c", write(tmp_path, mqtt={"host": HOST, "port": port}, backends={}))
    assert ended.code == 1
    assert ended.errors == ""
    assert ended.output.splitlines()[1:] == [f"mqtt {HOST}:{port}: Connection refused"]


async def test_check_tells_that_the_password_is_wrong(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = await start_broker(users={"fleet": "right-one"})
    mqtt = {"host": HOST, "port": broker.port, "username": "fleet", "password": "wrong-one"}
    ended = await fleet2mqtt("check", "-c", write(tmp_path, mqtt=mqtt, backends={}))
    assert ended.code == 1
    assert ended.errors == ""
    (line,) = ended.output.splitlines()[1:]
    assert re.fullmatch(
        rf"mqtt {HOST}:{broker.port}: the broker refuses us: not authorized; check mqtt.username.*", line
    )


async def test_check_tells_that_whoever_is_there_is_no_broker(tmp_path: Path) -> None:
    visits = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        writer.close()

    async with await asyncio.start_server(hang_up, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        ended = await fleet2mqtt("check", "-c", write(tmp_path, mqtt={"host": HOST, "port": port}, backends={}))
    assert ended.code == 1
    assert ended.errors == ""
    (line,) = ended.output.splitlines()[1:]
    assert line.startswith(f"mqtt {HOST}:{port}: the broker closed the connection in place of an answer")
    assert visits == 3, "twice with MQTT 5, then with 3.1.1"


async def test_check_needs_no_broker_for_the_one_inside(tmp_path: Path) -> None:
    path = tmp_path / "fleet2mqtt.yaml"
    path.write_text("backends: {}")
    ended = await fleet2mqtt("check", "-c", str(path))
    assert (ended.code, ended.output.splitlines()[1:]) == (0, ["mqtt (the broker inside): ok"])


@pytest.mark.parametrize("platform", MODELS)
async def test_dump_gives_an_inventory_as_json(platform: str, tmp_path: Path) -> None:
    async with simulator(platform, "--still", "--devices", "3") as (url, _):
        path = write(tmp_path, backends={"hq": {"platform": platform, "url": url}})
        ended = await fleet2mqtt("dump", "hq", "-c", path)
        calls = await get(f"{url}/_sim/calls")
    assert (ended.code, ended.errors) == (0, "")
    found = json.loads(ended.output)
    assert (found["backend"], found["platform"], found["faults"]) == ("hq", platform, {})
    gateways = [device for device in found["devices"] if device["model"] in MODELS[platform]]
    assert len(gateways) == 3
    assert all(device["state"] for device in gateways)
    assert gateways[0]["id"] in {device["via"] for device in found["devices"]}
    assert calls
    assert not (tmp_path / "data").exists()


async def test_dump_of_a_vendor_that_is_down_says_so(tmp_path: Path) -> None:
    ended = await fleet2mqtt("dump", "hq", "-c", write(tmp_path))
    assert ended.code == 1
    found = json.loads(ended.output)
    assert found["devices"] == []
    assert "no connection to" in found["faults"]["devices"]


async def test_dump_of_a_backend_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    path = write(tmp_path)
    ended = await fleet2mqtt("dump", "hp", "-c", path)
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors == f"{path}: there is no backend hp; there is hq\n"


# Playing a vendor ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", sorted(platforms()))
async def test_simulate_plays_a_vendor_and_can_be_steered(platform: str) -> None:
    async with simulator(platform, "--devices", "5") as (url, process):
        assert re.fullmatch(rf"http://{HOST}:\d+", url)
        assert await get(f"{url}/_sim/state")
        assert await get(f"{url}/_sim/calls") == []
        (fault,) = await post(f"{url}/_sim/faults", {"kind": "status", "path": "*", "status": 502})
        assert (fault["kind"], fault["status"]) == ("status", 502)
        process.process.terminate()
        assert await process.ends() == 0


@pytest.mark.parametrize("platform", sorted(platforms()))
async def test_simulate_tells_the_options_that_let_a_bridge_in(platform: str, tmp_path: Path) -> None:
    async with simulator(platform) as (url, process):
        told = {}
        for name in options_for(platform):
            _, _, value = (await process.says(f"  {name}: ")).partition(": ")
            told[name] = yaml.safe_load(value)
        path = write(tmp_path, mqtt=None, backends={"it": {"platform": platform, "url": url, **told}})
        ended = await fleet2mqtt("check", "-c", path)
    assert ended.code == 0, ended
    assert ended.output.splitlines()[2:] != []


async def test_simulate_pushes_where_it_is_told_to(tmp_path: Path) -> None:
    port = free_port()
    push = f"http://{HOST}:{port}/push/hq/push-secret"
    async with simulator("ums", "--still", "--push", push) as (url, _):
        backends = {"hq": {"platform": "ums", "url": url, "push": {"secret": "push-secret"}}}
        path = write(tmp_path, push={"host": HOST, "port": port}, backends=backends)
        async with running(*BRIDGE, "run", "-c", path) as bridge:
            await bridge.says("push listens on")
            await post(f"{url}/_sim/alarm", {"mac": OM50})

            async def pushed() -> Any:
                return (await get(f"{url}/_sim/state"))["pushes"]

            (answer,) = await wait_for_answer(pushed, "a push")
    assert (answer["kind"], answer["status"], answer["reply"]["code"]) == ("event", 200, 0)


async def test_a_simulator_lives_unless_it_is_to_stand_still() -> None:
    async with simulator("smart_gateway") as (moving, _), simulator("smart_gateway", "--still") as (still, _):

        async def signals(url: str) -> list[Any]:
            gateways = (await get(f"{url}/_sim/state"))["gateways"].values()
            return [channel["signal"] for gateway in gateways for channel in gateway["channel"].values() if channel]

        before = [await signals(url) for url in (moving, still)]

        async def moved() -> bool:
            return await signals(moving) != before[0]

        await wait_for_answer(moved, "life")
        assert await signals(still) == before[1]


async def test_ctrl_c_while_looking_is_no_success(tmp_path: Path) -> None:
    async with simulator("ums", "--still") as (url, _):
        await post(f"{url}/_sim/faults", {"kind": "hang", "path": "/s1/*"})
        path = write(tmp_path, backends={"hq": {"platform": "ums", "url": url, "timeout": 60}})
        async with running(*BRIDGE, "dump", "hq", "-c", path) as process:

            async def asked() -> Any:
                return await get(f"{url}/_sim/calls")

            await wait_for_answer(asked, "a call")
            process.process.send_signal(signal.SIGINT)
            assert await process.ends() == 130
        assert process.output == ""
