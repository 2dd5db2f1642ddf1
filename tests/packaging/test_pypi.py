"""Wheel and sdist: what is in them, and what a user has who installs them with nothing but a package index."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
import tarfile
import threading
import tomllib
import zipfile
from email import message_from_bytes
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion
from readme_renderer import markdown

from tests.broker import HOST, free_port
from tests.commandline import write
from tests.documented import commands
from tests.packaging.site import ROOT, configuration, installer_shell, open_site, uv
from tests.process import ran, running
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

PIPX = "pipx==1.18.4"
NOT_IN_A_PLAIN_INSTALL = ("amqtt", "apprise", "psutil", "rich", "typer")


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: Path) -> Message:
    return message_from_bytes(next(data for name, data in contents(wheel).items() if name.endswith("/METADATA")))


def test_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "bridge"], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    expected = {name.removeprefix("bridge/"): (ROOT / name).read_bytes() for name in tracked.stdout.splitlines()}
    assert {
        "fleet2mqtt/py.typed",
        "fleet2mqtt/web/assets/page.html",
        "fleet2mqtt/web/assets/zh-Hans.json",
        "fleet2mqtt/config/fleet2mqtt.example.yaml",
    } <= expected.keys()
    inside = contents(wheel)
    assert {name: inside.get(name) for name in expected} == expected
    assert any(name.endswith("/licenses/LICENSE") for name in inside)


def test_wheel_from_the_sdist_is_the_same(distributions: Path, wheel: Path, tmp_path: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    assert contents(tmp_path / wheel.name) == contents(wheel)
    assert (source / "fleet2mqtt.example.yaml").is_file()


def test_metadata_name_the_project_and_its_extras(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    fields = metadata(wheel)
    assert fields["Version"] == project["version"]
    assert {each.partition(", ")[0] for each in fields.get_all("Project-URL", [])} == project["urls"].keys()
    assert {"demo", "notify"} <= set(fields.get_all("Provides-Extra", []))


def test_readme_renders_on_pypi(wheel: Path) -> None:
    text = str(metadata(wheel).get_payload(decode=False))
    html = markdown.render(text)
    assert html is not None
    assert "<table>" in html
    targets = re.findall(r'(?:href|src)="([^"]+)"', html)
    assert len(targets) > 20
    assert [target for target in targets if not re.match(r"https?://|#", target)] == []
    version = metadata(wheel)["Version"]
    own = [target for target in targets if f"/v{version}/" in target]
    files = {re.sub(rf"^.*/v{re.escape(version)}/|#.*$", "", target) for target in own}
    assert [name for name in files if not (ROOT / name).exists()] == []


@pytest.fixture
async def installed(distributions: Path, tmp_path: Path) -> Path:
    """Install the wheel and its requirements as docs/install.md does; return the folder of programs."""
    programs = tmp_path / "bin"
    pins = constraints(tmp_path, "requirements.txt")
    variables = {"PIPX_HOME": tmp_path / "pipx", "PIPX_BIN_DIR": programs, "PIPX_DEFAULT_PYTHON": sys.executable}
    variables |= {"PIP_FIND_LINKS": distributions, "PIP_CONSTRAINT": pins, "HOME": tmp_path}
    exports = "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in variables.items())
    exports += f'export PATH={shlex.quote(str(programs))}:"$PATH"\n'
    pipx = f'pipx() {{ "$uv" tool run --quiet --from {PIPX} pipx "$@"; }}\n'
    shown = await installer_shell(exports + pipx + commands("docs/install.md", "pipx install fleet2mqtt"))
    assert shown.output.splitlines()[-1].startswith("fleet2mqtt ")
    return programs


def constraints(folder: Path, lock: str) -> Path:
    """Return a file with the versions of a lock, without its hashes."""
    pins = folder / "constraints.txt"
    pins.write_text(re.sub(r" *\\\n +--hash=\S+|\\\n", "", (ROOT / lock).read_text("utf-8")), "utf-8")
    return pins


async def install(folder: Path, package: str, lock: str) -> Path:
    programs = folder / "bin"
    variables = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(programs)}
    command = ("tool", "install", "--python", sys.executable, "--constraints", str(constraints(folder, lock)))
    await uv(*command, package, **variables)
    return programs


async def test_plain_install_has_no_broker_and_bridges_a_device(installed: Path, tmp_path: Path) -> None:
    program = str(installed / "fleet2mqtt")
    listed = await uv("pip", "list", "--format", "json", "--python", str(tmp_path / "pipx/venvs/fleet2mqtt/bin/python"))
    names = {package["name"] for package in json.loads(listed.output)}
    assert "fleet2mqtt" in names
    assert names & set(NOT_IN_A_PLAIN_INSTALL) == set()
    without_broker = await ran(program, "run", "-c", write(tmp_path, mqtt=None))
    assert (without_broker.code, "fleet2mqtt[demo]" in without_broker.errors) == (2, True)
    async with open_site(tmp_path) as site:
        file = tmp_path / "fleet2mqtt.yaml"
        file.write_text(yaml.safe_dump(configuration(site)), "utf-8")
        checked = await ran(program, "check", "-c", str(file))
        assert checked.code == 0, checked.errors
        async with running(program, "run", "-c", str(file), measured=False):
            await site.device()


async def test_extra_demo_brings_the_broker_of_the_demo(wheel: Path, tmp_path: Path) -> None:
    programs = await install(tmp_path, f"fleet2mqtt[demo] @ {wheel.as_uri()}", "requirements-demo.txt")
    port = free_port()
    ports = ("--port", str(port), "--web-port", str(free_port()))
    command = (str(programs / "fleet2mqtt"), "demo", "--broker", "embedded", "--devices", "1", *ports)
    async with running(*command, measured=False) as demo:
        await demo.says("connected to")
        assert await asyncio.to_thread(arrives, port, "fleet2mqtt/device/ums_000ea93d022e/state")


def arrives(port: int, topic: str) -> bool:
    """Subscribe to a topic at a broker of MQTT 3.1.1; True once there is a message."""
    arrived = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *_: arrived.set()
    client.connect(HOST, port)
    client.subscribe(topic)
    client.loop_start()
    try:
        return arrived.wait(PATIENCE)
    finally:
        client.disconnect()
        client.loop_stop()
