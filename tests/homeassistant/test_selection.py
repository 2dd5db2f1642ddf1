"""A selection that changes under a running bridge, in a real Home Assistant: devices go, and come back the same."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

from tests.broker import HOST, Broker, free_port
from tests.homeassistant.golden import announced
from tests.process import BRIDGE, Process, running
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.homeassistant.hass import Hass

BASE, NAME = "selection", "chosen"
MAC = "000EA93D022E"
GATEWAY, OTHER, NORTH = f"{NAME}_000ea93d022e", f"{NAME}_000ea9610bcc", f"{NAME}_group_1"
LINES = {f"{GATEWAY}_fxo_7", f"{GATEWAY}_fxo_8"}
ALL = {GATEWAY, OTHER, NORTH, *LINES, *(f"{OTHER}_fxo_{number}" for number in (7, 8))}


@dataclass(slots=True)
class Chosen:
    """A bridge with one UMS, of which the options of selection change."""

    hass: Hass
    broker: Broker
    path: Path
    bridge: Process
    config: dict[str, Any]
    reloads: int = 0

    async def select(self, **options: Any) -> None:
        """Reload the bridge with these options of selection and no others."""
        backend = self.config["backends"][NAME]
        backends = {NAME: backend | options}
        self.path.write_text(yaml.safe_dump(self.config | {"backends": backends}))
        self.reloads += 1
        self.bridge.process.send_signal(signal.SIGHUP)
        await wait_until(
            lambda: self.bridge.output.count("is reloaded") == self.reloads, lambda: self.bridge.output, PATIENCE
        )

    async def devices(self) -> dict[str, dict[str, Any]]:
        """The devices of the backend in Home Assistant's registry, by id."""
        prefix = f"{BASE}_{NAME}_"
        found = {name: device for device in await self.hass.devices() for _, name in device["identifiers"]}
        return {name.removeprefix(f"{BASE}_"): device for name, device in found.items() if name.startswith(prefix)}

    async def entities(self) -> dict[str, dict[str, Any]]:
        """The enabled entities of these devices in Home Assistant's registry, by unique id.

        Disabled ones stay there until their device goes: Home Assistant does not follow their discovery.
        """
        prefixes = tuple(f"{BASE}_{device}_" for device in ALL)
        found = (await self.hass.entities()).items()
        return {name: each for name, each in found if name.startswith(prefixes) and each["disabled_by"] is None}

    async def shows(self, devices: set[str], entities: set[str] | None = None) -> None:
        """Wait until Home Assistant has these devices, and these entities or those of these devices."""
        found: tuple[set[str], set[str]] = set(), set()

        async def same() -> bool:
            nonlocal found
            owners = {device["id"] for device in (await self.devices()).values()}
            present = await self.entities()
            found = set(await self.devices()) ^ devices, set(present) ^ (set(present) if entities is None else entities)
            return not any(found) and all(entity["device_id"] in owners for entity in present.values())

        await wait_for_answer(same, lambda: f"these devices and entities: {found}", PATIENCE)

    async def all_polled(self) -> None:
        """Wait until every source has been polled, and Home Assistant has the enabled entities of that."""
        health = f"{BASE}/backend/{NAME}/health"

        async def complete() -> bool:
            sources = (await self.broker.retained(health))[health].json["sources"].values()
            components = await announced(self.broker, BASE)
            enabled = {name for name, each in components.items() if each.get("enabled_by_default", True)}
            known = await self.hass.entities()
            return all(each["last_success"] for each in sources) and enabled <= known.keys()

        await wait_for_answer(complete, "all sources to be polled", PATIENCE)

    async def is_back(self, before: set[str]) -> None:
        """Take back all devices, with the entities they had, and wait until the gateway's connection has a value."""
        await self.select()
        await self.shows(ALL, before)
        entity = (await self.entities())[f"{BASE}_{GATEWAY}_connection_status"]["entity_id"]
        await self.hass.wait_state(entity, lambda state: state["state"] == "on")

    async def area(self) -> str | None:
        """The area of the gateway."""
        area: str | None = (await self.devices())[GATEWAY]["area_id"]
        return area


async def remove_others(hass: Hass, broker: Broker) -> None:
    """Remove what other tests left: Home Assistant takes devices of one MAC address for one, which stays for them."""
    for topic in await broker.retained("homeassistant/#"):
        await broker.publish(topic, b"", retain=True)

    async def gone() -> bool:
        return not any(device["connections"] for device in await hass.devices())

    await wait_for_answer(gone, "the gateways of other tests to be removed", PATIENCE)


