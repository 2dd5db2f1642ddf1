"""A bridge as a process of its own, where a test needs its memory, its files or its clock; else as in Site."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bridge_under_test import SECRET, RunningBridge, Site
from tests.broker import HOST
from tests.commandline import write
from tests.process import BRIDGE, Process, running
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A bridge in a process; `bridge` is what the broker sees of it."""

    process: Process
    bridge: RunningBridge

    @property
    def pid(self) -> int:
        return self.process.process.pid

    def rss(self) -> int:
        """Its memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE

    def files(self) -> int:
        """Count the open files and connections of the process."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def unwell(self) -> list[str]:
        """Lines of its log that no input may cause."""
        return [line for line in self.process.lines if "Traceback" in line or " ERROR " in line or "exception" in line]


@asynccontextmanager
async def as_process(
    site: Site, environment: Mapping[str, str] | None = None, files: int | None = None, **options: Any
) -> AsyncIterator[Remote]:
    """The bridge of a site, in a process that may open so many `files`.

    `options` are those of the configuration; what is in `backends` is added to its own.
    """
    backends: dict[str, Any] = {
        "hq_voip": {"platform": "ums", "url": site.urls["hq_voip"], "push": {"secret": SECRET}, "timeout": PATIENCE},
        "branch": {"platform": "smart_gateway", "url": site.urls["branch"], "timeout": PATIENCE},
    }
    options["backends"] = backends | options.pop("backends", {})
    values: dict[str, Any] = {"mqtt": {"host": HOST, "port": site.broker.port, "discovery_rate": 100_000}}
    values["alarms"] = {"conditions": {"*": {"enabled": False}}} | options.pop("alarms", {})
    values |= {"push": {"host": HOST, "port": site.push_port}, "web": {"host": HOST, "port": site.web_port}}
    config = write(site.folder, **values | options)
    variables = [f"{name}={value}" for name, value in (environment or {}).items()]
    limit = ("bash", "-c", f'ulimit -n {files}; exec "$@"', "bash") if files else ()
    async with (
        site.broker.record("#") as seen,
        running(*limit, "env", *variables, *BRIDGE, "run", "-c", config, measured=False) as process,
    ):
        await process.says("web listens on")
        topic = "fleet2mqtt/bridge/state"
        await seen.wait(lambda message: message.topic == topic and message.payload == b"online" and not message.retain)
        life = asyncio.create_task(_life(process), name="life of the bridge")
        yield Remote(
            process=process,
            bridge=RunningBridge(broker=site.broker, seen=seen, task=life, stop=asyncio.Event()),
        )
    await life


async def _life(process: Process) -> None:
    await process.process.wait()
