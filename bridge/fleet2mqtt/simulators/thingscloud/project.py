"""The project's own calls: itself, its figures, device types, groups and alarm logs."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

from fleet2mqtt.simulators.thingscloud.data import DAY, now_ms
from fleet2mqtt.simulators.thingscloud.devices import get_device
from fleet2mqtt.simulators.thingscloud.requests import NOT_FOUND, ApiRequest, Operation, require
from fleet2mqtt.simulators.thingscloud.state import Simulator


def read_project(simulator: Simulator, _: ApiRequest) -> dict[str, Any]:
    return dict(simulator.project)


def count_states(simulator: Simulator, _: ApiRequest) -> dict[str, int]:
    """读取设备状态统计; active are devices with a message in the last 24 hours."""
    devices = simulator.devices.values()
    total, since = len(devices), now_ms() - DAY
    online = sum(device.online for device in devices)
    active = sum(device.newest() >= since for device in devices)
    return {
        "device_total": total,
        "online_device_total": online,
        "offline_device_total": total - online,
        "active_device_total": active,
        "inactive_device_total": total - active,
        "alarm_device_total": sum(device.alarm_level > 0 for device in devices),
    }


def count_alarms(simulator: Simulator, _: ApiRequest) -> dict[str, int]:
    """读取设备告警状态统计."""
    levels = Counter(device.alarm_level for device in simulator.devices.values())
    raised = {f"alarm_{level}_total": levels[level] for level in (1, 2, 3)}
    return {"device_total": levels.total(), **raised, "normal_total": levels[0]}


def list_types(simulator: Simulator, _: ApiRequest) -> dict[str, Any]:
    """读取设备类型列表."""
    counts = Counter(device.type for device in simulator.devices.values())
    created = simulator.quirks.created
    return {
        "items": [
            {name: value for name, value in kind.items() if name != "infos"}
            | {"create_time": created(kind["create_time"]), "device_count": counts[kind["id"]]}
            for kind in simulator.types.values()
        ]
    }


def list_definitions(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """读取设备类型扩展信息定义."""
    kind = simulator.types.get(request.match["type_id"])
    require(kind, "设备类型不存在", NOT_FOUND)
    created = simulator.quirks.created(kind["create_time"] if kind else 0)
    return {
        "items": [
            {
                "id": info.id,
                "info_type": info.info_type,
                "name": info.name,
                "descr": "",
                "enabled": True,
                "options": dict(info.options),
                "create_time": created,
                "update_time": created,
                "is_standard": info.is_standard,
            }
            for info in (kind["infos"] if kind else ())
        ]
    }


def group_tree(simulator: Simulator, _: ApiRequest) -> dict[str, Any]:
    """读取设备组树形列表; inner groups have neither `create_time` nor `children`, as in the sample."""
    shown = ("id", "name", "descr", "tags")
    items = {key: {name: group[name] for name in shown} for key, group in simulator.groups.items()}
    tree = []
    for key, group in simulator.groups.items():
        if group["parent"] is None:
            children = [items[inner] for inner, one in simulator.groups.items() if one["parent"] == key]
            created = simulator.quirks.created(group["create_time"])
            tree.append(items[key] | {"create_time": created, "children": children})
    return {"items": tree}


def list_logs(simulator: Simulator, _: ApiRequest) -> dict[str, Any]:
    """读取所有告警消息, newest first."""
    return _logs(simulator, None)


def list_device_logs(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """读取设备告警消息, newest first."""
    return _logs(simulator, get_device(simulator, request).id)


def _logs(simulator: Simulator, device: str | None) -> dict[str, Any]:
    newest = [*reversed(simulator.alarm_logs)]  # so that the order is that of the logs within a millisecond, too
    newest.sort(key=lambda log: -log["create_time"])
    found = (log for log in newest if device in (None, log["device_id"]))
    created = simulator.quirks.created
    return {
        "items": [
            log | {"create_time": created(log["create_time"])} for log in islice(found, simulator.alarm_logs_shown)
        ]
    }


OPERATIONS = (
    Operation(method="GET", path="/api/v1/project", run=read_project),
    Operation(method="GET", path="/api/v1/devices_stat", run=count_states),
    Operation(method="GET", path="/api/v1/devices_alarm_stat", run=count_alarms),
    Operation(method="GET", path="/api/v1/device_types", run=list_types, lists=True),
    Operation(method="GET", path="/api/v1/device_type/{type_id}/extend_infos", run=list_definitions, lists=True),
    Operation(method="GET", path="/api/v1/device_groups_tree", run=group_tree, lists=True),
    Operation(method="GET", path="/api/v1/alarm_logs", run=list_logs, lists=True),
    Operation(method="GET", path="/api/v1/device/{device_id}/alarm_logs", run=list_device_logs, lists=True),
)
