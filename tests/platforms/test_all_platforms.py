"""All five platforms in one bridge: nothing is forgotten, no vendor is asked more than it bears."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fleet2mqtt.cli.simulate import options_for
from fleet2mqtt.sdk.api import platforms
from tests.bridge_under_test import RunningBridge, run_bridge, serve
from tests.broker import HOST, Broker, free_port
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

ALL = tuple(sorted(platforms()))
PUSH_SECRET = "push-secret-4711"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A broker and a simulator of every platform."""

    broker: Broker
    folder: Path
    simulators: dict[str, Any]
    options: dict[str, Any]
    vendors: AsyncExitStack

    @asynccontextmanager
    async def bridge(self) -> AsyncIterator[RunningBridge]:
        async with run_bridge(self.broker, self.folder, self.options) as bridge:
            yield bridge


@asynccontextmanager
async def world(
    folder: Path, names: Iterable[str] = ALL, devices: int = 2, **changes: dict[str, Any]
) -> AsyncIterator[World]:
    """`changes` are more options of a platform's backend, which has the platform's name."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(directory=folder / "broker"))
        vendors = await stack.enter_async_context(AsyncExitStack())
        simulators, backends = {}, {}
        for name in names:
            module = import_module(f"fleet2mqtt.simulators.{name}.app")
            served = module.create(devices=devices)
            simulators[name] = served[module.SIMULATOR]
            url = await serve(vendors, served)
            push = {"secret": PUSH_SECRET}
            common = {"platform": name, "url": url, "timeout": PATIENCE, "push": push}
            backends[name] = {**common, **options_for(name), **changes.get(name, {})}
        options = {
            "mqtt": {"host": HOST, "port": broker.port, "discovery_rate": 100_000, "will_delay": 0},
            "data_dir": "data",
            "push": {"host": HOST, "port": free_port()},
            "web": {"host": HOST, "port": free_port()},
            "backends": backends,
        }
        yield World(broker=broker, folder=folder, simulators=simulators, options=options, vendors=vendors)


async def everything(bridge: RunningBridge, names: Iterable[str] = ALL) -> dict[str, Any]:
    """Refresh all backends; return the retained messages."""
    for name in names:
        await bridge.is_available(name, "online")
    answer = await bridge.ask("refresh")
    assert all(source["ok"] for sources in answer["data"]["backends"].values() for source in sources.values()), answer
    ids = set(await bridge.devices())
    if "thingscloud" in names:

        async def has_groups() -> bool:
            ids.update(await bridge.devices())
            return any(id_.startswith("thingscloud_group_") for id_ in ids)

        await wait_for_answer(has_groups, lambda: "the group devices", PATIENCE)
    await wait_until(lambda: ids <= bridge.descriptions().keys(), "every device to be announced", PATIENCE)
    return bridge.descriptions()


async def test_ids_survive_start_with_all_vendors_down(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        async with here.bridge() as bridge:
            before = await everything(bridge)
        assert {name.split("_")[0] for name in before} >= {"omstation", "sangfor", "smart", "thingscloud", "ums"}
        await here.vendors.aclose()
        await here.broker.restart()
        async with here.bridge() as bridge:
            await wait_until(lambda: before.keys() <= bridge.descriptions().keys(), "every device again", PATIENCE)
            after = bridge.descriptions()
            for name in ALL:
                await bridge.is_available(name, "offline")
        ids = {id_: set(payload["components"]) for id_, payload in before.items()}
        assert {id_: set(payload["components"]) for id_, payload in after.items()} == ids


async def test_thousand_commands_keep_rate_and_do_not_wait_for_polls(tmp_path: Path) -> None:
    rate = 400.0
    never = {"devices": 3600, "attributes": 3600, "schema": 3600, "alarms": 3600, "stat": 3600, "meta": 3600}
    async with world(
        tmp_path, ["thingscloud"], devices=120, thingscloud={"rate": rate, "scan_interval": never}
    ) as here:
        cloud = here.simulators["thingscloud"]
        async with here.bridge() as bridge:
            await everything(bridge, ["thingscloud"])
            begun = len(cloud.arrivals)
            await bridge.broker.publish("fleet2mqtt/bridge/request/refresh", {"backend": "thingscloud"})
            await wait_until(lambda: len(cloud.arrivals) > begun + 5, "the polls to be under way", PATIENCE)
            asked = [
                (device, row["command_topic"].rpartition("/")[2])
                for device, payload in bridge.descriptions().items()
                for row in payload["components"].values()
                if device.startswith("thingscloud_") and row["platform"] == "switch"
            ]
            commands = [(*asked[number % len(asked)], number) for number in range(1000)]
            for device, key, number in commands:
                values = {key: "ON" if number % 2 else "OFF", "transaction": f"t{number}"}
                await bridge.broker.publish(f"fleet2mqtt/device/{device}/set", values)
            await wait_until(lambda: len(_ended(bridge)) == len(commands), "every result", 3 * PATIENCE)
        control = [place for place, call in enumerate(cloud.fault_injector.calls) if "/control/" in call.path]
        assert control[0] - begun < 200  # long before the backlog of 120 devices' polls was through
        gaps = [later - earlier for earlier, later in pairwise(cloud.arrivals)]
        assert sum(gaps) >= 0.95 * len(gaps) / rate


def _ended(bridge: RunningBridge) -> set[str]:
    return {message.json["transaction"] for message in bridge.seen.all("fleet2mqtt/device/+/result")}
