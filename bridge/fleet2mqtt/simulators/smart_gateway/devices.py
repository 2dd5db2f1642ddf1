"""Handlers of the calls that read, register and delete gateways. IG200 document chapter 1."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.smart_gateway.protocol import (
    BASE,
    CHANNEL_IN_LIST,
    CHANNEL_IN_QUERY,
    FLAGS,
    NETS,
    NETWORK,
    PARAMETERS,
    RATES,
    TEXTS,
    Code,
    RefusalError,
    Tree,
    check_names,
)
from fleet2mqtt.simulators.smart_gateway.state import Simulator

SECTIONS: Mapping[str, tuple[str, ...] | None] = {
    "base": BASE,
    "network": NETWORK,
    "channel": None,
    "parameters": PARAMETERS,
}
_FILTERS = (None, "alias", "type", "version")
_PLACEHOLDERS = {"runtime": "", "remark": "", "qos": "", "record": "", "gps": {"lat": 0, "lon": 0}}
_VOLUMES = tuple(name for name in CHANNEL_IN_LIST if name not in CHANNEL_IN_QUERY)
_MAX_LAST_QUERIED = 100
HTTP_ERRORS: Mapping[int, type[web.HTTPException]] = {
    403: web.HTTPForbidden,
    500: web.HTTPInternalServerError,
    503: web.HTTPServiceUnavailable,
}
_CHART_RATES = {"rateUp": "rateup", "rateDown": "ratedown"}


def list_devices(simulator: Simulator, body: Tree, path: str) -> Tree:
    """Return a page of gateways; `count` counts all, whatever the filter. IG200 document 1.1."""
    page, limit = body["page"] - simulator.first_page, body["limit"]
    if page < 0 or limit < 1 or body["filtration"] not in range(len(_FILTERS)):
        raise RefusalError(Code.ILLEGAL_DATA)
    args = _selection(body["args"], tuple(SECTIONS))
    if simulator.fault_injector.take(path, FaultKind.EMPTY):
        return {"count": 0, "devices": []}
    if simulator.fault_injector.take(path, FaultKind.DRIFT):
        simulator.drift += 1
    listed = _filtered(simulator, _FILTERS[body["filtration"]], body["condition"])
    shift = simulator.drift % (len(listed) or 1)
    listed = listed[-shift:] + listed[:-shift]
    on_page = listed[page * limit : (page + 1) * limit]
    _fail(on_page, simulator.list_failures)
    devices = [_listed(simulator, sn, args) for sn in on_page]
    return {"count": len(simulator.gateways), "devices": devices}


def query_devices(simulator: Simulator, body: Tree, path: str) -> Tree:
    """Return gateways by serial number; empty `args` request everything. IG200 document 1.2."""
    sns = check_names(body["sns"])
    args = _selection(body["args"], (*SECTIONS, "chart"))
    if simulator.fault_injector.take(path, FaultKind.EMPTY):
        return {"devices": {}}
    _fail(sns, simulator.query_failures)
    return {"devices": {sn: _queried(simulator, sn, args) for sn in sns}}


def register_device(simulator: Simulator, body: Tree, _: str) -> Tree:
    """Register a gateway. IG200 document 1.5."""
    sn, alias = body["sn"], body["alias"]
    if not (sn.isascii() and sn.isalnum()):
        raise RefusalError(Code.SERIAL_ERROR)
    if sn in simulator.gateways:
        raise RefusalError(Code.SERIAL_EXISTS)
    check_alias(simulator, sn, alias)
    if len(simulator.gateways) >= simulator.max_devices:
        raise RefusalError(Code.OVER_LIMIT)
    simulator.register(sn, alias)
    return {}


def delete_device(simulator: Simulator, body: Tree, _: str) -> Tree:
    """Delete a gateway. IG200 document 1.6."""
    if body["sn"] not in simulator.gateways:
        raise RefusalError(Code.SERIAL_ERROR)
    simulator.remove_gateway(body["sn"])
    return {}


def check_alias(simulator: Simulator, sn: str, alias: str) -> None:
    """Check an alias. Raises RefusalError for one that is empty, too long, or another gateway's."""
    if not alias.strip() or len(alias) > simulator.alias_limit:
        raise RefusalError(Code.ALIAS_ILLEGAL)
    if any(other["base"]["alias"] == alias for key, other in simulator.gateways.items() if key != sn):
        raise RefusalError(Code.ALIAS_EXISTS)


def query_item(simulator: Simulator, sn: str) -> Tree:
    """Return everything that query returns of a gateway now, except charts."""
    fields = (*CHANNEL_IN_QUERY, *_VOLUMES) if simulator.query_volumes else CHANNEL_IN_QUERY
    return _sections(simulator, simulator.refreshed(sn), dict(SECTIONS), fields)


def _fail(sns: Iterable[str], failures: Mapping[str, int]) -> None:
    """Fail as the first of these gateways does: with one of the document's codes, or with an HTTP status."""
    code = next((failures[sn] for sn in sns if sn in failures), None)
    if code is None:
        return
    if code in TEXTS:
        raise RefusalError(code)
    raise HTTP_ERRORS[code](text="simulated failure")


