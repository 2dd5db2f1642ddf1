"""A broker and programs of our own, on free ports, and what they cost."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
PATIENCE = 60.0
_KIB = 1024


class BenchError(Exception):
    """A measurement that cannot be made, and why."""


def free_port() -> int:
    """A free loopback port below the ephemeral ones, where no client of ours can take it meanwhile."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as candidate:
            try:
                candidate.bind((HOST, port))
            except OSError:
                continue
            return port


@dataclass(frozen=True, slots=True)
class Program:
    """A program that runs."""

    process: asyncio.subprocess.Process
    log: Path

    def cpu(self) -> float:
        """Seconds of processor that it has used, all threads, those that ended included as far as the kernel tells."""
        return _cpu(self.process.pid)

    def rss(self) -> int:
        """Bytes of memory that it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * _KIB

    @property
    def alive(self) -> bool:
        """Return True if the process still runs."""
        return self.process.returncode is None

    def words(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]


def _cpu(pid: int) -> float:
    """From the scheduler, in nanoseconds there; the ordinary times count in hundredths of a second."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks.iterdir()) / 1e9


@asynccontextmanager
async def program(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[Program]:
    """Run a program, both its streams into `log`; it is killed in the end."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | (env or {}),
            cwd=cwd,
        )
    try:
        yield Program(process, log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def listening(program: Program, port: int) -> None:
    """Wait until a program takes connections. Raises BenchError."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            if not program.alive or asyncio.get_running_loop().time() > deadline:
                raise BenchError(f"nothing listens on {port}:\n{program.words()}") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def says(program: Program, text: str, patience: float = PATIENCE) -> None:
    """Wait until a program has printed `text`. Raises BenchError."""
    deadline = asyncio.get_running_loop().time() + patience
    while text not in program.log.read_text(encoding="utf-8", errors="replace"):
        if not program.alive or asyncio.get_running_loop().time() > deadline:
            raise BenchError(f"it never said {text!r}:\n{program.words()}")
        await asyncio.sleep(0.05)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


@asynccontextmanager
async def mosquitto(folder: Path, *, prompt: bool = False) -> AsyncIterator[int]:
    """Run a broker as in Debian that drops no message to a slow subscriber; yield its port.

    `prompt` has it send small packets at once, without which a second one waits 40 ms for the first's TCP ACK.
    """
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if found is None:
        raise BenchError("there is no mosquitto: run scripts/setup test")
    port = free_port()
    _make(folder)
    lines = [f"listener {port} {HOST}", "allow_anonymous true", "persistence false", "max_queued_messages 0"]
    lines += ["set_tcp_nodelay true"] * prompt
    if os.geteuid() == 0:
        lines.append("user root")
    configuration = folder / "mosquitto.conf"
    configuration.write_text("\n".join((*lines, "")), encoding="utf-8")
    async with program([found, "-c", str(configuration)], folder / "mosquitto.log") as broker:
        await listening(broker, port)
        yield port
