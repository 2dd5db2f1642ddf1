"""A clock that jumps by hours, both ways: deadlines, polls and back-offs go by another one; numbers still rise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.bridge_under_test import CHANNEL, MAC, Site
from tests.faults.surroundings import as_process
from tests.waiting import wait_until

SHIFT = '''
"""Python's idea of the time, moved by as many seconds as a file says; monotonic clocks are left alone."""
import datetime, os, time

real_time, real = time.time, datetime.datetime


def shift():
    try:
        with open(os.environ["CLOCK_SHIFT"]) as file:
            return float(file.read() or 0)
    except FileNotFoundError:
        return 0.0


class Meta(type):
    def __instancecheck__(cls, value):
        return isinstance(value, real)

    def __subclasscheck__(cls, other):
        return issubclass(other, real)


class Shifted(real, metaclass=Meta):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + datetime.timedelta(seconds=shift())

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)


time.time = lambda: real_time() + shift()
datetime.datetime = Shifted
'''
HOURS = 3600
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("hours", [3, -6])
async def test_clock_jump_changes_no_deadline_and_no_backoff(site: Site, tmp_path: Path, hours: int) -> None:
    site.ums.history.clear()
    clock, folder = tmp_path / "clock", tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SHIFT)
    environment = {"PYTHONPATH": f"{folder}:{ROOT}", "CLOCK_SHIFT": str(clock)}
    every = {"scan_interval": {"devices": 1}}
    branch = {"branch": {"platform": "smart_gateway", "url": site.urls["branch"]} | every}
    async with as_process(site, environment, backends=branch) as remote:
        bridge = remote.bridge
        await bridge.refresh()
        assert (await site.push(site.ums.raise_alarm(MAC, push=False)))[0] == 200
        await bridge.event_count(1)
        clock.write_text(str(hours * HOURS))
        moved = datetime.now(UTC) + timedelta(hours=hours)

        started = (await bridge.ask("health"))["data"]["bridge"]
        assert started["mqtt"]["reconnects"] == 0
        calls = len(site.gateways.fault_injector.calls)
        await wait_until(lambda: len(site.gateways.fault_injector.calls) > calls + 3, "polls to go on")
        result = await bridge.set(CHANNEL, {"enable": "ON"})
        assert result["status"] == "confirmed"
        assert abs(datetime.fromisoformat(result["ts"]) - moved) < timedelta(minutes=10), "the clock did jump"
        past, future = (moved + timedelta(minutes=minutes) for minutes in (-1, 1))
        late = await bridge.set(CHANNEL, {"enable": "OFF", "expires_at": past.isoformat()})
        early = await bridge.set(CHANNEL, {"enable": "OFF", "expires_at": future.isoformat()})
        assert (late["status"], early["status"]) == ("expired", "confirmed")
        assert (await site.push(site.ums.raise_alarm(MAC, push=False)))[0] == 200
        first, second = await bridge.event_count(2)
        assert second["seq"] == first["seq"] + 1
        clock.write_text("0")
        again = site.ums.raise_alarm(MAC, push=False)
        for _ in range(2):
            assert (await site.push(again))[0] == 200
        assert [event["seq"] for event in await bridge.event_count(3)] == [1, 2, 3]
        health = (await bridge.ask("health"))["data"]
        assert health["bridge"]["mqtt"]["reconnects"] == 0
        assert health["bridge"]["uptime"] >= 0
        assert all(each["available"] and each["stale_since"] is None for each in health["backends"].values())
        assert len(bridge.events()) == 3
        assert not remote.unwell(), remote.process.output[-3000:]
