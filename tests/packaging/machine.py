"""A machine with systemd, in a container of systemd-nspawn with the network of this one."""

from __future__ import annotations

import os
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.packaging.site import INSTALLS, ROOT
from tests.process import Ended, Process, ran, running
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

AS_ROOT = () if os.geteuid() == 0 else ("sudo",)


async def as_root(*command: str, patience: float = INSTALLS) -> Ended:
    """Run a program as root; it must end well."""
    ended = await ran(*AS_ROOT, *command, patience=patience)
    assert ended.code == 0, f"{command}: {ended.output}{ended.errors}"
    return ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A copy of the small system of scripts/base; what is installed there runs in it once it is booted."""

    root: Path

    async def copy(self, source: Path, target: str, mode: str = "0644") -> None:
        """Copy a file into the machine."""
        await as_root("install", "-D", "-m", mode, str(source), f"{self.root}{target}")

    @asynccontextmanager
    async def booted(self) -> AsyncIterator[Booted]:
        """Boot the machine, until the context ends."""
        name = f"fleet2mqtt-{secrets.token_hex(4)}"
        options = ("--register=no", "--keep-unit", "--console=pipe", f"--machine={name}", "--link-journal=no")
        # What nspawn leaves below /run is its own, and gone with the machine.
        command = (*AS_ROOT, "systemd-nspawn", "--quiet", f"--directory={self.root}", *options, "--boot")
        async with running(*command, measured=False) as process:
            machine = Booted(nspawn=process)
            await machine.answers()
            try:
                yield machine
            finally:
                await machine.run("systemctl", "halt", "--force", "--force")


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """A running machine."""

    nspawn: Process

    async def run(self, *command: str) -> Ended:
        """Run a program in the machine."""
        enter = ("nsenter", "--target", str(self._leader()), "--all")
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"  # and nothing of this machine's, such as options of pip
        return await ran(*AS_ROOT, *enter, "env", "--ignore-environment", path, *command, patience=INSTALLS)

    async def systemctl(self, *arguments: str) -> str:
        """Return what systemctl prints; it must end well."""
        ended = await self.run("systemctl", *arguments)
        journal = "" if ended.code == 0 else (await self.run("journalctl", "--no-pager", "-n", "50")).output
        assert ended.code == 0, f"systemctl {arguments}: {ended.output}{ended.errors}{journal}"
        return ended.output.strip()

    async def answers(self) -> None:
        """Wait until the machine's systemd answers."""

        async def ask() -> bool:
            assert self.nspawn.process.returncode is None, self.nspawn.output
            if self._leader() is None:
                return False
            return (await self.run("systemctl", "list-units", "--no-pager")).code == 0

        await wait_for_answer(ask, lambda: f"a booted machine: {self.nspawn.output}")

    def _leader(self) -> int | None:
        """Return the process id of the machine's systemd."""
        return next((each for each in descendants(self.nspawn.process.pid) if name_of(each) == "systemd"), None)


def descendants(process: int) -> Iterator[int]:
    """Yield the ids of a process and of those below it, outer ones first."""
    yield process
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        for child in file.read_text().split() if file.exists() else ():
            yield from descendants(int(child))


def name_of(process: int) -> str:
    """Return the name of a process; empty once it has ended."""
    file = Path(f"/proc/{process}/comm")
    return file.read_text().strip() if file.exists() else ""


async def create_machine(folder: Path) -> Machine:
    """Return a machine of its own below a folder."""
    base = (await ran(str(ROOT / "scripts/base"), patience=INSTALLS)).output.strip()
    assert base, "scripts/base made no system: run scripts/setup test"
    root = folder / "machine"
    await as_root("cp", "--archive", "--reflink=auto", base, str(root))
    return Machine(root=root)
