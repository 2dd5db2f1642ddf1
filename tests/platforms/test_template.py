"""The template of a platform: it works as it is, and its copy works under another name."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import voluptuous as vol
import yaml
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import AuthenticationError, InvalidResponse, Rejected
from fleet2mqtt.platforms import _template
from fleet2mqtt.simulators._template import DEMO, SIMULATOR, Simulator, create
from tests.broker import HOST, Broker, free_port
from tests.platforms.context import Run, Shared, options
from tests.process import BRIDGE, ran, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SOURCE = Path(__file__).parents[2] / "bridge" / "fleet2mqtt"
NAME = "relays"
FIRST, SECOND = "relays_r-1001", "relays_r-1002"


@asynccontextmanager
async def connected(
    *, devices: int = 2, shared: Shared | None = None, **own: Any
) -> AsyncIterator[tuple[Simulator, Run]]:
    """The template connected to its simulator."""
    app = create(devices=devices)
    async with TestServer(app) as server:
        chosen = options(_template.SCHEMA, str(server.make_url("")), DEMO | own)
        async with _template.connect((shared or Shared()).context(NAME, chosen)) as backend:
            yield app[SIMULATOR], Run(backend)


async def test_template_shows_relays_and_their_readings() -> None:
    async with connected(devices=250) as (simulator, run):
        await run.poll()
        assert len(run.of("devices")) == len(run.ids("devices") or ()) == 250
        state = run.state(FIRST)
        assert (state["relay"], state["limit"], state["temperature"]) == ("OFF", 10, 21.5)
        assert run.devices[FIRST].answered == frozenset(("readings",))
        before = run.devices[SECOND]
        await run.poll("devices")
        assert run.devices[SECOND] is before
        del simulator.relays["R-1001"]
        simulator.relays["R-1002"].online = False
        await run.poll("devices")
        assert FIRST not in (run.ids("devices") or ())
        assert not run.devices[SECOND].available


async def test_template_missed_readings_are_unknown() -> None:
    async with connected() as (simulator, run):
        await run.poll()
        simulator.fault_injector.inject("status", "/api/device/reading", status=500)
        for missed in (False, False, True):
            with pytest.raises(InvalidResponse):
                await run.poll("readings")
            assert (run.state(FIRST)["temperature"] is None) is missed


async def test_template_writes_and_reads_back() -> None:
    async with connected() as (simulator, run):
        await run.poll()
        assert await run.write(FIRST, "relay", True) is None
        assert (await run.read(FIRST)).state["relay"] == "ON"
        limit = run.devices[FIRST].entity("limit")
        assert limit is not None
        assert limit.write_group is not None
        await limit.write_group(run.backend.client, run.devices[FIRST], {"relay": False, "limit": 4})
        assert (simulator.relays["R-1001"].relay, simulator.relays["R-1001"].limit) == (False, 4)
        with pytest.raises(Rejected, match="from 1 to 16"):
            await run.write(FIRST, "limit", 99)
        await run.act("relay_restart", id="R-1002")
        assert simulator.restarts == ["R-1002"]
        with pytest.raises(vol.Invalid):
            await run.act("relay_restart", id="")
        del simulator.relays["R-1001"]
        with pytest.raises(Rejected, match="R-1001"):
            await run.read(FIRST)


async def test_template_with_a_wrong_key_is_denied() -> None:
    async with connected(api_key="other") as (_, run):
        with pytest.raises(AuthenticationError):
            await run.poll("devices")
    with pytest.raises(vol.Invalid):
        vol.Schema(_template.SCHEMA)({"api_key": ""})


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
