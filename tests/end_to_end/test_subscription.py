"""ThingsCloud's application-side MQTT through a whole bridge; the vendor's broker is a mosquitto with websockets."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from aiohttp import ClientSession

from fleet2mqtt.cli.check import check
from fleet2mqtt.config import loader
from fleet2mqtt.simulators.thingscloud import SIMULATOR, AppBroker, Simulator, create
from tests.bridge_under_test import NEVER, RunningBridge, run_bridge, serve
from tests.broker import HOST, Broker, free_port
from tests.contract_documents import validate_message
from tests.mqtt.proxy import Proxy
from tests.waiting import PATIENCE, wait_until
from tests.websocket_broker import websocket_broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FIRST, SECOND = "k3v8q2mzpw", "t7c1n5xrdb"
DEVICE, OTHER = f"things_{FIRST}", f"things_{SECOND}"
KEY, SECRET, PUSH = "projectviewkey4711", "projectviewsecret4711", "push-secret-4711"
TOPICS = {"online": "+/online", "alarm": "+/alarm", "event": "+/event_report", "reply": "+/command_reply"}


@dataclass(slots=True, kw_only=True)
class Vendor:
    """The simulator, its broker for applications, a proxy before the broker's websocket, and the bridge's options."""

    simulator: Simulator
    app_broker: AppBroker
    proxy: Proxy
    broker: Broker
    folder: Path
    options: dict[str, Any]
    web_port: int

    @asynccontextmanager
    async def bridge(self, *, connected: bool = True) -> AsyncIterator[RunningBridge]:
        async with run_bridge(self.broker, self.folder, self.options) as bridge:
            await bridge.refresh()
            if connected:
                await self.is_connected(bridge, connected=True)
            yield bridge

    def health(self, bridge: RunningBridge) -> dict[str, Any]:
        """The subscription in the newest health message."""
        message = bridge.seen.latest("fleet2mqtt/backend/things/health")
        found: dict[str, Any] = (message.json if message else {}).get("subscription", {"connected": False})
        return found

    async def is_connected(self, bridge: RunningBridge, *, connected: bool) -> None:
        await wait_until(lambda: self.health(bridge)["connected"] is connected, f"connected: {connected}", PATIENCE)

    def reads(self) -> int:
        """Count the reads of devices' values."""
        calls = self.simulator.fault_injector.calls
        return sum(call.path.endswith(("/attributes", "/attributes_raw")) for call in calls)

    async def page(self, path: str) -> str:
        async with ClientSession() as session, session.get(f"http://{HOST}:{self.web_port}{path}") as response:
            return await response.text()


@asynccontextmanager
async def vendor_of(folder: Path, *, key: str = KEY, **app_broker: Any) -> AsyncIterator[Vendor]:
    async with AsyncExitStack() as stack:
        vendor_broker, url = await stack.enter_async_context(websocket_broker(folder, users={KEY: SECRET}))
        proxy = await stack.enter_async_context(Proxy(int(url.rsplit(":", 1)[1])))
        published = AppBroker(host=HOST, port=vendor_broker.port, key=KEY, secret=SECRET, **app_broker)
        push_port, web_port = free_port(), free_port()
        push_url = f"http://{HOST}:{push_port}/push/things/{PUSH}"
        application = create(devices=2, app_broker=published, push_url=push_url)
        broker = await stack.enter_async_context(Broker(directory=folder / "broker"))
        backend = {
            "platform": "thingscloud",
            "url": await serve(stack, application),
            "app_id": "app-demo",
            "access_key": "demo-access-key",
            "secret_key": "demo-secret-key",
            "rate": 1000,
            "push": {"secret": PUSH},
            "timeout": PATIENCE,
            "scan_interval": dict.fromkeys(("devices", "attributes", "schema", "alarms", "stat", "meta"), NEVER),
            "subscribe": {"url": f"ws://{HOST}:{proxy.port}", "key": key, "secret": SECRET, "topics": TOPICS},
        }
        options = {
            "mqtt": {"host": HOST, "port": broker.port, "discovery_rate": 100_000, "will_delay": 0},
            "data_dir": "data",
            "push": {"host": HOST, "port": push_port},
            "web": {"host": HOST, "port": web_port},
            "backends": {"things": backend},
        }
        yield Vendor(
            simulator=application[SIMULATOR],
            app_broker=published,
            proxy=proxy,
            broker=broker,
            folder=folder,
            options=options,
            web_port=web_port,
        )


