"""A full disk and truncated files: logged once, refused with 503, counted, and without effect afterwards."""

from __future__ import annotations

import random
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import CHANNEL, MAC, VOIP, RunningBridge, Site
from tests.faults.surroundings import Remote, as_process
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = 300_000
FILES = ("outbox.sqlite", "inventory.json")


@contextmanager
def full_disk(remote: Remote) -> Iterator[None]:
    """No file of the bridge grows any more."""
    resource.prlimit(remote.pid, resource.RLIMIT_FSIZE, (LARGE, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(remote.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def identity_of(bridge: RunningBridge) -> str:
    """Return the id of the bridge in `bridge/info`."""
    info = bridge.seen.latest("fleet2mqtt/bridge/info")
    assert info is not None
    return str(info.json["id"])


async def test_full_disk_rejects_pushes_and_recovers(site: Site) -> None:
    site.ums.history.clear()
    async with as_process(site) as remote:
        bridge = remote.bridge
        with full_disk(remote):
            refused = {}
            for number in range(60):
                alarm = site.ums.raise_alarm(MAC, push=False, desc=f"{number} " + "x" * 20_000)
                status, headers, answer = await site.push(alarm)
                assert status in {200, 503}
                if status == 503:
                    assert headers["Retry-After"] == "30"
                    assert answer["code"] != 0
                    refused[alarm["id"]] = alarm
            assert refused
            assert (await bridge.set(CHANNEL, {"enable": "ON"}))["status"] == "confirmed", "commands need no disk"
            assert (await bridge.refresh(backend="branch"))["branch"]["devices"]["ok"]
            health = (await bridge.ask("health"))["data"]["bridge"]
            assert health["dropped"]["alarm_disk"] >= len(refused)
        said = [line for line in remote.process.lines if "cannot be written to disk" in line]
        assert len(said) == 1, said
        for alarm in refused.values():
            assert (await site.push(alarm))[0] == 200
        await bridge.event_count(60)
        assert sorted(event["seq"] for event in bridge.events()) == list(range(1, 61))
        await remote.process.says("are accepted again")
        assert not remote.unwell(), remote.process.output[-3000:]


@pytest.mark.parametrize("name", FILES)
async def test_bridge_with_truncated_file_starts(site: Site, name: str) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        await site.push(site.ums.raise_alarm(MAC, push=False))
        await bridge.event_count(1)
        known, identity = (await bridge.devices()).keys(), identity_of(bridge)
    file = site.folder / "data" / name
    whole, rng = file.read_bytes(), random.Random(4711)  # noqa: S311 - the same places in every run
    for length in (1, rng.randrange(len(whole)), len(whole) - 1):
        file.write_bytes(whole[:length])
        for log in file.parent.glob(f"{name}-*"):
            log.unlink()
        async with site.bridge() as bridge:
            assert (await bridge.refresh())["branch"]["devices"]["ok"]
            assert (await bridge.devices()).keys() == known
            assert identity_of(bridge) == identity
            assert (await site.push(site.ums.raise_alarm(MAC, push=False)))[0] == 200
            assert (await bridge.set(CHANNEL, {"enable": "ON"}))["status"] == "confirmed"
            await wait_until(lambda: [line for line in bridge.warnings() if name in line], "a word about it")
    assert list(file.parent.glob(f"{name}.corrupt-*"))


async def test_push_truncated_by_vendor_is_stored_and_read_again(site: Site) -> None:
    """Half an emoji and a number beyond 64 bit are JSON to some, and have to get through the bridge's own file."""
    name = "cut \ud83d"
    async with site.bridge() as bridge:
        await bridge.settle()
        news = {"device_mac": MAC, "device_name": name, "contact": 2**70, "device_status": 2**70}
        assert (await site.push(news, kind="device"))[0] == 200
        known = await bridge.devices()
        assert known[VOIP]["name"] == name
    await site.stop_vendors()
    async with site.bridge() as bridge:
        again = await bridge.devices()
        assert again.keys() == known.keys()
        assert again[VOIP] == known[VOIP]
        assert not list((site.folder / "data").glob("*corrupt*"))
