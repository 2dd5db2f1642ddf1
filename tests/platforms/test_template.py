"""The template of a platform: its copy works under another name. Tests of the template itself are in _template/."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import yaml

from tests.broker import HOST, Broker, free_port
from tests.documented import commands
from tests.platforms._template.connected import FIRST, NAME
from tests.process import BRIDGE, ran, running

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "bridge" / "fleet2mqtt"


def copy(folder: Path, name: str) -> None:
    """Copy platform and simulator under another name, as packages of their own, with installed entry points."""
    for kind in ("platforms", "simulators"):
        package = folder / f"{name}_{kind}"
        shutil.copytree(SOURCE / kind / "_template", package, ignore=shutil.ignore_patterns("__pycache__"))
        for file in package.glob("*.py"):
            text = re.sub(r"fleet2mqtt\.(platforms|simulators)\._template", rf"{name}_\1", file.read_text("utf-8"))
            file.write_text(text.replace("_template", name), "utf-8")
    installed = folder / f"{name}-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        f"[fleet2mqtt.platforms]\n{name} = {name}_platforms\n[fleet2mqtt.simulators]\n{name} = {name}_simulators.app\n"
    )


async def test_commands_that_copy_the_template_leave_clean_code(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for folder in ("bridge/fleet2mqtt/platforms", "bridge/fleet2mqtt/simulators", "tests/platforms"):
        shutil.copytree(ROOT / folder / "_template", project / folder / "_template")
    shutil.copy(ROOT / "pyproject.toml", project)
    (project / ".venv").symlink_to(sys.prefix)
    copying = commands("bridge/fleet2mqtt/platforms/_template/README.md", "cp -r")
    ended = await ran("bash", "-euc", f"cd {project}\n{copying}")
    assert ended.code == 0, ended.output + ended.errors
    copies = [file for file in project.rglob("acme/**/*.py") if "__pycache__" not in file.parts]
    originals = [file for file in project.rglob("_template/**/*.py") if "__pycache__" not in file.parts]
    assert len(copies) == len(originals) > 0
    assert [file for file in copies if "_template" in file.read_text("utf-8")] == []


async def test_copy_of_the_template_runs_under_another_name(tmp_path: Path) -> None:
    """The steps of the template's README, with the copy outside the project."""
    site = tmp_path / "site"
    site.mkdir()
    copy(site, "acme")
    bridge = ("env", f"PYTHONPATH={site}", *BRIDGE)
    port = free_port()
    path = tmp_path / "acme.yaml"
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(directory=tmp_path / "broker"))
        backend = {"platform": "acme", "url": f"http://{HOST}:{port}", "api_key": "example"}
        written = {
            "mqtt": {"host": HOST, "port": broker.port},
            "data_dir": str(tmp_path / "data"),
            "push": {"host": HOST, "port": 0},
            "web": {"host": HOST, "port": 0},
            "backends": {NAME: backend},
        }
        path.write_text(yaml.safe_dump(written))
        seen = await stack.enter_async_context(broker.record("#"))
        simulated = ("simulate", "acme", "--still", "--port", str(port))
        simulator = await stack.enter_async_context(running(*bridge, *simulated, measured=False))
        await simulator.says("simulator on")
        checked = await ran(*bridge, "check", "-c", str(path))
        assert checked.code == 0, checked.output + checked.errors
        process = await stack.enter_async_context(running(*bridge, "run", "-c", str(path), measured=False))
        await process.says("connected to")
        config = await seen.wait(lambda message: message.topic == f"homeassistant/device/fleet2mqtt_{FIRST}/config")
        assert {"relay", "limit", "temperature"} <= config.json["components"].keys()
        await broker.publish(f"fleet2mqtt/device/{FIRST}/set", {"relay": "ON", "limit": 4, "transaction": "t1"})
        for key in ("relay", "limit"):
            result = await seen.wait(
                lambda message, key=key: message.topic.endswith("/result") and message.json["key"] == key  # type: ignore[misc]
            )
            assert result.json["status"] == "confirmed", result.json
        await broker.publish(f"fleet2mqtt/backend/{NAME}/request/relay_restart", {"id": "R-1001", "transaction": "t2"})
        response = await seen.wait(lambda message: message.topic.endswith("/response/relay_restart"))
        assert response.json["status"] == "ok", response.json
    assert "acme" not in sys.modules
