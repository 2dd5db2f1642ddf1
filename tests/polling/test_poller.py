"""The poller: when sources are polled, what their failures make unavailable, and what is logged."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import added_entities
from fleet2mqtt.devices.model import Update
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import Rejected, Unreachable
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.outbox import open_outbox
from fleet2mqtt.polling.poller import SLOW_POLLS, Poller
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.sdk.api import Backend, Source
from fleet2mqtt.sdk.sweep import Sweep
from tests.sample_devices import device, update
from tests.sample_hub import sample_hub
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import Any

    import pytest

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

        about: dict[str, Any] = {"interval": 36_000.0, "poll": poll, "primary": name == "devices"}
        return Source(name=name, **about | options)


async def _nothing(*_: Any) -> Any:
    raise AssertionError("nobody asks for it here")


def hub(outbox: Outbox, registry: Registry) -> Hub:
    """A hub that speaks to no broker."""
    topics = Topics("fleet2mqtt", "homeassistant")
    settings = Settings(host="127.0.0.1", port=1, client_id="hub", will_topic=topics.state)
    mqtt = MqttClient(settings, [])
    publisher = Publisher(mqtt, registry, None, topics, 1000)
    return sample_hub(outbox, registry, publisher, topics, AlarmPublisher(mqtt, outbox, topics).wake)


@asynccontextmanager
async def polling(
    vendor: Vendor,
    folder: Path,
    stale_after: float = 0,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> AsyncIterator[Polling]:
    """Run a poller over the vendor's two sources; `options` are those of the source of lines."""
    sources = (vendor.source("devices"), vendor.source("lines", **options))
    backend = Backend(name="hq", platform="vendor", client=None, sources=sources, read=_nothing)
    async with open_outbox(folder / "outbox.sqlite") as outbox:
        registry = Registry(time.monotonic, added_entities(_nothing, _nothing))
        poller = Poller(backend, hub(outbox, registry), stale_after=stale_after, changed=lambda _: None)
        poller.health.sources["lines"].figures.clock = clock
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
            hub(outbox, Registry(time.monotonic, added_entities(_nothing, _nothing))),
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


# Figures of polls


async def test_poll_without_sweep_counts_what_it_reports(tmp_path: Path) -> None:
    vendor = Vendor()
    vendor.failing.clear()
    async with polling(vendor, tmp_path) as running:
        await running.poller.refresh()
        health = running.poller.health.json()["sources"]["lines"]
        assert (health["interval"], health["items"], health["calls"]) == (36_000.0, 1, 0)
        assert health["duration"] >= 0
        assert health["oldest_age"] >= 0


class Clock:
    """Time that passes only while items are read."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_sweep_reports_items_calls_and_the_age_of_the_oldest(tmp_path: Path) -> None:
    clock, sweep, failing = Clock(), Sweep(), {"b"}

    async def read(item: str) -> Update:
        clock.now += 100
        if item in failing:
            raise Rejected(item, endpoint="item")
        return update(LINE)

    async def poll() -> AsyncIterator[Update]:
        async for _, result in sweep.run("abc", read):
            if isinstance(result, Update):
                yield result

    vendor = Vendor()
    vendor.failing.clear()
    async with polling(vendor, tmp_path, clock=clock, poll=poll) as running:
        figures = running.poller.health.sources["lines"].figures
        await running.poller.refresh()
        started = clock.now
        await running.poller.refresh()
        assert (figures.items, figures.duration) == (3, 300)
        assert figures.oldest_age is not None
        assert figures.oldest_age >= clock.now - started  # b was never read
        failing.clear()
        await running.poller.refresh()
        assert figures.oldest_age <= 300


async def test_source_that_cannot_keep_its_interval_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, seconds = Clock(), [40_000.0]

    async def poll() -> AsyncIterator[Update]:
        clock.now += seconds[0]
        yield update(LINE)

    vendor = Vendor()
    vendor.failing.clear()
    async with polling(vendor, tmp_path, clock=clock, poll=poll) as running:
        await running.poller.refresh()
        seconds[0] = 1.0
        await running.poller.refresh()  # so slow polls are no overrun yet
        assert "longer than its interval" not in caplog.text
        for _ in range(2):
            seconds[0] = 40_000.0
            for _ in range(SLOW_POLLS):
                await running.poller.refresh()
            seconds[0] = 1.0
            await running.poller.refresh()
        warned = "lines took 40000 s for 1 items in 0 calls, longer than its interval of 36000 s: raise scan_interval.l"
        assert caplog.text.count(warned) == 1


async def test_sweep_without_an_item_has_no_oldest_age(tmp_path: Path) -> None:
    async def poll() -> AsyncIterator[Update]:
        async for _ in Sweep().run((), str):  # type: ignore[arg-type]
            yield update(LINE)

    vendor = Vendor()
    vendor.failing.clear()
    async with polling(vendor, tmp_path, clock=Clock(), poll=poll) as running:
        await running.poller.refresh()
        health = running.poller.health.json()["sources"]["lines"]
        assert (health["items"], health["calls"], health["oldest_age"]) == (0, 0, None)
