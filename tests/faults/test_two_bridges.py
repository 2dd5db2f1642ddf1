"""Two bridges with one base topic at one broker (faults.md 3.12)."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import ConfigError
from fleet2mqtt.ops import base_topic
from tests.bridge_under_test import CHANNEL, run_bridge
from tests.broker import free_port
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.bridge_under_test import Site


def second(site: Site, **mqtt: Any) -> dict[str, Any]:
    """The configuration of another bridge."""
    return {
        "mqtt": {"host": "127.0.0.1", "port": site.broker.port, "will_delay": 0, **mqtt},
        "data_dir": "second",
        "push": {"host": "127.0.0.1", "port": free_port()},
        "web": {"host": "127.0.0.1", "port": free_port()},
        "backends": {"branch": {"platform": "smart_gateway", "url": site.urls["branch"], "timeout": PATIENCE}},
    }


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give the retained messages of the first bridge all the time to arrive at the second."""
    return lambda: monkeypatch.setattr(base_topic, "RETAINED_TIMEOUT", PATIENCE)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_second_bridge_on_the_base_topic_refuses_to_start(
    site: Site, tmp_path: Path, protocol: str, patient: Callable[[], None]
) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        patient()
        folder = tmp_path / "two"
        folder.mkdir()
        with pytest.raises(ExceptionGroup) as caught:
            async with run_bridge(site.broker, folder, second(site, protocol=protocol)):
                pass
        [error] = caught.value.exceptions
        assert isinstance(error, ConfigError)
        assert "is online on fleet2mqtt at this broker" in str(error)
        result = await bridge.set(CHANNEL, {"enable": "ON"})
        assert result["status"] == "confirmed"
        assert len(bridge.results(CHANNEL)) == 1
        states = bridge.seen.all("fleet2mqtt/bridge/state")
        assert {message.payload for message in states} == {b"online"}


async def test_take_over_refuses_commands_at_the_other_bridge(
    site: Site, tmp_path: Path, patient: Callable[[], None]
) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        patient()
        folder = tmp_path / "two"
        folder.mkdir()
        async with run_bridge(site.broker, folder, second(site, take_over=True)) as other:
            await wait_until(
                lambda: any("uses the base topic fleet2mqtt" in line for line in bridge.warnings()), "the conflict"
            )

            async def command(transaction: str) -> list[dict[str, Any]]:
                wanted = {"enable": "ON", "transaction": transaction}
                await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", wanted)

                def results() -> list[dict[str, Any]]:
                    return [each for each in other.results(CHANNEL) if each["transaction"] == transaction]

                await wait_until(lambda: len(results()) == 2, lambda: f"two results: {results()}")
                return sorted(results(), key=lambda each: each["error"] is None)

            attempts = count(1)
            refused, carried_out = await command("two")
            while "unknown_device" in {each["error"] and each["error"]["code"] for each in (refused, carried_out)}:
                refused, carried_out = await command(f"two-{next(attempts)}")  # it has not read its devices yet
            assert (refused["status"], refused["error"]["code"]) == ("invalid", "other_bridge")
            assert carried_out["status"] in ("confirmed", "unconfirmed")
            await wait_until(
                lambda: any(message.json["other_bridge"] for message in other.seen.all("fleet2mqtt/bridge/health")),
                "the conflict in bridge/health",
            )


async def test_bridge_after_another_one_that_was_killed_starts(site: Site) -> None:
    await site.broker.publish("fleet2mqtt/bridge/info", {"id": "other"}, retain=True)
    await site.broker.publish("fleet2mqtt/bridge/state", "offline", retain=True)
    async with site.bridge() as bridge:

        async def is_ours() -> bool:
            info = (await site.broker.retained("fleet2mqtt/bridge/info"))["fleet2mqtt/bridge/info"]
            return bool(info.json["id"] != "other")

        await wait_for_answer(is_ours, "bridge/info of the new bridge")
        assert (await bridge.ask("health"))["data"]["bridge"]["other_bridge"] is None
