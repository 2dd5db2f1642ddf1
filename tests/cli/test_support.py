"""`fleet2mqtt support` and `fleet2mqtt dump --fixture`: what people hand on with a bug report."""

from __future__ import annotations

import asyncio
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fleet2mqtt.cli.dump import dump
from fleet2mqtt.cli.parser import main
from fleet2mqtt.cli.simulate import SimulatorOptions, options_for
from fleet2mqtt.cli.simulate import simulator as simulate
from fleet2mqtt.config.loader import load
from fleet2mqtt.sdk.api import platforms
from tests.broker import HOST, Broker, free_port
from tests.commandline import fleet2mqtt, simulator, write
from tests.platforms.recorded import folders, serve_recorded
from tests.process import BRIDGE, running

CANARY = "canary-4711-sesame"


async def test_bundle_of_a_running_bridge_has_its_figures_and_no_secret(broker: Broker, tmp_path: Path) -> None:
    async with simulator("ums", "--still") as (url, _):
        port = free_port()
        backend = {"platform": "ums", "url": url, "push": {"secret": f"{CANARY}-push"}}
        other = {"platform": "sangfor_ac", "url": f"http://{HOST}:1", "key": f"{CANARY}-key"}
        path = write(
            tmp_path,
            mqtt={"host": HOST, "port": broker.port, "username": "a", "password": f"{CANARY}-mqtt"},
            web={"host": HOST, "port": port},
            notify={"duty": {"url": f"json://user:{CANARY}-notify@127.0.0.1:1/{CANARY}9"}},
            backends={"hq": backend, "office": other | {"headers": {"Authorization": f"Basic {CANARY}-header"}}},
        )
        async with running(*BRIDGE, "run", "-c", path) as process, broker.record("#") as seen:
            await process.says("connected to")
            await seen.wait(lambda message: message.topic.startswith("homeassistant/device/fleet2mqtt_hq_"))
            ended = await fleet2mqtt("support", "-c", path, "-o", str(tmp_path / "bundle.zip"))
    assert ended.code == 0, ended
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        files = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert not [name for name, text in files.items() if CANARY in text]
    assert set(files) == {
        "versions.json",
        "configuration.json",
        "check.txt",
        "data_dir.json",
        "healthz.json",
        "readyz.json",
        "status.json",
        "metrics.txt",
    }
    assert json.loads(files["configuration.json"])["backends"]["hq"]["url"] == url
    assert "hq (ums, devices): ok" in files["check.txt"]
    assert json.loads(files["data_dir.json"])["outbox"]["depth"] == 0
    assert "aiohttp" in json.loads(files["versions.json"])["packages"]
    assert "fleet2mqtt_devices" in files["metrics.txt"]
    assert json.loads(files["healthz.json"])["status"] == "ok"


def test_bundle_without_a_valid_configuration_has_its_problems_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fleet2mqtt.yaml"
    path.write_text(f"colour: {CANARY}\nbackends: {{a: {{platform: sangfor_ac, key: {CANARY}}}}}\n")
    assert main(["support", "-c", str(path), "-o", str(tmp_path / "bundle.zip")]) == 0
    assert "problems.txt" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        assert set(bundle.namelist()) == {"versions.json", "problems.txt"}
        problems = bundle.read("problems.txt").decode()
    assert f"{path}:1: colour: unknown option" in problems
    assert CANARY not in problems


async def test_bundle_without_a_running_bridge_says_what_is_missing(tmp_path: Path) -> None:
    ended = await fleet2mqtt("support", "-c", write(tmp_path, web={"port": free_port()}), "-o", str(tmp_path / "b.zip"))
    assert ended.code == 0, ended
    with zipfile.ZipFile(tmp_path / "b.zip") as bundle:
        assert "Cannot connect" in bundle.read("status.json").decode()
        facts = json.loads(bundle.read("data_dir.json"))
    assert "no bridge has run" in facts["outbox"]
    assert facts["files"] == {}


async def repeat(fixture: Path, folder: Path) -> dict[str, Any]:
    """Serve the exchanges of a fixture; return a dump of their backend."""
    backend = json.loads((fixture / "backend.json").read_text("utf-8"))
    async with serve_recorded(fixture) as url:
        options = {name: each for name, each in backend["options"].items() if each is not None}
        whole = {"platform": backend["platform"], **options, "url": url, "timeout": 30}
        return await dump(load(Path(write(folder, backends={"site": whole}))), "site")


BY_THE_CLOCK = {
    *("sys_time", "usage_forecast", "time_diff", "login_time"),
    *("usage_day attributes", "usage_month attributes"),  # since when is counted
}
"""Keys of values and attributes that depend on the time at which the fixture is read."""


def differences(found: list[dict[str, Any]], recorded: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the differences of two dumps, by device and member, without those that depend on the time of day."""
    there = {device["id"]: device for device in json.loads(json.dumps(found, default=str))}
    assert there.keys() == {device["id"] for device in recorded}
    unlike: dict[str, Any] = {}
    for device in recorded:
        mine = there[device["id"]]
        pairs, others = by_key(device), by_key(mine)
        unlike |= {
            f"{device['id']} {key}": (others.get(key), pairs.get(key))
            for key in pairs | others
            if others.get(key) != pairs.get(key) and key not in BY_THE_CLOCK
        }
    return unlike


def by_key(device: dict[str, Any]) -> dict[str, Any]:
    """The members of a dumped device; its values and attributes each for themselves."""
    attributes = {f"{key} attributes": each for key, each in device["attributes"].items()}
    members = {key: each for key, each in device.items() if key not in {"state", "attributes"}}
    return {**members, **device["state"], **attributes}


@pytest.mark.parametrize("platform", sorted(platforms()))
async def test_fixture_repeats_the_poll_without_the_vendor(platform: str, tmp_path: Path) -> None:
    folder = tmp_path / "fixture"
    async with simulate(platform, SimulatorOptions(live=False)) as url:
        path = write(tmp_path, backends={"site": {"platform": platform, "url": url, **options_for(platform)}})
        command = ["dump", "site", "-c", path, "--fixture", str(folder)]
        assert await asyncio.to_thread(main, command) == 0
        assert await asyncio.to_thread(main, command) == 2, "it exists already"
    for name in ("password", "key", "secret_key", "access_key"):
        secret = options_for(platform).get(name, CANARY)
        assert not [each for each in folder.iterdir() if f'"{secret}"' in each.read_text("utf-8")]
    recorded = json.loads((folder / "dump.json").read_text("utf-8"))
    assert recorded["devices"]
    found = await repeat(folder, tmp_path)
    assert found["faults"] == {}
    assert differences(found["devices"], recorded["devices"]) == {}


async def test_fixtures_of_real_systems_give_what_was_recorded(tmp_path: Path) -> None:
    for folder in folders():
        recorded = json.loads((folder / "dump.json").read_text("utf-8"))
        found = await repeat(folder, tmp_path)
        assert differences(found["devices"], recorded["devices"]) == {}, folder
