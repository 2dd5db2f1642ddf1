"""Calls that read and manage devices, without their attributes (T9 to T18, T35)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.thingscloud.data import Device, make_id, now_ms
from fleet2mqtt.simulators.thingscloud.state import Simulator
from fleet2mqtt.simulators.thingscloud.wire import (
    NOT_ALLOWED,
    NOT_FOUND,
    Ask,
    Operation,
    RefusalError,
    Written,
    require,
)

_RECORDS = range(1, 101)


def device_of(simulator: Simulator, ask: Ask) -> Device:
    """The device that the path names. Raises `RefusalError`."""
    device = simulator.devices.get(ask.match["device_id"])
    if device is None:
        raise RefusalError("设备不存在", NOT_FOUND)
    return device


def device_row(simulator: Simulator, device: Device) -> dict[str, Any]:
    """A device as lists have it."""
    row = {name: getattr(device, name) for name in ("id", "name", "descr", "device_key", "tags")}
    row |= {"create_time": simulator.quirks.created(device.create_time)}
    row |= {name: getattr(device, name) for name in ("alarm", "active", "online", "type")}
    kind = simulator.types.get(device.type, {})
    return row | {"type_info": {name: kind.get(name, "") for name in ("id", "name", "conn_type", "conn_protocol")}}


def page_of(simulator: Simulator, ask: Ask, devices: Iterable[Device]) -> dict[str, Any]:
    """One page of a device list; `page_records` is what the vendor's tools send, the document has `page` only."""
    rows, page, records = list(devices), ask.whole("page", 1), ask.whole("page_records")
    require(page, "参数错误: page")
    if records is None or simulator.quirks.ignores_page_records:
        records = simulator.page_size
    require(records in _RECORDS or records == simulator.page_size, "参数错误: page_records")
    start = ((page or 1) - 1) * records
    drifts = simulator.quirks.drifting_pages or simulator.fault_injector.take(ask.path, FaultKind.DRIFT)
    if drifts and 0 < start < len(rows):
        rows[start - 1], rows[start] = rows[start], rows[start - 1]
    return {
        "items": [device_row(simulator, device) for device in rows[start : start + records]],
        "total": len(rows),
        "page_total": math.ceil(len(rows) / records),
    }


def list_devices(simulator: Simulator, ask: Ask) -> dict[str, Any]:
    """T9, with the filters of the document (`type`, `group`) and of the tools (`groups`, `include_sub_groups`)."""
    kind = ask.query.get("type")
    wanted = {group for name in ("group", "groups") for group in ask.query.get(name, "").split(",") if group}
    inside = set(wanted)
    if ask.query.get("include_sub_groups") == "1":
        inside |= {key for key, group in simulator.groups.items() if group["parent"] in wanted}
    found = (
        device
        for device in simulator.devices.values()
        if kind in (None, "", device.type) and (not wanted or inside & set(device.groups))
    )
    return page_of(simulator, ask, found)


def read_device(simulator: Simulator, ask: Ask) -> dict[str, Any]:
    """T10."""
    device = device_of(simulator, ask)
    more = {name: getattr(device, name) for name in ("groups", "view_token", "device_code")}
    return device_row(simulator, device) | more


def read_certificate(simulator: Simulator, ask: Ask) -> dict[str, Any]:
    """T11: secrets."""
    device = device_of(simulator, ask)
    key = {"project_key": simulator.project["id"] + "-key"}
    return {"id": device.id, "name": device.name, "access_token": device.access_token} | key


def list_device_customers(simulator: Simulator, ask: Ask) -> dict[str, Any]:
    """T12."""
    device = device_of(simulator, ask).id
    owners = (customer for customer in simulator.customers.values() if device in customer["devices"])
    return {"items": [simulator.quirks.customer(customer) for customer in owners]}


def change_info(simulator: Simulator, ask: Ask) -> Written:
    """T13."""
    device, values = device_of(simulator, ask), ask.some("name", "descr", "device_key")
    _check_key(simulator, values.get("device_key", ""), device.id)
    return {}, partial(simulator.change, device.id, **values)


def _check_key(simulator: Simulator, key: str, own: str | None = None) -> None:
    taken = (device for device in simulator.devices.values() if key and device.device_key == key)
    require(all(device.id == own for device in taken), "设备唯一标识已存在")


def merge_tags(simulator: Simulator, ask: Ask) -> Written:
    """T14."""
    device, tags = device_of(simulator, ask), ask.texts("tags")
    return {}, partial(device.tags.update, tags)


def remove_tags(simulator: Simulator, ask: Ask) -> Written:
    """T15."""
    device, keys = device_of(simulator, ask), ask.keys()
    left = {name: text for name, text in device.tags.items() if name not in keys}
    return {}, partial(simulator.change, device.id, tags=left)


def replace_groups(simulator: Simulator, ask: Ask) -> Written:
    """T16."""
    device, groups = device_of(simulator, ask), ask.keys("groups", least=0)
    require(simulator.groups.keys() >= set(groups), "设备组不存在", NOT_FOUND)
    return {}, partial(simulator.change, device.id, groups=list(dict.fromkeys(groups)))


def remove_device(simulator: Simulator, ask: Ask) -> Written:
    """T17; refused unless the device has been silent long enough (24 hours)."""
    device = device_of(simulator, ask)
    silent = now_ms() - device.newest() >= simulator.removal_silence * 1000
    require(silent, "设备在 24 小时内有数据上报,不能移除", NOT_ALLOWED)
    return {}, partial(simulator.remove_device, device.id)


def create_device(simulator: Simulator, ask: Ask) -> Written:
    """T18."""
    name, kind, key = ask.text("name"), ask.text("type", required=False), ask.text("device_key", required=False)
    require(not kind or kind in simulator.types, "设备类型不存在", NOT_FOUND)
    _check_key(simulator, key)
    fields: dict[str, Any] = {"id": make_id(simulator.rng), "descr": ask.text("descr", required=False), "type": kind}
    fields |= {"device_key": key, "tags": ask.texts("tags") if "tags" in ask.body else {}}
    return {"id": fields["id"], "name": name}, partial(simulator.add_device, name, **fields)


def list_customer_devices(simulator: Simulator, ask: Ask) -> dict[str, Any]:
    """T35."""
    customer = simulator.customers.get(ask.match["customer_id"])
    if customer is None:
        raise RefusalError("用户不存在", NOT_FOUND)
    owned = (simulator.devices[device] for device in customer["devices"] if device in simulator.devices)
    return page_of(simulator, ask, owned)


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
