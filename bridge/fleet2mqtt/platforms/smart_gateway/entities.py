"""Entity descriptions of gateways, channels, port mapping rules and the backend. Document 1.1, 1.2, 2.1; writes 1.4."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    ChannelRecord,
    GatewayRecord,
    RuleRecord,
    Writer,
)
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
)
from fleet2mqtt.sdk import vendor_json

CONFIG = EntityCategory.CONFIG
DIAGNOSTIC = EntityCategory.DIAGNOSTIC
LATITUDE = 90
LONGITUDE = 180
MAX_DATA = 10**15
PROTOCOL = ("tcp", "udp", "tcp_udp")


def _sensor(
    key: str, en: str, zh: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    return EntityDescription(key=key, name=Name(en, zh), value=value, **more)


def _diagnostic(
    key: str, en: str, zh: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    return _sensor(key, en, zh, value, category=DIAGNOSTIC, **more)


def _rate(
    key: str, en: str, zh: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    rate = {"device_class": "data_rate", "unit": "kbit/s", "state_class": "measurement"}
    return _sensor(key, en, zh, value, **rate, **more)


def _strength(
    key: str, en: str, zh: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    return _sensor(key, en, zh, value, device_class="signal_strength", state_class="measurement", **more)


def _has_field(branch: str, field: str) -> Callable[[Any], bool]:
    """Return whether the vendor sends a field at all; "" and null are values of a setting."""
    return lambda record: field in getattr(record, branch).model_fields_set


def _setting(  # noqa: PLR0913 - an entity description and where it is written
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value], *, encode: Encode, **more: Any
) -> EntityDescription[RecordT, Writer]:
    """Return an entity description that writes the field at the vendor's dotted path, such as `network.lan.ip`."""
    names = tuple(path.split("."))
    more.setdefault("exists", _has_field(*names[-2:]))
    return EntityDescription(key=key, name=Name(en, zh), value=value, write=SettingWrite(names, encode), **more)


def _text(
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    return _setting(key, en, zh, path, value, encode=as_text, component=Component.TEXT, **more)


def _ip(key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value]) -> EntityDescription[RecordT, Writer]:
    return _text(key, en, zh, path, value, pattern=IPV4, category=CONFIG, enabled=False, icon="mdi:ip-network")


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
    key: str, en: str, zh: str, path: str, value: Callable[[RecordT], Value], **more: Any
) -> EntityDescription[RecordT, Writer]:
    bounds = {"minimum": 0, "maximum": MAX_DATA, "step": 0.001}
    return _setting(key, en, zh, path, value, encode=as_number, component=Component.NUMBER, **bounds, **more)


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


def _position(r: GatewayRecord) -> Value:
    """Return degrees; None for 0, 0, which is what the vendor sends without a fix."""
    lat, lon = r.base.gps.lat, r.base.gps.lon
    if lat is None or lon is None or (lat == 0 and lon == 0) or abs(lat) > LATITUDE or abs(lon) > LONGITUDE:
        return None
    return {"latitude": lat, "longitude": lon}


def _measured_at(r: GatewayRecord) -> Mapping[str, Value] | None:
    time = vendor_json.iso(vendor_json.moment(r.base.record.time, UTC))
    return {"time": time} if time is not None else None


def _assigned_rules(r: GatewayRecord) -> Mapping[str, Value] | None:
    rules: Any = [rule.model_dump() for rule in r.base.mapping]
    return {"rules": rules} if rules else None


