"""An acknowledged webhook after a crash: its alarm is matched with the log."""

from __future__ import annotations

import json
import shutil
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession

from fleet2mqtt.simulators.thingscloud import DEMO, SIMULATOR, create
from tests.bridge_under_test import NEVER, RunningBridge, run_bridge, serve
from tests.broker import HOST, Broker, free_port
from tests.platforms.thingscloud.alarms import webhook
from tests.platforms.thingscloud.connected import FIRST, NAME
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "push-secret-4711"
SOURCES = ("devices", "attributes", "schema", "alarms", "stat", "meta")


def configuration(broker: Broker, url: str, push_port: int, data_dir: str) -> dict[str, Any]:
    backend = {"platform": "thingscloud", "url": url, "push": {"secret": SECRET}, **DEMO, "rate": 1000}
    backend["timeout"] = PATIENCE
    return {
        "mqtt": {"host": HOST, "port": broker.port, "will_delay": 0},
        "data_dir": data_dir,
        "push": {"host": HOST, "port": push_port},
        "web": {"host": HOST, "port": 0},
        "backends": {NAME: backend | {"scan_interval": dict.fromkeys(SOURCES, NEVER)}},
    }


async def test_acknowledged_webhook_after_a_crash_keeps_its_event(broker: Broker, tmp_path: Path) -> None:
    app, push_port = create(devices=2), free_port()
    simulator = app[SIMULATOR]

    async def push(body: Any) -> int:
        url = f"http://{HOST}:{push_port}/push/{NAME}/{SECRET}/alarm"
        async with ClientSession() as session, session.post(url, data=json.dumps(body)) as response:
            return response.status

    async with AsyncExitStack() as vendors:
        url = await serve(vendors, app)
        async with run_bridge(broker, tmp_path, configuration(broker, url, push_port, "alive")) as bridge:
            await bridge.refresh(backend=NAME)
            row = simulator.raise_alarm(FIRST, 3, push=False)
            at, info = datetime.fromtimestamp(row["create_time"] / 1000, UTC), row["alarm_info"]
            rule = {"id": info["rule_id"], "name": info["rule_name"], "notify_text": info["notify_text"]}
            told = webhook(level=3, ts=row["create_time"], rule=rule)
            assert await push(told) == 200
            shutil.copytree(tmp_path / "alive", tmp_path / "killed")  # what a kill at this moment leaves behind
            (first,) = await events_at(bridge, at)
        async with run_bridge(broker, tmp_path, configuration(broker, url, push_port, "killed")) as bridge:
            await bridge.refresh(backend=NAME)
            assert await push(told) == 200
            assert await events_at(bridge, at) == [first]
            assert {(event["id"], event["seq"]) for event in bridge.events()} <= {first}


async def events_at(bridge: RunningBridge, at: datetime) -> list[tuple[str, int]]:
    """The id and the number of every event of this time, as the bridge remembers them."""
    events = (await bridge.ask("alarms", limit=1000))["data"]["alarms"]
    return [(event["id"], event["seq"]) for event in events if datetime.fromisoformat(event["raised_at"]) == at]
