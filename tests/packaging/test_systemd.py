"""README.md, docs/install.md and docs/backup.md, followed word for word on a machine with a real systemd."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.broker import HOST, Broker, free_port
from tests.documented import commands
from tests.packaging.machine import Booted, Machine, as_root, create_machine
from tests.packaging.site import ROOT, Site, open_site
from tests.process import ran
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

UNIT = ROOT / "packaging/fleet2mqtt.service"
CONFIGURATION = "/etc/fleet2mqtt/fleet2mqtt.yaml"
STATE = "/var/lib/fleet2mqtt"
PASSWORD = "sesame-sesame"


async def test_unit_is_exposed_little() -> None:
    ended = await ran("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(UNIT))
    assert ended.code == 0, ended.output + ended.errors


@pytest.fixture
async def machine(wheels: Path, tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine whose pip has the wheels, as there may be no network."""
    (tmp_path / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n", "utf-8")
    async with create_machine(tmp_path) as machine:
        await as_root("cp", "--recursive", str(wheels), f"{machine.root}/wheels")
        await machine.copy(tmp_path / "pip.conf", "/etc/pip.conf")
        await machine.copy(UNIT, "/source/fleet2mqtt.service")
        yield machine


async def change_configuration(booted: Booted, change: str) -> None:
    """Append options to the configuration."""
    await booted.shell(f'echo "{change}" >>{CONFIGURATION}')


async def wait_active(booted: Booted, restarts: int = 0) -> int:
    """Wait until the service has been started again so often and is active, which it is once READY=1 came; its id."""

    async def is_active() -> int | None:
        shown = await booted.systemctl("show", "fleet2mqtt", "--property=ActiveState,MainPID,NRestarts")
        properties = dict(line.split("=", 1) for line in shown.splitlines())
        active = properties["ActiveState"] == "active" and int(properties["NRestarts"]) >= restarts
        return int(properties["MainPID"]) if active else None

    return await wait_for_answer(is_active, "the unit to be active")


async def configure(booted: Booted, site: Site) -> None:
    """Answer what `init` asks, check the configuration, and run the bridge."""
    about_broker = (HOST, "n", str(site.broker.port), "bridge", PASSWORD)
    init = commands("README.md", "/opt/fleet2mqtt/bin/fleet2mqtt init")
    await booted.shell(init, answers=("ums", "hq", site.url, *about_broker))
    ports = "\n".join(f"{name}: {{host: {HOST}, port: {free_port()}}}" for name in ("push", "web"))
    await change_configuration(booted, ports)
    checked = await booted.shell(commands("README.md", "/opt/fleet2mqtt/bin/fleet2mqtt check"))
    assert f"{CONFIGURATION}: valid" in checked
    assert "hq (ums, devices): ok" in checked
    async with booted.running(commands("README.md", "/opt/fleet2mqtt/bin/fleet2mqtt run")):
        await site.device()
    await site.offline()
    await booted.shell("install -d /source && mv /etc/fleet2mqtt/*.yaml /source && rm -r /etc/fleet2mqtt")


async def test_documented_commands_install_a_service_that_is_kept_running(machine: Machine, tmp_path: Path) -> None:
    broker = Broker(directory=tmp_path / "broker", users={"bridge": PASSWORD})
    async with open_site(tmp_path, broker) as site, machine.booted() as booted:
        await booted.shell(commands("README.md", "python3 -m venv /opt/fleet2mqtt"))
        await configure(booted, site)
        await booted.shell(
            commands("docs/install.md", "python3 -m venv /opt/fleet2mqtt\n/opt/fleet2mqtt/bin/pip install fl"),
            "/source",
        )
        await site.device()
        process = await wait_active(booted)
        await has_few_rights(booted, process)

        await change_configuration(booted, "commands: {max_age: 30}")
        await booted.systemctl("reload", "fleet2mqtt")
        await says(booted, "is reloaded: commands")

        await is_backed_up_and_restored(booted, site)
        await is_started_again_when_it_stands_still(booted, site)

        await booted.systemctl("stop", "fleet2mqtt")
        await site.offline()
        assert await booted.systemctl("show", "fleet2mqtt", "--property=Result") == "Result=success"


async def has_few_rights(booted: Booted, process: int) -> None:
    verified = await booted.run("systemd-analyze", "verify", "--man=no", "fleet2mqtt.service")
    assert (verified.code, verified.output + verified.errors) == (0, "")
    status = await booted.shell(f"cat /proc/{process}/status")
    assert re.search(r"^Uid:\t6\d{4}\t", status, re.MULTILINE), "a user that systemd made"
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)


async def says(booted: Booted, text: str) -> None:
    """Wait until the journal has a text."""

    async def is_there() -> bool:
        return text in (await booted.run("journalctl", "--no-pager")).output

    await wait_for_answer(is_there, f"{text!r} in the journal")


async def is_backed_up_and_restored(booted: Booted, site: Site) -> None:
    """Back up, remove and restore what is in `data_dir`."""
    await booted.shell(
        commands("docs/backup.md", "systemctl stop fleet2mqtt\ntar -C /var/lib/fleet2mqtt -czf"), "/root"
    )
    process = await wait_active(booted)
    await booted.systemctl("stop", "fleet2mqtt")
    before = await booted.shell(f"cd {STATE}/ && find . -type f -printf '%P %m\n' | sort")
    assert "outbox.sqlite 600" in before.splitlines()
    assert {line.split()[1] for line in before.splitlines()} == {"600"}
    instance = await booted.shell(f"cat {STATE}/instance")
    await booted.shell(f"rm -r {STATE}/*")
    await booted.shell(
        commands("docs/backup.md", "systemctl stop fleet2mqtt\ntar -C /var/lib/fleet2mqtt -xzf"), "/root"
    )
    assert await wait_active(booted) != process
    assert await booted.shell(f"cat {STATE}/instance") == instance
    for _ in ("backed up", "read"):  # the second time it has stopped already
        await site.offline()
    await site.device()


async def is_started_again_when_it_stands_still(booted: Booted, site: Site) -> None:
    """Stop the process with the watchdog of the unit, at a shorter interval."""
    drop_in = "/run/systemd/system/fleet2mqtt.service.d"
    await booted.shell(f"mkdir -p {drop_in} && printf '[Service]\\nWatchdogSec=5\\n' >{drop_in}/watchdog.conf")
    await booted.shell("systemctl daemon-reload && systemctl restart fleet2mqtt")
    process = await wait_active(booted)
    await booted.shell(f"kill -STOP {process}")
    site.forget()
    assert await wait_active(booted, restarts=1) != process
    await says(booted, "Watchdog timeout")
    await site.device()
