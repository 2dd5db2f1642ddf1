"""Calls that read and manage devices, without their attributes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.thingscloud.data import Device, make_id, now_ms
from fleet2mqtt.simulators.thingscloud.requests import (
    NOT_ALLOWED,
    NOT_FOUND,
    ApiRequest,
    Operation,
    RefusalError,
    WriteResult,
    require,
)
from fleet2mqtt.simulators.thingscloud.state import Simulator


def get_device(simulator: Simulator, request: ApiRequest) -> Device:
    """Return the device that the path names. Raises `RefusalError`."""
    device = simulator.devices.get(request.match["device_id"])
    if device is None:
        raise RefusalError("设备不存在", NOT_FOUND)
    return device


def device_item(simulator: Simulator, device: Device) -> dict[str, Any]:
    """Return a device as lists have it."""
    item = {name: getattr(device, name) for name in ("id", "name", "descr", "device_key", "tags")}
    item |= {"create_time": simulator.quirks.created(device.create_time)}
    item |= {"alarm": simulator.quirks.alarm(device)}
    item |= {name: getattr(device, name) for name in ("active", "online", "type")}
    kind = simulator.types.get(device.type, {})
    return item | {"type_info": {name: kind.get(name, "") for name in ("id", "name", "conn_type", "conn_protocol")}}


def device_page(simulator: Simulator, request: ApiRequest, devices: Iterable[Device]) -> dict[str, Any]:
    """Return one page of a device list; the vendor's tools send `page_records`, the document has `page` only."""
    listed, page, records = list(devices), request.whole("page", 1), request.whole("page_records")
    require(page, "参数错误: page")
    if records is None or simulator.quirks.ignores_page_records:
        records = simulator.page_size
    largest = max(simulator.max_page_records, simulator.page_size)
    require(1 <= records <= largest or simulator.quirks.clamps_page_records, "参数错误: page_records")
    counted, records = records, min(records, largest)
    start = ((page or 1) - 1) * records
    drifts = simulator.quirks.drifting_pages or simulator.fault_injector.take(request.path, FaultKind.DRIFT)
    if drifts and 0 < start < len(listed):
        listed[start - 1], listed[start] = listed[start], listed[start - 1]
    return {
        "items": [device_item(simulator, device) for device in listed[start : start + records]],
        "total": len(listed),
        "page_total": math.ceil(len(listed) / counted),
    }


def list_devices(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """读取设备列表, with the document's filters (`type`, `group`) and the tools' (`groups`, `include_sub_groups`)."""
    kind = request.query.get("type")
    wanted = {group for name in ("group", "groups") for group in request.query.get(name, "").split(",") if group}
    inside = set(wanted)
    if request.query.get("include_sub_groups") == "1":
        inside |= {key for key, group in simulator.groups.items() if group["parent"] in wanted}
    found = (
        device
        for device in simulator.devices.values()
        if kind in (None, "", device.type) and (not wanted or inside & set(device.groups))
    )
    return device_page(simulator, request, found)


def read_device(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """读取设备信息."""
    device = get_device(simulator, request)
    more = {name: getattr(device, name) for name in ("groups", "view_token", "device_code")}
    return device_item(simulator, device) | more


def read_certificate(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """读取设备证书: secrets."""
    device = get_device(simulator, request)
    key = {"project_key": simulator.project_key}
    return {"id": device.id, "name": device.name, "access_token": device.access_token} | key


def list_device_customers(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """读取设备用户列表."""
    device = get_device(simulator, request).id
    owners = (customer for customer in simulator.customers.values() if device in customer["devices"])
    return {"items": [simulator.quirks.customer(customer) for customer in owners]}


def change_info(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """修改设备基本信息."""
    device, values = get_device(simulator, request), request.changes("name", "descr", "device_key")
    _check_key(simulator, values.get("device_key", ""), device.id)
    return {}, partial(simulator.change, device.id, **values)


def _check_key(simulator: Simulator, key: str, own: str | None = None) -> None:
    taken = (device for device in simulator.devices.values() if key and device.device_key == key)
    require(all(device.id == own for device in taken), "设备唯一标识已存在")


def merge_tags(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """修改设备标签."""
    device, tags = get_device(simulator, request), request.texts("tags")
    return {}, partial(device.tags.update, tags)


def remove_tags(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """移除设备标签."""
    device, keys = get_device(simulator, request), request.keys()
    left = {name: text for name, text in device.tags.items() if name not in keys}
    return {}, partial(simulator.change, device.id, tags=left)


def replace_groups(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """修改设备分组."""
    device, groups = get_device(simulator, request), request.keys("groups", least=0)
    require(simulator.groups.keys() >= set(groups), "设备组不存在", NOT_FOUND)
    return {}, partial(simulator.change, device.id, groups=list(dict.fromkeys(groups)))


def remove_device(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """移除设备; refused unless the device has been silent long enough (24 hours)."""
    device = get_device(simulator, request)
    silent = now_ms() - device.newest() >= simulator.removal_silence * 1000
    require(silent, "设备在 24 小时内有数据上报,不能移除", NOT_ALLOWED)
    return {}, partial(simulator.remove_device, device.id)


def create_device(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """创建设备."""
    name, kind, key = (
        request.text("name"),
        request.text("type", required=False),
        request.text("device_key", required=False),
    )
    require(not kind or kind in simulator.types, "设备类型不存在", NOT_FOUND)
    _check_key(simulator, key)
    fields: dict[str, Any] = {
        "id": make_id(simulator.rng),
        "descr": request.text("descr", required=False),
        "type": kind,
    }
    fields |= {"device_key": key, "tags": request.texts("tags") if "tags" in request.body else {}}
    return {"id": fields["id"], "name": name}, partial(simulator.add_device, name, **fields)


def list_customer_devices(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """读取用户设备列表."""
    customer = simulator.customers.get(request.match["customer_id"])
    if customer is None:
        raise RefusalError("用户不存在", NOT_FOUND)
    owned = (simulator.devices[device] for device in customer["devices"] if device in simulator.devices)
    return device_page(simulator, request, owned)


_ONE = "/api/v1/device/{device_id}"
OPERATIONS = (
    Operation(method="GET", path="/api/v1/devices", run=list_devices, lists=True),
    Operation(method="GET", path=_ONE, run=read_device),
    Operation(method="GET", path=f"{_ONE}/certificate", run=read_certificate),
    Operation(method="GET", path=f"{_ONE}/customers", run=list_device_customers, lists=True),
    Operation(method="PUT", path=f"{_ONE}/info", run=change_info, writes=True),
    Operation(method="PUT", path=f"{_ONE}/tags", run=merge_tags, writes=True),
    Operation(method="POST", path=f"{_ONE}/tags_remove", run=remove_tags, writes=True),
    Operation(method="PUT", path=f"{_ONE}/groups", run=replace_groups, writes=True),
    Operation(method="DELETE", path=_ONE, run=remove_device, writes=True),
    Operation(method="POST", path="/api/v1/device", run=create_device, writes=True),
    Operation(method="GET", path="/api/v1/customer/{customer_id}/devices", run=list_customer_devices, lists=True),
)
