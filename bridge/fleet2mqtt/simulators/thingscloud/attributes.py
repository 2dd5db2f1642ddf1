"""Calls on a device's extended infos, attributes and communication."""

from __future__ import annotations

import re
from functools import partial
from itertools import islice
from typing import Any

from fleet2mqtt.simulators.thingscloud.data import DAY, IDENTIFIER, Device, Info, now_ms
from fleet2mqtt.simulators.thingscloud.devices import get_device
from fleet2mqtt.simulators.thingscloud.requests import (
    NOT_FOUND,
    ApiRequest,
    Operation,
    WriteResult,
    check_values,
    fits,
    is_number,
    require,
)
from fleet2mqtt.simulators.thingscloud.state import Simulator

_HEX = re.compile(r"([0-9A-Fa-f]{2} ?)+")
_MAX_WINDOW = 30 * DAY
_MAX_RECORDS, _DEFAULT_RECORDS = 100, 20
_OF_TYPE = {"text": str, "boolean": bool}


def _infos(simulator: Simulator, device: Device) -> tuple[Info, ...]:
    return tuple(simulator.types.get(device.type, {}).get("infos", ()))


def list_infos(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """读取设备扩展信息."""
    device, created = get_device(simulator, request), simulator.quirks.created
    return {
        "items": [
            {
                "id": info.id,
                "info_type": info.info_type,
                "name": info.name,
                "descr": "",
                "value": device.standard_infos.get(info.info_type, {})
                if info.is_standard
                else device.custom_infos.get(info.id, ""),
                "options": dict(info.options),
                "create_time": created(device.create_time),
                "update_time": created(device.info_times.get(info.id, device.create_time)),
                "is_standard": info.is_standard,
            }
            for info in _infos(simulator, device)
        ]
    }


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool) or is_number(value)


