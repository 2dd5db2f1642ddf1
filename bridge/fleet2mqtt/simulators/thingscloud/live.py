"""The initial content of a simulated ThingsCloud project, and its changes in live mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

from fleet2mqtt.simulators.thingscloud.data import (
    DAY,
    HOUR,
    MINUTE,
    Device,
    make_customers,
    make_device,
    make_groups,
    make_types,
    now_ms,
    wander,
)
from fleet2mqtt.simulators.thingscloud.state import Simulator

_ALARM_EVERY = 30
_MOVING = 20  # devices that report in one step


def populate(simulator: Simulator, devices: int) -> None:
    """Fill a new project; its first two devices have the same ids with any seed."""
    rng, now = simulator.rng, now_ms()
    simulator.types, simulator.groups = make_types(rng, now), make_groups(rng, now)
    types, groups = list(simulator.types), list(simulator.groups)
    for number in range(devices):
        device = make_device(rng, number, types, groups)
        infos = simulator.types[device.type]["infos"]
        device.standard_infos = {info.info_type: dict(info.start) for info in infos if info.is_standard}
        device.custom_infos = {info.id: info.start for info in infos if not info.is_standard}
        simulator.devices[device.id] = device
    simulator.roles, simulator.customers = make_customers(rng, now, list(simulator.devices)[:3])
    _past_alarms(simulator)


def _past_alarms(simulator: Simulator) -> None:
    """Log cleared alarms of levels 2 and 1 at the first device, active ones: 3 at the second, 2 at every thirtieth."""
    for device in islice(simulator.devices, 1):
        for level, ago in ((2, 2 * DAY), (1, 2 * HOUR)):
            simulator.raise_alarm(device, level, push=False, ago=ago)
            simulator.recover(device, push=False, ago=ago - HOUR)
    for device in islice(simulator.devices, 1, None, _ALARM_EVERY):
        simulator.raise_alarm(device, 3 if simulator.devices[device].number == 1 else 2, push=False, ago=20 * MINUTE)


@asynccontextmanager
async def running(simulator: Simulator, *, live: bool) -> AsyncIterator[None]:
    """Deliver pushes and messages; with `live`, change something every `live_seconds`."""
    async with simulator.pusher.connected(), asyncio.TaskGroup() as tasks:
        workers = [tasks.create_task(simulator.pusher.deliver(), name="thingscloud-simulator-push")]
        if simulator.app_broker is not None:
            workers.append(tasks.create_task(simulator.app_broker.deliver(), name="thingscloud-simulator-mqtt"))
        if live:
            workers.append(tasks.create_task(_live(simulator), name="thingscloud-simulator-life"))
        yield
        for worker in workers:
            worker.cancel()
        for timer in simulator.timers:
            timer.cancel()


async def _live(simulator: Simulator) -> None:
    while True:
        simulate_step(simulator)
        await asyncio.sleep(simulator.live_seconds)


def simulate_step(simulator: Simulator) -> None:
    """Let some devices report, and one device change its state."""
    rng, devices = simulator.rng, list(simulator.devices.values())
    online = [device for device in devices if device.online]
    for device in rng.sample(online, min(len(online), _MOVING)):
        _measure(simulator, device)
    if not devices or rng.random() < 1 / 2:
        return
    device = rng.choice(devices)
    alarmed = [each for each in online if each.active_alarms]
    most = max(1, len(devices) // _ALARM_EVERY)  # so that a large project stays a plausible one
    match rng.randrange(3):
        case 0 if len(alarmed) > most:
            simulator.recover(rng.choice(alarmed).id)
        case 0 if device.online and device.active_alarms:
            simulator.recover(device.id)
        case 0 if device.online:
            simulator.raise_alarm(device.id, rng.choice((1, 2, 3)))
        case 1 if device.online:
            simulator.event(device.id, "button", {"count": rng.randrange(1, 5)})
        case 2 if len(devices) - len(online) > most:
            simulator.set_online(rng.choice([each for each in devices if not each.online]).id, True)
        case 2:
            simulator.set_online(device.id, not device.online)


def _measure(simulator: Simulator, device: Device) -> None:
    """Change a device's measured values a little; the energy only increases."""
    moved = {}
    for identifier, attribute in simulator.attributes(device.id).items():
        definition = attribute.definition
        if definition.data_type == "number" and definition.attr_type == "report" and attribute.first:
            moved[identifier] = wander(definition, attribute.value, simulator.rng)
    if "energy" in moved:
        energy: float = simulator.attributes(device.id)["energy"].value
        moved["energy"] = round(energy + simulator.rng.random(), 2)
    if moved:
        simulator.report(device.id, moved)
