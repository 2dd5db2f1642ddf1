"""Entity descriptions of gateways, channels, port mapping rules and the backend. Document 1.1, 1.2, 2.1; writes 1.4."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any

from fleet2mqtt.devices.model import (
    Component,
    Device,
    EntityCategory,
    EntityDescription,
    EntityDescriptions,
    Name,
    RecordT,
    Update,
    Value,
    on_off,
)
from fleet2mqtt.platforms.smart_gateway.models import (
    IPV4,
    UNASSIGNED,
    BackendRecord,
    Bonding,
    ChannelRecord,
    GatewayRecord,
    RuleRecord,
    Usage,
    Writer,
)
from fleet2mqtt.platforms.smart_gateway.usage import Units
from fleet2mqtt.platforms.smart_gateway.writes import (
    NET,
    SLOT,
    USB_TYPE,
    Encode,
    SettingWrite,
    as_boolean,
    as_choice,
    as_flag,
    as_number,
    as_text,
    choice,
    raw_if_unknown,
    write_settings,
)
from fleet2mqtt.sdk import vendor_json

CONFIG = EntityCategory.CONFIG
DIAGNOSTIC = EntityCategory.DIAGNOSTIC
LATITUDE = 90
LONGITUDE = 180
MAX_DATA = 10**15
PROTOCOL = ("tcp", "udp", "tcp_udp")
DEVICES, DETAILS, MAPPINGS = "devices", "details", "mappings"
"""The sources."""


def _has_field(branch: str, field: str) -> Callable[[Any], bool]:
    """Return whether the vendor sends a field at all: a blank one keeps its entity."""
    return lambda record: field in getattr(record, branch).model_fields_set


def _sensor(
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    """Return an entity description that reads the field at the vendor's dotted path, such as `base.state`."""
    more.setdefault("exists", _has_field(*path.split(".")[:2]))
    return EntityDescription(key=key, name=Name(en, zh), value=value, **more)


