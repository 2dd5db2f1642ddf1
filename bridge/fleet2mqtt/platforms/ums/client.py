"""The UMS document 3.1 to 3.7 and 4: a method for each endpoint. Pulling needs no login, and none is made."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.platforms.ums.models import parse
from fleet2mqtt.platforms.ums.paging import Page
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import Envelope, HttpClient
from fleet2mqtt.sdk.row_cache import RowCache

ENVELOPE = Envelope(member="code", success=(0, "0"), texts=("status",))
LIVE_TIMEOUT = 30.0
"""Seconds for a live test of the lines, at least: it measures each port before it answers."""

_HISTORY = "/s1/device/metric_history"
_STATISTICS = "/s1/device/metric_history/statistics"


@dataclass(frozen=True, slots=True)
class Client:
    """Each method raises Unreachable, Ambiguous, InvalidResponse, Rejected, RateLimited, AuthenticationError."""

    api: HttpClient
    _devices: RowCache = field(default_factory=lambda: RowCache("devices", parse))

    async def device_list(self, offset: int, limit: int) -> Page:
        """All devices, the UMS document 3.1. A row that is what it was is the same object again."""
        if offset == 0:
            self._devices.begin()
        api = replace(self.api, parse=self._devices.parse)
        query = _paged(offset, limit) | {"show_group_info": "true"}
        return await _page(api, "GET", "/s1/device", "device_list", "devices", params=query)

    async def alarm_latest(self, offset: int, limit: int) -> Page:
        """The newest alarm of each device that had one within 48 hours, the UMS document 3.2."""
        return await _page(self.api, "GET", _HISTORY, "alarm_latest", "metricHistorys", params=_paged(offset, limit))

    async def alarm_history(self, mac: str, offset: int, limit: int) -> Page:
        """All alarms of one device, the UMS document 3.3."""
        query = _paged(offset, limit) | {"metric_history_producer": mac, "all": "true"}
        return await _page(self.api, "GET", _HISTORY, "alarm_history", "metricHistorys", params=query)

    async def alarm_statistics(self, macs: Iterable[str]) -> Page:
        """How many alarms of each level these devices had, the UMS document 3.4; `meta.interval` says since when."""
        body = {"macs": ",".join(macs)}
        return await _page(self.api, "POST", _STATISTICS, "alarm_statistics", "metricHistoryStatistics", json=body)

    async def event_statistics(self, offset: int, limit: int, window: dict[str, str] | None = None) -> Page:
        """How often each event happened, the UMS document 3.5.

        `window` has `startTime`, `endTime`, both or none: an hour after the one, before the other, or before now.
        """
        query = _paged(offset, limit) | {"event_type": "on"}
        body = window or {}
        return await _page(
            self.api, "POST", _STATISTICS, "event_statistics", "events_statistics", params=query, json=body
        )

    async def status_history(self, offset: int, limit: int) -> Page:
        """How many devices were online, time after time, the UMS document 3.6."""
        query = _paged(offset, limit)
        return await _page(self.api, "GET", "/s1/device/status", "status_history", "states_statistics", params=query)

    async def fxo_status(self, mac: str, offset: int, limit: int) -> Page:
        """The FXO lines of one device as the UMS knows them, the UMS document 3.7 with `type=curfxo`."""
        query = _paged(offset, limit) | {"type": "curfxo"}
        return await _page(self.api, "GET", _detect(mac), "fxo_status", "detects", params=query)

    async def fxo_test(self, mac: str, offset: int, limit: int) -> Page:
        """The FXO lines of one device, tested now, the UMS document 3.7 with `type=fxo`."""
        query = _paged(offset, limit) | {"type": "fxo"}
        patient = replace(self.api, timeout=max(self.api.timeout, LIVE_TIMEOUT))
        return await _page(patient, "GET", _detect(mac), "fxo_test", "detects", params=query)

    async def login(self, account: str, password: str) -> dict[str, Any]:
        """Whether the UMS knows this account, the UMS document 4; gives `user`. No session is kept."""
        body = {"account": account, "password": password}
        reply = await self.api.call("POST", "/passports/login", endpoint="login", json=body)
        user = reply.get("user")
        return user if isinstance(user, dict) else {}


async def _page(api: HttpClient, method: str, path: str, name: str, container: str, **request: Any) -> Page:
    requested_at = time.monotonic()
    reply = await api.call(method, path, endpoint=name, **request)
    rows = reply.get(container)
    if rows is None and (container in reply or _total(reply) == 0):
        rows = []
    if not isinstance(rows, list):
        raise InvalidResponse(f"{name}: the answer has no list {container!r}", endpoint=name, code="no_list")
    objects = tuple(row for row in rows if isinstance(row, dict))
    return Page(rows=objects, count=len(rows), total=_total(reply), requested_at=requested_at, reply=reply)


def _total(reply: dict[str, Any]) -> int | None:
    meta = reply.get("meta")
    total = vendor_json.number(meta.get("totalResults")) if isinstance(meta, dict) else None
    return None if total is None else int(total)


def _paged(offset: int, limit: int) -> dict[str, str]:
    return {"limit": str(limit), "offset": str(offset)}


def _detect(mac: str) -> str:
    return f"/s1/device/{quote(mac, safe='')}/detect"
