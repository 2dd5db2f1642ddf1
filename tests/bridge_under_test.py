"""A whole bridge in this process, between a real mosquitto and the simulators of two vendors.

    async with open_site(tmp_path) as site, site.bridge() as bridge:
        site.gateways.set_base(SN, alias="east gate")
        await bridge.refresh()
        assert (await bridge.ask("devices"))["data"]["devices"]

Vendors are polled once at the start and then only by `refresh`, unless a test says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import ClientSession, web
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fleet2mqtt import app
from fleet2mqtt.config import loader
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.outbox import Outbox, open_outbox
from fleet2mqtt.redaction import Redaction
from fleet2mqtt.simulators.smart_gateway import app as smart_gateway
from fleet2mqtt.simulators.ums import app as ums
from fleet2mqtt.storage.inventory_file import INVENTORY
from tests.broker import HOST, Broker, free_port
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence
    from pathlib import Path

    from tests.cluster.under_test import ClusterUnderTest
    from tests.recording import Recording

clusters: list[ClusterUnderTest] = []
"""The cluster that bridges are run as, by the option --cluster-nodes; none without it."""
_TRANSACTIONS = itertools.count()
MAC = "000EA93D022E"
VOIP = "hq_voip_000ea93d022e"
LINE = f"{VOIP}_fxo_7"
SN = "172DE6AC9832DE"
GATEWAY = "branch_172de6ac9832de"
CHANNEL = f"{GATEWAY}_channel_0"
SECRET = "push-secret-4711"
NEVER = 3600


def node_names() -> Sequence[str]:
    """The nodes that each bridge has; none without a cluster."""
    return [name for cluster in clusters for name in cluster.names]


@dataclass(slots=True, kw_only=True)
class RunningBridge:
    """A bridge, seen from the broker: `seen` is everything that passed since before it started."""

    broker: Broker
    seen: Recording
    task: asyncio.Task[None]
    stop: asyncio.Event
    hangup: asyncio.Event = field(default_factory=asyncio.Event)
    """Event that SIGHUP sets: the configuration file is loaded again."""

    def transaction(self) -> str:
        """A transaction that no bridge before this one was given: a cluster remembers them."""
        return f"t{next(_TRANSACTIONS)}"

    async def ask(self, name: str, where: str = "bridge", /, **arguments: Any) -> dict[str, Any]:
        """A request and its response; `where` is `bridge` or `backend/<name>`."""
        transaction = arguments.setdefault("transaction", self.transaction())
        await self.broker.publish(f"fleet2mqtt/{where}/request/{name}", arguments)
        return await self.answer(f"fleet2mqtt/{where}/response/{name}", transaction)

    async def set(self, device: str, values: dict[str, Any]) -> dict[str, Any]:
        """A JSON command for one key and its result."""
        transaction = values.setdefault("transaction", self.transaction())
        await self.broker.publish(f"fleet2mqtt/device/{device}/set", values)
        return await self.result(device, transaction)

    async def set_key(self, device: str, key: str, payload: Any) -> dict[str, Any]:
        """A plain command, as Home Assistant sends it, and its result."""
        before = len(self.results(device))
        await self.broker.publish(f"fleet2mqtt/device/{device}/set/{key}", payload)
        await wait_until(lambda: len(self.results(device)) > before, f"a result for {key}", PATIENCE)
        return self.results(device)[before]

    async def result(self, device: str, transaction: str) -> dict[str, Any]:
        return await self.answer(f"fleet2mqtt/device/{device}/result", transaction)

    async def answer(self, topic: str, transaction: str) -> dict[str, Any]:
        message = await self.seen.wait(
            lambda message: message.topic == topic and message.json["transaction"] == transaction
        )
        found: dict[str, Any] = message.json
        return found

    def results(self, device: str) -> list[dict[str, Any]]:
        return [message.json for message in self.seen.all(f"fleet2mqtt/device/{device}/result")]

    async def refresh(self, **arguments: Any) -> dict[str, Any]:
        """Poll everything, or the named backends and sources, once; return the outcome of each source."""
        answer = await self.ask("refresh", **arguments)
        assert answer["status"] == "ok", answer
        found: dict[str, Any] = answer["data"]["backends"]
        return found

    async def devices(self) -> dict[str, dict[str, Any]]:
        """Return the devices that the bridge lists, by id."""
        answer = await self.ask("devices", limit=1000)
        return {device["id"]: device for device in answer["data"]["devices"]}

    async def settle(self) -> None:
        """Poll everything, announce it, and wait until that has passed."""
        await self.refresh()
        topics = [state_topic(id_) for id_ in await self.devices()]
        before = {topic: len(self.seen.all(topic)) for topic in topics}
        await self.ask("announce")
        await wait_until(
            lambda: all(len(self.seen.all(topic)) > count for topic, count in before.items()),
            lambda: f"states: {[topic for topic, count in before.items() if len(self.seen.all(topic)) <= count]}",
            PATIENCE,
        )

    def state(self, device: str) -> dict[str, Any]:
        """The device's state as shown last; empty where there is none."""
        message = self.seen.latest(state_topic(device))
        return message.json if message and message.payload else {}

    def descriptions(self) -> dict[str, dict[str, Any]]:
        """The newest discovery message of each device."""
        found = self.seen.all("homeassistant/device/+/config")
        newest = {message.topic: message.json for message in found if message.payload}
        return {topic.split("/")[2].removeprefix("fleet2mqtt_"): payload for topic, payload in newest.items()}

    def history(self, device: str, key: str) -> list[Any]:
        """The values that a key has shown, one after another, repetitions left out."""
        shown = [message.json.get(key) for message in self.seen.all(state_topic(device)) if message.payload]
        return [value for value, _ in itertools.groupby(shown)]

    async def shows(self, device: str, key: str, value: Any) -> None:
        await wait_until(
            lambda: self.state(device).get(key) == value,
            lambda: f"{device} {key} to be {value!r}: {self.state(device)}",
            PATIENCE,
        )

    def events(self) -> list[dict[str, Any]]:
        """The alarm events so far."""
        return [message.json for message in self.seen.all("fleet2mqtt/alarm/event/#")]

    async def event_count(self, count: int) -> list[dict[str, Any]]:
        await wait_until(lambda: len(self.events()) >= count, lambda: f"{count} events: {self.events()}", PATIENCE)
        return self.events()

    async def is_available(self, backend: str, word: str) -> None:
        topic = f"fleet2mqtt/backend/{backend}/availability"
        await wait_until(lambda: (m := self.seen.latest(topic)) and m.text == word, f"{backend} {word}", PATIENCE)

    def warnings(self) -> list[str]:
        return [message.json["message"] for message in self.seen.all("fleet2mqtt/bridge/logging")]

    async def crash(self) -> None:
        """Cancel the bridge, as a crash would end it."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@dataclass(slots=True, kw_only=True)
class Site:
    """Surroundings of a bridge: a broker, two vendors, and a folder that outlives it."""

    broker: Broker
    folder: Path
    ums: ums.Simulator
    gateways: smart_gateway.Simulator
    urls: dict[str, str]
    push_port: int
    web_port: int
    vendors: AsyncExitStack

    @asynccontextmanager
    async def bridge(self, **options: Any) -> AsyncIterator[RunningBridge]:
        """A running bridge; `hq_voip` and `branch` change these backends (None: not there), the rest is the file's."""
        async with run_bridge(self.broker, self.folder, self.options(options)) as bridge:
            yield bridge

    async def push(self, body: Any, kind: str = "event", secret: str = SECRET, **headers: str) -> tuple[int, Any, Any]:
        """Push as the UMS does; return status, headers and body of the response, as JSON or as text."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://{HOST}:{self.push_port}/push/hq_voip/{secret}/{kind}"
        async with ClientSession() as session, session.post(url, data=raw, headers=headers) as response:
            text = await response.text()
            return response.status, response.headers, json.loads(text) if text.startswith("{") else text

    @asynccontextmanager
    async def outbox(self) -> AsyncIterator[Outbox]:
        """The outbox of a bridge that is not running."""
        opened = [cluster.outbox(self.folder) for cluster in clusters]
        async with opened[0] if opened else open_outbox(self.folder / "data" / app.OUTBOX) as outbox:
            yield outbox

    async def inventories(self) -> list[dict[str, Any]]:
        """The inventories of a bridge that is not running: in a cluster one of each unit."""
        files = [await cluster.documents(self.folder, INVENTORY) for cluster in clusters]
        texts = files[0] if files else [await asyncio.to_thread((self.folder / "data" / INVENTORY).read_bytes)]
        return [json.loads(text) for text in texts]

    async def damage_inventories(self) -> None:
        """Cut off the second half of each inventory of a bridge that is not running."""
        assert all(await self.inventories())
        for cluster in clusters:
            await cluster.damage_documents(self.folder, INVENTORY)
        if not clusters:
            file = self.folder / "data" / INVENTORY
            await asyncio.to_thread(os.truncate, file, file.stat().st_size // 2)

    async def stop_vendors(self) -> None:
        await self.vendors.aclose()

    def options(self, changes: dict[str, Any]) -> dict[str, Any]:
        """The whole configuration with these changes."""
        push = {"secret": SECRET}
        backends: dict[str, Any] = {
            "hq_voip": {"platform": "ums", "push": push, "scan_interval": dict.fromkeys(_UMS_SOURCES, NEVER)},
            "branch": {"platform": "smart_gateway", "scan_interval": dict.fromkeys(_GATEWAY_SOURCES, NEVER)},
        }
        for name in tuple(backends):
            change = changes.pop(name, {})
            if change is None:
                del backends[name]
            else:
                backends[name] |= {"url": self.urls[name], "timeout": PATIENCE} | change
        mqtt = {"host": HOST, "port": self.broker.port, "discovery_rate": 100_000, "will_delay": 0}
        whole = {
            "mqtt": mqtt | changes.pop("mqtt", {}),
            "commands": {"confirm_timeout": 0.1},
            "alarms": {"conditions": {"*": {"enabled": False}}} | changes.pop("alarms", {}),
            "data_dir": "data",
            "push": {"host": HOST, "port": self.push_port},
            "web": {"host": HOST, "port": self.web_port},
        }
        return {**whole, **changes, "backends": backends}


@asynccontextmanager
async def run_bridge(broker: Broker, folder: Path, options: dict[str, Any]) -> AsyncIterator[RunningBridge]:
    """A bridge with this configuration, from a file in the folder."""
    file = folder / "fleet2mqtt.yaml"
    push_port = options.get("push", {}).get("port", 0)
    for cluster in clusters:
        options = await asyncio.to_thread(cluster.options, folder, options)
    file.write_text(yaml.safe_dump(options))
    loaded = loader.load(file)
    log = MqttLog(Redaction(loaded.secrets))
    logger = logging.getLogger("fleet2mqtt")
    logger.addHandler(log)
    stop, hangup, ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
    running: Coroutine[Any, Any, None] = app.run(loaded, log, stop, reload=hangup, on_started=ready.set)
    for cluster in clusters:
        running.close()
        hangup = cluster.hangup()
        running = cluster.run(loaded, log, stop, hangup, push_port, ready.set)
    async with broker.record("#") as seen:
        task = asyncio.create_task(running, name="bridge under test")
        try:
            started = asyncio.create_task(_started(seen, ready))
            await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if not task.done():
                yield RunningBridge(broker=broker, seen=seen, task=task, stop=stop, hangup=hangup)
        finally:
            stop.set()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            logger.removeHandler(log)


async def _started(seen: Recording, ready: asyncio.Event) -> None:
    topic = "fleet2mqtt/bridge/state"
    await ready.wait()
    await seen.wait(lambda each: each.topic == topic and each.payload == b"online" and not each.retain, PATIENCE)


_UMS_SOURCES = ("devices", "alarms", "lines", "status", "statistics", "events")
_GATEWAY_SOURCES = ("devices", "details", "mappings")


@asynccontextmanager
async def open_site(folder: Path, **broker_options: Any) -> AsyncIterator[Site]:
    """A broker and two vendors with two devices each."""
    hq, branch = ums.create(devices=2), smart_gateway.create(devices=2)
    hq[ums.SIMULATOR].test_seconds = 0
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(directory=folder / "broker", **broker_options))
        vendors = await stack.enter_async_context(AsyncExitStack())
        urls = {name: await serve(vendors, application) for name, application in (("hq_voip", hq), ("branch", branch))}
        yield Site(
            broker=broker,
            folder=folder,
            ums=hq[ums.SIMULATOR],
            gateways=branch[smart_gateway.SIMULATOR],
            urls=urls,
            push_port=free_port(),
            web_port=free_port(),
            vendors=vendors,
        )


async def serve(stack: AsyncExitStack, application: web.Application) -> str:
    """Serve a simulator until the stack ends; return its URL."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, HOST, 0).start()
    return f"http://{HOST}:{runner.addresses[0][1]}"


async def retained(broker: Broker, topic_filter: str = "#") -> dict[str, bytes]:
    """Return the retained messages at the broker, by topic."""
    return {topic: message.payload for topic, message in (await broker.retained(topic_filter)).items()}


async def wait_retained(broker: Broker, wanted: dict[str, bytes], patience: float = PATIENCE) -> None:
    """Wait until these topics have these payloads; an empty one means nothing is there."""
    missing: dict[str, bytes] = {}

    async def there() -> bool:
        found = await retained(broker)
        missing.clear()
        missing.update({topic: payload for topic, payload in wanted.items() if found.get(topic, b"") != payload})
        return not missing

    await wait_for_answer(there, lambda: f"retained {missing}", patience)


def reply_to(topic: str, correlation: bytes) -> Properties:
    """MQTT 5's way to say where an answer shall go."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ResponseTopic, properties.CorrelationData = topic, correlation
    return properties


def state_topic(device: str) -> str:
    return f"fleet2mqtt/device/{device}/state"


def config_topic(device: str) -> str:
    return f"homeassistant/device/fleet2mqtt_{device}/config"
