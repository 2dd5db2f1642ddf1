"""The simulated UMS against the samples and rules of the UMS document."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from fleet2mqtt.simulators.ums.app import SIMULATOR, create
from tests.platforms.ums.simulated import MX100G, OM50, PAGE, Ums, running

STATISTICS = "/s1/device/metric_history/statistics"
LOGIN = {"account": "sysadmin", "password": "admin@123"}
DEVICE_FIELDS = set(
    """active_state active_time agent_version connection_ip connection_status connection_time contact device_cic
    device_id device_ip device_mac device_name device_status event event_action event_fwd_flag first_online geoip
    group_id group_info http_port https_port id kernel_version last_offline last_online location locked_time
    mqtt_server_id new_device onoffs origin platform product_type product_version proxy_url remote_access series
    upgrade_server versions warn_event warn_event_code tag1 tag2 tag3""".split(),  # noqa: SIM905  46 names, as in the table
)


@pytest.fixture
async def ums() -> AsyncIterator[Ums]:
    async with running() as ums:
        yield ums


async def test_device_list_has_sample_values_and_all_fields(ums: Ums) -> None:
    answer = await ums.get(f"/s1/device?{PAGE}&show_group_info=true")
    assert (answer["code"], answer["status"]) == (0, "成功")
    assert answer["meta"] == {"limit": 10, "offset": 0, "query": "", "totalResults": 2}
    first, second = answer["devices"]
    assert first.keys() == second.keys() == DEVICE_FIELDS
    sample = {
        "connection_status": "online",
        "device_mac": OM50,
        "device_name": "OM50_130.211",
        "device_status": "work",
        "connection_time": "2021-03-01T08:46:01.522+08:00",
        "last_offline": "2021-02-26T18:33:09.08+08:00",
        "last_online": "2021-03-01T08:46:01.522+08:00",
        "product_type": "OM50",
        "tag1": "备注 1",
    }
    assert first.items() >= sample.items()
    assert (second["device_mac"], second["connection_status"], second["product_type"]) == (MX100G, "offline", "MX100G")


async def test_group_info_is_sent_only_on_request(ums: Ums) -> None:
    assert (await ums.get(f"/s1/device?{PAGE}"))["devices"][0].keys() == DEVICE_FIELDS - {"group_info"}


@pytest.mark.parametrize(
    "window", ["", "limit=10", "offset=0", "limit=x&offset=0", "limit=0&offset=0", "limit=1&offset=-1"]
)
@pytest.mark.parametrize(
    "path", ["/s1/device", "/s1/device/metric_history", "/s1/device/status", f"/s1/device/{OM50}/detect"]
)
async def test_list_without_limit_or_offset_is_refused(ums: Ums, path: str, window: str) -> None:
    answer = await ums.get(f"{path}?{window}&type=curfxo")
    assert answer["code"] != 0
    assert answer["status"].startswith("参数错误")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"/s1/device?{PAGE}", 405),
        ("POST", f"/s1/device/metric_history?{PAGE}", 405),
        ("GET", STATISTICS, 405),
        ("GET", "/passports/login", 405),
        ("GET", "/s1/devices", 404),
    ],
)
async def test_other_methods_and_paths_are_refused(ums: Ums, method: str, path: str, status: int) -> None:
    async with ums.client.request(method, path) as response:
        assert response.status == status


async def test_pages_together_contain_every_device() -> None:
    async with running(devices=25, seed=7) as ums:
        pages = [await ums.get(f"/s1/device?limit=10&offset={offset}") for offset in (0, 10, 20, 30)]
    assert [len(page["devices"]) for page in pages] == [10, 10, 5, 0]
    macs = [row["device_mac"] for page in pages for row in page["devices"]]
    assert macs == list(create(devices=25, seed=7)[SIMULATOR].devices)
    assert macs[:2] == [OM50, MX100G]
    assert len(set(macs)) == 25
    assert all(mac.startswith("000EA9") for mac in macs)


async def test_large_fleet_has_all_states() -> None:
    devices = create(devices=2000)[SIMULATOR].devices.values()
    assert len(devices) == 2000
    assert {device.connection_status for device in devices} == {"online", "offline"}
    assert {device.device_status for device in devices} >= {
        "work",
        "abnormal",
        "fault",
        "unreachable",
        "wrong password",
    }
    assert {device.series for device in devices} == {"OM", "MX", "HX"}


async def test_latest_alarms_has_one_per_device_within_48_hours(ums: Ums) -> None:
    path = f"/s1/device/metric_history?{PAGE}"
    (row,) = (await ums.get(path))["metricHistorys"]
    time = row.pop("metric_history_time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", time)
    assert row == {
        "confirmed_user_id": "",
        "event_id": 33,
        "event_type": "ip extension",
        "id": "6047461ce1382346c147b7af",
        "metric_history_desc": "IP 分机离线",
        "metric_history_desc_en": "eEMS_NOTIFY_IPEXT_OFFLINE",
        "metric_history_id": 175,
        "metric_history_level": "serious",
        "metric_history_name": "eEMS_NOTIFY_IPEXT_OFFLINE",
        "metric_history_producer": OM50,
        "status": "",
    }
    newer = ums.simulator.raise_alarm(OM50, level="warning")
    ums.simulator.raise_alarm(MX100G, at=datetime(2021, 3, 9, 17, 55, 40))  # noqa: DTZ001  naive is Shanghai
    assert [row["id"] for row in (await ums.get(path))["metricHistorys"]] == [newer["id"]]
    ums.simulator.window_hours = 24 * 365 * 50
    rows = (await ums.get(path))["metricHistorys"]
    assert [row["metric_history_producer"] for row in rows] == [OM50, MX100G]
    assert rows[1]["metric_history_time"] == "2021-03-09 17:55:40"


async def test_alarm_history_is_newest_first(ums: Ums) -> None:
    old = ums.simulator.raise_alarm(OM50, at=datetime(2020, 1, 1))  # noqa: DTZ001  naive is Shanghai
    new = ums.simulator.raise_alarm(OM50)
    path = f"/s1/device/metric_history?metric_history_producer={OM50}&all=true"
    answer = await ums.get(f"{path}&limit=2&offset=0")
    assert answer["meta"]["totalResults"] == 3
    rest = await ums.get(f"{path}&limit=2&offset=2")
    ids = [row["id"] for row in answer["metricHistorys"] + rest["metricHistorys"]]
    assert ids == [new["id"], "6047461ce1382346c147b7af", old["id"]]
    one = await ums.get(f"/s1/device/metric_history?metric_history_producer={OM50}&{PAGE}")
    assert [row["id"] for row in one["metricHistorys"]] == [new["id"]]
    assert (await ums.get(f"/s1/device/metric_history?all=true&{PAGE}"))["code"] != 0


async def test_alarm_counts_are_texts_within_the_interval(ums: Ums) -> None:
    ums.simulator.raise_alarm(OM50, level="normal", at=datetime(2021, 3, 9))  # noqa: DTZ001  naive is Shanghai
    answer = await ums.post(STATISTICS, {"macs": f"{OM50},000EA9660004"})
    zero = dict.fromkeys(("all", "normal", "serious", "unknown", "warning"), "0")
    first = zero | {"metric_history_producer": OM50, "all": "2", "normal": "1", "serious": "1"}
    assert answer["metricHistoryStatistics"] == [first, zero | {"metric_history_producer": "000EA9660004"}]
    assert answer["meta"] == {"limit": 2, "offset": 0, "query": "", "totalResults": 2}
    ums.simulator.interval = "02D"
    answer = await ums.post(STATISTICS, {"macs": OM50})
    assert answer["metricHistoryStatistics"][0]["all"] == "1"
    assert answer["meta"]["interval"] == "02D"


@pytest.mark.parametrize(
    "body", [{}, {"macs": [OM50]}, {"macs": ""}, {"macs": OM50.lower()}, {"macs": "1;2"}, [], "no"]
)
async def test_alarm_counts_without_valid_macs_are_refused(ums: Ums, body: Any) -> None:
    assert (await ums.post(STATISTICS, body))["code"] == 1


@pytest.mark.parametrize(
    ("body", "totals"),
    [
        ({"startTime": "2021-03-09 17:55:40", "endTime": "2021-03-09 18:55:40"}, {33: 2, 9: 1}),
        ({"startTime": "2021-03-09 17:55:40"}, {33: 2, 9: 1}),
        ({"startTime": "2021-03-09 18:30:00", "endTime": ""}, {33: 1}),
        ({"endTime": "2021-03-09 18:00:00"}, {33: 2}),
        ({}, {33: 1}),
    ],
)
async def test_event_counts_follow_the_documented_window(ums: Ums, body: Any, totals: dict[int, int]) -> None:
    reboot = {"event_id": 9, "name": "App Starup", "desc": "软件重启", "desc_en": "Software reboot"}
    for hour, minute, event in ((17, 30, {}), (17, 56, {}), (18, 10, reboot), (18, 50, {})):
        ums.simulator.raise_alarm(OM50, at=datetime(2021, 3, 9, hour, minute), **event)  # type: ignore[arg-type]  # noqa: DTZ001
    answer = await ums.post(f"{STATISTICS}?{PAGE}&event_type=on", body)
    assert answer["code"] == 0
    assert {row["event_id"]: row["total"] for row in answer["events_statistics"]} == totals
    if 9 in totals:
        assert answer["events_statistics"][1] == {
            "event_id": 9,
            "metric_history_desc": "软件重启",
            "metric_history_desc_en": "Software reboot",
            "metric_history_name": "App Starup",
            "total": 1,
        }


@pytest.mark.parametrize("query", ["event_type=on", f"event_type=off&{PAGE}", f"event_type=on&{PAGE}"])
async def test_event_counts_with_invalid_arguments_are_refused(ums: Ums, query: str) -> None:
    assert (await ums.post(f"{STATISTICS}?{query}", {"startTime": "2021-03-09T17:55:40"}))["code"] == 1


async def test_online_statistics_contain_the_sample(ums: Ums) -> None:
    rows = (await ums.get(f"/s1/device/status?{PAGE}"))["states_statistics"]
    assert (rows[0]["online_number"], rows[0]["offline_rate"], rows[0]["total"]) == (1, "50.00%", 2)
    assert rows[2] == {
        "id": "60488db2e138234e5141fd45",
        "offline_number": 1,
        "offline_rate": "33.33%",
        "online_number": 2,
        "online_rate": "66.67%",
        "statistics_time": "2021-03-10 17:00:00",
        "total": 3,
    }


async def test_lines_have_sample_values_and_om_no_reg_state(ums: Ums) -> None:
    rows = (await ums.get(f"/s1/device/{MX100G}/detect?{PAGE}&type=curfxo"))["detects"]
    assert rows[0] == {"line": "FXO-7", "number": "8006", "reg_state": "2", "con_state": "2", "voltage": "48/30"}
    assert [row["voltage"] for row in rows] == ["48/30", "47/30"]
    rows = (await ums.get(f"/s1/device/{OM50}/detect?{PAGE}&type=curfxo"))["detects"]
    assert all("reg_state" not in row for row in rows)


async def test_only_line_test_measures_again(ums: Ums) -> None:
    ums.simulator.set_line(OM50, "FXO-7", voltage="19/30")
    cached = f"/s1/device/{OM50}/detect?{PAGE}&type=curfxo"
    before = (await ums.get(cached))["detects"]
    assert (before[0]["con_state"], before[1]["con_state"]) == ("0", "2")
    assert (await ums.get(cached))["detects"] == before
    measured = (await ums.get(f"/s1/device/{OM50}/detect?{PAGE}&type=fxo"))["detects"]
    assert measured[1]["voltage"] in ("46/30", "48/30")
    assert (await ums.get(cached))["detects"] == measured


@pytest.mark.parametrize(
    ("mac", "kind"), [(OM50, ""), (OM50, "fxs"), ("000EA9000000", "curfxo"), (OM50.lower(), "curfxo"), (MX100G, "fxo")]
)
async def test_lines_without_type_or_device_are_refused(ums: Ums, mac: str, kind: str) -> None:
    answer = await ums.get(f"/s1/device/{mac}/detect?{PAGE}&type={kind}")
    assert answer["code"] != 0
    assert "detects" not in answer


async def test_passwords_are_sent_only_after_login(ums: Ums) -> None:
    wrong = await ums.post("/passports/login", LOGIN | {"password": "guess"})
    assert wrong == {"code": 1, "status": "登录失败,密码不对或帐号不存在"}
    assert "pass" not in (await ums.get(f"/s1/device?{PAGE}"))["devices"][0]
    assert (await ums.post("/passports/login", {"account": "sysadmin"}))["code"] == 1
    answer = await ums.post("/passports/login", LOGIN)
    assert (answer["code"], answer["superToken"], answer["user"]["userid"]) == (0, "false", "sysadmin")
    assert answer["user"]["last_login"].endswith("+08:00")
    assert (await ums.get(f"/s1/device?{PAGE}"))["devices"][0]["pass"]
