"""Figures about the bridge."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import open_outbox

if TYPE_CHECKING:
    from pathlib import Path

YEAR = 365 * 86_400


async def test_uptime_of_a_bridge_started_before_its_clock_was_set_counts_from_the_start(tmp_path: Path) -> None:
    settings = Settings(host="127.0.0.1", port=1, client_id="status", will_topic="fleet2mqtt/bridge/state")
    async with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        status = Status(
            instance="1",
            version="1",
            mqtt=MqttClient(settings, []),
            outbox=outbox,
            backends={},
            counters=(),
            log_dropped=lambda: 0,
            started_at=datetime(1970, 1, 1, tzinfo=UTC),
        )
        assert 0 <= status.health()["uptime"] < YEAR