GATEWAY: EntityDescriptions[GatewayRecord, Writer] = (
    _text("alias", "Alias", "别名", "base.alias", lambda r: r.base.alias, category=CONFIG, icon="mdi:rename-outline"),
    _sensor("state", "State", "运行状态", lambda r: r.base.state, icon="mdi:state-machine"),
    _sensor(
        *("running", "Running", "运行中"),
        lambda r: on_off(None if r.base.state is None else r.base.state == "running"),
        component=Component.BINARY_SENSOR,
        device_class="running",
    ),
    _diagnostic(
        *("runtime", "Uptime", "运行时间"),
        lambda r: r.base.runtime,
        device_class="duration",
        unit="s",
        state_class="measurement",
    ),
    _text(
        *("remark", "Remark", "备注", "base.remark"),
        lambda r: r.base.remark,
        category=CONFIG,
        enabled=False,
        icon="mdi:note-text-outline",
    ),
    _rate("rateup", "Upload rate", "上行速率", lambda r: r.base.rateup),
    _rate("ratedown", "Download rate", "下行速率", lambda r: r.base.ratedown),
    _diagnostic("qos", "QoS policy", "策略", lambda r: r.base.qos, icon="mdi:tune"),
    _sensor(
        *("mapping", "Port mappings", "端口映射"),
        lambda r: len(r.base.mapping),
        exists=_has_field("base", "mapping"),
        attributes=_assigned_rules,
        state_class="measurement",
        icon="mdi:lan-connect",
    ),
    _rate("record_speed_up", "Measured upload", "测速上行", lambda r: r.base.record.speed.up, attributes=_measured_at),
    _rate(
        *("record_speed_down", "Measured download", "测速下行"),
        lambda r: r.base.record.speed.down,
        attributes=_measured_at,
    ),
    _sensor("gps", "Position", "位置", _position, component=Component.DEVICE_TRACKER),
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
        "hotspot_encrymode", "Hotspot encryption", "热点加密方式", lambda r: r.hotspot.encrymode, enabled=False
    ),
    _diagnostic("hotspot_ap", "Hotspot AP", "热点 AP", lambda r: r.hotspot.ap, enabled=False),
    _diagnostic("hotspot_chain", "Hotspot channel", "热点信道", lambda r: r.hotspot.chain, enabled=False),
    _diagnostic("hotspot_bandwidth", "Hotspot bandwidth", "热点带宽", lambda r: r.hotspot.bandwidth, enabled=False),
    _switch("top", "Pinned", "置顶", "parameters.top", lambda r: r.parameters.top, category=CONFIG, icon="mdi:pin"),
    _switch("lock", "Locked", "锁定", "parameters.lock", lambda r: r.parameters.lock, category=CONFIG, icon="mdi:lock"),
)


def channel_entities(traffic: str | None) -> EntityDescriptions[ChannelRecord, Writer]:
    """Return a channel's entity descriptions; `traffic` is the unit of the data counters, which the document lacks."""
    size: dict[str, Any] = {"icon": "mdi:counter"}
    if traffic is not None:
        size = {"device_class": "data_size", "unit": traffic}
    return (*_UPLINK, *_data_counters(size), *_MODEM, *_WIFI, *_ADDRESS)


_UPLINK: EntityDescriptions[ChannelRecord, Writer] = (
    _text(
        *("name", "Name", "名称", "channel.name"),
        lambda r: r.channel.name,
        category=CONFIG,
        enabled=False,
        icon="mdi:rename-outline",
    ),
    _switch("enable", "Enabled", "启用", "channel.enable", lambda r: r.channel.enable),
    _diagnostic("state", "State", "状态", lambda r: r.channel.state, icon="mdi:state-machine"),
    _strength("signal", "Signal", "信号强度", lambda r: r.channel.signal, unit="dBm"),
    _sensor("operator", "Operator", "运营商", lambda r: r.channel.operator, icon="mdi:radio-tower"),
    _sensor("type", "Network type", "网络制式", lambda r: r.channel.type, icon="mdi:signal-5g"),
    _rate("rateup", "Upload rate", "上行速率", lambda r: r.channel.rateup),
    _rate("ratedown", "Download rate", "下行速率", lambda r: r.channel.ratedown),
    _sensor(
        *("rtt", "Round-trip time", "往返时延"),
        lambda r: r.channel.rtt,
        device_class="duration",
        unit="ms",
        state_class="measurement",
    ),
)


def _data_counters(size: Mapping[str, Any]) -> EntityDescriptions[ChannelRecord, Writer]:
    return (
        _sensor("used", "Used data", "已用流量", lambda r: r.channel.used, state_class="measurement", **size),
        _sensor("remain", "Remaining data", "剩余流量", lambda r: r.channel.remain, state_class="measurement", **size),
        _sensor("total", "Total data", "总流量", lambda r: r.channel.total, state_class="measurement", **size),
        _number(
            *("today_used_flow", "Data used today", "今日使用流量", "channel.todayUsedFlow"),
            lambda r: r.channel.todayUsedFlow,
            **size,
        ),
        _number(
            *("remain_flow", "Data left in plan", "套餐剩余流量", "channel.remainFlow"),
            lambda r: r.channel.remainFlow,
            **size,
        ),
        _number(
            *("init_flow", "Initial data", "初始流量", "channel.initFlow"),
            lambda r: r.channel.initFlow,
            category=CONFIG,
            device_class="data_size",
            unit="GB",
        ),
    )


