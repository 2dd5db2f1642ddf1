"""The loops over the sources of a backend: who is asked when."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import added_rows
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import Unreachable
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.outbox import open_outbox
from fleet2mqtt.polling.poller import Poller
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.sdk.api import Backend, Source
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from fleet2mqtt.devices.model import Update
    from fleet2mqtt.outbox import Outbox

NAMES = ("devices", "lines")
TRIES = 10
"""So many failures, and the next try is hours away."""


class Vendor:
    """Answers or is away; counts how often it was asked for what."""

    def __init__(self) -> None:
        self.away = True
        self.asked = dict.fromkeys(NAMES, 0)

    def source(self, name: str) -> Source:
        async def poll() -> AsyncIterator[Update]:
            self.asked[name] += 1
            if self.away:
                raise Unreachable(f"{name}: no connection")
            nothing: tuple[Update, ...] = ()
            for update in nothing:
                yield update

        return Source(name=name, interval=36_000.0, poll=poll, primary=name == "devices")


async def _nothing(*_: Any) -> Any:
    raise AssertionError("nobody asks for it here")


def hub(outbox: Outbox) -> Hub:
    """A hub that speaks to no broker."""
    topics = Topics("fleet2mqtt", "homeassistant")
    settings = Settings(host="127.0.0.1", port=1, client_id="hub", will_topic=topics.state)
    mqtt = MqttClient(settings, [])
    registry = Registry(time.monotonic, added_rows(_nothing))
    publisher = Publisher(mqtt, registry, None, topics, 1000)
    return Hub(outbox, registry, publisher, topics, AlarmPublisher(mqtt, outbox, topics).wake)


async def test_when_one_source_finds_the_vendor_back_the_others_are_asked_at_once(tmp_path: Path) -> None:
    vendor = Vendor()
    sources = tuple(vendor.source(name) for name in NAMES)
    backend = Backend(name="hq", platform="vendor", client=None, sources=sources, read=_nothing)
    async with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        poller = Poller(backend, hub(outbox), stale_after=0, changed=lambda _: None)
        tasks = [asyncio.create_task(poller.run(source)) for source in sources]
        for _ in range(TRIES):
            await poller.refresh()
        vendor.away = False
        before = dict(vendor.asked)
        assert await poller.refresh(("lines",)) == {"lines": None}
        await wait_until(lambda: poller.health.available, "the vendor to be there")
        assert {name: vendor.asked[name] - before[name] for name in NAMES} == {"devices": 1, "lines": 1}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
