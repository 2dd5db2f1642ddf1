"""Backends that are removed, renamed or added again: each device and alarm is one unit's, and stays reachable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleet2mqtt.outbox.postgres import open_database
from tests.bridge_under_test import CHANNEL, GATEWAY, wait_retained
from tests.cluster.site import Cluster, open_cluster, ready
from tests.cluster.test_reload import edit
from tests.sample_alarms import add
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import Servers

NONE = dict.fromkeys(("critical", "major", "minor", "warning", "indeterminate"), 0)


async def active(cluster: Cluster, **filters: Any) -> list[str]:
    """Return the ids of the active alarms that are listed."""
    listed = await cluster.request("alarms", state="active", **filters)
    return [alarm["id"] for alarm in listed["data"]["alarms"]]


async def counts(cluster: Cluster, critical: int) -> None:
    """Wait until the alarm summary counts so many active alarms, all of them critical."""
    topic = "fleet2mqtt/alarm/summary"
    await wait_until(
        lambda: (m := cluster.seen.latest(topic)) and m.json["active"] == NONE | {"critical": critical},
        lambda: f"{critical} active alarms: {cluster.latest(topic).decode()}",
    )


def topic_of(device: str) -> str:
    return f"fleet2mqtt/alarm/active/{device}/window"


async def test_alarms_of_a_backend_without_a_unit_are_listed_and_closed(tmp_path: Path, servers: Servers) -> None:
    async with open_cluster(tmp_path, servers, measured=True) as cluster:
        async with open_database(cluster.dsn) as database:
            outbox = await database.outbox()
            for number, backend, device in ((1, "hq", "hq_voip_1"), (2, "gone", "gone_1"), (3, "gone", "gone_2")):
                alarm = {"id": f"{backend}:{number}", "backend": backend, "device": device}
                await add(outbox, number, **alarm, active=True, alarm_key="window")
        node = await cluster.start_node("a")
        await ready(cluster, "a")
        await counts(cluster, 3)
        assert await active(cluster) == ["hq:1", "gone:2", "gone:3"]
        assert (await active(cluster, backend="hq"), await active(cluster, device="hq_voip_1")) == (["hq:1"], ["hq:1"])
        assert await active(cluster, backend="gone") == ["gone:2", "gone:3"]
        history = (await cluster.request("alarms", backend="hq"))["data"]["alarms"]
        assert [alarm["id"] for alarm in history] == ["hq:1"]
        assert (await cluster.request("alarm_acknowledge", id="hq:1"))["data"]["changed"]
        assert (await cluster.request("alarm", id="hq:1"))["data"]["alarm"]["acknowledged"]
        for id_ in ("hq:1", "gone:2"):
            assert (await cluster.request("alarm_close", id=id_))["data"]["changed"]
        await counts(cluster, 1)

        branch = cluster.site.options({})["backends"]["branch"]
        edit(node, lambda options: options["backends"].update(gone=branch))
        assert (await cluster.request("reload"))["data"]["added"] == ["gone"]
        await cluster.seen.wait(lambda each: each.topic == "fleet2mqtt/backend/gone/health")
        assert await active(cluster, backend="gone") == ["gone:3"]
        assert await active(cluster) == ["gone:3"]
        assert (await cluster.request("alarm_close", device="gone_2", alarm="window"))["data"]["changed"]
        await counts(cluster, 0)
        await cluster.site.broker.restart()
        await wait_retained(cluster.site.broker, dict.fromkeys(map(topic_of, ("hq_voip_1", "gone_1", "gone_2")), b""))


async def test_backend_whose_name_begins_with_that_of_a_removed_one_has_its_own_devices(
    tmp_path: Path, servers: Servers
) -> None:
    async with open_cluster(tmp_path, servers, measured=True) as cluster:
        node = await cluster.start_node("a")
        await ready(cluster, "a")
        channel, gateway = (id_.replace("branch", "branch_2") for id_ in (CHANNEL, GATEWAY))

        def rename(options: dict[str, Any]) -> None:
            options["backends"]["branch_2"] = options["backends"].pop("branch")

        edit(node, rename)
        assert (await cluster.request("reload"))["data"]["added"] == ["branch_2"]
        await cluster.seen.wait(lambda each: each.topic == f"fleet2mqtt/device/{channel}/state")
        for id_, known in ((GATEWAY, "error"), (gateway, "ok")):
            assert (await cluster.request("refresh", device=id_))["status"] == known
        for id_ in (CHANNEL, channel):
            await cluster.site.broker.publish(f"fleet2mqtt/device/{id_}/set/enable", "ON")
        await wait_until(lambda: cluster.results(CHANNEL) and cluster.results(channel), "a result of each")
        await cluster.site.broker.publish(f"fleet2mqtt/device/{channel}/set", {"enable": "OFF", "transaction": "last"})
        await wait_until(lambda: cluster.results(channel)[-1]["transaction"] == "last", "the last result")
        assert [each["status"] for each in cluster.results(channel)] == ["confirmed", "confirmed"]
        assert [each["error"]["code"] for each in cluster.results(CHANNEL)] == ["not_ready"]
        availability = "fleet2mqtt/backend/branch_2/availability"
        assert {each.payload for each in cluster.seen.all(availability)} == {b"online"}
        forgotten = (await cluster.request("forget", backend="branch"))["data"]["forgotten"]
        assert {GATEWAY, CHANNEL} <= set(forgotten)
        assert not [id_ for id_ in forgotten if id_.startswith("branch_2")]
        assert (await cluster.request("refresh", device=gateway))["status"] == "ok"
