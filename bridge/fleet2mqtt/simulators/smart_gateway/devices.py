"""The calls of chapter 1 of the IG200 document that read, register and delete gateways."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

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
    Code,
    RefusalError,
    Tree,
    check_names,
)

if TYPE_CHECKING:
    from fleet2mqtt.simulators.smart_gateway.state import Simulator

SECTIONS: Mapping[str, tuple[str, ...] | None] = {
    "base": BASE,
    "network": NETWORK,
    "channel": None,
    "parameters": PARAMETERS,
}
_FILTERS = (None, "alias", "type", "version")
_VOLUMES = tuple(name for name in CHANNEL_IN_LIST if name not in CHANNEL_IN_QUERY)
_REMEMBERED = 100
_CHART_RATES = {"rateUp": "rateup", "rateDown": "ratedown"}


def list_devices(simulator: Simulator, body: Tree, path: str) -> Tree:
    """IG200 document 1.1: a page of gateways; `count` is all there are, whatever the filter."""
    page, limit = body["page"] - simulator.first_page, body["limit"]
    if page < 0 or limit < 1 or body["filtration"] not in range(len(_FILTERS)):
        raise RefusalError(Code.ILLEGAL_DATA)
    args = _selection(body["args"], tuple(SECTIONS))
    if simulator.fault_injector.take(path, FaultKind.EMPTY):
        return {"count": 0, "devices": []}
    if simulator.fault_injector.take(path, FaultKind.DRIFT):
        simulator.drifted += 1
    rows = _filtered(simulator, _FILTERS[body["filtration"]], body["condition"])
    shift = simulator.drifted % (len(rows) or 1)
    rows = rows[-shift:] + rows[:-shift]
    devices = [_listed(simulator, sn, args) for sn in rows[page * limit : (page + 1) * limit]]
    return {"count": len(simulator.gateways), "devices": devices}


def query_devices(simulator: Simulator, body: Tree, path: str) -> Tree:
    """IG200 document 1.2: gateways by serial number; no `args` means everything."""
    sns = check_names(body["sns"])
    args = _selection(body["args"], (*SECTIONS, "chart"))
    if simulator.fault_injector.take(path, FaultKind.EMPTY):
        return {"devices": {}}
    return {"devices": {sn: _queried(simulator, sn, args) for sn in sns}}


def register_device(simulator: Simulator, body: Tree, _: str) -> Tree:
    """IG200 document 1.5."""
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
    """IG200 document 1.6."""
    if body["sn"] not in simulator.gateways:
        raise RefusalError(Code.SERIAL_ERROR)
    simulator.remove_gateway(body["sn"])
    return {}


def check_alias(simulator: Simulator, sn: str, alias: str) -> None:
    """Refuse an alias that is empty, too long, or another gateway's."""
    if not alias.strip() or len(alias) > simulator.alias_limit:
        raise RefusalError(Code.ALIAS_ILLEGAL)
    if any(other["base"]["alias"] == alias for key, other in simulator.gateways.items() if key != sn):
        raise RefusalError(Code.ALIAS_EXISTS)


def reading(simulator: Simulator, sn: str) -> Tree:
    """Give all that query says of a gateway now, charts apart."""
    fields = (*CHANNEL_IN_QUERY, *_VOLUMES) if simulator.query_volumes else CHANNEL_IN_QUERY
    return _sections(simulator, simulator.refreshed(sn), dict(SECTIONS), fields)


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
    row = _sections(simulator, simulator.refreshed(sn), args, CHANNEL_IN_LIST)
    if simulator.kbps_unquoted and "base" in row:
        row["base"] |= {name: f"{row['base'][name]} Kbps" for name in RATES if name in row["base"]}
    return row


def _queried(simulator: Simulator, sn: str, args: Tree) -> Tree:
    if sn not in simulator.gateways:
        return {"state": 0}
    whole = reading(simulator, sn)
    simulator.answered.pop(sn, None)
    simulator.answered[sn] = copy.deepcopy(whole)
    if len(simulator.answered) > _REMEMBERED:
        del simulator.answered[next(iter(simulator.answered))]
    answer: Tree = {"state": 1}
    for section in SECTIONS:
        if not args:
            answer[section] = whole[section]
        elif section in args:
            wanted = args[section] or (list(whole[section]) if section == "channel" else [])
            answer[section] = {name: value for name, value in whole[section].items() if name in wanted}
    if not args or "chart" in args:
        gateway = simulator.gateways[sn]
        everything = {"total": list(_CHART_RATES), "channel": list(gateway["channel"])}
        answer["chart"] = _chart(gateway, args["chart"] if args else everything)
    return answer


def _sections(simulator: Simulator, gateway: Tree, args: Mapping[str, Any], fields: Iterable[str]) -> Tree:
    row: Tree = {}
    if "base" in args:
        row["base"] = _base(simulator, gateway["base"], args["base"])
    if "network" in args:
        network = {name: gateway["network"][name] for name in args["network"] if name in gateway["network"]}
        row["network"] = {name: _encoded(simulator, part) for name, part in network.items()}
    if "channel" in args:
        wanted = args["channel"] or gateway["channel"]
        channels = {key: channel for key, channel in gateway["channel"].items() if key in wanted}
        row["channel"] = {
            key: _encoded(simulator, {name: channel[name] for name in fields if name in channel})
            for key, channel in channels.items()
        }
    if "parameters" in args:
        parameters = {name: gateway["parameters"][name] for name in args["parameters"]}
        row["parameters"] = _encoded(simulator, parameters)
    return row


def _base(simulator: Simulator, base: Tree, names: Iterable[str]) -> Tree:
    row = {name: base[name] for name in names}
    if simulator.placeholders:
        row |= {name: "" for name in ("runtime", "remark", "qos", "record") if name in row}
    if simulator.gps_zero and "gps" in row:
        row["gps"] = {"lat": 0, "lon": 0}
    if simulator.gps_missing:
        row.pop("gps", None)
    return _encoded(simulator, row)


def _encoded(simulator: Simulator, fields: Tree) -> Tree:
    """Give the fields in the types in which this back end sends them."""
    row = dict(fields)
    for name, value in fields.items():
        if name in FLAGS and simulator.bool_enables:
            row[name] = bool(value)
        elif name == "net" and simulator.net_as_int:
            row[name] = NETS.index(value)
        elif name in RATES and simulator.kbps_text:
            row[name] = f"{value} Kbps"
    return row


def _chart(gateway: Tree, wanted: Tree) -> Tree:
    channels = {key: gateway["channel"].get(key) for key in wanted.get("channel", ())}
    names = _CHART_RATES | {"rtt": "rtt"}
    return {
        "timestamp": int(time.time() * 1000),
        "total": {name: [gateway["base"][_CHART_RATES[name]]] * 4 for name in wanted.get("total", ())},
        "channel": {
            key: {name: [channel.get(field, 0)] * 4 for name, field in names.items()}
            for key, channel in channels.items()
            if channel
        },
    }
