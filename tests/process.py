"""The command line as a process, ended in the end whatever happens."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BRIDGE = (sys.executable, "-m", "fleet2mqtt")
# A shell without job control ignores SIGINT for what it runs in the background, and every process below inherits that.
HEEDS_CTRL_C = ("env", "--default-signal=INT")


@dataclass(slots=True)
class Process:
    """A running program and what it has printed so far, both streams together."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    silent: bool = False

    @property
    def output(self) -> str:
        return "".join(self.lines)

    async def says(self, text: str, patience: float = PATIENCE) -> str:
        """The first line with this text, printed already or still to come."""

        def found() -> str | None:
            line = next((line for line in self.lines if text in line), None)
            assert line or not self.silent, f"it ended without {text!r}:\n{self.output}"
            return line

        return await wait_until(found, lambda: f"{text!r} in:\n{self.output}", patience)

    async def ends(self, patience: float = PATIENCE) -> int:
        """The exit code, once it has ended."""
        return await asyncio.wait_for(self.process.wait(), patience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A program that has ended."""

    code: int
    output: str
    errors: str


async def ran(*command: str, patience: float = PATIENCE) -> Ended:
    """Run a program to its end; TimeoutError where there is none."""
    async with asyncio.timeout(patience):
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode is not None
    return Ended(code=process.returncode, output=output.decode(), errors=errors.decode())


@asynccontextmanager
async def running(*command: str, measured: bool = True) -> AsyncIterator[Process]:
    """Run a program; SIGTERM at the end, SIGKILL if it does not follow.

    `measured` False spares it the bookkeeping of coverage, for what is killed before it could hand it in or has its
    hands full.
    """
    environment = {name: value for name, value in os.environ.items() if measured or not name.startswith("COVERAGE_")}
    process = await asyncio.create_subprocess_exec(
        *HEEDS_CTRL_C, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment
    )
    shown = Process(process)
    reader = asyncio.create_task(_read(shown), name="output")
    try:
        yield shown
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), PATIENCE)
            except TimeoutError:
                process.kill()
                await process.wait()
        await reader


async def _read(shown: Process) -> None:
    assert shown.process.stdout is not None
    async for line in shown.process.stdout:
        shown.lines.append(line.decode("utf-8", "replace"))
    shown.silent = True
