"""Live mode: values of a simulated IG200 system that change by themselves."""

from __future__ import annotations

from random import Random

from fleet2mqtt.simulators.smart_gateway.protocol import Tree

_GATEWAYS_PER_STEP = 500  # so that ten thousand gateways do not block the event loop
_DROP, _RETURN = 0.005, 0.3  # probability that a SIM goes offline, and that it comes online again, in one step
_RANDOM_WALK = {  # field: step, lowest, highest
    "signal": (3, -115, -25),
    "rtt": (8, 5, 400),
    "rssi": (2, -110, -45),
    "rssp": (2, -125, -65),
    "rssq": (1, -20, -3),
    "sinru": (2, -10, 30),
    "wifiSignal": (2, -90, -30),
    "rateup": (900, 0, 60_000),
    "ratedown": (1_500, 0, 90_000),
}


def step(gateways: dict[str, Tree], rng: Random) -> None:
    """Change the values of some running gateways (of all if there are few) by as much as in one second."""
    running = [gateway for gateway in gateways.values() if gateway["base"]["state"] == "running"]
    for gateway in rng.sample(running, min(len(running), _GATEWAYS_PER_STEP)):
        channels = [channel for channel in gateway["channel"].values() if channel]
        for channel in channels:
            _move(channel, rng)
        for name in ("rateup", "ratedown"):
            gateway["base"][name] = sum(channel.get(name, 0) for channel in channels)


def _move(channel: Tree, rng: Random) -> None:
    if "ICCID" in channel and channel.get("enable") and not _is_up(channel, rng):
        channel |= {"rateup": 0, "ratedown": 0}
        return
    for name, (stride, lowest, highest) in _RANDOM_WALK.items():
        if channel.get(name):
            channel[name] = min(highest, max(lowest, channel[name] + rng.randint(-stride, stride)))
    for name in ("rateup", "ratedown"):
        channel[name] = channel.get(name) or rng.randrange(100, 5_000)
    volume = (channel["rateup"] + channel["ratedown"]) // 8  # kB of one second; the flows are GB
    flow = volume / 1_000_000
    for name, change in (("used", volume), ("remain", -volume), ("todayUsedFlow", flow), ("remainFlow", -flow)):
        if name in channel:
            channel[name] = round(max(0, channel[name] + change), 6)


def _is_up(channel: Tree, rng: Random) -> bool:
    if rng.random() < (_DROP if channel.get("state") else _RETURN):
        channel["state"] = 0 if channel.get("state") else 1
    return bool(channel.get("state"))
