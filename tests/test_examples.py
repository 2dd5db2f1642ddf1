"""The programs in examples/ work with a bridge."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest_asyncio

from tests.bridge_under_test import CHANNEL, GATEWAY, MAC, VOIP, RunningBridge, Site, open_site
from tests.broker import HOST
from tests.process import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SETTINGS = """
module.exports = {
    uiPort: 0, uiHost: "127.0.0.1", httpAdminRoot: false, httpNodeRoot: false, flowFile: process.argv[2],
    credentialSecret: false, diagnostics: {enabled: false}, telemetry: {enabled: false},
    logging: {console: {level: "info"}},
};
"""


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


async def raise_alarm(site: Site, bridge: RunningBridge) -> int:
    """Raise a critical alarm; return its number."""
    before = len(bridge.events())
    site.ums.raise_alarm(MAC, push=False)
    await bridge.refresh(backend="hq_voip")
    await bridge.event_count(before + 1)
    seq: int = bridge.events()[-1]["seq"]
    return seq


async def test_subscriber_prints_each_alarm_once_also_missed_ones(site: Site, tmp_path: Path) -> None:
    program = (sys.executable, str(EXAMPLES / "python" / "alarms.py"))
    command = (*program, "--host", HOST, "--port", str(site.broker.port), "--state", str(tmp_path / "seq"))
    async with site.bridge() as bridge:
        await bridge.settle()
        first = await raise_alarm(site, bridge)
        async with running(*command) as subscriber:
            await subscriber.says(f"{first} ")
            second = await raise_alarm(site, bridge)
            await subscriber.says(f"{second} ")
        missed = await raise_alarm(site, bridge)
        async with running(*command) as again:
            await again.says(f"{missed} ")
    printed = [int(line.split()[0]) for line in (*subscriber.lines, *again.lines)]
    assert printed == list(range(printed[0], missed + 1))
    assert "critical" in subscriber.output


async def test_node_red_flow_switches_a_channel_off_at_an_alarm(site: Site, tmp_path: Path) -> None:
    modules = ROOT / os.environ.get("FLEET2MQTT_NODE_RED", ".node-red") / "node_modules"
    node = shutil.which("node")
    assert node is not None, "run scripts/setup test"
    assert modules.is_dir(), "run scripts/setup test"
    settings = tmp_path / "settings.js"
    settings.write_text(SETTINGS.replace("process.argv[2]", json.dumps("flow.json")))
    folder = tmp_path / "node-red"
    folder.mkdir()
    shutil.copy(EXAMPLES / "node-red" / "flow.json", folder)
    variables = {"BROKER": HOST, "PORT": str(site.broker.port), "CHANNEL": CHANNEL}
    environment = [f"FLEET2MQTT_{name}={value}" for name, value in variables.items()]
    red = (node, str(modules / "node-red" / "red.js"), "--userDir", str(folder), "--settings", str(settings))
    async with site.bridge() as bridge:
        await bridge.settle()
        site.gateways.set_channel(GATEWAY.removeprefix("branch_").upper(), "0", enable=1)
        async with running("env", *environment, *red) as process:
            await process.says("Connected to broker")
            seq = await raise_alarm(site, bridge)
            result = await bridge.result(CHANNEL, f"alarm-{seq}")
            assert (result["key"], result["requested"]) == ("enable", "OFF")
            await process.says("[debug:result]")


async def test_openhab_things_name_topics_and_keys_of_a_bridge(site: Site) -> None:
    things = (EXAMPLES / "openhab" / "fleet2mqtt.things").read_text("utf-8")
    channels = re.findall(r"^ +Type (\w+) : (\w+) .*\[ (.*) \]$", things, re.MULTILINE)
    assert len(channels) == 6
    async with site.bridge() as bridge:
        await bridge.settle()
        published = {message.topic for message in bridge.seen.messages}
        described = {
            component["command_topic"]
            for config in bridge.descriptions().values()
            for component in config["components"].values()
            if "command_topic" in component
        }
        for kind, name, settings in channels:
            given = dict(re.findall(r'(\w+)="([^"]*)"', settings))
            key = given["transformationPattern"].removeprefix("JSONPATH:$.")
            if kind == "trigger":
                continue
            device = given["stateTopic"].split("/")[2]
            assert key in bridge.state(device), name
            assert given.get("commandTopic") in {*described, None}, name
        assert set(re.findall(r'availabilityTopic="([^"]+)"', things)) <= published
        seq = await raise_alarm(site, bridge)
        alarm = next(
            message for message in bridge.seen.all("fleet2mqtt/alarm/event/critical/+") if message.json["seq"] == seq
        )
        assert f'stateTopic="{alarm.topic}"' in things
    assert VOIP in things
    assert things.count("{") == things.count("}")


def test_openhab_items_are_linked_to_channels_that_exist() -> None:
    things = (EXAMPLES / "openhab" / "fleet2mqtt.things").read_text("utf-8")
    items = (EXAMPLES / "openhab" / "fleet2mqtt.items").read_text("utf-8")
    links = re.findall(r'channel="mqtt:topic:fleet2mqtt:(\w+):(\w+)"', items)
    assert len(links) == len(items.splitlines())
    for thing, channel in links:
        body = things.partition(f"Thing topic {thing} ")[2].partition("Thing topic")[0]
        assert re.search(rf"Type \w+ : {channel} ", body), (thing, channel)
