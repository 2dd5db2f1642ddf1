"""Conditions of gateways and channels."""

from __future__ import annotations

from fleet2mqtt.devices.conditions import Comparison, Condition
from fleet2mqtt.devices.model import Device, Name, Severity, Value


def _remaining_share(device: Device) -> Value:
    """Return the volume that is left of a plan, in percent; None where the vendor does not say how large it is."""
    for remaining, whole in (("remain", "total"), ("remain_flow", "init_flow")):
        left, size = device.state.get(remaining), device.state.get(whole)
        if isinstance(left, int | float) and isinstance(size, int | float) and size > 0:
            return round(100 * left / size, 1)
    return None


def _all_channels_down(device: Device) -> Value:
    """Return ON if a gateway that runs has enabled channels and none of them is up."""
    up, total = device.state.get("channels_up"), device.state.get("channels_total")
    if up is None or total is None:
        return None
    return "ON" if total and not up and device.state.get("running") != "OFF" else "OFF"


CONDITIONS = (
    Condition(
        key="gateway_not_running",
        severity=Severity.CRITICAL,
        text=Name("The gateway is not running", "网关未运行"),
        entity="running",
        values=("OFF",),
        unreachable=True,
    ),
    Condition(
        key="all_channels_down",
        severity=Severity.CRITICAL,
        text=Name("None of the enabled channels is connected", "所有已启用的通道均未连接"),
        entity="channels_up",
        value=_all_channels_down,
        computed="a running gateway has enabled channels (`channels_total`), and `channels_up` is 0",
    ),
    Condition(
        key="channel_down",
        severity=Severity.MAJOR,
        text=Name("The channel is enabled and not connected", "通道已启用但未连接"),
        entity="up",
        values=("OFF",),
        requires={"enable": "ON"},
        kind="channel",
        on_delay=60,
    ),
    Condition(
        key="sim_volume_low",
        severity=Severity.MINOR,
        text=Name(
            "{value} % of the SIM's plan is left, less than {threshold} %", "SIM 卡套餐剩余 {value}%，低于 {threshold}%"
        ),
        entity="remain*",
        value=_remaining_share,
        computed="`remain` of `total` (or `remain_flow` of `init_flow`), in percent,",
        kind="channel",
        comparison=Comparison.BELOW,
        threshold=10,
        hysteresis=5,
    ),
    Condition(
        key="round_trip_above",
        severity=Severity.WARNING,
        text=Name("Round-trip time {value} ms, above {threshold} ms", "往返时延 {value} 毫秒，高于 {threshold} 毫秒"),
        entity="rtt",
        comparison=Comparison.ABOVE,
        threshold=500,
        hysteresis=100,
        on_delay=300,
        off_delay=300,
    ),
)
