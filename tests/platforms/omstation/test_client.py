"""The form of the requests: window, address, and what is asked once more."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from fleet2mqtt.platforms.omstation.auth import path_prefix
from fleet2mqtt.platforms.omstation.window import QueryWindow, period_text
from fleet2mqtt.simulators.omstation import SIMULATOR, create
from tests.platforms.omstation.connected import Shared, calls, connected, simulated
from tests.platforms.omstation.simulated import COLLECTIONS, LATTICES, STATIONS, TRANSFERS, path

MOMENT = datetime(2024, 3, 7, 1, 2, 3, tzinfo=UTC)


async def test_polls_send_dates_as_the_pages_show_them() -> None:
    """Faults 4.1: dates, in a window around everything; the simulator refuses any other form."""
    async with simulated() as (simulator, run):
        await run.poll()
        for endpoint in (LATTICES, COLLECTIONS, TRANSFERS):
            for call in calls(simulator, endpoint):
                assert call.body["startTime"] == "2000-01-01"
                assert re.fullmatch(r"\d{4}-\d\d-\d\d", call.body["endTime"])
                assert date.fromisoformat(call.body["endTime"]) > datetime.now(UTC).date() + timedelta(days=3600)
        assert {name for name, count in run.backend.calls.items() if count.failures} == set()


async def test_window_option_changes_the_dates() -> None:
    async with simulated(window={"start": "2024-01-01", "future_days": 0}) as (simulator, run):
        await run.poll()
        body = calls(simulator, LATTICES)[0].body
        assert body["startTime"] == "2024-01-01"
        assert abs(date.fromisoformat(body["endTime"]) - datetime.now(UTC).date()) <= timedelta(days=1)


@pytest.mark.parametrize(
    ("as_time", "given", "sent"),
    [
        (False, (date(2024, 3, 7), date(2024, 3, 15)), ("2024-03-07", "2024-03-15")),
        (False, (MOMENT, MOMENT), ("2024-03-07", "2024-03-07")),
        (True, (date(2024, 3, 7), date(2024, 3, 15)), ("2024-03-07T00:00:00Z", "2024-03-15T23:59:59Z")),
        (True, (MOMENT, MOMENT), ("2024-03-07T01:02:03Z", "2024-03-07T01:02:03Z")),
    ],
)
def test_window_bounds_have_the_configured_form(as_time: bool, given: tuple[Any, Any], sent: tuple[str, str]) -> None:
    window = QueryWindow(start="2000-01-01", future_days=10, as_time=as_time)
    assert tuple(window.bounds(*given).values()) == sent
    assert window.bounds()["startTime"] == ("2000-01-01T00:00:00Z" if as_time else "2000-01-01")


def test_period_limits_have_the_form_of_the_pages() -> None:
    assert period_text(MOMENT) == "2024-03-07 01:02:03"
    assert period_text(date(2024, 3, 7)) == "2024-03-07"
    assert period_text(None) is None


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("https://api.example.com", "/omstation"),
        ("https://api.example.com/omstation", ""),
        ("https://api.example.com/gateway/omstation/", ""),
        ("https://api.example.com/gateway", "/omstation"),
    ],
)
def test_url_with_the_prefix_gets_it_once(url: str, prefix: str) -> None:
    """Faults 4.8: the address as the vendor's document prints it."""
    assert path_prefix(url, "/omstation") == prefix
    assert path_prefix(url, "") == ""


async def test_url_as_the_document_prints_it_works(shared: Shared) -> None:
    """Faults 4.8."""
    app = create()
    async with TestServer(app) as server, connected(str(server.make_url("/omstation")), shared) as run:
        await run.poll()
        assert run.of("stations")
        assert {call.path for call in app[SIMULATOR].fault_injector.calls} >= {path(STATIONS), path(LATTICES)}
