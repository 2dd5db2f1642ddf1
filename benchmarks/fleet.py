"""Large fleets in scaled vendor time: a backend and its simulator in this process, the core's publishing left out.

Each minute of a vendor lasts a minute divided by `factor`: rates are multiplied by it, intervals and the duration of a
call divided. All figures are given in the vendor's time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks import bridges, cold, ground
from benchmarks.ground import HOST, BenchError
from benchmarks.mqtt import Messages, subscribed
from fleet2mqtt.config import loader
from fleet2mqtt.config.models import BackendConfig
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device, Update
from fleet2mqtt.sdk import api
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.unit import unpolled_sources

LINES = 8
CHANGING = 10
"""One device in so many changes in the time that is watched."""
SAMPLES = 20
"""Readings of the ages in the time that is watched."""
LONGEST = 6 * 3600.0
"""Seconds of the vendor's time after which a first sweep is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A fleet to be measured: `factor` vendor seconds pass in a second, a call lasts `latency` vendor seconds.

    `with_lines` is the share of UMS gateways with lines; where it is not all, each gateway is online and has an alarm
    of the last 48 hours, which costs the most calls. `minutes` are watched `settle` minutes after the
    first sweep, and as many again while devices change.
    """

    platform: str
    devices: int
    factor: float
    latency: float = 0.1
    with_lines: float = 1.0
    minutes: float = 10.0
    settle: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Figures:
    """Durations in seconds of the vendor's time, and calls by endpoint in the time watched."""

    fleet: Fleet
    first: float = 0.0
    ages: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)
    online: list[float] = field(default_factory=list)
    missed: int = 0
    """Changes that did not show before the end."""
    calls: dict[str, int] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    """The longest complete poll of each source."""
    first_calls: dict[str, int] = field(default_factory=dict)
    """Calls by endpoint until the first value of the last device."""
    disabled_share: float = 0.0
    """Share of the calls, the first sweep's included, that only feed entities which are disabled."""

    @property
    def per_minute(self) -> float:
        """Calls a minute in the time watched."""
        return sum(self.calls.values()) / self.fleet.minutes


@dataclass(frozen=True, slots=True)
class _Platform:
    """Parts of a platform that a measurement needs.

    `detail` is the source that reads one device after another, `key` returns the device that a device's values belong
    to, None for one without values of that source. `confirmed` returns what proves in a list that the values did not
    change since they were read, None where the list proves nothing. `change` changes a value of a device of the
    simulator and returns the judge of a device that shows it; `connect` does so with its connection.
    """

    detail: str
    key: Callable[[Device], str | None]
    expected: Callable[[Any, Ids], set[str]]
    change: Callable[[Any, str, int], Callable[[Device], bool]]
    connect: Callable[[Any, str], Callable[[Device], bool]]
    confirmed: Callable[[Device], Any] = lambda _: None
    disabled: frozenset[str] = frozenset()


def _ums_key(device: Device) -> str | None:
    if device.kind == "line":
        return device.via
    return device.id if device.scope == "devices" and "lines" in (device.answered or ()) else None


def _ums_change(simulator: Any, id_: str, number: int) -> Callable[[Device], bool]:
    mac = id_.removeprefix("hq_").upper()
    lines = simulator.lines(mac)
    if not lines:
        address = f"10.9.{number // 250}.{number % 250}"
        simulator.change(mac, connection_ip=address)
        return lambda device: device.id == id_ and device.state.get("connection_ip") == address
    line, volts = lines[0].line, 10 + number % 80
    simulator.set_line(mac, line, voltage=f"{volts}/30")
    return lambda device: device.via == id_ and device.name.endswith(line) and device.state.get("voltage") == volts


def _ums_connect(simulator: Any, id_: str) -> Callable[[Device], bool]:
    mac = id_.removeprefix("hq_").upper()
    online = simulator.devices[mac].connection_status != "online"
    simulator.set_online(mac, online, push=False)
    wanted = "ON" if online else "OFF"
    return lambda device: device.id == id_ and device.state.get("connection_status") == wanted


def _cloud_change(simulator: Any, id_: str, number: int) -> Callable[[Device], bool]:
    vendor_id = id_.removeprefix("hq_")
    attributes = simulator.attributes(vendor_id).items()
    name = next(name for name, each in attributes if each.definition.data_type == "number")
    value = 1000 + number
    simulator.report(vendor_id, {name: value}, push=False)
    return lambda device: device.id == id_ and device.record.values.get(name) == value


