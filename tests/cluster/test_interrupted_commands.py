"""Commands whose node fails: one result each, and never a second call at the vendor."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import CHANNEL, SN
from tests.broker import HOST
from tests.cluster.site import Cluster, open_cluster, ready
from tests.mqtt.proxy import Proxy
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import Servers

SET = "/api/v1/devices/set"


def writes(cluster: Cluster) -> int:
    return sum(call.path == SET for call in cluster.site.gateways.fault_injector.calls)


@pytest.mark.parametrize(
    ("done", "ended"), [(False, ("unconfirmed", "interrupted")), (True, ("confirmed", None))], ids=["lost", "done"]
)
async def test_command_whose_node_fails_during_the_call_is_not_sent_again(
    tmp_path: Path, servers: Servers, *, done: bool, ended: tuple[str, str | None]
) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        await cluster.start_node("b")
        is_on = bool(cluster.site.gateways.gateways[SN]["channel"]["0"]["enable"])
        value = "ON" if is_on is done else "OFF"  # what the device has already looks as if the call was carried out
        cluster.site.gateways.fault_injector.inject("hang", SET, times=1)
        await cluster.site.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", {"enable": value, "transaction": "t"})
        await wait_until(lambda: writes(cluster) == 1, "the call at the vendor", PATIENCE)
        a.kill()
        await ready(cluster, "b")
        await wait_until(lambda: cluster.results(CHANNEL), "the result", PATIENCE)
        await cluster.request("refresh")
        (result,) = cluster.results(CHANNEL)
        code = result["error"]["code"] if result["error"] else None
        assert (result["transaction"], (result["status"], code)) == ("t", ended)
        assert writes(cluster) == 1


async def test_retained_command_is_refused_and_left_to_no_next_owner(tmp_path: Path, servers: Servers) -> None:
    """Of what is in the journal the next owner does not know that it was retained."""
    async with open_cluster(tmp_path, servers, measured=True) as cluster:
        await cluster.start_node("a")
        await ready(cluster, "a")
        await cluster.site.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set/enable", "OFF", retain=True)
        await wait_until(lambda: cluster.results(CHANNEL), "the result", PATIENCE)
        assert [each["error"]["code"] for each in cluster.results(CHANNEL)] == ["retained"]
        assert await cluster.query("SELECT topic FROM command WHERE unit = 'branch'") == []
        assert writes(cluster) == 0


async def test_transaction_that_is_repeated_at_the_next_owner_gets_its_result(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers) as cluster:
        a = await cluster.start_node("a")
        await ready(cluster, "a")
        await cluster.start_node("b")
        command = {"enable": "OFF", "transaction": "t"}
        await cluster.site.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", command)
        await wait_until(lambda: cluster.results(CHANNEL), "the result", PATIENCE)
        a.kill()
        await ready(cluster, "b")
        await cluster.site.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", command)
        await wait_until(lambda: len(cluster.results(CHANNEL)) == 2, "the result once more", PATIENCE)
        first, second = cluster.results(CHANNEL)
        assert first == second
        assert first["status"] == "confirmed"
        assert writes(cluster) == 1


async def test_result_is_published_for_no_repetition_before_it_is_stored(tmp_path: Path, servers: Servers) -> None:
    """Else the next owner, which does not know it, would publish another one."""
    async with open_cluster(tmp_path, servers) as cluster, AsyncExitStack() as stack:
        url = cluster.site.urls["branch"]
        vendor = await stack.enter_async_context(Proxy(int(url.rpartition(":")[2])))
        cluster.relays["a", url] = f"http://{HOST}:{vendor.port}"
        await cluster.start_node("a", ttl=60)
        await ready(cluster, "a")
        vendor.released.clear()
        topic, command = f"fleet2mqtt/device/{CHANNEL}/set", {"enable": "ON", "transaction": "t"}
        await cluster.site.broker.publish(topic, command)
        await wait_until(lambda: vendor.held, "a call whose answer is held back", PATIENCE)
        await cluster.site.broker.publish(topic, command)
        stored = "SELECT count(*) FROM command WHERE topic = '" + topic + "'"  # noqa: S608 - a constant

        async def both_are_stored() -> bool:
            return await cluster.query(stored) == [(2,)]

        await wait_for_answer(both_are_stored, "both to be stored")
        try:
            for standby in servers.standbys:
                standby.freeze()
            vendor.released.set()
            waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%decided%'"
            await wait_until(lambda: servers.primary.execute(waits), "the result to wait for a standby", PATIENCE)
            await cluster.site.broker.publish("elsewhere", "passes behind what was published before")
            await cluster.seen.wait(lambda each: each.topic == "elsewhere")
            assert cluster.results(CHANNEL) == []
        finally:
            for standby in servers.standbys:
                standby.thaw()
        await wait_until(lambda: len(cluster.results(CHANNEL)) == 2, "the result for both", PATIENCE)
        first, second = cluster.results(CHANNEL)
        assert first == second
