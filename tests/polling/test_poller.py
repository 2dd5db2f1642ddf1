"""The poller: when sources are polled, what their failures make unavailable, and what is logged."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import added_entities
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import Rejected, Unreachable
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.outbox import open_outbox
from fleet2mqtt.polling.poller import Poller
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.sdk.api import Backend, Source
from tests.sample_devices import device, update
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    import pytest

    from fleet2mqtt.devices.model import Update
    from fleet2mqtt.errors import BackendError
    from fleet2mqtt.outbox import Outbox

NAMES = ("devices", "lines")
TRIES = 10
"""So many failures, and the next try is hours away."""


LINE = device("hq_line", scope="lines:1", source="lines")


class Polling(NamedTuple):
    poller: Poller
    registry: Registry

    def line_is_available(self) -> bool:
        return self.registry.devices["hq_line"].available


class Vendor:
    """Answers, or the sources in `failing` raise; counts the polls, and has a clock that stands."""

    def __init__(self) -> None:
        self.failing = set(NAMES)
        self.error: type[BackendError] = Unreachable
        self.asked = dict.fromkeys(NAMES, 0)
        self.clock = 0

    def source(self, name: str, **options: Any) -> Source:
        async def poll() -> AsyncIterator[Update]:
            self.asked[name] += 1
            if name in self.failing:
                raise self.error(f"{name}: no connection")
            yield update(LINE) if name == "lines" else update(device("hq_1"))

        return Source(name=name, interval=36_000.0, poll=poll, primary=name == "devices", **options)


async def _nothing(*_: Any) -> Any:
    raise AssertionError("nobody asks for it here")


def hub(outbox: Outbox, registry: Registry) -> Hub:
    """A hub that speaks to no broker."""
    topics = Topics("fleet2mqtt", "homeassistant")
    settings = Settings(host="127.0.0.1", port=1, client_id="hub", will_topic=topics.state)
    mqtt = MqttClient(settings, [])
    publisher = Publisher(mqtt, registry, None, topics, 1000)
    return Hub(outbox, registry, publisher, topics, AlarmPublisher(mqtt, outbox, topics).wake)


@asynccontextmanager
async def polling(vendor: Vendor, folder: Path, stale_after: float = 0, **options: Any) -> AsyncIterator[Polling]:
    """Run a poller over the vendor's two sources; `options` are those of the source of lines."""
    sources = (vendor.source("devices"), vendor.source("lines", **options))
    backend = Backend(name="hq", platform="vendor", client=None, sources=sources, read=_nothing)
    async with open_outbox(folder / "outbox.sqlite") as outbox:
        registry = Registry(time.monotonic, added_entities(_nothing))
        poller = Poller(backend, hub(outbox, registry), stale_after=stale_after, changed=lambda _: None)
        tasks = [asyncio.create_task(poller.run(source)) for source in sources]
        try:
            yield Polling(poller, registry)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_source_that_recovers_polls_other_sources_at_once(tmp_path: Path) -> None:
    vendor = Vendor()
    sources = tuple(vendor.source(name) for name in NAMES)
    backend = Backend(name="hq", platform="vendor", client=None, sources=sources, read=_nothing)
    async with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        poller = Poller(
            backend,
            hub(outbox, Registry(time.monotonic, added_entities(_nothing))),
            stale_after=0,
            changed=lambda _: None,
        )
        tasks = [asyncio.create_task(poller.run(source)) for source in sources]
        for _ in range(TRIES):
            await poller.refresh()
        vendor.failing.clear()
        before = dict(vendor.asked)
        assert await poller.refresh(("lines",)) == {"lines": None}
        await wait_until(lambda: poller.health.available, "the vendor to be there")
        assert {name: vendor.asked[name] - before[name] for name in NAMES} == {"devices": 1, "lines": 1}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# A failing source is visible at its own devices (faults.md 2.3)


async def test_secondary_source_fails_three_times_its_devices_are_unavailable(tmp_path: Path) -> None:
    vendor = Vendor()
    vendor.failing.clear()
    async with polling(vendor, tmp_path) as running:
        await running.poller.refresh()
        assert running.line_is_available()
        vendor.failing, vendor.error = {"lines"}, Rejected
        for _ in range(2):
            await running.poller.refresh()
        assert running.line_is_available()
        await running.poller.refresh()
        assert not running.line_is_available()
        assert running.registry.devices["hq_1"].available
        health = running.poller.health.json()
        assert health["available"]
        assert (health["sources"]["lines"]["available"], health["sources"]["devices"]["available"]) == (False, True)
        assert health["sources"]["lines"]["age"] is not None
        vendor.failing.clear()
        await running.poller.refresh()
        assert running.line_is_available()


# Stale data is that of a source (faults.md 2.4)


async def test_secondary_source_stands_still_only_its_devices_are_unavailable(tmp_path: Path) -> None:
    vendor = Vendor()
    vendor.failing.clear()
    async with polling(vendor, tmp_path, stale_after=1e-9, freshness=lambda: vendor.clock) as running:
        for _ in range(2):
            await running.poller.refresh()
        assert not running.line_is_available()
        health = running.poller.health.json()
        assert (health["available"], health["stale_since"]) == (True, None)
        assert health["sources"]["lines"]["stale_since"] is not None
        vendor.clock += 1
        await running.poller.refresh()
        assert running.line_is_available()


# One line for one dead vendor (faults.md 2.10)


async def test_vendor_goes_and_returns_one_line_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vendor = Vendor()
    caplog.set_level("INFO", "fleet2mqtt.polling")
    async with polling(vendor, tmp_path) as running:
        for _ in range(3):
            await running.poller.refresh()
        vendor.failing.clear()
        await running.poller.refresh()
    told = [record.getMessage() for record in caplog.records]
    assert len([line for line in told if "fails" in line]) == 1
    assert len([line for line in told if "answers again" in line]) == 1


# A clock that is not set (faults.md 1.4)


async def test_source_that_needs_the_clock_waits_until_it_is_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Vendor()
    vendor.failing.clear()
    machine = {"now": datetime(1970, 1, 1, tzinfo=UTC)}
    monkeypatch.setattr("fleet2mqtt.polling.poller.now", lambda: machine["now"])
    async with polling(vendor, tmp_path, needs_clock=True) as running:
        await wait_until(lambda: "clock says 1970-01-01" in caplog.text, "a warning")
        assert vendor.asked["lines"] == 0
        machine["now"] = datetime.now(UTC)
        assert await running.poller.refresh(("lines",)) == {"lines": None}
