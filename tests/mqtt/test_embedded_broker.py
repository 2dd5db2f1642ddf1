"""The embedded broker of a configuration without an mqtt block."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from tests.broker import HOST, free_port
from tests.commandline import write
from tests.process import ran, running

PROGRAM = (sys.executable, str(Path(__file__).with_name("embedded_program.py")))


def accepts(host: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


async def test_run_without_an_mqtt_block_starts_a_broker_on_loopback(tmp_path: Path) -> None:
    port = free_port()
    async with running(*PROGRAM, write(tmp_path, mqtt=None), str(port)) as bridge:
        await bridge.says(f"a broker was started on {HOST}:{port}, for this machine only")
        await bridge.says(f"connected to {HOST}:{port}")
        assert accepts(HOST, port)
        assert not accepts("127.0.0.2", port), "all of 127/8 answers to a listener on every address"
        second = await ran(*PROGRAM, write(tmp_path, mqtt=None, data_dir="other"), str(port))
        assert second.code != 0
        assert second.errors.splitlines()[-1].startswith(f"fleet2mqtt.errors.ConfigError: port {port} is in use: ")
        bridge.process.terminate()
        assert await bridge.ends() == 0
    assert "Traceback" not in bridge.output
