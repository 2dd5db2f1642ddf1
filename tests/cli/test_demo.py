"""`fleet2mqtt demo` as a first-time user runs it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fleet2mqtt.sdk.api import platforms
from fleet2mqtt.simulators import omstation, thingscloud, ums
from tests.broker import HOST, free_port
from tests.commandline import fleet2mqtt, get, get_text
from tests.process import BRIDGE, Process, running
from tests.recording import Message, Recording
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEVICES = 3
CHANNEL = "smart_gateway_172de6ac9832de_channel_0"


@dataclass(slots=True, kw_only=True)
class Demo:
    """A running demo, and all that it has published; the client speaks MQTT 3.1.1, as every broker does."""

    process: Process
    folder: Path
    port: int
    web: str
    client: paho.Client
    seen: Recording = field(default_factory=Recording)

    def newest(self, topic_filter: str) -> dict[str, Any]:
        """Return the newest message on each of these topics."""
        return {message.topic: message.json for message in self.seen.all(topic_filter) if message.payload}

    def configs(self) -> dict[str, Any]:
        """Discovery by device."""
        found = self.newest("homeassistant/device/+/config")
        return {topic.split("/")[2].removeprefix("fleet2mqtt_"): config for topic, config in found.items()}

    def states(self) -> dict[str, Any]:
        """States by device."""
        return {topic.split("/")[2]: state for topic, state in self.newest("fleet2mqtt/device/+/state").items()}

    def below(self) -> dict[str, int]:
        """Count the devices that discovery links to each platform's backend."""
        parents = [config["device"].get("via_device") for config in self.configs().values()]
        return {platform: parents.count(f"fleet2mqtt_{platform}") for platform in platforms()}

    async def all_announced(self) -> None:
        """Wait until every device on the page has a discovery message and a state."""
        extra, counts = {"bridge", *platforms()}, (0, 0, 0)

        async def complete() -> bool:
            nonlocal counts
            total = (await get(f"{self.web}/api/status"))["devices"]["total"]  # more are found all the time
            counts = (len(self.configs().keys() - extra), len(self.states().keys() - extra), total)
            return total > 0 and set(counts) == {total}

        await wait_for_answer(complete, lambda: f"described, stated and all: {counts}", PATIENCE)


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    async with started(tmp_path) as demo:
        yield demo


@asynccontextmanager
async def started(folder: Path, *options: str, host: str = HOST) -> AsyncIterator[Demo]:
    port, web = free_port(), free_port()
    ports = ("--port", str(port), "--web-port", str(web), "--devices", str(DEVICES))
    async with running("env", f"TMPDIR={folder}", *BRIDGE, "demo", *ports, *options) as process:
        await process.says("connected to")
        client = paho.Client(CallbackAPIVersion.VERSION2)
        demo = Demo(process=process, folder=folder, port=port, web=f"http://{host}:{web}", client=client)
        try:
            await asyncio.to_thread(listen, demo, host=host)
            yield demo
        finally:
            client.disconnect()
            client.loop_stop()


def listen(demo: Demo, topic: str = "#", host: str = HOST) -> None:
    subscribed = threading.Event()
    demo.client.on_subscribe = lambda *_: subscribed.set()
    demo.client.on_message = lambda _client, _data, message: demo.seen.messages.append(
        Message(
            topic=message.topic,
            payload=bytes(message.payload),
            retain=message.retain,
            qos=message.qos,
            properties=message.properties,
        )
    )
    demo.client.connect(host, demo.port)
    demo.client.loop_start()
    demo.client.subscribe(topic, 1)
    assert subscribed.wait(PATIENCE)


