"""A bridge as a process, its vendor and its broker, with targets of notifications in this process.

async with open_plant(tmp_path, notify={"duty": {"url": box.url}}) as plant, plant.bridge():
    plant.vendor.set_online(MAC, False, push=False)
"""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import aiohttp

from fleet2mqtt.simulators.ums import app as ums
from tests.bridge_under_test import SECRET, clusters, serve
from tests.broker import HOST, Broker, free_port
from tests.commandline import write
from tests.process import BRIDGE, Process, running
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.recording import Message, Recording

INTERVAL = 0.3
CONDITIONS: dict[str, Any] = {
    "*": {"enabled": False},
    **{name: {"enabled": True} for name in ("gateway_offline", "line_below_threshold")},
}
DOWN, UP = 41, 42
"""Codes of a vendor's alarm and of what ends it."""


@dataclass(slots=True, kw_only=True)
class Plant:
    """Surroundings of a bridge. `options` is its configuration but for `notify`."""

    broker: Broker
    seen: Recording
    vendor: Any
    folder: Path
    options: dict[str, Any]
    config: str
    push_port: int
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def macs(self) -> list[str]:
        return list(self.vendor.devices)

    @asynccontextmanager
    async def bridge(self, program: tuple[str, ...] = BRIDGE) -> AsyncIterator[Process]:
        """A running bridge that takes pushes and has read its vendor's devices."""
        before = len(self.seen.all("fleet2mqtt/backend/hq_voip/availability"))
        async with running(*program, "run", "-c", self.config, measured=False) as process:
            await process.says("push listens on", PATIENCE)
            topic = "fleet2mqtt/backend/hq_voip/availability"
            await self.seen.wait(
                lambda each: each.topic == topic and each.payload == b"online" and len(self.seen.all(topic)) > before
            )
            yield process
        assert "Traceback" not in process.output, process.output

    def configure(self, notify: dict[str, Any]) -> None:
        write(self.folder, **self.options, notify=notify)

    async def reload(self, process: Process, notify: dict[str, Any]) -> None:
        """Change the targets of a running bridge."""
        self.configure(notify)
        reloads = sum("is reloaded: notify" in line for line in process.lines) + 1
        process.process.send_signal(signal.SIGHUP)
        await wait_until(
            lambda: sum("is reloaded: notify" in line for line in process.lines) == reloads, "the end of the reload"
        )

    async def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """A request to the bridge and its response, which is to be ok; made again where the bridge just restarts."""
        topic = f"fleet2mqtt/bridge/response/{name}"
        while True:
            transaction = f"n{next(self._numbers)}"
            await self.broker.publish(f"fleet2mqtt/bridge/request/{name}", arguments | {"transaction": transaction})
            try:
                message = await self._response(topic, transaction)
            except TimeoutError:
                continue
            answer: dict[str, Any] = message.json
            if answer["status"] == "ok":
                return answer
            assert answer["error"]["code"] == "expired", answer

    async def _response(self, topic: str, transaction: str) -> Message:
        def is_it(message: Message) -> bool:
            return bool(message.topic == topic and message.json["transaction"] == transaction)

        return await self.seen.wait(is_it, PATIENCE / 20)

    async def push(self, session: aiohttp.ClientSession, mac: str, code: int, line: str) -> bool:
        """Push a vendor's alarm; return True if it was accepted."""
        body = self.vendor.raise_alarm(mac, push=False, event_id=code, name=f"E{code}", line_id=line)
        return await self.push_body(session, body)

    async def push_body(self, session: aiohttp.ClientSession, body: Any) -> bool:
        url = f"http://{HOST}:{self.push_port}/push/hq_voip/{SECRET}/event"
        async with session.post(url, data=json.dumps(body)) as response:
            return response.status == 200


@asynccontextmanager
async def open_plant(folder: Path, notify: dict[str, Any], devices: int = 2) -> AsyncIterator[Plant]:
    application = ums.create(devices=devices)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(directory=folder / "broker"))
        push_port = free_port()
        options: dict[str, Any] = {
            "mqtt": {"host": HOST, "port": broker.port, "will_delay": 0},
            "push": {"host": HOST, "port": push_port},
            "alarms": {"suppression_delay": 1, "conditions": CONDITIONS},
            "backends": {
                "hq_voip": {
                    "platform": "ums",
                    "url": await serve(stack, application),
                    "push": {"secret": SECRET},
                    "scan_interval": dict.fromkeys(("devices", "lines", "alarms"), INTERVAL),
                    "alarms": {
                        "recovers": [{"raised": DOWN, "by": UP}],
                        "ignore": [33],
                    },  # 33 is in the vendor's history
                }
            },
        }
        for cluster in clusters:
            if cluster.count == 1:
                options = await asyncio.to_thread(cluster.options, folder, options)
        seen = await stack.enter_async_context(broker.record("#"))
        vendor = application[ums.SIMULATOR]
        for mac in vendor.devices:
            vendor.set_online(mac, True, push=False)
        yield Plant(
            broker=broker,
            seen=seen,
            vendor=vendor,
            folder=folder,
            options=options,
            config=write(folder, **options, notify=notify),
            push_port=push_port,
        )
