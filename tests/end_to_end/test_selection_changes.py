"""Each way in which a selection changes while a bridge runs: what goes is removed everywhere, and returns the same."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.bridge_under_test import (
    LINE,
    MAC,
    NEVER,
    VOIP,
    RunningBridge,
    Site,
    config_topic,
    open_site,
    wait_retained,
)
from tests.end_to_end.test_reload import edit
from tests.end_to_end.test_selection import change
from tests.waiting import wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

OTHER_MAC = "000EA9610BCC"
OTHER = "hq_voip_000ea9610bcc"
NORTH, SOUTH = "hq_voip_group_1", "hq_voip_group_2"
INTERVALS = dict.fromkeys(("devices", "alarms", "lines", "status", "statistics", "events"), NEVER)
KEEPS = "persistence_location {}/\nautosave_interval 1\npersistence true"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        place(site)
        yield site


def place(site: Site) -> None:
    site.ums.change(MAC, group_id=1, group_info="North", location="Oslo")
    site.ums.change(OTHER_MAC, group_id=2, group_info="South")


async def announced(site: Site) -> dict[str, dict[str, Any]]:
    """The discovery messages that the broker holds, by device."""
    found = await site.broker.retained("homeassistant/device/+/config")
    return {topic.split("/")[2].removeprefix("fleet2mqtt_"): message.json for topic, message in found.items()}


async def unique_ids(site: Site) -> dict[str, set[str]]:
    """The unique ids of all entities that the broker holds, by device."""
    return {
        device: {each["unique_id"] for each in payload["components"].values() if "unique_id" in each}
        for device, payload in (await announced(site)).items()
    }


async def start(site: Site, bridge: RunningBridge) -> dict[str, set[str]]:
    """Wait until all is announced, the group devices too; return the unique ids."""
    await bridge.settle()
    await are_announced(site, VOIP, LINE, OTHER, NORTH, SOUTH)
    return await unique_ids(site)


async def are_announced(site: Site, *devices: str) -> None:
    async def there() -> bool:
        return set(devices) <= (await announced(site)).keys()

    await wait_for_answer(there, f"{devices} to be announced")


async def are_removed(site: Site, *devices: str) -> None:
    """Wait until nothing is retained for these devices."""
    names = ("state", "availability", "attributes")
    topics = [f"fleet2mqtt/device/{device}/{name}" for device in devices for name in names]
    await wait_retained(site.broker, dict.fromkeys([*topics, *map(config_topic, devices)], b""))


async def have_returned(site: Site, before: dict[str, set[str]], bridge: RunningBridge | None = None) -> None:
    """Poll, and wait until the broker holds the same entities as before."""
    if bridge is not None:
        await bridge.refresh()
        await bridge.refresh()  # lines are read of gateways that were selected when the poll began
    differing: dict[str, set[str]] = {}

    async def same() -> bool:
        nonlocal differing
        found = await unique_ids(site)
        differing = {id_: each for id_ in {*found, *before} if (each := found.get(id_, set()) ^ before.get(id_, set()))}
        return not differing

    await wait_for_answer(same, lambda: f"the same entities as before: {differing}")


@pytest.mark.parametrize(
    "rule",
    [{"name": "om50_*"}, {"group": "North", "location": "oslo"}],
    ids=lambda rule: next(iter(rule)),
)
async def test_excluded_device_is_removed_and_returns_under_its_ids(site: Site, rule: dict[str, str]) -> None:
    async with site.bridge() as bridge:
        before = await start(site, bridge)
        await change(site, bridge, exclude=[rule])
        await are_removed(site, VOIP, LINE, NORTH)
        assert {OTHER, SOUTH} <= (await bridge.devices()).keys() - {VOIP, LINE, NORTH}
        await bridge.refresh()
        assert VOIP not in await bridge.devices()
        await change(site, bridge, exclude=None)
        await have_returned(site, before, bridge)
        await bridge.shows(VOIP, "connection_status", "ON")


async def test_narrowed_include_removes_what_it_no_longer_names(site: Site) -> None:
    async with site.bridge(hq_voip={"include": [{"model": "*"}]}) as bridge:
        before = await start(site, bridge)
        await change(site, bridge, include=[{"group": "S*"}])
        await are_removed(site, VOIP, LINE, NORTH)
        await change(site, bridge, include=[{"group": "S*"}, {"group": "n*"}])
        await have_returned(site, before, bridge)


async def test_levels_add_and_remove_entities(site: Site) -> None:
    async with site.bridge() as bridge:
        before = await start(site, bridge)

        async def shows(level: str, keys: set[str], *, all_enabled: bool) -> None:
            await change(site, bridge, entities=level)
            await bridge.refresh()

            differing = set[str]()

            async def is_announced() -> bool:
                nonlocal differing
                found = (await announced(site))[VOIP]["components"]
                enabled = [each.get("enabled_by_default", True) for each in found.values()]
                differing = {str(each.get("unique_id")) for each in found.values()} ^ keys
                return not differing and all(enabled) is all_enabled

            await wait_for_answer(is_announced, lambda: f"the entities of {level}: {differing}")

        keys = ("connection_status", "problem", "alarm", "alarm_active")
        await shows("minimal", {f"fleet2mqtt_{VOIP}_{key}" for key in keys}, all_enabled=True)
        await wait_until(lambda: "device_ip" not in bridge.state(VOIP), "the minimal state")
        counts = {f"fleet2mqtt_{VOIP}_alarms_{key}" for key in ("total", "critical", "major", "minor", "indeterminate")}
        await shows("full", before[VOIP] | counts, all_enabled=True)
        await wait_until(lambda: bridge.state(VOIP).get("device_ip"), "the full state")
        await shows("standard", before[VOIP], all_enabled=False)


async def test_overrides_change_one_entity_and_end(site: Site) -> None:
    async with site.bridge() as bridge:
        before = await start(site, bridge)
        plain = (await announced(site))[VOIP]["components"]["connection_ip"]
        override = {"enabled": True, "name": "Address", "icon": "mdi:ip", "unit": "ip"}
        await change(site, bridge, overrides={"connection_ip": override})

        async def component() -> dict[str, Any]:
            found: dict[str, Any] = (await announced(site))[VOIP]["components"]["connection_ip"]
            return found

        async def overridden() -> bool:
            shown = await component()
            parts = (shown["name"], shown.get("icon"), shown.get("unit_of_measurement"))
            return parts == ("Address", "mdi:ip", "ip") and "enabled_by_default" not in shown

        await wait_for_answer(overridden, "the override to be announced")
        await change(site, bridge, overrides={"connection_ip": {"enabled": False}})
        await bridge.refresh()

        async def is_disabled() -> bool:
            shown = await component()
            return shown["name"] == plain["name"] and not shown.get("enabled_by_default", True)

        await wait_for_answer(is_disabled, "the entity to be disabled")
        await change(site, bridge, overrides=None)
        await have_returned(site, before, bridge)

        async def is_plain() -> bool:
            return bool(await component() == plain)

        await wait_for_answer(is_plain, "the entity as the platform describes it")


async def test_area_follows_its_option(site: Site) -> None:
    async with site.bridge() as bridge:
        await start(site, bridge)

        async def area(wanted: str | None) -> None:
            async def is_shown() -> bool:
                return bool((await announced(site))[VOIP]["device"].get("suggested_area") == wanted)

            await wait_for_answer(is_shown, f"area {wanted}")

        await area("North")
        for option, wanted in (("location", "Oslo"), ("none", None), ("group", "North")):
            await change(site, bridge, area=option)
            await bridge.refresh()
            await area(wanted)


async def test_group_renamed_at_the_vendor_is_the_same_device(site: Site) -> None:
    async with site.bridge() as bridge:
        before = await start(site, bridge)
        site.ums.change(MAC, group_info="Far north")
        await bridge.refresh()

        async def is_renamed() -> bool:
            found = await announced(site)
            names: tuple[str, str] = (found[NORTH]["device"]["name"], found[VOIP]["device"]["suggested_area"])
            return names == ("Far north", "Far north")

        await wait_for_answer(is_renamed, "the new name")
        await have_returned(site, before, bridge)


async def test_device_that_moves_out_of_the_rule_goes_and_returns_with_it(site: Site) -> None:
    async with site.bridge(hq_voip={"include": [{"group": "North"}, {"group": "South"}]}) as bridge:
        before = await start(site, bridge)
        site.ums.change(MAC, group_id=3, group_info="East")
        await bridge.refresh()
        await are_removed(site, VOIP, LINE, NORTH)
        site.ums.change(MAC, group_id=1, group_info="North")
        await have_returned(site, before, bridge)


async def test_excluded_kind_removes_sub_devices_only(site: Site) -> None:
    async with site.bridge() as bridge:
        before = await start(site, bridge)
        await change(site, bridge, exclude=[{"kind": "line"}, {"kind": "group", "name": "South"}])
        await are_removed(site, LINE, SOUTH)
        assert {VOIP, NORTH} <= (await bridge.devices()).keys()
        await change(site, bridge, exclude=None)
        await have_returned(site, before, bridge)


async def test_selection_that_changes_while_the_vendor_is_away(site: Site) -> None:
    async with site.bridge() as bridge:
        before = await start(site, bridge)
        site.ums.fault_injector.inject("reset")
        await change(site, bridge, exclude=[{"group": "North"}], overrides={"connection_ip": {"name": "Address"}})
        await are_removed(site, VOIP, LINE, NORTH)

        async def is_named() -> bool:
            found = (await announced(site))[OTHER]["components"]["connection_ip"]
            return bool(found["name"] == "Address")

        await wait_for_answer(is_named, "the new name")
        await change(site, bridge, exclude=None)
        site.ums.fault_injector.clear()
        await have_returned(site, before, bridge)


async def test_selection_that_changes_while_the_broker_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fleet2mqtt")
    async with open_site(tmp_path, extra=KEEPS.format(tmp_path)) as site:
        place(site)
        async with site.bridge() as bridge:
            before = await start(site, bridge)
            await site.broker.stop()
            edit(site, lambda options: options["backends"]["hq_voip"].update(exclude=[{"group": "North"}]))
            bridge.hangup.set()
            await wait_until(lambda: "is reloaded: backends changed: hq_voip" in caplog.text, "the reload")
            await site.broker.start()
            await are_removed(site, VOIP, LINE, NORTH)
            await are_announced(site, OTHER)
            edit(site, lambda options: options["backends"]["hq_voip"].pop("exclude"))
            bridge.hangup.set()
            await have_returned(site, before)


async def test_selection_that_changes_between_two_runs(site: Site) -> None:
    async with site.bridge() as bridge:
        before = await start(site, bridge)
    async with site.bridge(hq_voip={"exclude": [{"group": "North"}]}) as bridge:
        await are_removed(site, VOIP, LINE, NORTH)
        assert VOIP not in await bridge.devices()
    assert VOIP not in await stored_devices(site)
    async with site.bridge() as bridge:
        await have_returned(site, before, bridge)
    assert VOIP in await stored_devices(site)


async def stored_devices(site: Site) -> set[str]:
    """Return the ids of the devices in the inventory of a bridge that is not running."""
    return {device["id"] for each in await site.inventories() for device in each["devices"]}


async def test_group_devices_end_with_their_option(site: Site) -> None:
    async with site.bridge() as bridge:
        before = await start(site, bridge)
        await change(site, bridge, group_devices=False)
        await are_removed(site, NORTH, SOUTH)
        assert VOIP in await bridge.devices()
        await change(site, bridge, group_devices=None)
        await have_returned(site, before, bridge)
        assert (await bridge.set(NORTH, {"devices_online": 3}))["status"] == "invalid"


WAYS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "include": ({"include": [{"group": "South"}]}, {VOIP, LINE}),
    "exclude": ({"exclude": [{"id": MAC}]}, {VOIP, LINE}),
    "kind": ({"exclude": [{"kind": "line"}]}, {LINE}),
    "source": ({"scan_interval": INTERVALS | {"lines": "off"}}, {LINE}),
    "entities": ({"entities": "minimal"}, set()),
    "override": ({"overrides": {"device_status": {"enabled": False}, "con_state": {"name": "Wiring"}}}, set()),
    "area": ({"area": "none"}, set()),
}


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_left_of_what_goes_and_its_alarms_are_active_of_what_stays(site: Site, way: str) -> None:
    options, gone = WAYS[way]
    site.ums.change(MAC, device_status="fault")
    site.ums.set_line(MAC, "FXO-7", con_state="0")
    async with site.bridge(branch=None, alarms={"conditions": {}}) as bridge:
        await start(site, bridge)
        await are_active(site, bridge, VOIP, LINE)
        before = {device: await topics_of(site, device) for device in (VOIP, LINE)}
        await change(site, bridge, **options)
        await bridge.refresh()
        for device in gone:
            await has_topics(site, device, set())
        await are_active(site, bridge, *({VOIP, LINE} - gone))
        await change(site, bridge, **dict.fromkeys(options) | {"scan_interval": INTERVALS})
        await bridge.refresh()
        await bridge.refresh()  # lines are read of gateways that were selected when the poll began
        await are_active(site, bridge, VOIP, LINE)
        for device, topics in before.items():
            await has_topics(site, device, topics)


async def topics_of(site: Site, device: str) -> set[str]:
    """The retained topics of a device: discovery, state, availability, attributes, active alarms."""
    names = {device, f"fleet2mqtt_{device}"}
    return {topic for topic in await site.broker.retained("#") if names & set(topic.split("/"))}


async def has_topics(site: Site, device: str, wanted: set[str]) -> None:
    found = set[str]()

    async def same() -> bool:
        nonlocal found
        found = await topics_of(site, device)
        return found == wanted

    await wait_for_answer(same, lambda: f"the topics of {device} to be {wanted}: {found}")


async def are_active(site: Site, bridge: RunningBridge, *devices: str) -> None:
    """Wait until these two devices, and none of the other one, have active alarms: on topics, in requests, in sums."""
    found: list[dict[str, Any]] = []

    async def same() -> bool:
        nonlocal found
        found = (await bridge.ask("alarms", state="active"))["data"]["alarms"]
        topics = await site.broker.retained("fleet2mqtt/alarm/active/#")
        alarmed = {event["device"] for event in found} & {VOIP, LINE}
        summary = (await site.broker.retained("fleet2mqtt/alarm/summary"))["fleet2mqtt/alarm/summary"].json
        shown = {topic.split("/")[3] for topic in topics} & {VOIP, LINE}
        return alarmed == shown == set(devices) and sum(summary["active"].values()) == len(found)

    await wait_for_answer(same, lambda: f"active alarms of {devices}: {found}")
