"""Live mode of a simulated AC: users come and go, counters and rates move."""

from __future__ import annotations

import time
from random import Random

from fleet2mqtt.simulators.sangfor_ac.protocol import Tree
from fleet2mqtt.simulators.sangfor_ac.state import Simulator

_USERS_A_STEP = 500  # so that ten thousand users do not hold the event loop
_RETURNS, _COMES, _GOES, _FREEZES = 0.3, 0.1, 0.2, 0.01  # chances in one step; fewer come where all are there
_WANDER = {  # field: step, lowest, highest
    "cpu-usage": (4, 2, 98),
    "mem-usage": (1, 20, 95),
    "bandwidth-usage": (5, 1, 100),
    "session-num": (60, 50, 200_000),
}


def step(simulator: Simulator, away: list[Tree]) -> None:
    """Advance by a second; `away` are the users who went offline and may return."""
    rng, status = simulator.rng, simulator.status
    for name, (stride, lowest, highest) in _WANDER.items():
        status[name] = min(highest, max(lowest, status[name] + rng.randint(-stride, stride)))
    for rates in status["interfaces"].values():
        for name, rate in rates.items():
            rates[name] = max(10_000, rate + rng.randint(-(rate // 10), rate // 10) + rng.randint(-500, 500))
    status["log"]["record"] += rng.randrange(1, 40)
    status["log"]["block"] += rng.randrange(3)
    for item in rng.sample(list(simulator.online.values()), min(len(simulator.online), _USERS_A_STEP)):
        _use(item, rng)
    _come_and_go(simulator, away)


def _use(item: Tree, rng: Random) -> None:
    if rng.random() < _FREEZES:
        item["frozen"] = not item["frozen"]
    if item["frozen"]:
        return
    item["session"] = max(1, item["session"] + rng.randint(-3, 3))
    rates = rng.choice(list(item["apps"].values()))
    rates[:] = [max(0, rates[0] + rng.randint(-50_000, 50_000)), max(0, rates[1] + rng.randint(-500_000, 500_000))]


def _come_and_go(simulator: Simulator, away: list[Tree]) -> None:
    rng, now, online = simulator.rng, int(time.time()), simulator.online
    if online and rng.random() < _GOES:
        away.append(online.pop(rng.choice(list(online))))
    if rng.random() >= (_RETURNS if len(online) < simulator.usual else _COMES):
        return
    if not away:
        simulator.generate_user(now)
        return
    back = away.pop(rng.randrange(len(away)))
    if back["ip"] not in online:
        online[back["ip"]] = back | {"login_time": now}