@asynccontextmanager
async def chosen(hass: Hass, broker: Broker, folder: Path) -> AsyncIterator[Chosen]:
    """Run the bridge with a UMS of two gateways, the first of which is in a group."""
    port, path = free_port(), folder / "selection.yaml"
    url = f"http://{HOST}:{port}"
    config: dict[str, Any] = {
        "mqtt": {"host": HOST, "port": broker.port},
        "base_topic": BASE,
        "backends": {NAME: {"platform": "ums", "url": url, "time_zone": "Asia/Shanghai", "timeout": PATIENCE}},
    }
    path.write_text(yaml.safe_dump(config))
    async with AsyncExitStack() as stack:
        simulated = running(*BRIDGE, "simulate", "ums", "--still", "--port", str(port), measured=False)
        await (await stack.enter_async_context(simulated)).says("simulator on")
        async with aiohttp.ClientSession() as session:
            place = {"mac": MAC, "group_id": 1, "group_info": "North"}
            (await session.post(f"{url}/_sim/device", json=place)).raise_for_status()
        bridge = await stack.enter_async_context(running(*BRIDGE, "run", "-c", str(path), measured=False))
        await bridge.says("connected to")
        yield Chosen(hass, broker, path, bridge, config)


async def test_selection_that_changes_is_followed(hass: Hass, hass_broker: Broker, tmp_path: Path) -> None:
    await remove_others(hass, hass_broker)
    begin = len(hass.log())
    async with chosen(hass, hass_broker, tmp_path) as site:
        await site.shows(ALL)
        await site.all_polled()
        before, known = set(await site.entities()), await site.entities()
        assert await site.area() == "north"

        ways: tuple[tuple[dict[str, Any], set[str]], ...] = (
            ({"include": [{"model": "MX*"}]}, {GATEWAY, NORTH, *LINES}),
            ({"exclude": [{"id": MAC}]}, {GATEWAY, NORTH, *LINES}),
            ({"exclude": [{"kind": "line"}]}, ALL - {GATEWAY, OTHER, NORTH}),
            ({"scan_interval": {"lines": "off"}}, ALL - {GATEWAY, OTHER, NORTH}),
            ({"group_devices": False}, {NORTH}),
        )
        for options, gone in ways:
            await site.select(**options)
            await site.shows(ALL - gone)
            await site.is_back(before)

        await site.select(entities="minimal")
        gateway = {f"{BASE}_{GATEWAY}_{key}" for key in ("connection_status", "problem", "alarm", "alarm_active")}
        keys = ("line_fault", "alarm", "alarm_active")
        lines = {f"{BASE}_{line}_{key}" for line in ALL - {GATEWAY, OTHER, NORTH} for key in keys}
        other = {name.replace(GATEWAY, OTHER) for name in gateway}
        groups = {name for name in before if name.startswith(f"{BASE}_{NORTH}_devices")}
        await site.shows(ALL, {*gateway, *lines, *other, *groups})
        await site.is_back(before)

        status = known[f"{BASE}_{GATEWAY}_device_status"]
        await site.select(overrides={"device_status": {"name": "Condition", "icon": "mdi:cog"}})
        await hass.wait_state(status["entity_id"], lambda state: state["attributes"].get("icon") == "mdi:cog")
        named = await hass.wait_state(status["entity_id"], lambda state: state["state"] != "unavailable")
        assert named["attributes"]["friendly_name"].endswith("Condition")
        await site.is_back(before)
        await hass.wait_state(
            status["entity_id"],
            lambda state: state["attributes"]["friendly_name"].endswith(status["original_name"]),
        )

        areas: tuple[tuple[str | None, dict[str, Any]], ...] = ((None, {"area": "none"}), ("north", {}))
        for area, options in areas:  # Home Assistant looks at it for new devices
            await site.select(exclude=[{"id": MAC}])
            await site.shows(ALL - {GATEWAY, NORTH, *LINES})
            await site.select(**options)
            await site.shows(ALL, before)
            assert await site.area() == area
        assert {name: each["entity_id"] for name, each in (await site.entities()).items()} == {
            name: each["entity_id"] for name, each in known.items()
        }
    harmless = "No device components to cleanup"  # its echo of the removal of a device
    assert hass.problems(harmless, since=begin) == []
