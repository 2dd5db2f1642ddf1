"""Handlers of a simulated UMS: one per endpoint of the UMS document 3 and 4."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.ums.data import MAC, naive, now, object_id, sample_user
from fleet2mqtt.simulators.ums.quirks import SUCCESS, RefusalError
from fleet2mqtt.simulators.ums.state import SIMULATOR, Simulator

COOKIE = "ums_session"
BAD_BODY = "请求数据格式错误"
HOUR = timedelta(hours=1)
INTERVAL_HOURS = {"H": 1, "D": 24, "M": 24 * 30}
WHOLE = re.compile(r"[0-9]{1,9}")


def routes() -> list[web.RouteDef]:
    """Return the routes of all endpoints."""
    return [
        web.get("/s1/device", _devices, allow_head=False),
        web.get("/s1/device/metric_history", _alarms, allow_head=False),
        web.post("/s1/device/metric_history/statistics", _alarm_statistics),
        web.get("/s1/device/status", _online_statistics, allow_head=False),
        web.get("/s1/device/{mac}/detect", _detect, allow_head=False),
        web.post("/passports/login", _login),
    ]


def respond(simulator: Simulator, payload: Any) -> web.Response:
    """Return a response as the simulated server encodes it."""
    return web.Response(body=simulator.quirks.encode(payload), content_type="application/json")


def _whole(request: web.Request, name: str, least: int) -> int:
    text = request.query.get(name, "")
    _require(WHOLE.fullmatch(text) and int(text) >= least, f"参数错误: {name}")
    return int(text)


def _window(request: web.Request) -> tuple[int, int]:
    return _whole(request, "limit", 1), _whole(request, "offset", 0)


def _page(
    request: web.Request,
    key: str,
    items: Iterable[Any],
    window: tuple[int, int],
    encode: Callable[[Any], dict[str, Any]] = dict,
) -> dict[str, Any]:
    simulator, (limit, offset), items = request.app[SIMULATOR], window, list(items)
    total = len(items)
    if simulator.fault_injector.take(request.path, FaultKind.EMPTY):  # which still counts what it does not list
        items = []
    if 0 < offset < len(items) and simulator.fault_injector.take(request.path, FaultKind.DRIFT):
        items[offset - 1], items[offset] = items[offset], items[offset - 1]
    return {
        "code": 0,
        "status": SUCCESS,
        "meta": {"limit": limit, "offset": offset, "query": "", "totalResults": total},
        key: [encode(item) for item in items[offset : offset + limit]],
    }


async def _devices(request: web.Request) -> web.Response:
    simulator, window = request.app[SIMULATOR], _window(request)
    logged_in = request.cookies.get(COOKIE) in simulator.sessions
    group_info = request.query.get("show_group_info") == "true"
    page = _page(
        request,
        "devices",
        simulator.devices.values(),
        window,
        lambda device: simulator.quirks.device(device, logged_in=logged_in, group_info=group_info),
    )
    return respond(simulator, page)


def _newest_first(alarm: dict[str, Any]) -> tuple[str, int]:
    return alarm["metric_history_time"], alarm["metric_history_id"]


async def _alarms(request: web.Request) -> web.Response:
    simulator, window = request.app[SIMULATOR], _window(request)
    mac, everything = request.query.get("metric_history_producer"), request.query.get("all")
    if mac is not None:
        _check_mac(mac)
    _require(everything is None or (everything == "true" and mac is not None), "参数错误: all")
    if everything:
        found = sorted(simulator.history.get(mac or "", ()), key=_newest_first, reverse=True)
    else:
        recent = sorted(simulator.alarms_since(simulator.window_hours), key=_newest_first)
        newest = {alarm["metric_history_producer"]: alarm for alarm in recent}
        found = sorted(newest.values(), key=_newest_first, reverse=True)
        found = [alarm for alarm in found if mac in (None, alarm["metric_history_producer"])]
    return respond(simulator, _page(request, "metricHistorys", found, window, simulator.quirks.alarm))


async def _alarm_statistics(request: web.Request) -> web.Response:
    event_type = request.query.get("event_type")
    _require(event_type in (None, "on"), "参数错误: event_type")
    return await (_count_by_device(request) if event_type is None else _count_by_event(request))


async def _count_by_device(request: web.Request) -> web.Response:
    simulator, macs = request.app[SIMULATOR], (await _body(request)).get("macs")
    _require(isinstance(macs, str), "参数错误: macs")
    requested = dict.fromkeys(_check_mac(mac) for mac in str(macs).split(","))
    interval = simulator.interval
    hours = int(interval[:-1]) * INTERVAL_HOURS[interval[-1]] if interval else None
    levels: dict[str, Counter[str]] = {mac: Counter() for mac in requested}
    for alarm in simulator.alarms_since(hours):
        if alarm["metric_history_producer"] in levels:
            levels[alarm["metric_history_producer"]].update(("all", alarm["metric_history_level"]))
    items = [
        {"all": str(level["all"]), "metric_history_producer": mac}
        | {name: str(level[name]) for name in ("normal", "serious", "unknown", "warning")}
        for mac, level in levels.items()
    ]
    page = _page(request, "metricHistoryStatistics", items, (len(items), 0))
    if interval:
        page["meta"]["interval"] = interval
    return respond(simulator, page)


async def _count_by_event(request: web.Request) -> web.Response:
    simulator, window, body = request.app[SIMULATOR], _window(request), await _body(request)
    start, end = _time(body, "startTime"), _time(body, "endTime")
    if start is None:
        end = end or now().replace(tzinfo=None)
        start = end - HOUR
    first, last = naive(start), naive(end or start + HOUR)
    items: dict[int, dict[str, Any]] = {}
    for alarm in simulator.alarms_since(None):
        if first <= alarm["metric_history_time"] <= last:
            names = ("event_id", "metric_history_desc", "metric_history_desc_en", "metric_history_name")
            item = items.setdefault(alarm["event_id"], {name: alarm[name] for name in names} | {"total": 0})
            item["total"] += 1
    ranked = sorted(items.values(), key=lambda item: -item["total"])
    return respond(simulator, _page(request, "events_statistics", ranked, window))


async def _online_statistics(request: web.Request) -> web.Response:
    simulator = request.app[SIMULATOR]
    return respond(simulator, _page(request, "states_statistics", simulator.statistics, _window(request)))


async def _detect(request: web.Request) -> web.Response:
    simulator, window = request.app[SIMULATOR], _window(request)
    mac, kind = _check_mac(request.match_info["mac"]), request.query.get("type")
    _require(kind in ("fxo", "curfxo"), "参数错误: type")
    _require(mac in simulator.devices, "设备不存在", 2)
    if kind == "fxo":
        _require(simulator.devices[mac].connection_status == "online", "设备不在线", 3)
        await asyncio.sleep(simulator.test_seconds)
        _require(mac in simulator.devices, "设备不存在", 2)
        simulator.measure(mac)
    items = simulator.quirks.lines(simulator.lines(mac))
    return respond(simulator, _page(request, "detects", items, window))


def _require(condition: object, text: str, code: int = 1) -> None:
    if not condition:
        raise RefusalError(text, code)


def _check_mac(mac: str) -> str:
    _require(MAC.fullmatch(mac), f"MAC 地址格式错误: {mac}")
    return mac


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RefusalError(BAD_BODY)
    return body


def _time(body: dict[str, Any], name: str) -> datetime | None:
    text = body.get(name, "")
    if text == "":
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007  the document's times have no zone
    except (TypeError, ValueError) as error:
        message = f"时间格式错误: {name}"
        raise RefusalError(message) from error


async def _login(request: web.Request) -> web.Response:
    simulator, body = request.app[SIMULATOR], await _body(request)
    account, password = body.get("account"), body.get("password")
    _require(isinstance(account, str) and isinstance(password, str), "参数错误: account, password")
    _require(simulator.accounts.get(str(account)) == password, "登录失败,密码不对或帐号不存在")
    token = object_id(now(), simulator.rng)
    simulator.sessions.add(token)
    user = sample_user(str(account), request.remote or "")
    payload = {"code": 0, "status": SUCCESS, "superToken": "false", "upgrade_test": "no", "user": user}
    response = respond(simulator, payload)
    response.set_cookie(COOKIE, token, httponly=True)
    return response
