"""The page, the probes and the metrics over HTTP, with the bridge's own parts, a real outbox and a real broker."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import RawTestServer, TestClient

from fleet2mqtt.alarms.manager import Operator
from fleet2mqtt.commands.replies import Command
from fleet2mqtt.devices.model import Severity
from fleet2mqtt.errors import AuthenticationError, OutboxFull, Rejected
from fleet2mqtt.outbox import OutboxLimits, open_outbox
from fleet2mqtt.sdk.api import Calls
from tests.sample_alarms import alarm
from tests.waiting import wait_until
from tests.web.web_bench import CANARY, CLUSTER, Vendor, bench, device

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Broker


async def test_healthz_with_a_late_event_loop_only_is_503(tmp_path: Path) -> None:
    async with bench(tmp_path, Vendor("hq", error=AuthenticationError("no"))) as parts:
        assert await parts.json("/healthz") == {"status": "ok", "loop_lag": 0.0}
        parts.status.loop_lag = 5.0
        assert await parts.json("/healthz", 503) == {"status": "late", "loop_lag": 5.0}


async def test_readyz_without_a_broker_is_503(tmp_path: Path) -> None:
    async with bench(tmp_path, Vendor("hq")) as parts:
        outbox = {"accepting": True, "depth": 0, "bytes": 0, "oldest_age": None}
        expected = {"ready": False, "broker": False, "outbox": outbox, "backends": {"hq": True}}
        assert await parts.json("/readyz", 503) == expected


@pytest.mark.parametrize(
    ("vendors", "ready"),
    [
        ((), True),
        ((Vendor("hq"),), True),
        ((Vendor("hq"), Vendor("branch")), True),
        ((Vendor("hq"), Vendor("branch", error=AuthenticationError("no"))), False),
    ],
)
async def test_readyz_with_one_backend_unavailable_is_503(
    tmp_path: Path, broker: Broker, vendors: tuple[Vendor, ...], ready: bool
) -> None:
    async with bench(tmp_path, *vendors, broker=broker) as parts:
        body = await parts.json("/readyz", 200 if ready else 503)
        assert body["ready"] is ready
        assert body["backends"] == {vendor.name: vendor.error is None for vendor in vendors}


async def test_readyz_after_refused_alarms_is_503(tmp_path: Path, broker: Broker) -> None:
    vendor = Vendor("hq")
    async with bench(tmp_path, vendor, broker=broker, limits=OutboxLimits(rows=1)) as parts:
        await parts.json("/readyz")
        with pytest.raises(OutboxFull):
            await parts.hub.accept(vendor.update(alarms=(alarm(1), alarm(2))))
        body = await parts.json("/readyz", 503)
        assert body["broker"] is True
        assert body["outbox"]["accepting"] is False


async def test_metrics_after_pushes_and_commands_count_them(tmp_path: Path, broker: Broker) -> None:
    vendor = Vendor("hq", devices=(device(1), device(2)), calls={"device_list": Calls(7, 2)})
    down = Vendor("branch", error=AuthenticationError("no"))
    async with bench(tmp_path, vendor, down, broker=broker) as parts:
        before = await parts.samples()
        assert before["alarms_total", "critical"] == before["pushes_total", "refused"] == 0
        await parts.hub.accept(vendor.update(alarms=(alarm(1), alarm(2, severity=Severity.MINOR))))
        await wait_until(lambda: not parts.outbox.depth, "both alarms to be published")
        parts.commands.submit(Command(device="nobody", key="x", value=1, deadline=1e12))
        await wait_until(lambda: parts.commands.ended, "the command to end")
        pushes: TestClient[Any, Any] = TestClient(RawTestServer(parts.push_receiver.respond))
        async with pushes:
            await pushes.post("/push/hq/wrong/event")
        after = await parts.samples()
    expected = {
        ("alarms_total", "critical"): 1,
        ("alarms_total", "minor"): 1,
        ("alarms_total", "major"): 0,
        ("alarm_publish_seconds_count",): 2,
        ("outbox_depth",): 0,
        ("outbox_bytes",): 0,
        ("outbox_oldest_age_seconds",): 0,
        ("pushes_total", "refused"): 1,
        ("commands_total", "invalid"): 1,
        ("commands_total", "confirmed"): 0,
        ("backend_calls_total", "hq", "device_list"): 7,
        ("backend_call_failures_total", "hq", "device_list"): 2,
        ("backend_available", "hq"): 1,
        ("backend_available", "branch"): 0,
        ("devices", "hq"): 2,
        ("devices", "branch"): 0,
        ("source_items", "hq", "devices"): 2,
        ("source_calls", "hq", "devices"): 0,
        ("mqtt_connected",): 1,
        ("mqtt_published_total",): 2,
        ("mqtt_reconnects_total",): 0,
        ("build_info", "9.8.7"): 1,
    }
    assert {key: after[key] for key in expected} == expected
    assert after["source_oldest_age_seconds", "hq", "devices"] >= 0
    assert after[("process_resident_memory_bytes",)] > 1 << 20


async def test_metrics_show_outbox_and_dropped_messages(tmp_path: Path) -> None:
    vendor = Vendor("hq")
    async with bench(tmp_path, vendor) as parts:
        await parts.hub.accept(vendor.update(alarms=(alarm(1),)))
        parts.publisher.dropped["too_large"] += 3
        samples = await parts.samples()
        assert samples[("outbox_depth",)] == 1
        assert samples[("outbox_bytes",)] == parts.outbox.size > 0
        assert samples["dropped_total", "too_large"] == 3
        assert samples[("alarm_publish_seconds_count",)] == samples[("mqtt_connected",)] == 0


async def test_metrics_show_active_and_acknowledged_alarms(tmp_path: Path) -> None:
    vendor = Vendor("hq")
    async with bench(tmp_path, vendor, Vendor("branch")) as parts:
        none = await parts.samples()
        active = (alarm(1, active=True), alarm(2, active=True, severity=Severity.MINOR))
        await parts.hub.accept(vendor.update(alarms=(*active, alarm(3))))
        waiting = await parts.samples()
        record = await parts.alarms.find(event="hq:1")
        await parts.alarms.acknowledge(record, Operator(name="Li"))
        await parts.alarms.acknowledge(await parts.alarms.find(event="hq:2"), Operator(name="Li"))
        done = await parts.samples()
    age = ("alarms_oldest_unacknowledged_age_seconds",)
    assert none["alarms_active", "hq", "critical"] == none["alarms_active", "branch", "warning"] == none[age] == 0
    assert waiting["alarms_active", "hq", "critical"] == waiting["alarms_active", "hq", "minor"] == 1
    assert waiting["alarms_acknowledged", "hq", "critical"] == 0
    assert waiting[age] > 0
    assert done["alarms_active", "hq", "critical"] == done["alarms_acknowledged", "hq", "critical"] == 1
    assert done[age] == 0


async def test_metrics_requested_as_openmetrics_are_openmetrics(tmp_path: Path) -> None:
    async with bench(tmp_path) as parts:
        wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with parts.client.get("/metrics", headers=wanted) as answer:
            assert answer.content_type == "application/openmetrics-text"
            assert (await answer.text()).endswith("# EOF\n")


async def test_status_shows_bridge_backends_and_alarms(tmp_path: Path) -> None:
    vendor = Vendor("hq", calls={"device_list": Calls(7, 2), "login": Calls(1, 1)})
    down = Vendor("branch", error=Rejected("<b>账号</b>", code=1003, endpoint="login"))
    async with bench(tmp_path, vendor, down) as parts:
        await parts.hub.accept(vendor.update(alarms=(alarm(1, raised_at=datetime.now(UTC)),)))
        body = await parts.json("/api/status")
    assert body["bridge"]["version"] == "9.8.7"
    assert body["bridge"]["connected"] is False
    assert body["bridge"]["outbox"]["depth"] == 1
    hq, branch = body["backends"]
    assert (hq["name"], hq["title"], hq["available"], hq["calls"], hq["failures"]) == ("hq", "Site hq", True, 8, 3)
    assert hq["error"] is None
    assert hq["last_success"] <= body["now"] <= hq["next_try"]
    assert branch["error"] == {"class": "rejected", "code": 1003, "text": "<b>账号</b>", "endpoint": "login"}
    assert branch["last_success"] is None
    assert body["alarms"]["last_hour"]["critical"] == body["alarms"]["last_day"]["critical"] == 1
    assert body["alarms"]["active"]["critical"] == 0
    assert body["cluster"] is None


async def test_status_of_a_cluster_shows_its_nodes_and_storage(tmp_path: Path) -> None:
    async with bench(tmp_path, Vendor("hq")) as parts:
        parts.status.cluster = lambda: CLUSTER
        body = await parts.json("/api/status")
    assert [node["name"] for node in body["cluster"]["nodes"]] == ["a", "b", "c"]
    assert body["cluster"]["nodes"][1] == {"name": "b", **CLUSTER["nodes"]["b"]}
    assert body["cluster"]["storage"] == CLUSTER["storage"]


async def test_status_shows_device_states_and_no_secret(tmp_path: Path) -> None:
    names = ("总部语音网关", "<script>alert(1)</script>", "R&D \ud83d")
    vendor = Vendor("hq", devices=tuple(device(n, name=name) for n, name in enumerate(names)))
    vendor.devices += (device(3, available=False),)
    async with bench(tmp_path, vendor) as parts:
        async with parts.client.get("/api/status") as answer:
            assert CANARY not in await answer.text()
        devices = (await parts.json("/api/status"))["devices"]
    assert {row["name"]: row["online"] for row in devices["rows"]} == {
        **dict.fromkeys(names, True),
        "Gateway 3": False,
    }
    assert devices["rows"][0]["values"] == [["Signal", -70, "dBm"], ["Enabled", "ON", None]]


async def test_status_with_a_backend_unavailable_shows_its_devices_offline(tmp_path: Path) -> None:
    vendor = Vendor("hq", devices=(device(1),), error=AuthenticationError("no"))
    async with bench(tmp_path, vendor) as parts:
        await parts.hub.accept(vendor.update())
        (row,) = (await parts.json("/api/status"))["devices"]["rows"]
        assert row["online"] is False


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [("om20", ["hq_0001"]), ("网关", ["hq_0001"]), ("hq_0003", ["hq_0003"]), ("OFFLINE", ["hq_0002"]), ("none", [])],
)
async def test_status_with_a_filter_shows_matching_devices(tmp_path: Path, wanted: str, ids: list[str]) -> None:
    devices = (device(1, name="网关", model="OM20"), device(2, available=False), device(3))
    async with bench(tmp_path, Vendor("hq", devices=devices)) as parts:
        found = (await parts.json(f"/api/status?filter={wanted}"))["devices"]
        assert [row["id"] for row in found["rows"]] == ids
        assert (found["matching"], found["total"]) == (len(ids), 3)


async def test_status_with_more_than_500_devices_shows_them_in_pages(tmp_path: Path) -> None:
    async with bench(tmp_path, Vendor("hq", devices=tuple(map(device, range(501))))) as parts:
        devices = (await parts.json("/api/status"))["devices"]
        assert (len(devices["rows"]), devices["matching"], devices["total"]) == (500, 501, 501)
        second = (await parts.json("/api/status?page=2"))["devices"]
        assert [row["id"] for row in second["rows"]] == ["hq_0500"]
        assert (second["page"], second["pages"]) == (2, 2)
        assert (await parts.json("/api/status?page=9"))["devices"]["page"] == 2


async def test_status_with_a_failing_outbox_still_responds(tmp_path: Path) -> None:
    async with open_outbox(tmp_path / "other.sqlite") as closed:
        pass
    async with bench(tmp_path, shown_outbox=closed) as parts:
        assert (await parts.json("/api/status"))["alarms"] is None


async def test_page_loads_nothing_from_elsewhere_and_allows_only_its_own_script(tmp_path: Path) -> None:
    async with bench(tmp_path) as parts, parts.client.get("/") as answer:
        assert (answer.status, answer.content_type, answer.charset) == (200, "text/html", "utf-8")
        html, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    assert not re.search(r"https?:|//\w+\.|@import|url\(|\ssrc=|\son\w+=|\sstyle=", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", html)
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")


@pytest.mark.parametrize(
    ("headers", "options", "ancestors"),
    [({}, "DENY", "'none'"), ({"X-Ingress-Path": "/api/hassio_ingress/x"}, "SAMEORIGIN", "'self'")],
)
async def test_page_is_framed_by_home_assistants_ingress_only(
    tmp_path: Path, headers: dict[str, str], options: str, ancestors: str
) -> None:
    async with bench(tmp_path) as parts, parts.client.get("/", headers=headers) as answer:
        assert answer.headers["X-Frame-Options"] == options
        assert answer.headers["Content-Security-Policy"].endswith(f"frame-ancestors {ancestors}")


@pytest.mark.parametrize(
    "path",
    ["/", "/alarms", "/api/status", "/api/alarms", "/api/status/events", "/healthz", "/readyz", "/metrics", "/nothing"],
)
async def test_web_application_is_read_only_with_security_headers(tmp_path: Path, path: str) -> None:
    async with bench(tmp_path) as parts:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            async with parts.client.request(method, path) as answer:
                refused = 404 if path == "/nothing" else 405 if method not in ("GET", "HEAD") else None
                assert answer.status == refused or (refused is None and answer.status in (200, 503))
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert answer.headers["Cache-Control"] == "no-store"