def _diagnostic(
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    return _sensor(key, en, zh, path, value, category=DIAGNOSTIC, **more)


def _rate(
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    rate = {"device_class": "data_rate", "unit": "kbit/s", "state_class": "measurement"}
    return _sensor(key, en, zh, path, value, **rate, **more)


def _strength(
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    return _sensor(key, en, zh, path, value, device_class="signal_strength", state_class="measurement", **more)


def _setting(  # noqa: PLR0913 - an entity description and where it is written
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value], *, encode: Encode, **more: Any
) -> EntityDescription[RecordT, Writer]:
    """Return an entity description that writes the field at the vendor's dotted path, such as `network.lan.ip`.

    Settings of one object are sent in one call.
    """
    names = tuple(path.split("."))
    more.setdefault("exists", _has_field(*names[-2:]))
    return EntityDescription(
        key=key,
        name=Name(en, zh),
        value=value,
        write=SettingWrite(names, encode),
        group=names[-2],
        write_group=write_settings,
        **more,
    )


def _text(
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    return _setting(key, en, zh, path, value, encode=as_text, component=Component.TEXT, **more)


def _ip(
    key: str, en: str, zh: str, path: str, read: Callable[[RecordT], str | None]
) -> EntityDescription[RecordT, Writer]:
    """Return a text with a pattern; null, with the vendor's text as attribute `raw`, where that does not match."""
    return _text(
        *(key, en, zh, path),
        lambda r: _address(read(r)),
        attributes=lambda r: _raw(read(r), _address(read(r))),
        pattern=IPV4,
        category=CONFIG,
        enabled=False,
        icon="mdi:ip-network",
    )


def _address(text: str | None) -> str | None:
    return text if text is not None and re.fullmatch(IPV4, text) else None


def _raw(raw: Value, value: Value) -> Mapping[str, Value] | None:
    return {"raw": raw} if raw is not None and value is None else None


def _password(
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    """Return a write-only text. Its value is a secret digest, with which a read-back is compared."""
    return _text(*(key, en, zh, path, value), secret=True, category=CONFIG, icon="mdi:form-textbox-password", **more)


def _switch(
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], bool | None], **more: Any
) -> EntityDescription[RecordT, Writer]:
    encode = as_boolean if key == "is_dhcp" else as_flag
    return _setting(key, en, zh, path, lambda r: on_off(value(r)), encode=encode, component=Component.SWITCH, **more)


def _number(
    key: str, en: str, zh: str, path: str, read: Callable[[RecordT], float | None], **more: Any
) -> EntityDescription[RecordT, Writer]:
    """Return a number; null, with the vendor's number as attribute `raw`, where that is out of range."""
    return _setting(
        *(key, en, zh, path),
        lambda r: _in_range(read(r)),
        encode=as_number,
        attributes=lambda r: _raw(read(r), _in_range(read(r))),
        component=Component.NUMBER,
        category=CONFIG,
        minimum=0,
        maximum=MAX_DATA,
        step=0.001,
        **more,
    )


def _in_range(number: float | None) -> float | None:
    return number if number is not None and 0 <= number <= MAX_DATA else None


def _select(  # noqa: PLR0913 - as many as a select has parts
    key: str, en: str, zh: str, path: str, read: Callable[[RecordT], Any], *, options: tuple[str, ...]
) -> EntityDescription[RecordT, Writer]:
    return _setting(
        *(key, en, zh, path),
        lambda r: choice(options, read(r)),
        encode=as_choice(options),
        component=Component.SELECT,
        options=options,
        category=CONFIG,
        attributes=raw_if_unknown(options, read),
    )


def _owned_by(source: str, table: EntityDescriptions[RecordT, Writer]) -> EntityDescriptions[RecordT, Writer]:
    return tuple(replace(description, source=source) for description in table)


def without_details(table: EntityDescriptions[RecordT, Writer]) -> EntityDescriptions[RecordT, Writer]:
    """Return the entity descriptions for a gateway whose details are not polled: no source owns them then."""
    return tuple(replace(one, source="") if one.source else one for one in table)


def _position(r: GatewayRecord) -> Value:
    """Return degrees; None for 0, 0, which is what the vendor sends without a fix."""
    lat, lon = r.base.gps.lat, r.base.gps.lon
    if lat is None or lon is None or (lat == 0 and lon == 0) or abs(lat) > LATITUDE or abs(lon) > LONGITUDE:
        return None
    return {"latitude": lat, "longitude": lon}


def _measured_at(r: GatewayRecord) -> Mapping[str, Value] | None:
    time = vendor_json.iso(vendor_json.timestamp(r.base.record.time, UTC))
    return {"time": time} if time is not None else None


def _assigned_rules(r: GatewayRecord) -> Mapping[str, Value] | None:
    rules: Any = [rule.model_dump() for rule in r.base.mapping or ()]
    return {"rules": rules} if rules else None


_NETWORK: EntityDescriptions[GatewayRecord, Writer] = (
    _ip("lan_ip", "LAN IP", "LAN IP 地址", "network.lan.ip", lambda r: r.lan.ip),
    _ip("lan_mask", "LAN mask", "LAN 子网掩码", "network.lan.mask", lambda r: r.lan.mask),
    _ip("lan_start", "LAN range start", "LAN 起始地址", "network.lan.start", lambda r: r.lan.start),
    _ip("lan_end", "LAN range end", "LAN 结束地址", "network.lan.end", lambda r: r.lan.end),
    _switch(
        *("hotspot_enable", "Wi-Fi hotspot", "Wi-Fi 热点", "network.hotspot.enable"),
        lambda r: r.hotspot.enable,
        category=CONFIG,
        icon="mdi:wifi",
    ),
    _switch(
        *("hotspot_hidden", "Hide hotspot", "隐藏热点", "network.hotspot.hidden"),
        lambda r: r.hotspot.hidden,
        category=CONFIG,
        icon="mdi:eye-off",
    ),
    _text(
        *("hotspot_name", "Hotspot name", "热点名称", "network.hotspot.name"),
        lambda r: r.hotspot.name,
        category=CONFIG,
        icon="mdi:wifi-cog",
    ),
    _password(
        *("hotspot_passwd", "Hotspot password", "热点密码", "network.hotspot.passwd"),
        lambda r: r.hotspot.passwd,
        exists=lambda r: bool(r.hotspot.model_fields_set),
    ),
    _diagnostic(
        *("hotspot_encrymode", "Hotspot encryption", "热点加密方式", "hotspot.encrymode"),
        lambda r: r.hotspot.encrymode,
        enabled=False,
    ),
    _diagnostic("hotspot_ap", "Hotspot AP", "热点 AP", "hotspot.ap", lambda r: r.hotspot.ap, enabled=False),
    _diagnostic(
        "hotspot_chain", "Hotspot chain", "热点 chain", "hotspot.chain", lambda r: r.hotspot.chain, enabled=False
    ),
    _diagnostic(
        *("hotspot_bandwidth", "Hotspot bandwidth", "热点带宽", "hotspot.bandwidth"),
        lambda r: r.hotspot.bandwidth,
        enabled=False,
    ),
)

_STATUS: EntityDescriptions[GatewayRecord, Writer] = (
    _text("alias", "Alias", "别名", "base.alias", lambda r: r.base.alias, category=CONFIG, icon="mdi:rename-outline"),
    _sensor(
        "state", "State", "运行状态", "base.state", lambda r: r.base.state, icon="mdi:state-machine", essential=True
    ),
    _sensor(
        *("running", "Running", "运行中", "base.state"),
        lambda r: on_off(r.running),
        essential=True,
        component=Component.BINARY_SENSOR,
        device_class="running",
    ),
    _diagnostic(
        *("runtime", "Uptime", "运行时间", "base.runtime"),
        lambda r: r.base.runtime,
        device_class="duration",
        unit="s",
        state_class="measurement",
        enabled=False,
        source=DETAILS,
    ),
    _text(
        *("remark", "Remark", "备注", "base.remark"),
        lambda r: r.base.remark,
        category=CONFIG,
        enabled=False,
        icon="mdi:note-text-outline",
        source=DETAILS,
    ),
    _rate("rateup", "Upload rate", "上行速率", "base.rateup", lambda r: r.base.rateup),
    _rate("ratedown", "Download rate", "下行速率", "base.ratedown", lambda r: r.base.ratedown),
    _diagnostic("qos", "QoS policy", "策略", "base.qos", lambda r: r.base.qos, icon="mdi:tune", source=DETAILS),
    _sensor(
        *("mapping", "Port mappings", "端口映射", "base.mapping"),
        lambda r: None if r.base.mapping is None else len(r.base.mapping),
        attributes=_assigned_rules,
        state_class="measurement",
        enabled=False,
        icon="mdi:lan-connect",
    ),
    _rate(
        *("record_speed_up", "Measured upload", "测速上行", "base.record"),
        lambda r: r.base.record.speed.up,
        attributes=_measured_at,
        source=DETAILS,
    ),
    _rate(
        *("record_speed_down", "Measured download", "测速下行", "base.record"),
        lambda r: r.base.record.speed.down,
        attributes=_measured_at,
        source=DETAILS,
    ),
    _sensor("gps", "Position", "位置", "base.gps", _position, component=Component.DEVICE_TRACKER, source=DETAILS),
)

_PARAMETERS: EntityDescriptions[GatewayRecord, Writer] = (
    _switch("top", "Pinned", "置顶", "parameters.top", lambda r: r.parameters.top, category=CONFIG, icon="mdi:pin"),
    _switch("lock", "Locked", "锁定", "parameters.lock", lambda r: r.parameters.lock, category=CONFIG, icon="mdi:lock"),
)


def _has_channels(r: GatewayRecord) -> bool:
    return r.bonding is not None


def _bonding(read: Callable[[Bonding], Value]) -> Callable[[GatewayRecord], Value]:
    return lambda r: None if r.bonding is None else read(r.bonding)


def _is_degraded(b: Bonding) -> bool | None:
    return None if b.up is None or not b.total else b.up < b.total


def _bonding_count(
    key: str, en: str, zh: str, read: Callable[[Bonding], float | None], **more: Any
) -> EntityDescription[GatewayRecord, Writer]:
    count = {"state_class": "measurement", "icon": "mdi:call-merge"}
    return _sensor(key, en, zh, f"bonding.{key}", _bonding(read), exists=_has_channels, **count, **more)


BONDING: EntityDescriptions[GatewayRecord, Writer] = (
    _sensor(
        *("bonding_degraded", "Bonding degraded", "聚合降级", "bonding.up"),
        _bonding(lambda b: on_off(_is_degraded(b))),
        exists=_has_channels,
        component=Component.BINARY_SENSOR,
        device_class="problem",
        essential=True,
    ),
    _bonding_count("channels_up", "Channels up", "在线通道数", lambda b: b.up, essential=True),
    _bonding_count("channels_total", "Enabled channels", "启用通道数", lambda b: b.total),
    _bonding_count("uplinks_active", "Active uplinks", "活动上行链路数", lambda b: b.active),
    _sensor(
        *("rtt_worst", "Worst round-trip time", "最大往返时延", "bonding.rtt"),
        _bonding(lambda b: b.rtt),
        exists=_has_channels,
        device_class="duration",
        unit="ms",
        state_class="measurement",
    ),
    _rate(
        *("channels_rateup", "Upload rate of all channels", "全部通道上行速率", "bonding.rateup"),
        _bonding(lambda b: b.rateup),
        exists=_has_channels,
    ),
    _rate(
        *("channels_ratedown", "Download rate of all channels", "全部通道下行速率", "bonding.ratedown"),
        _bonding(lambda b: b.ratedown),
        exists=_has_channels,
    ),
)
"""Entities of a gateway's channels together: the health of their bond."""

GATEWAY: EntityDescriptions[GatewayRecord, Writer] = (
    *_STATUS,
    *_owned_by(DETAILS, _NETWORK),
    *_PARAMETERS,
    *BONDING,
)


def channel_entities(units: Units) -> EntityDescriptions[ChannelRecord, Writer]:
    """Return a channel's entity descriptions."""
    queried = (*_flow_counters(_size(units.flow)), *_MODEM, *_WIFI, *_ADDRESS)
    listed = (*_UPLINK, *_traffic_counters(_size(units.traffic)), *_PUBLIC_ADDRESS)
    return (*listed, *usage_entities(units.usage), *_owned_by(DETAILS, queried))


def usage_entities(unit: str | None) -> EntityDescriptions[ChannelRecord, Writer]:
    """Return the entity descriptions of SIM usage.

    The amounts of a period only grow until they start again at 0: `total_increasing`, which has no `last_reset`.
    """

    def usage(
        key: str, en: str, zh: str, read: Callable[[Usage], Value], **more: Any
    ) -> EntityDescription[ChannelRecord, Writer]:
        return EntityDescription(
            key=key,
            name=Name(en, zh),
            value=lambda r: None if r.usage is None else read(r.usage),
            exists=lambda r: r.usage is not None,
            precision=2,
            **_size(unit),
            **more,
        )

    growing = {"state_class": "total_increasing"}
    return (
        usage("usage_today", "Data used today", "今日用量", lambda u: u.today, **growing),
        usage("usage_month", "Data used this month", "本账期用量", lambda u: u.month, attributes=_counted, **growing),
        usage("usage_forecast", "Data forecast", "账期预计用量", lambda u: u.forecast, state_class="measurement"),
        usage(
            *("usage_remaining", "Data left", "剩余可用量"),
            lambda u: u.remaining,
            state_class="measurement",
            essential=True,
        ),
    )


def _counted(r: ChannelRecord) -> Mapping[str, Value] | None:
    return None if r.usage is None or r.usage.since is None else {"since": r.usage.since, "until": r.usage.until}


def _size(unit: str | None) -> Mapping[str, Any]:
    return {"icon": "mdi:counter"} if unit is None else {"device_class": "data_size", "unit": unit}


_UPLINK: EntityDescriptions[ChannelRecord, Writer] = (
    _text(
        *("name", "Name", "名称", "channel.name"),
        lambda r: r.channel.name,
        category=CONFIG,
        enabled=False,
        icon="mdi:rename-outline",
    ),
    _switch("enable", "Enabled", "启用", "channel.enable", lambda r: r.channel.enable),
    _sensor(
        *("up", "Connected", "已连接", "channel.state"),
        lambda r: on_off(r.up),
        component=Component.BINARY_SENSOR,
        device_class="connectivity",
        essential=True,
    ),
    _diagnostic(
        "state", "State", "状态", "channel.state", lambda r: r.channel.state, icon="mdi:state-machine", enabled=False
    ),
    _strength("signal", "Signal", "信号强度", "channel.signal", lambda r: r.channel.signal, unit="dBm", essential=True),
    _sensor("operator", "Operator", "运营商", "channel.operator", lambda r: r.channel.operator, icon="mdi:radio-tower"),
    _sensor("type", "Network type", "网络制式", "channel.type", lambda r: r.channel.type, icon="mdi:signal-5g"),
    _rate("rateup", "Upload rate", "上行速率", "channel.rateup", lambda r: r.channel.rateup),
    _rate("ratedown", "Download rate", "下行速率", "channel.ratedown", lambda r: r.channel.ratedown),
    _sensor(
        *("rtt", "Round-trip time", "往返时延", "channel.rtt"),
        lambda r: r.channel.rtt,
        device_class="duration",
        unit="ms",
        state_class="measurement",
    ),
)


def _traffic_counters(size: Mapping[str, Any]) -> EntityDescriptions[ChannelRecord, Writer]:
    more = {"state_class": "measurement", **size}
    return (
        _sensor("used", "Used data", "已用数据量", "channel.used", lambda r: r.channel.used, enabled=False, **more),
        _sensor(
            *("remain", "Remaining data", "剩余数据量", "channel.remain"),
            lambda r: r.channel.remain,
            enabled=False,
            **more,
        ),
        _sensor("total", "Total data", "总数据量", "channel.total", lambda r: r.channel.total, enabled=False, **more),
    )


def _flow_counters(size: Mapping[str, Any]) -> EntityDescriptions[ChannelRecord, Writer]:
    """Return the modem's counters as sensors, and as numbers that correct them."""
    return (
        _sensor(
            *("today_used_flow", "Traffic used today", "今日使用流量", "channel.todayUsedFlow"),
            lambda r: r.channel.todayUsedFlow,
            state_class="total_increasing",
            enabled=False,
            **size,
        ),
        _sensor(
            *("remain_flow", "Remaining traffic", "剩余流量", "channel.remainFlow"),
            lambda r: r.channel.remainFlow,
            state_class="measurement",
            enabled=False,
            **size,
        ),
        _number(
            *("today_used_flow_correction", "Correct traffic used today", "校正今日使用流量", "channel.todayUsedFlow"),
            lambda r: r.channel.todayUsedFlow,
            enabled=False,
            **size,
        ),
        _number(
            *("remain_flow_correction", "Correct remaining traffic", "校正剩余流量", "channel.remainFlow"),
            lambda r: r.channel.remainFlow,
            enabled=False,
            **size,
        ),
        _number(
            *("init_flow", "Initial traffic", "初始流量", "channel.initFlow"),
            lambda r: r.channel.initFlow,
            device_class="data_size",
            unit="GB",
        ),
    )


_PUBLIC_ADDRESS: EntityDescriptions[ChannelRecord, Writer] = (
    _diagnostic("innerip", "Inner IP", "内网 IP", "channel.innerip", lambda r: r.channel.innerip, enabled=False),
    _diagnostic("outerip", "Outer IP", "外网 IP", "channel.outerip", lambda r: r.channel.outerip, enabled=False),
)

_MODEM: EntityDescriptions[ChannelRecord, Writer] = (
    _diagnostic("iccid", "ICCID", "ICCID", "channel.ICCID", lambda r: r.channel.ICCID, enabled=False, icon="mdi:sim"),
    _diagnostic("frequency", "Frequency", "频率", "channel.frequency", lambda r: r.channel.frequency, enabled=False),
    _diagnostic(
        "frequency_range",
        "Frequency band",
        "频段",
        "channel.frequencyRange",
        lambda r: r.channel.frequencyRange,
        enabled=False,
    ),
    _strength("rssi", "RSSI", "RSSI", "channel.rssi", lambda r: r.channel.rssi, unit="dBm", category=DIAGNOSTIC),
    _strength("rssp", "RSRP", "RSRP", "channel.rssp", lambda r: r.channel.rssp, unit="dBm", category=DIAGNOSTIC),
    _strength("rssq", "RSRQ", "RSRQ", "channel.rssq", lambda r: r.channel.rssq, unit="dB", category=DIAGNOSTIC),
    _strength("sinru", "SINR", "SINR", "channel.sinru", lambda r: r.channel.sinru, unit="dB", category=DIAGNOSTIC),
    _select("net", "5G mode", "5G 模式", "channel.net", lambda r: r.channel.net, options=NET),
    _select("slot", "SIM slot", "卡槽选择", "channel.slot", lambda r: r.channel.slot, options=SLOT),
    _text(
        *("apn", "APN", "APN", "channel.apn"),
        lambda r: r.channel.apn,
        category=CONFIG,
        icon="mdi:access-point-network",
    ),
)

_WIFI: EntityDescriptions[ChannelRecord, Writer] = (
    _sensor(
        *("usb_type", "USB type", "USB 类型", "channel.usb_type"),
        lambda r: choice(USB_TYPE, r.channel.usb_type),
        device_class="enum",
        options=USB_TYPE,
        attributes=raw_if_unknown(USB_TYPE, lambda r: r.channel.usb_type),
    ),
    _text(
        *("ssid", "Wi-Fi network", "Wi-Fi 网络", "channel.ssid"),
        lambda r: r.channel.ssid,
        attributes=lambda r: {"ssid_list": list(r.channel.ssidList)} if r.channel.ssidList else None,
        icon="mdi:wifi",
    ),
    _password(
        *("wifi_key", "Wi-Fi key", "Wi-Fi 密钥", "channel.wifiKey"),
        lambda r: r.channel.wifiKey,
        exists=lambda r: not {"ssid", "wifiKey"}.isdisjoint(r.channel.model_fields_set),
    ),
    _diagnostic(
        *("wifi_encry_mode", "Wi-Fi encryption", "Wi-Fi 加密方式", "channel.wifiEncryMode"),
        lambda r: r.channel.wifiEncryMode,
        enabled=False,
    ),
    _diagnostic(
        "wifi_mode", "Wi-Fi standard", "Wi-Fi 标准", "channel.wifiMode", lambda r: r.channel.wifiMode, enabled=False
    ),
    _diagnostic(
        "wifi_signal",
        "Wi-Fi signal",
        "Wi-Fi 信号强度",
        "channel.wifiSignal",
        lambda r: r.channel.wifiSignal,
        enabled=False,
    ),
    _diagnostic(
        *("wifi_frequency_range", "Wi-Fi band", "Wi-Fi 频段", "channel.wifiFrequencyRange"),
        lambda r: r.channel.wifiFrequencyRange,
        enabled=False,
    ),
)

_ADDRESS: EntityDescriptions[ChannelRecord, Writer] = (
    _switch(
        *("is_dhcp", "DHCP", "DHCP", "channel.is_dhcp"), lambda r: r.channel.is_dhcp, category=CONFIG, enabled=False
    ),
    _ip("ip", "IP address", "IP 地址", "channel.ip", lambda r: r.channel.ip),
    _ip("mask", "Subnet mask", "子网掩码", "channel.mask", lambda r: r.channel.mask),
    _ip("gateway", "Gateway address", "网关地址", "channel.gateway", lambda r: r.channel.gateway),
)


async def _set_subnet_ip(client: Writer, device: Device, value: Any) -> Update | None:
    return await client.set_subnet_ip(device.vendor_id, str(value))


async def _set_gateway(client: Writer, device: Device, value: Any) -> Update | None:
    return await client.set_gateway(device.vendor_id, str(value))


async def _set_assignment(client: Writer, device: Device, values: Mapping[str, Any]) -> Update | None:
    return await client.set_gateway(device.vendor_id, str(values["gateway"]), address=str(values["subnet_ip"]))


def rule_entities(options: tuple[str, ...] | None) -> EntityDescriptions[RuleRecord, Writer]:
    """Return a rule's entity descriptions, for the gateways that it can be assigned to.

    With None, which stands for too many gateways for a select, the gateway can only be read. An address and a gateway
    in one `set` are one assignment.
    """
    gateway: dict[str, Any] = {}
    if options is not None:
        gateway = {"component": Component.SELECT, "options": (UNASSIGNED, *options), "write": _set_gateway}
        gateway |= {"group": "assignment", "write_group": _set_assignment}
    return (
        EntityDescription(
            key="subnet_ip",
            essential=True,
            name=Name("Sub-net IP", "子网 IP"),
            component=Component.TEXT,
            value=lambda r: _address(r.subnet_ip),
            attributes=lambda r: _raw(r.subnet_ip, _address(r.subnet_ip)),
            exists=lambda _: True,
            write=_set_subnet_ip,
            group="assignment",
            write_group=_set_assignment,
            pattern=IPV4,
            icon="mdi:ip-network",
            source=DEVICES,
        ),
        EntityDescription(
            key="gateway",
            essential=True,
            name=Name("Gateway", "网关"),
            value=lambda r: r.gateway,
            attributes=lambda r: {"sn": r.rule.sn} if r.rule.sn is not None else None,
            icon="mdi:router-network",
            **gateway,
        ),
        _sensor("ip", "External IP", "外网 IP", "rule.ip", lambda r: r.rule.ip, icon="mdi:ip-outline"),
        _sensor("port", "Ports", "端口", "rule.port", lambda r: r.rule.port, icon="mdi:ethernet"),
        _sensor(
            *("protocol", "Protocol", "协议", "rule.protocol"),
            lambda r: choice(PROTOCOL, r.rule.protocol),
            device_class="enum",
            options=PROTOCOL,
            attributes=raw_if_unknown(PROTOCOL, lambda r: r.rule.protocol),
        ),
        _sensor("mark", "Remark", "备注", "rule.mark", lambda r: r.rule.mark, icon="mdi:note-text-outline"),
    )


def _all_rules(r: BackendRecord) -> Mapping[str, Value] | None:
    rules: Any = [rule.model_dump() for rule in r.rules or ()]
    return {"rules": rules} if rules else None


BACKEND: EntityDescriptions[BackendRecord, Writer] = (
    EntityDescription(
        key="count",
        essential=True,
        name=Name("Gateways", "网关数量"),
        value=lambda r: r.count,
        exists=lambda _: True,
        state_class="measurement",
        icon="mdi:router-network",
        source=DEVICES,
    ),
    EntityDescription(
        key="mapping_count",
        essential=True,
        name=Name("Port mapping rules", "端口映射规则数"),
        value=lambda r: None if r.rules is None else len(r.rules),
        exists=lambda _: True,
        attributes=_all_rules,
        state_class="measurement",
        icon="mdi:lan-connect",
        source=MAPPINGS,
    ),
)
