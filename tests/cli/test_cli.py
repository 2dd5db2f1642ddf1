"""The command line: what it explains, and what it refuses before anything is started."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.cli.parser import main
from tests.broker import HOST
from tests.commandline import fleet2mqtt, write
from tests.process import BRIDGE, ran, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


COMMANDS = ("init", "example", "run", "check", "dump", "demo", "simulate", "completion")


@pytest.fixture
def taken() -> Iterator[int]:
    """Listen on a port; yield it."""
    with socket.socket() as somebody:
        somebody.bind((HOST, 0))
        somebody.listen()
        yield somebody.getsockname()[1]


async def test_help_names_every_command_and_what_exit_codes_mean() -> None:
    ended = await fleet2mqtt("--help")
    assert ended.code == 0
    for command in COMMANDS:
        assert re.search(rf"^    {command}\s+\w+", ended.output, re.MULTILINE), command
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


@pytest.mark.parametrize("command", ["healthcheck", "simulate"])
async def test_short_commands_do_not_import_the_bridge(command: str) -> None:
    modules = f"fleet2mqtt.cli.parser, fleet2mqtt.cli.{command}"
    ended = await ran(sys.executable, "-c", f"import sys, {modules}; print('fleet2mqtt.app' in sys.modules)")
    assert (ended.code, ended.output.strip()) == (0, "False"), ended


def test_output_whose_reader_has_gone_is_no_message() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run([*BRIDGE, "example"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


async def test_version() -> None:
    ended = await fleet2mqtt("--version")
    assert (ended.code, ended.output) == (0, f"fleet2mqtt {version('fleet2mqtt')}\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "required: COMMAND"),
        ("walk", "invalid choice: 'walk'"),
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
def test_wrong_command_line_is_explained_in_a_line(
    arguments: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    output, errors = capsys.readouterr()
    assert ended.value.code == 2
    assert told in errors.splitlines()[-1]
    assert output == ""


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
def test_wrong_configuration_prints_every_problem_with_its_line(
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
def test_configuration_that_cannot_be_read_is_named(
    command: str, name: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*command.split(), "-c", str(tmp_path / name)])
    output, errors = capsys.readouterr()
    assert (code, output) == (2, "")
    assert re.fullmatch(rf"{re.escape(str(tmp_path / name))}: cannot be read: .*{told}.*\n", errors)


async def test_wrong_configuration_ends_the_process_with_2(tmp_path: Path) -> None:
    path = tmp_path / "fleet2mqtt.yaml"
    path.write_text("backends: 5")
    ended = await fleet2mqtt("run", "-c", str(path))
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors.startswith(f"{path}:1: backends: expected a mapping")


@pytest.mark.parametrize("option", ["push", "web"])
async def test_port_in_use_is_reported_with_what_to_do(option: str, taken: int, tmp_path: Path) -> None:
    ended = await fleet2mqtt(
        "run", "-c", write(tmp_path, **{option: {"host": HOST, "port": taken}}), "--log-level", "warning"
    )
    assert ended.code == 2
    reason = f"{option}: cannot listen on {HOST}:{taken}: address already in use"
    assert ended.errors == f"{reason}; choose another {option}.port or {option}.host\n"


async def test_simulator_port_in_use_is_reported_with_what_to_do(taken: int) -> None:
    ended = await fleet2mqtt("simulate", "ums", "--port", str(taken))
    assert ended.code == 2
    told = f"cannot listen on {HOST}:{taken}: address already in use; choose another --port or --host\n"
    assert ended.errors == told


async def test_data_directory_of_a_running_bridge_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    async with running(*BRIDGE, "run", "-c", path) as first:
        await first.says("web listens on")
        second = await fleet2mqtt("run", "-c", path)
        assert second.code == 2
        assert second.errors == f"data_dir: {tmp_path / 'data'} belongs to another bridge that is running\n"
        assert first.process.returncode is None


async def test_data_directory_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = await fleet2mqtt("run", "-c", write(tmp_path, data_dir="file/data"))
    assert ended.code == 2
    assert ended.errors == f"data_dir: {tmp_path / 'file' / 'data'} cannot be written: Not a directory\n"
