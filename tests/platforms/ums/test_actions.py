"""Actions: arguments are validated before anything is sent, and the response is returned."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import voluptuous as vol

from fleet2mqtt.errors import CommandError, Rejected
from fleet2mqtt.sdk.api import describe
from fleet2mqtt.sdk.json_schema import json_schema
from tests.platforms.ums.connected import simulated

OM50 = "000EA93D022E"


async def test_actions_cover_each_documented_call() -> None:
    async with simulated() as (_, run):
        assert {action.name for action in run.backend.actions} == {
            "device_list",
            "alarm_latest",
            "alarm_history",
            "alarm_statistics",
            "event_statistics",
            "status_history",
            "fxo_status",
            "fxo_test",
            "login",
        }
        for action in run.backend.actions:
            assert action.summary
            assert action.destructive is (action.name == "login")  # it takes a password (faults 5.17)
            assert json_schema(action.schema)["type"] == "object"


@pytest.mark.parametrize(
    ("name", "container", "arguments"),
    [
        ("device_list", "devices", {}),
        ("device_list", "devices", {"limit": 1, "offset": 1}),
        ("alarm_latest", "metricHistorys", {}),
        ("alarm_history", "metricHistorys", {"metric_history_producer": OM50}),
        ("alarm_statistics", "metricHistoryStatistics", {"macs": OM50}),
        ("alarm_statistics", "metricHistoryStatistics", {"macs": [OM50, "00:0e:a9:61:0b:cc"]}),
        ("event_statistics", "events_statistics", {}),
        ("event_statistics", "events_statistics", {"startTime": "2021-03-09 17:55:40"}),
        ("status_history", "states_statistics", {}),
        ("fxo_status", "detects", {"device_mac": "00-0e-a9-3d-02-2e"}),
        ("fxo_test", "detects", {"device_mac": OM50}),
    ],
)
async def test_list_action_returns_its_page(name: str, container: str, arguments: dict[str, Any]) -> None:
    async with simulated() as (_, run):
        data = await run.act(name, **arguments)
        assert isinstance(data[container], list)
        assert data["meta"]["totalResults"] >= len(data[container])
        assert data.keys() == {container, "meta"}
        assert len(data[container]) <= arguments.get("limit", 100)


async def test_device_list_action_returns_every_member_after_a_poll() -> None:
    async with simulated() as (_, run):
        before = (await run.act("device_list"))["devices"]
        await run.poll("devices")
        after = (await run.act("device_list"))["devices"]
        assert [item.keys() for item in after] == [item.keys() for item in before]


async def test_fxo_test_action_refreshes_the_lines() -> None:
    async with simulated() as (_, run):
        assert {action.name: action.refresh for action in run.backend.actions if action.refresh} == {
            "fxo_test": ("lines",)
        }


async def test_event_statistics_window_is_sent_or_refused() -> None:
    async with simulated() as (simulator, run):
        window = {"startTime": "2021-03-09 17:55:40", "endTime": "2021-03-09 18:55:40"}
        await run.act("event_statistics", **window)
        assert simulator.fault_injector.calls[-1].body == window
        with pytest.raises(CommandError, match="startTime is after endTime"):
            await run.act("event_statistics", startTime="2021-03-09 18:55:40", endTime="2021-03-09 17:55:40")


INVALID: list[tuple[str, dict[str, Any]]] = [
    ("device_list", {"limit": 0}),
    ("device_list", {"limit": 1001}),
    ("device_list", {"limit": True}),
    ("device_list", {"offset": -1}),
    ("device_list", {"page": 1}),
    ("alarm_history", {}),
    ("alarm_history", {"metric_history_producer": "../../etc"}),
    ("alarm_history", {"metric_history_producer": [OM50]}),
    ("alarm_statistics", {}),
    ("alarm_statistics", {"macs": ""}),
    ("alarm_statistics", {"macs": " , "}),
    ("alarm_statistics", {"macs": []}),
    ("alarm_statistics", {"macs": [7]}),
    ("alarm_statistics", {"macs": [OM50, "x"]}),
    ("alarm_statistics", {"macs": f"{OM50} {OM50}"}),
    ("event_statistics", {"startTime": "2021-03-09T17:55:40"}),
    ("event_statistics", {"startTime": "2021-3-9 17:55:40"}),
    ("event_statistics", {"endTime": 7}),
    ("event_statistics", {"endTime": "2021-13-09 17:55:40"}),
    ("fxo_status", {"device_mac": "000EA93D022"}),
    ("fxo_status", {"device_mac": 7}),
    ("login", {"account": "", "password": "x"}),
    ("login", {"account": -7, "password": "x"}),
    ("login", {"account": "sysadmin"}),
]
VALID: list[tuple[str, dict[str, Any]]] = [
    ("device_list", {"limit": 1000, "offset": 0}),
    ("alarm_history", {"metric_history_producer": "00:0e:a9:3d:02:2e"}),
    ("alarm_statistics", {"macs": OM50}),
    ("alarm_statistics", {"macs": f"{OM50}, 00-0e-a9-61-0b-cc,"}),
    ("alarm_statistics", {"macs": [OM50, 112233445566]}),
    ("alarm_statistics", {"macs": 112233445566}),
    ("event_statistics", {"startTime": "2021-03-09 17:55:40", "endTime": "2021-03-09 18:55:40"}),
    ("fxo_status", {"device_mac": 112233445566}),
    ("login", {"account": 7, "password": ""}),
]


@pytest.mark.parametrize(
    ("name", "arguments", "accepted"), [(*case, True) for case in VALID] + [(*case, False) for case in INVALID]
)
async def test_published_schema_accepts_what_the_action_accepts(
    name: str, arguments: dict[str, Any], *, accepted: bool
) -> None:
    """Faults 4.9."""
    async with simulated() as (_, run):
        action = next(action for action in run.backend.actions if action.name == name)
    published = describe(action)["arguments"]
    assert jsonschema.Draft202012Validator(published).is_valid(arguments) is accepted
    try:
        vol.Schema(dict(action.schema))(arguments)
    except vol.Invalid:
        assert not accepted
    else:
        assert accepted


@pytest.mark.parametrize(("name", "arguments"), [*INVALID, ("event_statistics", {"endTime": "2021-02-30 00:00:00"})])
async def test_invalid_arguments_are_refused_before_sending(name: str, arguments: dict[str, Any]) -> None:
    async with simulated() as (simulator, run):
        with pytest.raises(vol.Invalid):
            await run.act(name, **arguments)
        assert not simulator.fault_injector.calls


async def test_rejected_action_has_the_vendors_code_and_text() -> None:
    async with simulated() as (_, run):
        with pytest.raises(Rejected) as caught:
            await run.act("fxo_status", device_mac="FFFFFFFFFFFF")
        assert str(caught.value)
        assert caught.value.code != 0


async def test_backend_has_documented_sources_and_intervals() -> None:
    async with simulated() as (_, run):
        assert run.backend.platform == "ums"
        assert run.backend.configuration_url is not None
        assert run.backend.configuration_url.endswith("/index")
        intervals = {source.name: source.interval for source in run.backend.sources}
        assert intervals == {
            "devices": 60,
            "alarms": 60,
            "lines": 300,
            "status": 300,
            "statistics": 300,
            "events": 300,
        }
        assert [source.name for source in run.backend.sources if source.primary] == ["devices"]