async def test_demo_publishes_devices_alarms_and_results(demo: Demo) -> None:
    await wait_until(lambda: CHANNEL in demo.configs(), lambda: f"{CHANNEL}: {sorted(demo.configs())}", PATIENCE)
    await wait_until(lambda: min(demo.below().values()) >= DEVICES, lambda: f"{DEVICES} each: {demo.below()}", PATIENCE)
    await demo.all_announced()
    assert demo.configs().keys() >= platforms().keys()
    assert all(set(state) > {"_meta"} for state in demo.states().values())

    before = demo.states()[CHANNEL]["enable"]
    wanted = "OFF" if before == "ON" else "ON"
    demo.client.publish(f"fleet2mqtt/device/{CHANNEL}/set/enable", wanted, 1)
    result = await demo.seen.wait(lambda message: message.topic == f"fleet2mqtt/device/{CHANNEL}/result", PATIENCE)
    assert (result.json["status"], result.json["observed"]) == ("confirmed", wanted)
    assert demo.states()[CHANNEL]["enable"] == wanted

    alarm = await demo.seen.wait(
        lambda message: message.topic.startswith("fleet2mqtt/alarm/event/") and message.json["source"] == "push",
        PATIENCE,
    )
    await wait_until(
        lambda: alarm.json["device"] in demo.configs(), f"{alarm.json['device']} to be described", PATIENCE
    )
    assert not [message for message in demo.seen.all("fleet2mqtt/bridge/logging") if message.json["level"] == "error"]


async def test_embedded_broker_gives_a_client_only_what_it_subscribed_to(tmp_path: Path) -> None:
    async with started(tmp_path, "--broker", "embedded") as demo:
        await gives_only_what_was_subscribed_to(demo)


async def gives_only_what_was_subscribed_to(demo: Demo) -> None:
    topic = "fleet2mqtt/bridge/info"
    await demo.seen.wait(lambda message: message.topic == topic, PATIENCE)
    other = replace(demo, client=paho.Client(CallbackAPIVersion.VERSION2), seen=Recording())
    await asyncio.to_thread(listen, other, topic)
    await other.seen.wait(lambda message: message.topic == topic, PATIENCE)
    assert {message.topic for message in other.seen.messages} == {topic}
    other.client.disconnect()
    other.client.loop_stop()


async def test_demo_text_names_addresses_that_exist(demo: Demo) -> None:
    text = demo.process.output
    assert f"{demo.web}/" in text
    assert f"mosquitto_sub -p {demo.port} " in text
    assert f"host {HOST}, port {demo.port}" in text
    assert f"{CHANNEL}/set/enable" in text
    assert "<title>" in await get_text(f"{demo.web}/")
    assert (await get(f"{demo.web}/healthz"))["status"] == "ok"


async def test_demo_after_ctrl_c_leaves_nothing_behind(demo: Demo) -> None:
    await demo.seen.wait(lambda message: message.topic == "fleet2mqtt/bridge/info", PATIENCE)
    assert entries(demo.folder)
    demo.process.process.send_signal(signal.SIGINT)
    assert await demo.process.ends() == 0
    assert entries(demo.folder) == []
    assert "Traceback" not in demo.process.output