def _cloud_connect(simulator: Any, id_: str) -> Callable[[Device], bool]:
    vendor_id = id_.removeprefix("hq_")
    online = not simulator.devices[vendor_id].online
    simulator.set_online(vendor_id, online)
    return lambda device: device.id == id_ and device.record.info.online is online


def _gateway_change(simulator: Any, id_: str, number: int) -> Callable[[Device], bool]:
    sn, remark = id_.removeprefix("hq_").upper(), f"remark {number}"
    simulator.set_base(sn, remark=remark)
    return lambda device: device.id == id_ and device.record.base.remark == remark


def _gateway_connect(simulator: Any, id_: str) -> Callable[[Device], bool]:
    sn = id_.removeprefix("hq_").upper()
    state = "offline" if simulator.is_running(sn) else "running"
    simulator.set_base(sn, state=state)
    return lambda device: device.id == id_ and device.record.running is (state == "running")


PLATFORMS = {
    "ums": _Platform(
        detail="lines",
        key=_ums_key,
        expected=lambda simulator, ids: {ids("hq", mac) for mac in simulator.devices},
        change=_ums_change,
        connect=_ums_connect,
        confirmed=lambda device: getattr(device.record, "has_lines", None) is False or None,
        disabled=frozenset(("event_statistics",)),
    ),
    "thingscloud": _Platform(
        detail="attributes",
        key=lambda device: device.id if "attributes" in (device.answered or ()) else None,
        expected=lambda simulator, ids: {ids("hq", device) for device in simulator.devices},
        change=_cloud_change,
        connect=_cloud_connect,
        confirmed=lambda device: device.record.info.active,
        disabled=frozenset(("extend_infos",)),
    ),
    "smart_gateway": _Platform(
        detail="details",
        key=lambda device: device.id if device.kind is None and "details" in (device.answered or ()) else None,
        expected=lambda simulator, ids: {ids("hq", gateway["base"]["sn"]) for gateway in simulator.gateways.values()},
        change=_gateway_change,
        connect=_gateway_connect,
    ),
}


@dataclass(slots=True)
class _Watch:
    """Reports of a backend with their times, in seconds of the event loop."""

    platform: _Platform
    backend: Backend
    read_at: dict[str, float] = field(default_factory=dict)
    confirmed: dict[str, Any] = field(default_factory=dict)
    waiting: dict[str, list[tuple[float, Callable[[Device], bool], list[float]]]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)

    async def poll(self, source: Source, primary: asyncio.Event) -> None:
        """Poll a source again and again, as the poller does."""
        loop = asyncio.get_running_loop()
        if not source.primary:
            await primary.wait()
        while True:
            started = loop.time()
            async for update in source.poll():
                self._note(source, update, loop.time())
            if source.primary:
                primary.set()
            self.durations[source.name] = max(self.durations.get(source.name, 0), loop.time() - started)
            await asyncio.sleep(source.interval)

    def _note(self, source: Source, update: Update, now: float) -> None:
        for device in update.devices:
            key = self.platform.key(device)
            # A first value may come by another source: ThingsCloud's definitions are read with the values of a device.
            if key is not None and (source.name == self.platform.detail or key not in self.read_at):
                self.read_at[key] = now
                self.confirmed[key] = self.platform.confirmed(device)
            elif key in self.read_at and source.primary:
                proof = self.platform.confirmed(device)
                if proof is not None and proof == self.confirmed.get(key):
                    self.read_at[key] = now
            for place in (device.id, device.via or ""):
                if place in self.waiting:
                    self._judge(place, device, now)

    def _judge(self, place: str, device: Device, now: float) -> None:
        rest = []
        for since, shows, found in self.waiting.pop(place):
            if shows(device):
                found.append(now - since)
            else:
                rest.append((since, shows, found))
        if rest:
            self.waiting[place] = rest

    def expect(self, id_: str, shows: Callable[[Device], bool], found: list[float]) -> None:
        """Measure how long it takes until a device shows something that was just changed."""
        self.waiting.setdefault(id_, []).append((asyncio.get_running_loop().time(), shows, found))


