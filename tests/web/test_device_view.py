"""One device as JSON: all its values, sub-devices and alarms, and no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sample_alarms import alarm
from tests.web.web_bench import CANARY, Vendor, bench, device

if TYPE_CHECKING:
    from pathlib import Path


async def test_device_has_values_sub_devices_and_alarms(tmp_path: Path) -> None:
    lines = [device(n, name=f"Line {n}", via="hq_0001") for n in (12, 3)]
    hq = Vendor("hq", devices=(device(1, serial_number="SN 1"), *lines))
    async with bench(tmp_path, hq) as parts:
        of_line = alarm(1, device="hq_0003", active=True, alarm_key="one")
        await parts.hub.accept(hq.update(alarms=(of_line, alarm(2, device="hq_0001"))))
        async with parts.client.get("/api/device?id=hq_0001&lang=zh-Hans") as answer:
            assert CANARY not in await answer.text()
            body = await answer.json()
        line = await parts.json("/api/device?id=hq_0003")
    assert {name: body["device"][name] for name in ("name", "serial_number", "online", "via")} == {
        "name": "Gateway 1", "serial_number": "SN 1", "online": True, "via": None,
    }  # fmt: skip
    values = {row["id"]: (row["name"], row["value"], row["unit"]) for row in body["values"]["rows"]}
    assert values == {
        "uptime": ("运行时间", 5, None), "signal": ("信号", -70, "dBm"), "enable": ("启用", "ON", None),
        "note": ("备注", None, None),
    }  # fmt: skip
    assert [row["name"] for row in body["sub_devices"]["rows"]] == ["Line 3", "Line 12"]
    assert [row["alarm"] for row in body["sub_devices"]["rows"]] == [True, False]
    assert [row["id"] for row in body["active"]["rows"]] == ["hq:1"]
    assert [row["id"] for row in body["past"]["rows"]] == ["hq:2"]
    assert line["device"]["via"] == {"id": "hq_0001", "name": "Gateway 1"}


async def test_unknown_device_and_view_are_404(tmp_path: Path) -> None:
    async with bench(tmp_path) as parts:
        assert await parts.json("/api/device?id=none", 404) == {"error": "there is no such device"}
        for path in ("/api/device/events?id=none", "/api/none", "/api/none/events"):
            async with parts.client.get(path) as answer:
                assert answer.status == 404