def _selection(args: Tree, allowed: tuple[str, ...]) -> Tree:
    if not set(args) <= set(allowed):
        raise RefusalError(Code.PARAMETER_ERROR)
    for section, names in args.items():
        if section == "chart":
            _check_chart(names)
        else:
            check_names(names, SECTIONS[section])
    return args


def _check_chart(chart: Any) -> None:
    if not isinstance(chart, dict) or not set(chart) <= {"total", "channel"}:
        raise RefusalError(Code.PARAMETER_ERROR)
    check_names(chart.get("total", []), tuple(_CHART_RATES))
    check_names(chart.get("channel", []))


def _filtered(simulator: Simulator, name: str | None, condition: str) -> list[str]:
    if name is None:
        return list(simulator.gateways)
    return [sn for sn, gateway in simulator.gateways.items() if condition in gateway["base"][name]]


def _listed(simulator: Simulator, sn: str, args: Tree) -> Tree:
    item = _sections(simulator, simulator.refreshed(sn), args, CHANNEL_IN_LIST)
    if simulator.list_placeholders and "base" in item:
        item["base"] |= {name: value for name, value in _PLACEHOLDERS.items() if name in item["base"]}
    if simulator.kbps_unquoted and "base" in item:
        item["base"] |= {name: f"{item['base'][name]} Kbps" for name in RATES if name in item["base"]}
    return item


def _queried(simulator: Simulator, sn: str, args: Tree) -> Tree:
    if sn not in simulator.gateways:
        return {"state": 0}
    everything = query_item(simulator, sn)
    simulator.last_queried.pop(sn, None)
    simulator.last_queried[sn] = copy.deepcopy(everything)
    if len(simulator.last_queried) > _MAX_LAST_QUERIED:
        del simulator.last_queried[next(iter(simulator.last_queried))]
    response: Tree = {"state": 1}
    for section in SECTIONS:
        if not args:
            response[section] = everything[section]
        elif section in args:
            selected = args[section] or (list(everything[section]) if section == "channel" else [])
            response[section] = {name: value for name, value in everything[section].items() if name in selected}
    if not args or "chart" in args:
        gateway = simulator.gateways[sn]
        all_charts = {"total": list(_CHART_RATES), "channel": list(gateway["channel"])}
        response["chart"] = _chart(gateway, args["chart"] if args else all_charts)
    return response


def _sections(simulator: Simulator, gateway: Tree, args: Mapping[str, Any], fields: Iterable[str]) -> Tree:
    item: Tree = {}
    if simulator.blank_when_offline and not simulator.is_running(gateway["base"]["sn"]):
        channels: Tree = {key: {} for key in gateway["channel"]}
        gateway = gateway | {"network": {"lan": "", "hotspot": ""}, "channel": channels}
    if "base" in args:
        item["base"] = _base(simulator, gateway["base"], args["base"])
    if "network" in args:
        network = {name: gateway["network"][name] for name in args["network"] if name in gateway["network"]}
        item["network"] = {name: _encoded(simulator, part) if part else part for name, part in network.items()}
    if "channel" in args:
        selected = args["channel"] or gateway["channel"]
        channels = {key: channel for key, channel in gateway["channel"].items() if key in selected}
        item["channel"] = {
            key: _encoded(simulator, {name: channel[name] for name in fields if name in channel})
            for key, channel in channels.items()
        }
    if "parameters" in args:
        parameters = {name: gateway["parameters"][name] for name in args["parameters"]}
        item["parameters"] = _encoded(simulator, parameters)
    return item


def _base(simulator: Simulator, base: Tree, names: Iterable[str]) -> Tree:
    item = {name: base[name] for name in names}
    if simulator.placeholders:
        item |= {name: "" for name in ("runtime", "remark", "qos", "record") if name in item}
    if simulator.gps_zero and "gps" in item:
        item["gps"] = {"lat": 0, "lon": 0}
    if simulator.gps_missing:
        item.pop("gps", None)
    return _encoded(simulator, item)


def _encoded(simulator: Simulator, fields: Tree) -> Tree:
    """Return the fields in the types in which this system sends them."""
    item = dict(fields)
    for name, value in fields.items():
        if name in FLAGS and simulator.bool_enables:
            item[name] = bool(value)
        elif name == "net" and simulator.net_as_int:
            item[name] = NETS.index(value)
        elif name in RATES and simulator.kbps_text:
            item[name] = f"{value} Kbps"
    return item


def _chart(gateway: Tree, selected: Tree) -> Tree:
    channels = {key: gateway["channel"].get(key) for key in selected.get("channel", ())}
    names = _CHART_RATES | {"rtt": "rtt"}
    return {
        "timestamp": int(time.time() * 1000),
        "total": {name: [gateway["base"][_CHART_RATES[name]]] * 4 for name in selected.get("total", ())},
        "channel": {
            key: {name: [channel.get(field, 0)] * 4 for name, field in names.items()}
            for key, channel in channels.items()
            if channel
        },
    }
