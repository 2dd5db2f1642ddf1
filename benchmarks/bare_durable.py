"""The least that a durable bridge in Python does: body read by aiohttp, one INSERT a batch, published at QoS 1.

No alarm is parsed and nothing is managed: beside it stands what the rest of the bridge costs.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

from aiohttp import web

from fleet2mqtt.mqtt import MqttClient, Settings

_TOPIC = "durable/alarm"
_ANSWER = b'{"code":0}'


class _Disk:
    """Commits all bodies that wait, with one statement, on a thread."""

    def __init__(self, path: Path, executor: Executor) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._busy = False

    def store(self, body: bytes) -> asyncio.Future[None]:
        """Return the future of a body that is on disk."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((body, done))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._start)
        return done

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        self._busy = bool(batch)
        if batch:
            rows = ", ".join(["(?)"] * len(batch))
            written = self._executor.submit(
                self._db.execute,
                f"INSERT INTO event (body) VALUES {rows}",  # noqa: S608 - question marks
                [body for body, _ in batch],
            )
            written.add_done_callback(lambda future: self._loop.call_soon_threadsafe(self._finish, batch, future))

    def _finish(self, batch: list[tuple[bytes, asyncio.Future[None]]], written: Future[sqlite3.Cursor]) -> None:
        self._start()
        written.result()
        for _, done in batch:
            if not done.done():
                done.set_result(None)


async def _main(port: int, broker: int, folder: Path) -> None:
    sys.setswitchinterval(0.0005)  # as the bridge has it
    ready = asyncio.Event()
    mqtt = MqttClient(Settings(host="127.0.0.1", port=broker, client_id="durable", will_topic="durable/state"), [])
    with ThreadPoolExecutor(1) as executor:
        disk = _Disk(folder / "durable.sqlite", executor)
        connection = asyncio.create_task(mqtt.run(lambda _: None, ready.set, lambda _: None))
        await ready.wait()

        async def respond(request: web.BaseRequest) -> web.Response:
            body = await request.read()
            await disk.store(body)
            await mqtt.submit(_TOPIC, body)
            return web.Response(body=_ANSWER, content_type="application/json")

        runner = web.ServerRunner(web.Server(respond, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await connection


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
