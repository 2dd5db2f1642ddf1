"""The rows of gateways, channels and the back end: smart gateway document 1.1 and 1.2, what can be set by 1.4."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any

from fleet2mqtt.devices.model import Component, EntityCategory, EntityDescription, Name, Value, on_off
from fleet2mqtt.platforms.smart_gateway.mappings import IPV4
from fleet2mqtt.platforms.smart_gateway.writes import (
    NET,
    SLOT,
    USB_TYPE,
    as_boolean,
    as_choice,
    as_flag,
    as_number,
    as_text,
    choice,
    setting,
    unknown,
)
from fleet2mqtt.sdk import vendor_json

if TYPE_CHECKING:
    from fleet2mqtt.platforms.smart_gateway.models import FleetRecord, GatewayRecord

CONFIG = EntityCategory.CONFIG
DIAGNOSTIC = EntityCategory.DIAGNOSTIC
LATITUDE = 90
LONGITUDE = 180
MOST_DATA = 10**15

Read = Callable[[Any], Any]


def _sensor(key: str, en: str, zh: str, value: Read, **more: Any) -> EntityDescription:
    return EntityDescription(key=key, name=Name(en, zh), value=value, **more)


def _diagnostic(key: str, en: str, zh: str, value: Read, **more: Any) -> EntityDescription:
    return _sensor(key, en, zh, value, category=DIAGNOSTIC, **more)


def _rate(key: str, en: str, zh: str, value: Read, **more: Any) -> EntityDescription:
    rate = {"device_class": "data_rate", "unit": "kbit/s", "state_class": "measurement"}
    return _sensor(key, en, zh, value, **rate, **more)


def _strength(key: str, en: str, zh: str, value: Read, **more: Any) -> EntityDescription:
    return _sensor(key, en, zh, value, device_class="signal_strength", state_class="measurement", **more)


def _given(branch: str, field: str) -> Callable[[Any], bool]:
    """Whether the vendor shows this field at all; "" and null are values of a setting."""
    return lambda record: field in getattr(record, branch).model_fields_set


def _text(key: str, en: str, zh: str, path: tuple[str, ...], **more: Any) -> EntityDescription:
    return _setting(key, Name(en, zh), path, as_text, component=Component.TEXT, **more)


def _ip(key: str, en: str, zh: str, path: tuple[str, ...]) -> EntityDescription:
    return _text(key, en, zh, path, pattern=IPV4, category=CONFIG, enabled=False, icon="mdi:ip-network")


def _password(key: str, en: str, zh: str, path: tuple[str, ...]) -> EntityDescription:
    """Write-only: its value is a seal, which `wire.seal()` of what was set must equal."""
    return _text(
        *(key, en, zh, path),
        secret=True,
        category=CONFIG,
        exists=lambda r: bool(getattr(r, path[-2]).model_fields_set),
        icon="mdi:form-textbox-password",
    )


def _switch(key: str, en: str, zh: str, path: tuple[str, ...], **more: Any) -> EntityDescription:
    read = _leaf(path)
    encode = as_boolean if key == "is_dhcp" else as_flag
    more.setdefault("value", lambda record: on_off(read(record)))
    return _setting(key, Name(en, zh), path, encode, component=Component.SWITCH, **more)


def _number(key: str, en: str, zh: str, path: tuple[str, ...], **more: Any) -> EntityDescription:
    bounds = {"minimum": 0, "maximum": MOST_DATA, "step": 0.001}
    return _setting(key, Name(en, zh), path, as_number, component=Component.NUMBER, **bounds, **more)


def _select(key: str, en: str, zh: str, path: tuple[str, ...], options: tuple[str, ...]) -> EntityDescription:
    read = _leaf(path)
    return _setting(
        key,
        Name(en, zh),
        path,
        as_choice(options),
        component=Component.SELECT,
        options=options,
        category=CONFIG,
        value=lambda record: choice(options, read(record)),
        attributes=unknown(options, read),
    )


def _setting(
    key: str, name: Name, path: tuple[str, ...], encode: Callable[[Any, Any], Any], **more: Any
) -> EntityDescription:
    """A row that can be set: `path` is the vendor's, from the gateway, or from "channel" for a leaf of any channel."""
    *branch, field = path
    more.setdefault("value", _leaf(path))
    more.setdefault("exists", _given(branch[-1], field))
    return EntityDescription(key=key, name=name, write=setting(encode, field, *branch), **more)