async def test_values_coming_and_going_events_and_replies_arrive_without_a_poll(tmp_path: Path) -> None:
    async with vendor_of(tmp_path) as vendor, vendor.bridge() as bridge:
        vendor.simulator.pusher.url = None
        reads = vendor.reads()
        vendor.simulator.report(FIRST, {"temperature": 31.25})
        await bridge.shows(DEVICE, "temperature", 31.25)
        vendor.simulator.set_online(SECOND, online=False)
        await bridge.shows(OTHER, "online", "OFF")
        vendor.simulator.event(FIRST, "button", {"count": 3})
        answer = await bridge.ask("device_command", "backend/things", device_id=FIRST, method="restart", id=7)
        assert answer["status"] == "ok", answer
        topic = f"fleet2mqtt/device/{DEVICE}/event/last_event"
        await wait_until(lambda: len(bridge.seen.all(topic)) == 2, "both events", PATIENCE)
        shown = [(each.json["event_type"], each.json["method"], each.json["id"]) for each in bridge.seen.all(topic)]
        assert all(validate_message(each) == "deviceEvent" for each in bridge.seen.all(topic))
        assert shown[0][:2] == ("event", "button")
        assert shown[1] == ("reply", "restart", "7")
        assert vendor.reads() == reads
        metrics = await vendor.page("/metrics")
        assert 'fleet2mqtt_subscription_connected{backend="things"} 1.0' in metrics
        assert 'fleet2mqtt_subscription_messages_total{backend="things"} 4.0' in metrics


async def test_alarm_by_mqtt_webhook_and_log_is_one_event(tmp_path: Path) -> None:
    async with vendor_of(tmp_path, copies=2) as vendor, vendor.bridge() as bridge:
        before = len(bridge.events())
        vendor.simulator.raise_alarm(FIRST, 3)
        await vendor.simulator.settle()
        await bridge.event_count(before + 1)
        await bridge.refresh()
        vendor.simulator.recover(FIRST)
        await vendor.simulator.settle()
        await bridge.event_count(before + 2)
        await bridge.refresh()
        await bridge.ask("announce")
        new = bridge.events()[before:]
        assert [(event["device"], event["type"]) for event in new] == [(DEVICE, "raised"), (DEVICE, "cleared")]
        assert vendor.simulator.pushes[-1].status == 200


async def test_message_that_cannot_be_read_is_a_dead_letter_and_the_next_one_counts(tmp_path: Path) -> None:
    async with vendor_of(tmp_path, garbage=1) as vendor, vendor.bridge() as bridge:
        vendor.simulator.pusher.url = None
        vendor.simulator.report(FIRST, {"temperature": 1.5})
        vendor.simulator.report(FIRST, {"temperature": 2.5})
        await bridge.shows(DEVICE, "temperature", 2.5)
        letters = (await bridge.ask("dead_letters"))["data"]
        assert letters["total"] == 1, letters
        assert letters["dead_letters"][0]["kind"] == "attributes"
        assert 1.5 not in bridge.history(DEVICE, "temperature")