async def test_demo_with_ports_in_use_takes_others(demo: Demo, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    ports = ("--port", str(demo.port), "--web-port", demo.web.rpartition(":")[2])
    async with running("env", f"TMPDIR={second}", *BRIDGE, "demo", *ports, "--devices", "1") as other:
        line = await other.says("connected to")
        assert f"{HOST}:{demo.port}" not in line
        look = await other.says("  look ")
        assert (await get(f"{look.split()[-1]}healthz"))["status"] == "ok"
        assert look.split()[-1] != f"{demo.web}/"


@pytest.mark.parametrize(("broker", "version"), [("embedded", "3.1.1"), ("mosquitto", "5")])
async def test_demo_with_either_broker_says_what_home_assistant_needs(
    broker: str, version: str, tmp_path: Path
) -> None:
    async with started(tmp_path, "--broker", broker) as demo:
        assert f"with MQTT {version}" in await demo.process.says("connected to")
        hint = "in its form choose MQTT protocol 3.1.1" in demo.process.output
        assert hint is (version == "3.1.1")


@pytest.mark.parametrize("broker", ["embedded", "mosquitto"])
async def test_demo_on_another_address_serves_broker_and_page_there(broker: str, tmp_path: Path) -> None:
    async with started(tmp_path, "--host", "127.0.0.3", "--broker", broker, host="127.0.0.3") as demo:
        await demo.seen.wait(lambda message: message.topic == "fleet2mqtt/bridge/info", PATIENCE)
        assert (await get(f"{demo.web}/healthz"))["status"] == "ok"
        assert f"host 127.0.0.3, port {demo.port}" in demo.process.output
        assert f"mosquitto_sub -h 127.0.0.3 -p {demo.port} " in demo.process.output
        assert "anyone who reaches 127.0.0.3 can use them" in demo.process.output


async def test_demo_on_an_address_of_another_machine_is_refused() -> None:
    ended = await fleet2mqtt("demo", "--host", "192.0.2.1")
    assert ended.code == 2
    assert ended.errors == "cannot listen on 192.0.2.1: Cannot assign requested address; choose another --host\n"


async def test_demos_started_at_once_choose_different_ports(tmp_path: Path) -> None:
    ports = ("--port", str(free_port()), "--web-port", str(free_port()), "--devices", "1")
    command = ("env", f"TMPDIR={tmp_path}", *BRIDGE, "demo", *ports)
    async with running(*command) as first, running(*command) as second:
        printed = [await process.says("  look ") for process in (first, second)]
        connected = [await process.says("connected to") for process in (first, second)]
        assert len({line.split()[-1] for line in printed}) == 2
        assert len({re.findall(r"127\.0\.0\.1:\d+", line)[0] for line in connected}) == 2
        for process in (first, second):
            process.process.terminate()
            assert await process.ends() == 0
    assert entries(tmp_path) == []


async def test_demo_with_port_0_takes_any_port(tmp_path: Path) -> None:
    command = (
        "demo",
        "--port",
        "0",
        "--web-port",
        "0",
        "--devices",
        "1",
        "--language",
        "zh-Hans",
        "--log-format",
        "json",
    )
    async with running("env", f"TMPDIR={tmp_path}", *BRIDGE, *command) as process:
        line = json.loads(await process.says("connected to"))
        assert line["logger"] == "fleet2mqtt.mqtt.client"
        look = (await process.says("  网页 ")).split()[-1]
        assert (await get(f"{look}healthz"))["status"] == "ok"


def entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_large_demo_warns_of_nothing_and_has_few_devices_in_trouble(tmp_path: Path) -> None:
    async with started(tmp_path, "--devices", "60") as demo:
        await demo.all_announced()
        parents = {config["device"].get("via_device") for config in demo.configs().values()}
        backends = {f"fleet2mqtt_{name}" for name in platforms()}
        assert parents <= {None, "fleet2mqtt_bridge", *backends}  # lines, channels and compartments are left out
        counts = (await get(f"{demo.web}/api/alarms"))["counts"]["active"]
        assert 0 < sum(counts.values()) < len(demo.configs()) / 20
        assert not [m for m in demo.seen.all("fleet2mqtt/bridge/logging") if m.json["level"] in {"warning", "error"}]
        assert " WARNING " not in demo.process.output


async def test_simulated_fleets_stay_plausible_whatever_happens() -> None:
    devices, steps, most = 150, 700, 150 // 20
    ums_fleet = ums.create(devices=devices)[ums.SIMULATOR]
    cloud = thingscloud.create(devices=devices)[thingscloud.SIMULATOR]
    cabinets = omstation.create(devices=devices)[omstation.SIMULATOR]
    for _ in range(steps):
        ums_fleet.change_randomly()
        thingscloud.simulate_step(cloud)
        cabinets.happen()
    lines = [line for mac in ums_fleet.devices for line in ums_fleet.lines(mac)]
    lattices = [item for items in cabinets.lattices.values() for item in items]
    assert 0 < sum(each.connection_status == "offline" for each in ums_fleet.devices.values()) < most
    assert 0 < sum(line.con_state != "2" or line.reg_state in {"0", "2", "3"} for line in lines) < len(lines) / 20
    assert 0 < sum(not each.online for each in cloud.devices.values()) < most
    assert 0 < sum(bool(each.active_alarms) for each in cloud.devices.values()) < most
    assert 0 < sum(bool(item["isFailure"]) for item in lattices) < len(lattices) / 50
