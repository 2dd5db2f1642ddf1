"""Client of the UMS document 3.1 to 3.7 and 4: one method per endpoint. Reading needs no login, and none is made."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.platforms.ums.models import parse, read_mac
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import Envelope, HttpClient
from fleet2mqtt.sdk.pagination import Item, Page
from fleet2mqtt.sdk.response_cache import ResponseCache

ENVELOPE = Envelope(member="code", success=(0, "0"), texts=("status",))
LINE_TEST_TIMEOUT = 30.0
"""Shortest timeout of a line test, in seconds: it measures each port before it responds."""

_PAGES = re.compile(r"(?:/s1(?:/device)?|/passports(?:/login)?|/index)?/*\Z")

_HISTORY = "/s1/device/metric_history"
_STATISTICS = "/s1/device/metric_history/statistics"


@dataclass(frozen=True, slots=True)
class Client:
    """Each method raises Unreachable, Ambiguous, InvalidResponse, Rejected, RateLimited, AuthenticationError."""

    api: HttpClient
    _devices: ResponseCache = field(default_factory=lambda: ResponseCache("devices", parse, read_mac))

    async def device_list(self, offset: int, limit: int) -> Page:
        """Return a page of all devices, the UMS document 3.1. An item whose bytes did not change is the same object."""
        if offset == 0:
            self._devices.begin()
        api = replace(self.api, parse=partial(self._devices.parse, position=offset))
        query = _paged(offset, limit) | {"show_group_info": "true"}
        return await _read_page(api, "GET", "/s1/device", "device_list", "devices", params=query)

    async def alarm_latest(self, offset: int, limit: int) -> Page:
        """Return a page of the newest alarms of the last 48 hours, one per device, the UMS document 3.2."""
        query = _paged(offset, limit)
        return await _read_page(self.api, "GET", _HISTORY, "alarm_latest", "metricHistorys", params=query)

    async def alarm_history(self, mac: str, offset: int, limit: int) -> Page:
        """Return a page of all alarms of one device, the UMS document 3.3."""
        query = _paged(offset, limit) | {"metric_history_producer": mac, "all": "true"}
        return await _read_page(self.api, "GET", _HISTORY, "alarm_history", "metricHistorys", params=query)

    async def alarm_statistics(self, macs: Iterable[str]) -> Page:
        """Return the number of alarms per level of these devices, the UMS document 3.4; see `interval`."""
        body = {"macs": ",".join(macs)}
        return await _read_page(
            self.api, "POST", _STATISTICS, "alarm_statistics", "metricHistoryStatistics", json=body, writes=False
        )

    async def event_statistics(self, offset: int, limit: int, window: dict[str, str] | None = None) -> Page:
        """Return a page of event counts, the UMS document 3.5.

        `window` has `startTime`, `endTime`, both or none: one hour after the start, before the end, or before now.
        """
        query = _paged(offset, limit) | {"event_type": "on"}
        body = window or {}
        return await _read_page(
            self.api,
            "POST",
            _STATISTICS,
            "event_statistics",
            "events_statistics",
            params=query,
            json=body,
            writes=False,
        )

    async def status_history(self, offset: int, limit: int) -> Page:
        """Return a page of online counts at successive times, the UMS document 3.6."""
        query = _paged(offset, limit)
        path = "/s1/device/status"
        return await _read_page(self.api, "GET", path, "status_history", "states_statistics", params=query)

    async def fxo_status(self, mac: str, offset: int, limit: int) -> Page:
        """Return a page of the FXO lines of one device as last measured, the UMS document 3.7 with `type=curfxo`."""
        query = _paged(offset, limit) | {"type": "curfxo"}
        return await _read_page(self.api, "GET", _detect(mac), "fxo_status", "detects", params=query)

    async def fxo_test(self, mac: str, offset: int, limit: int) -> Page:
        """Test the FXO lines of one device and return a page of them, the UMS document 3.7 with `type=fxo`."""
        query = _paged(offset, limit) | {"type": "fxo"}
        api = replace(self.api, timeout=max(self.api.timeout, LINE_TEST_TIMEOUT))
        # A test occupies the lines: as a write it is not sent once more after a connection error.
        return await _read_page(api, "GET", _detect(mac), "fxo_test", "detects", params=query, writes=True)

    async def login(self, account: str, password: str) -> dict[str, Any]:
        """Check an account, the UMS document 4; return `user`. No session is kept. Raises Rejected for a wrong one."""
        body = {"account": account, "password": password}
        response = await self.api.call("POST", "/passports/login", endpoint="login", json=body)
        user = response.get("user")
        return user if isinstance(user, dict) else {}


def base_url(url: str) -> str:
    """Return the address of the UMS from any of the addresses that its document prints, such as `…/s1/device`."""
    return _PAGES.sub("", url.rstrip("/"), count=1)


def interval(page: Page) -> str | None:
    """Return the period that alarm counts cover, the UMS document 3.4: `02D`, None for all recorded alarms."""
    return vendor_json.text(_meta(page.response).get("interval"))


async def _read_page(api: HttpClient, method: str, path: str, name: str, container: str, **request: Any) -> Page:
    requested_at = time.monotonic()
    response = await api.call(method, path, endpoint=name, **request)
    items = response.get(container)
    if items is None and (container in response or _total(response) == 0):
        items = []
    if not isinstance(items, list):
        raise InvalidResponse(f"{name}: the response has no list {container!r}", endpoint=name, code="no_list")
    objects = tuple([item for item in items if isinstance(item, dict)])
    return Page(items=objects, count=len(items), total=_total(response), requested_at=requested_at, response=response)


def _meta(response: Item) -> Item:
    meta = response.get("meta")
    return meta if isinstance(meta, dict) else {}


def _total(response: Item) -> int | None:
    total = vendor_json.number(_meta(response).get("totalResults"))
    return None if total is None else int(total)


def _paged(offset: int, limit: int) -> dict[str, str]:
    return {"limit": str(limit), "offset": str(offset)}


def _detect(mac: str) -> str:
    return f"/s1/device/{quote(mac, safe='')}/detect"
