"""Commands right after a start, before the values of most devices were read."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from fleet2mqtt.cli.demo import options_for
from fleet2mqtt.simulators.thingscloud import SIMULATOR, create
from tests.bridge_under_test import RunningBridge, run_bridge, serve
from tests.broker import HOST, free_port
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Broker

DEVICES = 4
RATE = 8.0


async def test_restored_device_can_be_set_before_its_values_are_read(broker: Broker, tmp_path: Path) -> None:
    app = create(devices=DEVICES)
    ids = [f"things_{vendor_id}" for vendor_id in app[SIMULATOR].devices]
    async with AsyncExitStack() as vendors:
        url = await serve(vendors, app)
        async with run_bridge(broker, tmp_path, _options(broker, url, rate=1000)) as bridge:
            await bridge.settle()
            switches = [id_ for id_ in ids if "relay1" in bridge.state(id_)]
            assert switches
        async with run_bridge(broker, tmp_path, _options(broker, url, rate=RATE)) as bridge:
            await wait_for_answer(partial(_is_heard, bridge), "the list of devices")
            for id_ in switches:
                await broker.publish(f"fleet2mqtt/device/{id_}/set", {"relay1": "ON", "transaction": "first"})
            results = await asyncio.gather(*(bridge.set(id_, {"relay1": "OFF"}) for id_ in switches))
            assert [(each["status"], each["observed"]) for each in results] == [("confirmed", "OFF")] * len(switches)
            for id_ in switches:  # there was time for it, or there was not
                assert (await bridge.result(id_, "first"))["status"] in ("superseded", "confirmed")


async def _is_heard(bridge: RunningBridge) -> bool:
    """Whether this run's bridge has a list: what is retained is of the last one."""
    answer = await bridge.ask("health")
    available: bool = answer["data"]["backends"]["things"]["available"]
    return available


def _options(broker: Broker, url: str, rate: float) -> dict[str, Any]:
    return {
        "mqtt": {"host": HOST, "port": broker.port, "will_delay": 0},
        "data_dir": "data",
        "push": {"host": HOST, "port": free_port()},
        "web": {"host": HOST, "port": free_port()},
        "backends": {"things": {"platform": "thingscloud", "url": url, **options_for("thingscloud"), "rate": rate}},
    }
