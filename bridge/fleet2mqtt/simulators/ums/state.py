"""State of a simulated UMS, the operations that change it, and its pushes. The HTTP side is `handlers`."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Unpack

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from fleet2mqtt.simulators.fault_injection import FaultInjector
from fleet2mqtt.simulators.ums.data import (
    EVENTS,
    OM50,
    OUI,
    SAMPLE_ALARM_ID,
    TYPICAL_VOLTAGE,
    WIRE_NAMES,
    Device,
    Event,
    Line,
    generated_devices,
    make_device,
    make_lines,
    naive,
    now,
    object_id,
    rfc3339,
    sample_devices,
    sample_statistics,
    wiring,
)
from fleet2mqtt.simulators.ums.quirks import Push, Quirks

ALARMS_KEPT = 10_000
PUSH_TIMEOUT = ClientTimeout(total=10)
HEALTHY_SHARE = 30
"""Of every so many devices, or lines, all but one are sound while changes are made at random."""


@dataclass(slots=True, kw_only=True)
class Simulator:
    """The vendor's state as plain data, and the methods that change it."""

    fault_injector: FaultInjector = field(default_factory=FaultInjector)
    quirks: Quirks = field(default_factory=Quirks)
    rng: random.Random
    seed: int
    push_url: str | None = None
    devices: dict[str, Device] = field(default_factory=dict)
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    statistics: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=2000))
    accounts: dict[str, str] = field(default_factory=lambda: {"sysadmin": "admin@123"})
    sessions: set[str] = field(default_factory=set)
    window_hours: float = 48
    interval: str | None = None
    test_seconds: float = 0.2
    live_seconds: float = 3
    pushes: deque[Push] = field(default_factory=lambda: deque(maxlen=20_000))
    last_history_id: int = 174
    drawn_lines: dict[str, list[Line]] = field(default_factory=dict)
    _outbox: asyncio.Queue[tuple[str, dict[str, Any]]] = field(default_factory=asyncio.Queue)
    _session: ClientSession | None = None

    def add_device(self, mac: str | None = None, **values: Any) -> Device:
        """Add a device that is online; `values` are fields of `Device`. Raises `TypeError` for others."""
        mac = mac or f"{OUI}{self.rng.getrandbits(24):06X}"
        device = make_device(mac, values.pop("product_type", "OM50"), self.rng, **values)
        self.devices[mac] = device
        self.drawn_lines.pop(mac, None)
        return device

    def remove_device(self, mac: str) -> None:
        """Remove a device; its alarms stay in the history. Raises `KeyError`."""
        del self.devices[mac]
        self.drawn_lines.pop(mac, None)

    def change(self, mac: str, **values: Any) -> Device:
        """Set fields of a device, without a push. Raises `KeyError` or `AttributeError`."""
        device = self.devices[mac]
        unknown = values.keys() - WIRE_NAMES.keys()
        if unknown:
            raise AttributeError(", ".join(sorted(unknown)))
        for name, value in values.items():
            setattr(device, name, value)
        return device

    def rename(self, mac: str, name: str) -> Device:
        """Rename a device."""
        return self.change(mac, device_name=name)

    def set_online(self, mac: str, online: bool, push: bool = True) -> Device:  # noqa: FBT001, FBT002
        """Set the connection status of a device; a change is pushed (2.2)."""
        device = self.devices[mac]
        status = "online" if online else "offline"
        if device.connection_status == status:
            return device
        stamp = rfc3339(now())
        times = {"last_online": stamp, "connection_time": stamp} if online else {"last_offline": stamp}
        self.change(mac, connection_status=status, **times)
        if push:
            self._enqueue_push("device", self.quirks.device_push(device))
        return device

    def lines(self, mac: str) -> list[Line]:
        """Return the FXO lines of a device, to read and to change; made at the first call. Raises `KeyError`."""
        if mac not in self.drawn_lines:
            self.drawn_lines[mac] = make_lines(self.devices[mac], random.Random(f"{self.seed}/{mac}"))  # noqa: S311
        return self.drawn_lines[mac]

    def set_line(
        self,
        mac: str,
        line: str,
        reg_state: str | None = None,
        con_state: str | None = None,
        voltage: str | None = None,
    ) -> Line:
        """Change one line; wiring and voltage follow each other where only one is given. Raises `KeyError`."""
        match = next((one for one in self.lines(mac) if one.line == line), None)
        if match is None:
            raise KeyError(line)
        if voltage is not None:
            volts, threshold = voltage.split("/")
            con_state = con_state or wiring(int(volts), int(threshold))
        elif con_state is not None:
            voltage = TYPICAL_VOLTAGE[con_state]
        match.reg_state = reg_state or match.reg_state
        match.con_state = con_state or match.con_state
        match.voltage = voltage or match.voltage
        return match

    def measure(self, mac: str) -> None:
        """Measure as a line test (`type=fxo`) does: voltages that differ a little from the former ones."""
        for line in self.lines(mac):
            volts, threshold = (int(part) for part in line.voltage.split("/"))
            volts += self.rng.choice((-1, 1)) if volts else 0
            self.set_line(mac, line.line, voltage=f"{volts}/{threshold}")

    def raise_alarm(
        self,
        mac: str,
        *,
        at: datetime | None = None,
        push: bool = True,
        **event: Unpack[Event],
    ) -> dict[str, Any]:
        """Add an alarm to the history and, with a push URL, push it (2.1); a naive `at` is time in Shanghai."""
        at = at or now()
        self.last_history_id += 1
        name = event.get("name", "eEMS_NOTIFY_IPEXT_OFFLINE")
        alarm = {
            "confirmed_user_id": "",
            "event_id": event.get("event_id", 33),
            "event_type": event.get("event_type", "ip extension"),
            "id": object_id(at, self.rng),
            "metric_history_desc": event.get("desc", "IP 分机离线"),
            "metric_history_desc_en": event.get("desc_en", name),
            "metric_history_id": self.last_history_id,
            "metric_history_level": event.get("level", "serious"),
            "metric_history_name": name,
            "metric_history_producer": mac,
            "metric_history_time": naive(at),
            "status": "",
            "line_id": event.get("line_id", "4"),
            "tag1": "",
            "tag2": "",
            "tag3": "",
        }
        alarms = self.history.setdefault(mac, [])
        alarms.append(alarm)
        del alarms[:-ALARMS_KEPT]
        if push:
            self._enqueue_push("event", self.quirks.alarm_push(alarm))
        return alarm

    def alarms_since(self, hours: float | None) -> Iterator[dict[str, Any]]:
        """Yield the alarms of the last `hours`, or all, in no order."""
        start = "" if hours is None else naive(now() - timedelta(hours=hours))
        for alarms in self.history.values():
            yield from (alarm for alarm in alarms if alarm["metric_history_time"] >= start)

    def count_devices(self, at: datetime | None = None) -> dict[str, Any]:
        """Add an item to the online statistics (3.6), first in the list."""
        at = at or now()
        total = len(self.devices)
        online = sum(device.connection_status == "online" for device in self.devices.values())
        item = {
            "id": object_id(at, self.rng),
            "offline_number": total - online,
            "offline_rate": f"{(total - online) / max(total, 1):.2%}",
            "online_number": online,
            "online_rate": f"{online / max(total, 1):.2%}",
            "statistics_time": naive(at),
            "total": total,
        }
        self.statistics.appendleft(item)
        return item

    def change_randomly(self) -> None:
        """Make one random change: a connection, an alarm or a line. A few in a hundred are in trouble at a time."""
        self.count_devices()
        if not self.devices:
            return
        mac = next(islice(self.devices, self.rng.randrange(len(self.devices)), None))
        match self.rng.randrange(3):
            case 0:
                away = [each for each, device in self.devices.items() if device.connection_status != "online"]
                mac = self.rng.choice(away) if len(away) > len(self.devices) / HEALTHY_SHARE else mac
                self.set_online(mac, self.devices[mac].connection_status != "online")
            case 1:
                self.raise_alarm(mac, **self.rng.choice(EVENTS))
            case _ if self.lines(mac):
                line = self.rng.choice(self.lines(mac))
                fails = not self.rng.randrange(HEALTHY_SHARE)
                state = self.rng.choice("01234") if fails else "1"
                wired = self.rng.choice("012") if fails else "2"
                self.set_line(mac, line.line, reg_state=state if line.reg_state is not None else None, con_state=wired)

    async def push(self, kind: str, body: Any) -> Push:
        """Send to `<push_url>/<kind>` once, as the document has no retry; text is sent unchanged."""
        if self.push_url is None or self._session is None:
            message = "no push URL, or not running"
            raise ValueError(message)
        raw = body.encode() if isinstance(body, str) else self.quirks.encode(body)
        url = f"{self.push_url.rstrip('/')}/{kind}"
        try:
            async with self._session.post(url, data=raw, headers={"Content-Type": "application/json"}) as response:
                result = Push(kind, body, response.status, _parsed(await response.text(errors="replace")))
        except (ClientError, TimeoutError) as error:
            result = Push(kind, body, None, str(error) or type(error).__name__)
        self.pushes.append(result)
        return result

    async def settle(self) -> None:
        """Wait until every push was attempted."""
        await self._outbox.join()

    @asynccontextmanager
    async def running(self, *, live: bool) -> AsyncIterator[None]:
        """Send pushes in order; with `live`, make a random change every `live_seconds`."""
        async with ClientSession(timeout=PUSH_TIMEOUT) as self._session, asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(self._send_pushes(), name="ums-simulator-push")]
            if live:
                workers.append(tasks.create_task(self._live(), name="ums-simulator-live"))
            yield
            for worker in workers:
                worker.cancel()

    async def _send_pushes(self) -> None:
        while True:
            kind, body = await self._outbox.get()
            if self.push_url is not None:
                await self.push(kind, body)
            self._outbox.task_done()

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(self.live_seconds)
            self.change_randomly()

    def _enqueue_push(self, kind: str, body: dict[str, Any]) -> None:
        if self.push_url is not None:
            self._outbox.put_nowait((kind, body))


SIMULATOR = web.AppKey("SIMULATOR", Simulator)


def populate(simulator: Simulator, devices: int) -> None:
    """Fill a new simulator: the document's samples first, then devices drawn with `seed`."""
    rng = simulator.rng
    for source, number in ((sample_devices(rng), devices), (generated_devices(rng), max(devices - 2, 0))):
        simulator.devices.update((device.device_mac, device) for device in islice(source, number))
    if OM50 in simulator.devices:
        simulator.raise_alarm(OM50, at=now() - timedelta(minutes=30), push=False)["id"] = SAMPLE_ALARM_ID
    for mac in islice(simulator.devices, 2, None, 10):
        at = now() - timedelta(minutes=rng.randrange(10, 10_000))
        simulator.raise_alarm(mac, at=at, push=False, **rng.choice(EVENTS))
    simulator.statistics.extend(sample_statistics())
    simulator.count_devices()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