async def measure(folder: Path, fleet: Fleet) -> Figures:
    """Run the first sweep, then watch ages, changes and calls for a while."""
    _make(folder)
    figures = Figures(fleet=fleet)
    platform, factor = PLATFORMS[fleet.platform], fleet.factor
    async with _simulated(fleet) as (simulator, url), _connected(folder, fleet, url) as (backend, ids):
        watch = _Watch(platform, backend)
        expected = platform.expected(simulator, ids)
        primary, loop = asyncio.Event(), asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            started = loop.time()
            polls = [group.create_task(watch.poll(source, primary)) for source in backend.sources]
            while missing := expected - watch.read_at.keys():
                if (loop.time() - started) * factor > LONGEST:
                    raise BenchError(f"{len(missing)} of {len(expected)} devices were never read")
                await asyncio.sleep(1 / factor)
            figures.first = (max(watch.read_at.values()) - started) * factor
            figures.first_calls = {name: each.calls for name, each in backend.calls.items()}
            await _watch(figures, watch, simulator, sorted(expected))
            for poll in polls:
                poll.cancel()
        total = sum(each.calls for each in backend.calls.values())
        left_out = sum(each.calls for name, each in backend.calls.items() if name in platform.disabled)
        figures.disabled_share = left_out / total
        figures.durations = {name: seconds * factor for name, seconds in watch.durations.items()}
        figures.missed = sum(map(len, watch.waiting.values()))
    for name in ("changed", "online"):
        setattr(figures, name, [seconds * factor for seconds in getattr(figures, name)])
    return figures


async def _watch(figures: Figures, watch: _Watch, simulator: Any, devices: list[str]) -> None:
    """Take down ages and calls while nothing changes, then change some devices in the first half of as long a time."""
    fleet, loop = figures.fleet, asyncio.get_running_loop()
    await asyncio.sleep(fleet.settle * 60 / fleet.factor)
    step = fleet.minutes * 60 / fleet.factor / SAMPLES
    before = {name: each.calls for name, each in watch.backend.calls.items()}
    for _ in range(SAMPLES):
        await asyncio.sleep(step)
        figures.ages += [(loop.time() - at) * fleet.factor for at in watch.read_at.values()]
    figures.calls = {name: each.calls - before.get(name, 0) for name, each in watch.backend.calls.items()}
    changing = devices[:: CHANGING // 2]  # half of them change a value, the others their connection
    share = -(-len(changing) // (SAMPLES // 2))
    for sample in range(SAMPLES):
        for number in range(sample * share, min((sample + 1) * share, len(changing))):
            id_ = changing[number]
            if number % 2:
                watch.expect(id_, watch.platform.change(simulator, id_, number), figures.changed)
            else:
                watch.expect(id_, watch.platform.connect(simulator, id_), figures.online)
        await asyncio.sleep(step)


@asynccontextmanager
async def _simulated(fleet: Fleet) -> AsyncIterator[tuple[Any, str]]:
    module = import_module(f"fleet2mqtt.simulators.{fleet.platform}.app")
    app: web.Application = module.create(devices=fleet.devices)
    simulator = app[module.SIMULATOR]
    if fleet.platform == "ums":
        _draw_lines(simulator, fleet.with_lines)
        if fleet.with_lines < 1:
            _raise_alarms(simulator)

    @web.middleware
    async def delayed(request: web.Request, handler: Any) -> web.StreamResponse:
        await asyncio.sleep(fleet.latency / fleet.factor)
        response: web.StreamResponse = await handler(request)
        return response

    app.middlewares.insert(0, delayed)
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, HOST, 0).start()
        yield simulator, f"http://{HOST}:{runner.addresses[0][1]}"


def _draw_lines(simulator: Any, share: float) -> None:
    """Give this share of the gateways eight lines each, the others none."""
    sample = simulator.lines(next(iter(simulator.devices)))[0]
    copy = type(sample)
    names = sample.__dataclass_fields__
    values = {name: getattr(sample, name) for name in names}
    for number, mac in enumerate(simulator.devices):
        has = int(number * share) != int((number + 1) * share)
        lines = [copy(**values | {"line": f"FXO-{port}"}) for port in range(1, LINES + 1)] if has else []
        simulator.drawn_lines[mac] = lines


def _raise_alarms(simulator: Any) -> None:
    """Let each gateway be online and have an alarm that the list of newest alarms shows."""
    for mac in simulator.devices:
        simulator.set_online(mac, online=True, push=False)
        simulator.raise_alarm(mac, push=False)


@asynccontextmanager
async def _connected(folder: Path, fleet: Fleet, url: str) -> AsyncIterator[tuple[Backend, Ids]]:
    config = _configuration(folder, fleet, url)
    ids, checkpoints = Ids(), dict[str, str]()

    async def save(device: str, text: str) -> None:
        checkpoints[device] = text

    context = Context(
        name=config.name,
        options=_scaled(config.options, fleet.factor),
        ids=ids,
        data_dir=folder,
        checkpoint=checkpoints.get,
        save_checkpoint=save,
        excludes_kind=config.selection.excludes_kind,
        is_enabled=config.selection.is_enabled,
    )
    async with api.platforms()[config.platform]().connect(context) as backend:
        left_out = unpolled_sources(backend.sources, config.selection)
        polled = tuple(source for source in backend.sources if source.name not in left_out)
        yield replace(backend, sources=polled), ids


def _configuration(folder: Path, fleet: Fleet, url: str) -> BackendConfig:
    module = import_module(f"fleet2mqtt.simulators.{fleet.platform}.app")
    own = {name: value for name, value in getattr(module, "DEMO", {}).items() if name != "rate"}
    backend = {"platform": fleet.platform, "url": url, **own, **fleet.options}
    text = json.dumps({"backends": {"hq": backend}})
    return loader.parse(text, folder / "fleet.yaml").backends["hq"]


def _scaled(options: Any, factor: float) -> dict[str, Any]:
    """Return the options in scaled time: intervals shorter, rates higher."""
    intervals = options["scan_interval"].items()
    scaled = {name: None if seconds is None else seconds / factor for name, seconds in intervals}
    found = {**options, "scan_interval": scaled}
    if "rate" in found:
        found["rate"] *= factor
    if "full_sweep_interval" in found:
        found["full_sweep_interval"] /= factor
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of a whole bridge with a fleet, beyond that of one with a single device."""

    platform: str
    devices: int
    entities: int
    size: int

    @property
    def per_entity(self) -> float:
        """Bytes an entity."""
        return self.size / max(self.entities, 1)


async def memory(folder: Path, platform: str, devices: int) -> Memory:
    """Start bridges with one device and with so many, and compare what they hold."""
    module = import_module(f"fleet2mqtt.simulators.{platform}.app")
    options = dict(getattr(module, "DEMO", {}))
    if "rate" in options:
        options["rate"] = 1000
    sizes, entities = [], 0
    for number in (1, devices):
        place = folder / f"{number}"
        heard = cold._Heard()  # noqa: SLF001
        async with (
            bridges.simulator(place, platform, number) as url,
            ground.mosquitto(place / "broker") as broker,
            subscribed(broker, "#", Messages(heard.got)),
        ):
            setup = bridges.Setup(
                folder=place / "bridge",
                broker=broker,
                platform=platform,
                url=url,
                sources=_sources(platform),
                options=options,
            )
            async with bridges.running(setup) as program:
                await heard.quiet()
                sizes.append(program.rss())
        configs = dict(message for message in heard.messages if message[0].endswith("/config"))
        entities = sum(len(json.loads(payload)["components"]) for payload in configs.values())
    return Memory(platform=platform, devices=devices, entities=entities, size=sizes[1] - sizes[0])


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _sources(platform: str) -> Sequence[str]:
    return {
        "ums": bridges.UMS_SOURCES,
        "thingscloud": ("devices", "attributes", "schema", "alarms", "stat", "meta"),
        "smart_gateway": cold.SOURCES,
    }[platform]


def quantile(values: list[float], share: float) -> float:
    """Return the value below which this share of the values lies; nan for none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * len(ordered)))]