def change_standard(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """修改设备标准扩展信息."""
    device, name, value = get_device(simulator, request), request.text("info_type"), request.body.get("value")
    require(isinstance(value, dict) and value and all(map(_is_scalar, value.values())), "参数错误: value")
    ids = [info.id for info in _infos(simulator, device) if info.is_standard and info.info_type == name]
    require(ids, "扩展信息不存在", NOT_FOUND)
    changed = dict(value or {})

    def change() -> None:
        device.standard_infos.setdefault(name, {}).update(changed)
        device.info_times[ids[0]] = now_ms()

    return {name: changed}, change


def change_custom(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """修改设备自定义扩展信息; the response has only what was changed."""
    device, infos = get_device(simulator, request), request.body.get("infos")
    require(isinstance(infos, dict) and infos and all(map(_is_scalar, infos.values())), "参数错误: infos")
    known = {info.id: info.info_type for info in _infos(simulator, device) if not info.is_standard}
    changed = {key: value for key, value in (infos or {}).items() if key in known and _is_of(known[key], value)}

    def change() -> None:
        device.custom_infos |= changed
        device.info_times |= dict.fromkeys(changed, now_ms())

    return changed, change


def _is_of(info_type: str, value: Any) -> bool:
    return isinstance(value, _OF_TYPE[info_type]) if info_type in _OF_TYPE else is_number(value)


def list_attributes(simulator: Simulator, request: ApiRequest) -> list[dict[str, Any]]:
    """读取设备属性列表: a bare list."""
    known = simulator.attributes(get_device(simulator, request).id)
    return [simulator.quirks.attribute(attribute) for attribute in known.values()]


def read_values(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """读取设备当前属性集合."""
    return simulator.values(get_device(simulator, request).id)


def read_series(simulator: Simulator, request: ApiRequest) -> list[dict[str, Any]]:
    """读取设备属性历史数据: a bare list, newest first; one of the two times alone has no effect."""
    device, identifier = get_device(simulator, request), request.match["identifier"]
    attribute = simulator.attributes(device.id).get(identifier)
    require(attribute, "属性不存在", NOT_FOUND)
    page, records = request.whole("page", 1) or 0, request.whole("page_records", _DEFAULT_RECORDS) or 0
    if not simulator.quirks.refuses_page_records:
        records = min(records, _MAX_RECORDS)
    require(page >= 1, "参数错误: page")
    require(1 <= records <= _MAX_RECORDS, "参数错误: page_records")
    start, end = request.whole("start_time"), request.whole("end_time")
    values = simulator.attribute_store.series(device, identifier)
    if start is not None and end is not None:
        require(start <= end, "参数错误: start_time, end_time")
        require(end - start <= _MAX_WINDOW, "时间范围不能超过 30 天")
        values = (pair for pair in values if start <= pair[0] <= end)
    stamp = "timestamp" if simulator.quirks.series_timestamp else "ts"
    kind = simulator.quirks.data_type(attribute.definition) if attribute else ""
    return [
        {stamp: ts, "name": identifier, "value": value, "type": kind}
        for ts, value in islice(values, (page - 1) * records, page * records)
    ]


def remove_attributes(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """移除设备属性; unknown keys are ignored."""
    device, keys = get_device(simulator, request), request.keys()

    def remove() -> None:
        for key in keys:
            simulator.attribute_store.delete(device, key)

    return {}, remove


def _checked(simulator: Simulator, request: ApiRequest) -> tuple[Device, dict[str, Any]]:
    """Purpose of a control call; the cloud checks values only against definitions that it has."""
    device = get_device(simulator, request)
    check_values(request.body)
    known = simulator.attributes(device.id)
    for identifier, value in request.body.items():
        if identifier in known and known[identifier].definition.modelled:
            require(fits(known[identifier].definition, device.spelling, value), f"属性值不合法: {identifier}")
    return device, dict(request.body)


def send_attributes(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """下发属性到设备: to the device; success means accepted, not done."""
    device, values = _checked(simulator, request)
    return {}, partial(simulator.send, device.id, "attributes", values)


def set_cloud(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """更新云端属性: the cloud's copy only."""
    device, values = _checked(simulator, request)
    return {}, partial(simulator.set_cloud, device.id, values)


def send_command(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """下发命令到设备."""
    device, number = get_device(simulator, request), request.body.get("id")
    command = {"method": request.text("method"), "params": request.body.get("params"), "id": number}
    require(isinstance(command["params"], dict), "参数错误: params")
    require(isinstance(number, int) and not isinstance(number, bool), "参数错误: id")
    return {}, partial(simulator.send, device.id, "command", command)


def send_data(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """下发自定义数据流到设备; the body has `msg`, as in the examples, not `message`."""
    device, identifier, mode = (
        get_device(simulator, request),
        request.match["identifier"],
        request.query.get("push_mode"),
    )
    kind, message = request.text("type"), request.body.get("msg")
    require(IDENTIFIER.fullmatch(identifier), "参数错误: identifier")
    require(mode in ("mqtt", "tcp"), "参数错误: push_mode")
    require(kind in ("hex", "text", "json"), "参数错误: type")
    require(isinstance(message, dict if kind == "json" else str), "参数错误: msg")
    require(kind != "hex" or _HEX.fullmatch(str(message)), "参数错误: msg")
    body = {"identifier": identifier, "push_mode": mode, "type": kind, "msg": message}
    return {}, partial(simulator.send, device.id, "data", body)


_ONE, _CONTROL = "/api/v1/device/{device_id}", "/api/v1/control/device/{device_id}"
OPERATIONS = (
    Operation(method="GET", path=f"{_ONE}/extend_infos", run=list_infos, lists=True),
    Operation(method="POST", path=f"{_ONE}/standard_infos", run=change_standard, writes=True),
    Operation(method="POST", path=f"{_ONE}/extend_infos", run=change_custom, writes=True),
    Operation(method="GET", path=f"{_ONE}/attributes", run=list_attributes, lists=True),
    Operation(method="GET", path=f"{_ONE}/attributes_raw", run=read_values, lists=True),
    Operation(method="GET", path=f"{_ONE}/attribute/{{identifier}}/series", run=read_series, lists=True),
    Operation(method="POST", path=f"{_ONE}/attributes_remove", run=remove_attributes, writes=True),
    Operation(method="POST", path=f"{_CONTROL}/attributes", run=send_attributes, writes=True),
    Operation(method="PUT", path=f"{_CONTROL}/attributes", run=set_cloud, writes=True),
    Operation(method="POST", path=f"{_CONTROL}/command", run=send_command, writes=True),
    Operation(method="POST", path=f"{_CONTROL}/data/{{identifier}}/set", run=send_data, writes=True),
)
