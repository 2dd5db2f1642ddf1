"""Pushes of a simulated ThingsCloud: the alarm webhook and the rule engine's."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from fleet2mqtt.simulators.thingscloud.data import LEVEL_TEXTS, Device, text_time
from fleet2mqtt.simulators.thingscloud.quirks import Quirks
from fleet2mqtt.simulators.thingscloud.requests import Push

_TIMEOUT = ClientTimeout(total=10)


@dataclass(slots=True, kw_only=True)
class Pusher:
    """Pushes to `<url>/<kind>`, once each, in the order in which they were enqueued; `delivered` has the newest."""

    url: str | None = None
    quirks: Quirks
    delivered: deque[Push] = field(default_factory=lambda: deque(maxlen=20_000))
    _queue: asyncio.Queue[tuple[str, dict[str, Any]]] = field(default_factory=asyncio.Queue)
    _session: ClientSession | None = None

    def enqueue(self, kind: str, body: dict[str, Any]) -> None:
        """Enqueue a push, if there is a URL."""
        if self.url is not None:
            self._queue.put_nowait((kind, body))

    async def push(self, kind: str, body: Any) -> Push:
        """Push now; a text is sent as it is. Raises `ValueError` without a URL, or before the simulator runs."""
        if self.url is None or self._session is None:
            raise ValueError("no push URL, or not running")
        raw = body.encode() if isinstance(body, str) else self.quirks.encode(body)
        url = f"{self.url.rstrip('/')}/{kind}"
        try:
            async with self._session.post(url, data=raw, headers={"Content-Type": "application/json"}) as response:
                result = Push(kind, body, response.status, _parsed(await response.text(errors="replace")))
        except (ClientError, TimeoutError) as error:
            result = Push(kind, body, None, str(error) or type(error).__name__)
        self.delivered.append(result)
        return result

    async def settle(self) -> None:
        """Wait until every enqueued push has been tried."""
        await self._queue.join()

    async def deliver(self) -> None:
        """Push what is enqueued, for ever."""
        while True:
            kind, body = await self._queue.get()
            if self.url is not None:
                await self.push(kind, body)
            self._queue.task_done()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Open the HTTP session for pushes."""
        async with ClientSession(timeout=_TIMEOUT) as self._session:
            yield


def alarm_body(
    project: dict[str, Any],
    device: Device,
    log: dict[str, Any],
    attributes: tuple[dict[str, Any], dict[str, Any]],
) -> dict[str, Any]:
    """Return the alarm webhook's body; `attributes` are those of the rule, and all current ones."""
    level, ts, (reported, current) = log["alarm_level"], log["create_time"], attributes
    info = log["alarm_info"]
    return {
        "project": {"id": project["id"], "name": project["name"]},
        "device": device_summary(device),
        "alarm_rule": {
            "id": info["rule_id"],
            "name": info["rule_name"],
            "notify_text": info["notify_text"],
            "alarm_level": level,
            "pending_num": 1,
            "pending_time": 0,
        },
        "alarm": {
            "ts": ts,
            "ts_text": text_time(ts),
            "status": log["alarm_status"],
            "level": level,
            "level_text": LEVEL_TEXTS[level],
        },
        "attributes": reported,
        "cur_attributes": current,
        "report_attributes": reported,
    }


def device_summary(device: Device) -> dict[str, str]:
    """Return a device as pushes have it."""
    return {"id": device.id, "name": device.name, "device_key": device.device_key}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