def _leaf(path: tuple[str, ...]) -> Read:
    *_, branch, field = path
    return lambda record: getattr(getattr(record, branch), field)


def _position(r: GatewayRecord) -> Value:
    """Degrees; None for 0, 0, which is what the vendor says without a fix."""
    lat, lon = r.base.gps.lat, r.base.gps.lon
    if lat is None or lon is None or (lat == 0 and lon == 0) or abs(lat) > LATITUDE or abs(lon) > LONGITUDE:
        return None
    return {"latitude": lat, "longitude": lon}


def _measured_at(r: GatewayRecord) -> Mapping[str, Value] | None:
    time = vendor_json.iso(vendor_json.moment(r.base.record.time, UTC))
    return {"time": time} if time is not None else None


def _assigned(r: GatewayRecord) -> Mapping[str, Value] | None:
    rules: Any = [row.model_dump() for row in r.base.mapping]
    return {"rules": rules} if rules else None


_HOTSPOT = ("network", "hotspot")
_LAN = ("network", "lan")

GATEWAY = (
    _text("alias", "Alias", "别名", ("base", "alias"), category=CONFIG, icon="mdi:rename-outline"),
    _sensor("state", "State", "运行状态", lambda r: r.base.state, icon="mdi:state-machine"),
    EntityDescription(
        key="running",
        name=Name("Running", "运行中"),
        component=Component.BINARY_SENSOR,
        device_class="running",
        value=lambda r: on_off(None if r.base.state is None else r.base.state == "running"),
    ),
    _diagnostic(
        *("runtime", "Uptime", "运行时间", lambda r: r.base.runtime),
        device_class="duration",
        unit="s",
        state_class="measurement",
    ),
    _text("remark", "Remark", "备注", ("base", "remark"), category=CONFIG, enabled=False, icon="mdi:note-text-outline"),
    _rate("rateup", "Upload rate", "上行速率", lambda r: r.base.rateup),
    _rate("ratedown", "Download rate", "下行速率", lambda r: r.base.ratedown),
    _diagnostic("qos", "QoS policy", "策略", lambda r: r.base.qos, icon="mdi:tune"),
    _sensor(
        *("mapping", "Port mappings", "端口映射", lambda r: len(r.base.mapping)),
        exists=_given("base", "mapping"),
        attributes=_assigned,
        state_class="measurement",
        icon="mdi:lan-connect",
    ),
    _rate("record_speed_up", "Measured upload", "测速上行", lambda r: r.base.record.speed.up, attributes=_measured_at),
    _rate(
        *("record_speed_down", "Measured download", "测速下行", lambda r: r.base.record.speed.down),
        attributes=_measured_at,
    ),
    _sensor("gps", "Position", "位置", _position, component=Component.DEVICE_TRACKER),
    _ip("lan_ip", "LAN IP", "LAN IP 地址", (*_LAN, "ip")),
    _ip("lan_mask", "LAN mask", "LAN 子网掩码", (*_LAN, "mask")),
    _ip("lan_start", "LAN range start", "LAN 起始地址", (*_LAN, "start")),
    _ip("lan_end", "LAN range end", "LAN 结束地址", (*_LAN, "end")),
    _switch("hotspot_enable", "Wi-Fi hotspot", "Wi-Fi 热点", (*_HOTSPOT, "enable"), category=CONFIG, icon="mdi:wifi"),
    _switch("hotspot_hidden", "Hide hotspot", "隐藏热点", (*_HOTSPOT, "hidden"), category=CONFIG, icon="mdi:eye-off"),
    _text("hotspot_name", "Hotspot name", "热点名称", (*_HOTSPOT, "name"), category=CONFIG, icon="mdi:wifi-cog"),
    _password("hotspot_passwd", "Hotspot password", "热点密码", (*_HOTSPOT, "passwd")),
    _diagnostic(
        "hotspot_encrymode", "Hotspot encryption", "热点加密方式", lambda r: r.hotspot.encrymode, enabled=False
    ),
    _diagnostic("hotspot_ap", "Hotspot AP", "热点 AP", lambda r: r.hotspot.ap, enabled=False),
    _diagnostic("hotspot_chain", "Hotspot channel", "热点信道", lambda r: r.hotspot.chain, enabled=False),
    _diagnostic("hotspot_bandwidth", "Hotspot bandwidth", "热点带宽", lambda r: r.hotspot.bandwidth, enabled=False),
    _switch("top", "Pinned", "置顶", ("parameters", "top"), category=CONFIG, icon="mdi:pin"),
    _switch("lock", "Locked", "锁定", ("parameters", "lock"), category=CONFIG, icon="mdi:lock"),
)