FULL = (
    Fleet(platform="thingscloud", devices=1000, factor=10),
    Fleet(platform="thingscloud", devices=5000, factor=30),
    Fleet(platform="ums", devices=1000, factor=10),
    Fleet(platform="ums", devices=1000, factor=10, with_lines=1 / 3, settle=8),
    Fleet(platform="smart_gateway", devices=1000, factor=5),
    # What the simulator itself needs for so many counts in full, so that a longer call says more than a faster clock.
    Fleet(platform="smart_gateway", devices=10_000, factor=1, minutes=2),
)
QUICK = (FULL[0], FULL[3], FULL[4])
MEMORY = (("thingscloud", 1000), ("ums", 1000), ("smart_gateway", 1000))
TINY = (
    Fleet(platform="thingscloud", devices=10, factor=60, minutes=2),
    Fleet(platform="ums", devices=6, factor=60, minutes=2, with_lines=1 / 3),
    Fleet(platform="smart_gateway", devices=6, factor=60, minutes=2),
)


async def run(
    folder: Path, fleets: Iterable[Fleet], held: Iterable[tuple[str, int]]
) -> tuple[list[Figures], list[Memory]]:
    """Measure fleets one after another, and the memory of bridges."""
    figures = [await measure(folder / f"{number}", fleet) for number, fleet in enumerate(fleets)]
    memories = [await memory(folder / f"memory_{name}", name, devices) for name, devices in held]
    return figures, memories
