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
    """A machine whose pip has the wheels, as there may be no network."""
    machine = await create_machine(tmp_path)
    await as_root("cp", "--recursive", str(wheels), f"{machine.root}/wheels")
    (tmp_path / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n", "utf-8")
    await machine.copy(tmp_path / "pip.conf", "/etc/pip.conf")
    await machine.copy(UNIT, "/source/fleet2mqtt.service")
    return machine


def documented_commands() -> str:
    """Return what docs/install.md tells to run, beside the files that it names."""
    page = (ROOT / "docs/install.md").read_text("utf-8")
    found = re.search(r"^## systemd\n.*?^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def write_configuration(site: Site, folder: Path, **more: object) -> None:
    (folder / "secrets.yaml").write_text(f"mqtt_password: {PASSWORD}\n", "utf-8")
    text = yaml.safe_dump({**configuration(site), **more})
    login = "mqtt:\n  username: bridge\n  password: !secret mqtt_password\n"
    (folder / "fleet2mqtt.yaml").write_text(text.replace("mqtt:\n", login, 1), "utf-8")


async def test_service_bridges_a_device_reloads_and_ends(machine: Machine, tmp_path: Path) -> None:
    broker = Broker(directory=tmp_path / "broker", users={"bridge": PASSWORD})
    async with open_site(tmp_path, broker) as site:
        write_configuration(site, tmp_path)
        for name in ("fleet2mqtt.yaml", "secrets.yaml"):
            await machine.copy(tmp_path / name, f"/source/{name}")
        async with machine.booted() as booted:
            installed = await booted.run("sh", "-euc", f"cd /source\n{documented_commands()}")
            assert installed.code == 0, installed.output + installed.errors
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

            write_configuration(site, tmp_path, commands={"max_age": 30})
            await machine.copy(tmp_path / "fleet2mqtt.yaml", "/etc/fleet2mqtt/fleet2mqtt.yaml")
            await booted.systemctl("reload", "fleet2mqtt")

            async def is_reloaded() -> bool:
                return "is reloaded: commands" in (await booted.run("journalctl", "--unit=fleet2mqtt")).output

            await wait_for_answer(is_reloaded, "the reload in the journal")
            await booted.systemctl("stop", "fleet2mqtt")
            await site.seen.wait(lambda message: message.payload == b"offline" and message.topic.endswith("/state"))
            assert await booted.systemctl("show", "fleet2mqtt", "--property=Result") == "Result=success"