def channel_rows(traffic: str | None) -> tuple[EntityDescription, ...]:
    """A channel's rows; `traffic` is the unit of the data counters, for which the document gives none."""
    size: dict[str, Any] = {"icon": "mdi:counter"}
    if traffic is not None:
        size = {"device_class": "data_size", "unit": traffic}
    return (*_LINE, *_data(size), *_MODEM, *_WIFI, *_ADDRESS)


_LINE = (
    _text("name", "Name", "名称", ("channel", "name"), category=CONFIG, enabled=False, icon="mdi:rename-outline"),
    _switch("enable", "Enabled", "启用", ("channel", "enable")),
    _diagnostic("state", "State", "状态", lambda r: r.channel.state, icon="mdi:state-machine"),
    _strength("signal", "Signal", "信号强度", lambda r: r.channel.signal, unit="dBm"),
    _sensor("operator", "Operator", "运营商", lambda r: r.channel.operator, icon="mdi:radio-tower"),
    _sensor("type", "Network type", "网络制式", lambda r: r.channel.type, icon="mdi:signal-5g"),
    _rate("rateup", "Upload rate", "上行速率", lambda r: r.channel.rateup),
    _rate("ratedown", "Download rate", "下行速率", lambda r: r.channel.ratedown),
    _sensor(
        *("rtt", "Round-trip time", "往返时延", lambda r: r.channel.rtt),
        device_class="duration",
        unit="ms",
        state_class="measurement",
    ),
)


def _data(size: Mapping[str, Any]) -> tuple[EntityDescription, ...]:
    return (
        _sensor("used", "Used data", "已用流量", lambda r: r.channel.used, state_class="measurement", **size),
        _sensor("remain", "Remaining data", "剩余流量", lambda r: r.channel.remain, state_class="measurement", **size),
        _sensor("total", "Total data", "总流量", lambda r: r.channel.total, state_class="measurement", **size),
        _number("today_used_flow", "Data used today", "今日使用流量", ("channel", "todayUsedFlow"), **size),
        _number("remain_flow", "Data left in plan", "套餐剩余流量", ("channel", "remainFlow"), **size),
        _number(
            *("init_flow", "Initial data", "初始流量", ("channel", "initFlow")),
            category=CONFIG,
            device_class="data_size",
            unit="GB",
        ),
    )


