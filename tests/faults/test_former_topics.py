"""A changed base topic or discovery prefix, or no discovery any more: former topics are cleared (faults.md 5.14)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fleet2mqtt import app
from fleet2mqtt.config import loader
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.redaction import Redaction
from tests.bridge_under_test import retained
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.bridge_under_test import Site
    from tests.broker import Broker


@asynccontextmanager
async def changed(folder: Path, **changes: Any) -> AsyncIterator[None]:
    """Run the bridge of a site again with other options at the top of its file."""
    path = folder / "fleet2mqtt.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    config, stop = loader.load(path), asyncio.Event()
    task = asyncio.create_task(app.run(config, MqttLog(Redaction(config.secrets)), stop), name="changed bridge")
    try:
        yield
    finally:
        stop.set()
        await task


async def wait_cleared(broker: Broker, former: set[str], current: str) -> None:
    """Wait until nothing is retained on these topics, and something below `current`."""
    left = former

    async def is_cleared() -> bool:
        nonlocal left
        found = (await retained(broker)).keys()
        left = found & former
        return not left and any(topic.startswith(current) for topic in found)

    await wait_for_answer(is_cleared, lambda: f"these topics to be cleared: {left}")


async def test_former_base_topic_is_cleared(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
    former = set(await retained(site.broker))
    assert len(former) > 40
    async with changed(tmp_path, base_topic="other"):
        await wait_cleared(site.broker, former, "homeassistant/device/other_")
    assert "base_topic fleet2mqtt and discovery prefix homeassistant are no longer used" in caplog.text
    assert not [topic for topic in await retained(site.broker) if "fleet2mqtt" in topic]


@pytest.mark.parametrize(
    ("discovery", "current"),
    [({"prefix": "ha"}, "ha/device/fleet2mqtt_"), ({"enabled": False}, "fleet2mqtt/device/")],
)
async def test_discovery_of_a_former_prefix_is_cleared(
    site: Site, tmp_path: Path, discovery: dict[str, Any], current: str
) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
    before = await retained(site.broker)
    former = {topic for topic in before if topic.startswith("homeassistant/")}
    assert former
    async with changed(tmp_path, discovery=discovery):
        await wait_cleared(site.broker, former, current)
    assert (await retained(site.broker)).keys() >= before.keys() - former


async def test_former_base_topic_of_another_bridge_is_kept(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
    await site.broker.publish("fleet2mqtt/bridge/info", {"id": "other"}, retain=True)
    before = await retained(site.broker)
    async with changed(tmp_path, base_topic="other"):
        await wait_for_answer(lambda: says(caplog, "nothing is cleared there"), "the log line")
    after = await retained(site.broker)
    assert {topic: after[topic] for topic in before} == before
    assert "the base topic was fleet2mqtt, which another bridge (other) uses now" in caplog.text


async def test_former_broker_is_named_with_what_to_do(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
    async with changed(tmp_path, mqtt={"host": "localhost", "port": site.broker.port, "will_delay": 0}):
        await wait_for_answer(lambda: says(caplog, "the broker was 127.0.0.1"), "the log line")
    assert "mosquitto_sub -h 127.0.0.1 -t 'fleet2mqtt/#' --retained-only --remove-retained" in caplog.text


async def test_deletions_that_were_not_acknowledged_are_done_later(site: Site, tmp_path: Path) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
    former = set(await retained(site.broker))
    path = tmp_path / "data" / "topics.json"
    before = path.read_bytes()
    async with changed(tmp_path, base_topic="other"):
        await wait_for_answer(lambda: differs(path, before), "the file")
    async with changed(tmp_path, base_topic="other"):
        await wait_cleared(site.broker, former, "other/")


async def says(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


async def differs(path: Path, before: bytes) -> bool:
    return await asyncio.to_thread(path.read_bytes) != before