async def test_lost_connection_resumes_polling_until_it_is_back(tmp_path: Path) -> None:
    async with vendor_of(tmp_path) as vendor, vendor.bridge() as bridge:
        vendor.simulator.pusher.url = None
        reads = vendor.reads()
        await bridge.refresh()
        assert vendor.reads() == reads  # while connected, what was read is not read again
        vendor.app_broker.muted = True
        vendor.simulator.report(FIRST, {"temperature": 32.5})
        vendor.proxy.closed = True
        vendor.proxy.drop()
        await bridge.shows(DEVICE, "temperature", 32.5)  # every interval is an hour: the loss alone polls
        await vendor.is_connected(bridge, connected=False)
        error = vendor.health(bridge)["error"]
        assert (error["class"], error["endpoint"]) == ("unreachable", "subscribe")
        vendor.proxy.closed = vendor.app_broker.muted = False
        await vendor.is_connected(bridge, connected=True)
        vendor.simulator.report(FIRST, {"temperature": 33.5})
        await bridge.shows(DEVICE, "temperature", 33.5)


async def test_wrong_key_is_named_and_no_secret_comes_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrong = "wrongviewkey0815"
    caplog.set_level("DEBUG")
    async with vendor_of(tmp_path, key=wrong) as vendor, vendor.bridge(connected=False) as bridge:
        topic = "fleet2mqtt/backend/things/health"
        await bridge.seen.wait(lambda each: each.topic == topic and each.json["subscription"]["error"] is not None)
        error = vendor.health(bridge)["error"]
        assert error["class"] == "denied"
        assert "check subscribe.key and subscribe.secret" in error["text"]
        assert bridge.state(DEVICE)["temperature"] is not None  # polls go on
        pages = "".join([await vendor.page(path) for path in ("/", "/metrics", "/readyz", "/healthz")])
        report = await check(loader.load(tmp_path / "fleet2mqtt.yaml"))
        assert dict(report)["things (thingscloud, devices)"] is None
        assert "check subscribe.key" in str(dict(report)["things (thingscloud, subscribe)"])
    told = "".join(message.topic + message.payload.decode("utf-8", "replace") for message in bridge.seen.messages)
    disk = text_of_files(tmp_path)
    assert "no connection to the vendor's MQTT broker" in caplog.text
    for secret in (wrong, SECRET):
        for output in (told, disk, pages, caplog.text, str(report)):
            assert secret not in output


def text_of_files(folder: Path) -> str:
    """Return the content of all files in data directories: those of a cluster have some for each unit."""
    files = [file for data in folder.glob("data*") for file in data.rglob("*") if file.is_file()]
    assert files
    return "".join(file.read_bytes().decode("utf-8", "replace") for file in files)


async def test_check_connects_and_changes_nothing(tmp_path: Path) -> None:
    async with vendor_of(tmp_path) as vendor:
        async with vendor.bridge():
            pass
        report = dict(await check(loader.load(tmp_path / "fleet2mqtt.yaml")))
        assert report["things (thingscloud, subscribe)"] is None


async def test_reload_without_the_option_ends_the_connection_and_with_it_connects_again(tmp_path: Path) -> None:
    async with vendor_of(tmp_path) as vendor, vendor.bridge() as bridge:
        backend = vendor.options["backends"]["things"]
        subscribe = backend.pop("subscribe")
        await reload(vendor, bridge)
        topic = "fleet2mqtt/backend/things/health"
        await bridge.seen.wait(lambda message: message.topic == topic and "subscription" not in message.json)
        backend["subscribe"] = subscribe
        await reload(vendor, bridge)
        await vendor.is_connected(bridge, connected=True)
        vendor.simulator.pusher.url = None
        await bridge.shows(DEVICE, "online", "ON")
        vendor.simulator.set_online(FIRST, online=False)
        await bridge.shows(DEVICE, "online", "OFF")


async def reload(vendor: Vendor, bridge: RunningBridge) -> None:
    (vendor.folder / "fleet2mqtt.yaml").write_text(yaml.safe_dump(vendor.options))
    answer = await bridge.ask("reload")
    assert answer["status"] == "ok", answer
