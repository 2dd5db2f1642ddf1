"""Bonding health: sums, counts and worst values of a gateway's channels, and what is unknown."""

from __future__ import annotations

from typing import Any

import pytest

from fleet2mqtt.platforms.smart_gateway.bonding import bonding_of
from fleet2mqtt.platforms.smart_gateway.models import Bonding, Channel
from tests.platforms.smart_gateway.connected import GATEWAY, SIM, SN, simulated

UP = frozenset(("1", "up"))
GOOD = {"enable": 1, "state": 1, "rateup": 100, "ratedown": 200, "rtt": 40}


def bonding(*channels: dict[str, Any]) -> Bonding:
    return bonding_of((Channel.model_validate(channel) for channel in channels), UP)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (GOOD | {"rtt": 90}, Bonding(total=2, up=2, active=2, rtt=90, rateup=200, ratedown=400)),
        (GOOD | {"state": "UP", "rateup": 0}, Bonding(total=2, up=2, active=2, rtt=40, rateup=100, ratedown=400)),
        (
            GOOD | {"rateup": 0, "ratedown": 0},
            Bonding(total=2, up=2, active=1, rtt=40, rateup=100, ratedown=200),
        ),
        # a channel that is down says nothing of the way through it
        ({"state": 0, "rtt": 400}, Bonding(total=2, up=1, active=1, rtt=40, rateup=100, ratedown=200)),
        # disabled: nobody expects it to be up
        (GOOD | {"enable": 0}, Bonding(total=1, up=1, active=1, rtt=40, rateup=100, ratedown=200)),
        # unknown
        (GOOD | {"state": ""}, Bonding(total=2, up=None, active=None, rtt=40, rateup=200, ratedown=400)),
        (GOOD | {"rateup": ""}, Bonding(total=2, up=2, active=2, rtt=40, rateup=None, ratedown=400)),
        ({"enable": 1, "state": 1}, Bonding(total=2, up=2, active=None, rtt=40, rateup=None, ratedown=None)),
    ],
)
def test_bonding_of_a_good_channel_and_another_one(second: dict[str, Any], expected: Bonding) -> None:
    assert bonding(GOOD, second) == expected


async def test_gateway_shows_its_bonding() -> None:
    async with simulated() as (simulator, run):
        for key in ("2", "3", "4", "8"):
            simulator.set_channel(SN, key, enable=0)
        simulator.set_channel(SN, "0", enable=1, state=1)
        simulator.set_channel(SN, "2", enable=1, state=0, rateup=0, ratedown=0)
        await run.poll("devices")
        state = run.state(GATEWAY)
        assert (state["bonding_degraded"], state["channels_up"], state["channels_total"]) == ("ON", 1, 2)
        assert (state["uplinks_active"], state["rtt_worst"]) == (1, 100)
        assert (state["channels_rateup"], state["channels_ratedown"]) == (8546, 6426)
        simulator.set_channel(SN, "2", state=1)
        await run.poll("devices")
        assert run.state(GATEWAY)["bonding_degraded"] == "OFF"


async def test_bonding_of_a_gateway_that_does_not_run_is_unknown() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices")
        simulator.set_base(SN, state="offline")
        await run.poll("devices")
        state = run.state(GATEWAY)
        bonds = [state[key] for key in state if key.startswith(("channels_", "bonding_", "uplinks_", "rtt_"))]
        assert bonds == [None] * 7


async def test_states_that_mean_up_are_an_option() -> None:
    async with simulated(up_states=[7]) as (simulator, run):
        for state, up in ((7, "ON"), (1, "OFF"), ("", None)):
            simulator.set_channel(SN, "0", state=state)
            await run.poll("devices")
            assert run.state(SIM)["up"] == up