_MODEM = (
    _diagnostic("innerip", "Inner IP", "内网 IP", lambda r: r.channel.innerip, enabled=False),
    _diagnostic("outerip", "Outer IP", "外网 IP", lambda r: r.channel.outerip, enabled=False),
    _diagnostic("iccid", "ICCID", "ICCID", lambda r: r.channel.ICCID, enabled=False, icon="mdi:sim"),
    _diagnostic("frequency", "Frequency", "频点", lambda r: r.channel.frequency, enabled=False),
    _diagnostic("frequency_range", "Frequency band", "频段", lambda r: r.channel.frequencyRange, enabled=False),
    _strength("rssi", "RSSI", "RSSI", lambda r: r.channel.rssi, unit="dBm", category=DIAGNOSTIC),
    _strength("rssp", "RSRP", "RSRP", lambda r: r.channel.rssp, unit="dBm", category=DIAGNOSTIC),
    _strength("rssq", "RSRQ", "RSRQ", lambda r: r.channel.rssq, unit="dB", category=DIAGNOSTIC),
    _strength("sinru", "SINR", "SINR", lambda r: r.channel.sinru, unit="dB", category=DIAGNOSTIC),
    _select("net", "5G mode", "5G 模式", ("channel", "net"), NET),
    _select("slot", "SIM slot", "卡槽选择", ("channel", "slot"), SLOT),
    _text("apn", "APN", "APN", ("channel", "apn"), category=CONFIG, icon="mdi:access-point-network"),
)

_WIFI = (
    _sensor(
        *("usb_type", "USB type", "USB 类型", lambda r: choice(USB_TYPE, r.channel.usb_type)),
        device_class="enum",
        options=USB_TYPE,
        exists=_given("channel", "usb_type"),
        attributes=unknown(USB_TYPE, lambda r: r.channel.usb_type),
    ),
    _text(
        *("ssid", "Wi-Fi network", "Wi-Fi 网络", ("channel", "ssid")),
        attributes=lambda r: {"ssid_list": list(r.channel.ssidList)} if r.channel.ssidList else None,
        icon="mdi:wifi",
    ),
    _text(
        *("wifi_key", "Wi-Fi key", "Wi-Fi 密钥", ("channel", "wifiKey")),
        secret=True,
        category=CONFIG,
        exists=lambda r: not {"ssid", "wifiKey"}.isdisjoint(r.channel.model_fields_set),
        icon="mdi:form-textbox-password",
    ),
    _diagnostic(
        "wifi_encry_mode", "Wi-Fi encryption", "Wi-Fi 加密方式", lambda r: r.channel.wifiEncryMode, enabled=False
    ),
    _diagnostic("wifi_mode", "Wi-Fi standard", "Wi-Fi 标准", lambda r: r.channel.wifiMode, enabled=False),
    _diagnostic("wifi_signal", "Wi-Fi signal", "Wi-Fi 信号强度", lambda r: r.channel.wifiSignal, enabled=False),
    _diagnostic(
        *("wifi_frequency_range", "Wi-Fi band", "Wi-Fi 频段", lambda r: r.channel.wifiFrequencyRange), enabled=False
    ),
)

_ADDRESS = (
    _switch("is_dhcp", "DHCP", "DHCP", ("channel", "is_dhcp"), category=CONFIG, enabled=False),
    _ip("ip", "IP address", "IP 地址", ("channel", "ip")),
    _ip("mask", "Subnet mask", "子网掩码", ("channel", "mask")),
    _ip("gateway", "Gateway address", "网关地址", ("channel", "gateway")),
)


def _all_rules(r: FleetRecord) -> Mapping[str, Value] | None:
    rules: Any = [rule.model_dump() for rule in r.rules or ()]
    return {"rules": rules} if rules else None


FLEET = (
    _sensor("count", "Gateways", "网关数量", lambda r: r.count, state_class="measurement", icon="mdi:router-network"),
    _sensor(
        *("mapping_count", "Port mapping rules", "端口映射规则数", lambda r: None if r.rules is None else len(r.rules)),
        exists=lambda _: True,
        attributes=_all_rules,
        state_class="measurement",
        icon="mdi:lan-connect",
    ),
)
