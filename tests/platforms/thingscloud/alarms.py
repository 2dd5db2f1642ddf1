"""Test data: alarms as webhooks and as items of the alarm log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.platforms.thingscloud.connected import FIRST, NAME
from tests.platforms.thingscloud.project import Project

if TYPE_CHECKING:
    from tests.platforms.thingscloud.connected import Run


def ago(**span: float) -> int:
    """Epoch milliseconds."""
    return int((datetime.now(UTC) - timedelta(**span)).timestamp() * 1000)


NOW = ago()
RULE = {"id": "r1", "name": "高温", "notify_text": "太热了", "alarm_level": 3, "pending_num": 1, "pending_time": 0}


def webhook(device: str = FIRST, *, status: Any = 1, level: Any = 3, ts: Any = NOW, rule: Any = RULE) -> dict[str, Any]:
    alarm = {"ts": ts, "ts_text": "", "status": status, "level": level, "level_text": "紧急"}
    return {"project": {"id": "p"}, "device": {"id": device, "name": "甲"}, "alarm_rule": rule, "alarm": alarm}


def log_item(id_: str, *, status: Any = 1, level: Any = 3, ts: Any = NOW, **said: Any) -> dict[str, Any]:
    """A row of the log; more of it by name, `info` and `device` for short."""
    info = said.pop("info", {"rule_id": "r1", "rule_name": "高温"})
    row = {"id": id_, "device_id": said.pop("device", FIRST), "alarm_status": status, "alarm_level": level}
    return row | {"alarm_info": info, "create_time": ts, "notify_logs": []} | said


def project_with_logs(*rows: Any, **more: Any) -> Project:
    return Project(responses={"alarm_logs": {"items": list(rows), **more}})


OLD = log_item("old", ts=ago(hours=49))
"""Reaches back beyond what a first start wants to know, so that no device's own log is read."""


def ids(run: Run) -> list[str]:
    return [id_.removeprefix(f"{NAME}:") for id_, _ in run.alarms]
