"""The add-on and the integration as HACS installs it, from their packages into a real Home Assistant."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from tests.broker import HOST, Broker
from tests.homeassistant.hass import Hass
from tests.packaging.addon import run_script, supervisor
from tests.packaging.site import ROOT, open_site
from tests.process import running
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from pathlib import Path


def installed_by_hacs(folder: Path) -> Path:
    """The folder custom_components after HACS has downloaded the asset that hacs.json names."""
    hacs = json.loads((ROOT / "hacs.json").read_text("utf-8"))
    assert hacs["zip_release"]
    archive = folder / hacs["filename"]
    subprocess.run([sys.executable, ROOT / "scripts/integration_zip.py", archive], check=True)
    with zipfile.ZipFile(archive) as packed:
        manifest = json.loads(packed.read("manifest.json"))
        packed.extractall(folder / "custom_components" / manifest["domain"])
    return folder / "custom_components"


async def test_addon_and_integration_from_hacs_show_a_device(tmp_path: Path) -> None:
    broker = Broker(directory=tmp_path / "broker")
    custom_components = installed_by_hacs(tmp_path)
    async with (
        open_site(tmp_path, broker) as site,
        Hass(directory=tmp_path / "hass", custom_components=custom_components, language="en") as hass,
    ):
        await hass.setup_mqtt(broker)
        (tmp_path / "fleet2mqtt.yaml").write_text("push: {port: 0}\n", "utf-8")
        backend = {"name": "hq", "platform": "ums", "url": site.url}
        options = {"language": "en", "log_level": "info", "backends": [backend]}
        async with (
            supervisor({"host": HOST, "port": broker.port, "ssl": False}) as url,
            running(*run_script(tmp_path, url, options)),
        ):
            await site.device()
            await hass.set_up_integration()

            async def shown() -> bool:
                identifiers = {tuple(each) for device in await hass.devices() for each in device["identifiers"]}
                return ("mqtt", "fleet2mqtt_hq_000ea93d022e") in identifiers

            await wait_for_answer(shown, "the gateway among Home Assistant's devices")
            entries = await hass.rest("GET", "/api/config/config_entries/entry")
            states = {entry["domain"]: entry["state"] for entry in entries}
            assert (states["mqtt"], states["fleet2mqtt"]) == ("loaded", "loaded")