_MODEM: EntityDescriptions[ChannelRecord, Writer] = (
    _diagnostic("innerip", "Inner IP", "内网 IP", lambda r: r.channel.innerip, enabled=False),
    _diagnostic("outerip", "Outer IP", "外网 IP", lambda r: r.channel.outerip, enabled=False),
    _diagnostic("iccid", "ICCID", "ICCID", lambda r: r.channel.ICCID, enabled=False, icon="mdi:sim"),
    _diagnostic("frequency", "Frequency", "频点", lambda r: r.channel.frequency, enabled=False),
    _diagnostic("frequency_range", "Frequency band", "频段", lambda r: r.channel.frequencyRange, enabled=False),
    _strength("rssi", "RSSI", "RSSI", lambda r: r.channel.rssi, unit="dBm", category=DIAGNOSTIC),
    _strength("rssp", "RSRP", "RSRP", lambda r: r.channel.rssp, unit="dBm", category=DIAGNOSTIC),
    _strength("rssq", "RSRQ", "RSRQ", lambda r: r.channel.rssq, unit="dB", category=DIAGNOSTIC),
    _strength("sinru", "SINR", "SINR", lambda r: r.channel.sinru, unit="dB", category=DIAGNOSTIC),
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
        *("usb_type", "USB type", "USB 类型"),
        lambda r: choice(USB_TYPE, r.channel.usb_type),
        device_class="enum",
        options=USB_TYPE,
        exists=_has_field("channel", "usb_type"),
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
        "wifi_encry_mode", "Wi-Fi encryption", "Wi-Fi 加密方式", lambda r: r.channel.wifiEncryMode, enabled=False
    ),
    _diagnostic("wifi_mode", "Wi-Fi standard", "Wi-Fi 标准", lambda r: r.channel.wifiMode, enabled=False),
    _diagnostic("wifi_signal", "Wi-Fi signal", "Wi-Fi 信号强度", lambda r: r.channel.wifiSignal, enabled=False),
    _diagnostic(
        "wifi_frequency_range", "Wi-Fi band", "Wi-Fi 频段", lambda r: r.channel.wifiFrequencyRange, enabled=False
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


def rule_entities(options: tuple[str, ...]) -> EntityDescriptions[RuleRecord, Writer]:
    """Return a rule's entity descriptions, for the gateways that it can be assigned to.

    `subnet_ip` comes before `gateway`, which needs it.
    """
    return (
        EntityDescription(
            key="subnet_ip",
            name=Name("Sub-net IP", "子网 IP"),
            component=Component.TEXT,
            value=lambda r: r.subnet_ip,
            exists=lambda _: True,
            write=_set_subnet_ip,
            pattern=IPV4,
            icon="mdi:ip-network",
        ),
        EntityDescription(
            key="gateway",
            name=Name("Gateway", "网关"),
            component=Component.SELECT,
            options=(UNASSIGNED, *options),
            value=lambda r: r.gateway,
            write=_set_gateway,
            icon="mdi:router-network",
        ),
        _sensor("ip", "External IP", "外网 IP", lambda r: r.rule.ip, icon="mdi:ip-outline"),
        _sensor("port", "Ports", "端口", lambda r: r.rule.port, icon="mdi:ethernet"),
        _sensor(
            *("protocol", "Protocol", "协议"),
            lambda r: choice(PROTOCOL, r.rule.protocol),
            device_class="enum",
            options=PROTOCOL,
            exists=lambda r: r.rule.protocol is not None,
            attributes=raw_if_unknown(PROTOCOL, lambda r: r.rule.protocol),
        ),
        _sensor("mark", "Remark", "备注", lambda r: r.rule.mark, icon="mdi:note-text-outline"),
    )


def _all_rules(r: BackendRecord) -> Mapping[str, Value] | None:
    rules: Any = [rule.model_dump() for rule in r.rules or ()]
    return {"rules": rules} if rules else None


BACKEND: EntityDescriptions[BackendRecord, Writer] = (
    _sensor("count", "Gateways", "网关数量", lambda r: r.count, state_class="measurement", icon="mdi:router-network"),
    _sensor(
        *("mapping_count", "Port mapping rules", "端口映射规则数"),
        lambda r: None if r.rules is None else len(r.rules),
        exists=lambda _: True,
        attributes=_all_rules,
        state_class="measurement",
        icon="mdi:lan-connect",
    ),
)
