"""`fleet2mqtt run` as a service of Type=notify: its messages to systemd, received on a socket."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.ops.service_manager import ServiceManager, service_manager
from tests.commandline import write
from tests.process import BRIDGE, running
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


async def test_run_reports_start_life_and_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        variables = (f"NOTIFY_SOCKET={tmp_path}/notify", "WATCHDOG_USEC=200000")

        async def until(state: bytes) -> set[bytes]:
            said = {b""}
            while state not in said:
                said.add(await asyncio.to_thread(systemd.recv, 100))
            return said

        async with running("env", *variables, *BRIDGE, "run", "-c", write(tmp_path)) as bridge:
            await until(b"READY=1")  # although no broker and no vendor can be reached
            await until(b"WATCHDOG=1")
            bridge.process.send_signal(signal.SIGTERM)
            assert b"READY=1" not in await until(b"STOPPING=1")
            assert await bridge.ends() == 0
        assert "systemd" not in bridge.output


async def test_run_goes_on_where_systemd_cannot_be_reached(tmp_path: Path) -> None:
    async with running("env", f"NOTIFY_SOCKET={tmp_path}/nobody", *BRIDGE, "run", "-c", write(tmp_path)) as bridge:
        await bridge.says("systemd is not notified of READY=1: No such file or directory")
        bridge.process.send_signal(signal.SIGTERM)
        assert await bridge.ends() == 0


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ServiceManager()),
        ({"NOTIFY_SOCKET": "/run/n"}, ServiceManager(address="/run/n")),
        (
            {"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "3000000"},
            ServiceManager(address="\0n", watchdog=3.0),
        ),
        (
            {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
            ServiceManager(address="/run/n"),
        ),
    ],
)
def test_service_manager_is_read_from_the_environment(variables: dict[str, str], expected: ServiceManager) -> None:
    assert service_manager(variables) == expected
