"""A machine with systemd, in a container of systemd-nspawn with the network of this one."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
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


_MEMORY = Path("/dev/shm")  # noqa: S108 - a mount, not a name to guess
_ROOM = 3 * 1024**3
"""Bytes for a copy of the small system, or for an image and its layers."""


def storage(otherwise: Path) -> Path:
    """Return an empty folder for whole systems; who asked removes it.

    It is in memory if that has room, where copies of systems take a fraction of the time.
    """
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    return Path(tempfile.mkdtemp(prefix="fleet2mqtt-system-", dir=_MEMORY if in_memory else otherwise))


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
            await machine.is_up()
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

    async def shell(self, script: str, folder: str = "/", answers: tuple[str, ...] = ()) -> str:
        """Run commands in a folder of the machine, with answers on their input; they must end well."""
        asked = f'printf "%s\\n" "$@" | {script}' if answers else script
        ended = await self.run("sh", "-euc", f'cd "$0"\n{asked}', folder, *answers)
        assert ended.code == 0, ended.output + ended.errors
        return ended.output

    @asynccontextmanager
    async def running(self, script: str) -> AsyncIterator[None]:
        """Run one command in the machine until the context ends; SIGTERM then."""
        file = "/run/tested.pid"
        script = f"echo $$ >{file}; exec {script}"
        background = asyncio.create_task(self.run("sh", "-euc", script), name="command in the machine")
        try:
            yield
        finally:
            await self.shell(f"kill -TERM $(cat {file})")
            ended = await background
            assert ended.code == 0, ended.output + ended.errors

    async def systemctl(self, *arguments: str) -> str:
        """Return what systemctl prints; it must end well."""
        ended = await self.run("systemctl", *arguments)
        journal = "" if ended.code == 0 else (await self.run("journalctl", "--no-pager", "-n", "50")).output
        assert ended.code == 0, f"systemctl {arguments}: {ended.output}{ended.errors}{journal}"
        return ended.output.strip()

    async def is_up(self) -> None:
        """Wait until the machine has booted.

        Its systemd answers long before, while systemd-tmpfiles still empties /tmp under whoever uses it.
        """

        async def ask() -> bool:
            assert self.nspawn.process.returncode is None, self.nspawn.output
            if self._leader() is None:
                return False
            state = (await self.run("systemctl", "is-system-running", "--wait")).output.strip()
            return state in {"running", "degraded"}  # nobody is there for systemd-firstboot to ask

        await wait_for_answer(ask, lambda: f"a booted machine: {self.nspawn.output}", INSTALLS)

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


@asynccontextmanager
async def create_machine(folder: Path) -> AsyncIterator[Machine]:
    """Have a machine of its own, until the context ends."""
    base = (await ran(str(ROOT / "scripts/base"), patience=INSTALLS)).output.strip()
    assert base, "scripts/base made no system: run scripts/setup test"
    place = storage(folder)
    try:
        await as_root("cp", "--archive", "--reflink=auto", base, str(place / "machine"))
        yield Machine(root=place / "machine")
    finally:
        await as_root("rm", "-rf", str(place))
