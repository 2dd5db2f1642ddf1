"""packaging/fleet2mqtt.service, installed as docs/install.md describes, under a real systemd."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.broker import Broker
from tests.packaging.machine import Machine, as_root, create_machine
from tests.packaging.site import ROOT, Site, configuration, open_site
from tests.process import ran
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from pathlib import Path

UNIT = ROOT / "packaging/fleet2mqtt.service"
PASSWORD = "sesame-sesame"


async def test_unit_is_exposed_little() -> None:
    ended = await ran("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(UNIT))
    assert ended.code == 0, ended.output + ended.errors


@pytest.fixture
async def machine(wheels: Path, tmp_path: Path) -> Machine:
    """A machine with the bridge in /opt/fleet2mqtt and its unit."""
    machine = await create_machine(tmp_path)
    await as_root("cp", "--recursive", str(wheels), f"{machine.root}/wheels")
    await machine.copy(UNIT, "/etc/systemd/system/fleet2mqtt.service")
    pip = ("/opt/fleet2mqtt/bin/pip", "install", "--quiet", "--no-compile", "--no-index", "--find-links", "/wheels")
    await machine.run("python3", "-m", "venv", "/opt/fleet2mqtt")
    await machine.run(*pip, "--require-hashes", "--requirement", "/wheels/requirements.txt")
    await machine.run(*pip, "--no-deps", "fleet2mqtt")
    await machine.run("systemctl", "enable", "fleet2mqtt.service")
    return machine


async def configure(machine: Machine, site: Site, folder: Path, **more: object) -> None:
    (folder / "secrets.yaml").write_text(f"mqtt_password: {PASSWORD}\n", "utf-8")
    text = yaml.safe_dump({**configuration(site), **more})
    login = "mqtt:\n  username: bridge\n  password: !secret mqtt_password\n"
    (folder / "fleet2mqtt.yaml").write_text(text.replace("mqtt:\n", login, 1), "utf-8")
    await machine.copy(folder / "fleet2mqtt.yaml", "/etc/fleet2mqtt/fleet2mqtt.yaml")
    await machine.copy(folder / "secrets.yaml", "/etc/fleet2mqtt/secrets.yaml", "0600")


async def test_service_bridges_a_device_reloads_and_ends(machine: Machine, tmp_path: Path) -> None:
    broker = Broker(directory=tmp_path / "broker", users={"bridge": PASSWORD})
    async with open_site(tmp_path, broker) as site:
        await configure(machine, site, tmp_path)
        async with machine.booted() as booted:
            await site.device()

            async def is_active() -> bool:
                return (await booted.run("systemctl", "is-active", "fleet2mqtt")).output.strip() == "active"

            await wait_for_answer(is_active, "the unit to be active, which it is once READY=1 came")
            verified = await booted.run("systemd-analyze", "verify", "--man=no", "fleet2mqtt.service")
            assert (verified.code, verified.output + verified.errors) == (0, "")
            shown = await booted.systemctl("show", "fleet2mqtt", "--property=MainPID,NRestarts,WatchdogTimestamp")
            properties = dict(line.split("=", 1) for line in shown.splitlines())
            assert properties["NRestarts"] == "0"
            assert properties["WatchdogTimestamp"]
            status = (await booted.run("cat", f"/proc/{properties['MainPID']}/status")).output
            assert re.search(r"^Uid:\t6\d{4}\t", status, re.MULTILINE), "a user that systemd made"
            assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
            files = (await booted.run("ls", "-l", "/var/lib/private/fleet2mqtt")).output
            assert "outbox.sqlite" in files
            assert not re.search(r"^-\S{3}(?!------)", files, re.MULTILINE), files

            await configure(machine, site, tmp_path, commands={"max_age": 30})
            await booted.systemctl("reload", "fleet2mqtt")

            async def is_reloaded() -> bool:
                return "is reloaded: commands" in (await booted.run("journalctl", "--unit=fleet2mqtt")).output

            await wait_for_answer(is_reloaded, "the reload in the journal")
            await booted.systemctl("stop", "fleet2mqtt")
            await site.seen.wait(lambda message: message.payload == b"offline" and message.topic.endswith("/state"))
            assert await booted.systemctl("show", "fleet2mqtt", "--property=Result") == "Result=success"
