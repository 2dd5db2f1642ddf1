"""Conditions of gateways and FXO lines: alarms that the bridge raises from device_status, con_state and reg_state."""

from __future__ import annotations

from fleet2mqtt.devices.conditions import Condition
from fleet2mqtt.devices.model import Name, Severity

CONDITIONS = (
    Condition(
        key="gateway_offline",
        severity=Severity.CRITICAL,
        text=Name("The gateway is offline", "网关离线"),
        entity="connection_status",
        values=("OFF",),
        unreachable=True,
    ),
    Condition(
        key="gateway_fault",
        severity=Severity.CRITICAL,
        text=Name("The UMS reports a fault of the gateway", "网管报告网关故障"),
        entity="device_status",
        values=("fault",),
    ),
    Condition(
        key="gateway_abnormal",
        severity=Severity.MAJOR,
        text=Name("The UMS reports the gateway as abnormal", "网管报告网关异常"),
        entity="device_status",
        values=("abnormal",),
    ),
    Condition(
        key="gateway_unreachable",
        severity=Severity.CRITICAL,
        text=Name("The UMS cannot reach the gateway", "网管无法访问网关"),
        entity="device_status",
        values=("unreachable",),
        unreachable=True,
    ),
    Condition(
        key="gateway_wrong_password",
        severity=Severity.MAJOR,
        text=Name("The UMS has a wrong password for the gateway", "网管保存的网关密码错误"),
        entity="device_status",
        values=("wrong_password",),
    ),
    Condition(
        key="line_unwired",
        severity=Severity.MAJOR,
        text=Name("The line is not connected", "线路未接线"),
        entity="con_state",
        values=("disconnected",),
        requires={"line_fault": "ON"},  # OFF for a line without number: nothing is to be connected to it
    ),
    Condition(
        key="line_below_threshold",
        severity=Severity.MAJOR,
        text=Name("The line's voltage is below the threshold", "线路电压低于阈值"),
        entity="con_state",
        values=("below_threshold",),
    ),
    Condition(
        key="line_registration_failed",
        severity=Severity.MAJOR,
        text=Name("The registration of the line failed", "线路注册失败"),
        entity="reg_state",
        values=("failed",),
    ),
    Condition(
        key="line_registration_timeout",
        severity=Severity.MAJOR,
        text=Name("The registration of the line timed out", "线路注册超时"),
        entity="reg_state",
        values=("timeout",),
    ),
)
