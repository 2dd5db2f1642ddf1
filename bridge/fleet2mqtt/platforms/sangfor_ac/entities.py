"""Entity descriptions of the appliance, its policies, and what is watched: groups, users, bindings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from fleet2mqtt.devices.ids import slug
from fleet2mqtt.devices.model import (
    Component,
    Device,
    EntityCategory,
    EntityDescription,
    Name,
    Update,
    Value,
    on_off,
)
from fleet2mqtt.platforms.sangfor_ac.models import (
    ApplianceRecord,
    BindingRecord,
    ChannelRecord,
    GroupRecord,
    NetPolicy,
    Throughput,
    UserRecord,
    Writer,
)
from fleet2mqtt.sdk.vendor_json import WireModel, iso

MANUFACTURER: Final = "Sangfor"
TITLE: Final = "Sangfor AC"

STATUS, ONLINE_USERS, POLICIES, GROUPS = "status", "online_users", "policies", "groups"
LIBRARIES, BINDINGS, USERS = "libraries", "bindings", "users"
"""The sources, by the names that own keys."""

DIAGNOSTIC: Final = EntityCategory.DIAGNOSTIC
UNKNOWN: Final = "unknown"
TERMINAL: Final = (UNKNOWN, "mobile", "pc", "multi")
AUTHWAY: Final = ("none", "password", "sms", "single_sign_on", "auth_free")
RANK_UNITS: Final = ("B/s", "kB/s", "bit/s", "kbit/s", "B")
"""Units of the volumes in user-rank and app-rank; public sources differ."""
MAX_STATE: Final = 255
"""Longest state that Home Assistant stores."""
MAX_ATTRIBUTES: Final = 8192
"""Bytes of a list in the attributes; Home Assistant's recorder stores 16 KiB per entity."""

ApplianceEntity: TypeAlias = EntityDescription[ApplianceRecord, Writer]
ChannelEntity: TypeAlias = EntityDescription[ChannelRecord, Writer]
GroupEntity: TypeAlias = EntityDescription[GroupRecord, Writer]
UserEntity: TypeAlias = EntityDescription[UserRecord, Writer]
BindingEntity: TypeAlias = EntityDescription[BindingRecord, Writer]
Attributes: TypeAlias = Mapping[str, Any] | None


def entity_key(text: str) -> str:
    """Return a key for the vendor's name of something; two names never share one."""
    key = slug(text, 40)
    plain = "-" not in key and text == text.lower()
    return key if plain else slug(f"\x1f{text}", 40).replace("-", "_")


def cut(text: str | None) -> str | None:
    """Return a text that Home Assistant stores as a state: at most 255 characters."""
    return text if text is None or len(text) <= MAX_STATE else text[: MAX_STATE - 1] + "…"


def whole(text: str | None) -> Attributes:
    """Return the attribute with the whole of a text that `cut` shortened, up to the limit of attributes."""
    return {"text": text[:MAX_ATTRIBUTES]} if text is not None and len(text) > MAX_STATE else None


def limited(name: str, items: Iterable[Any]) -> dict[str, Any]:
    """Return the attribute with as many of the items as may be stored, and the number of those `omitted`."""
    shown, size, everything = [], 0, list(items)
    for item in everything:
        size += len(json.dumps(item, ensure_ascii=False).encode("utf-8", "replace")) + 2
        if size > MAX_ATTRIBUTES:
            break
        shown.append(item)
    omitted = len(everything) - len(shown)
    return {name: shown, "omitted": omitted} if omitted else {name: shown}


def has_field(model: WireModel | None, field: str) -> bool:
    """Return True if the AC sends this field, be it blank."""
    return model is not None and field in model.model_fields_set


def option_of(options: tuple[str, ...], number: float | None) -> str | None:
    """Return the option with this number, `unknown` for one that the document lacks, None for no number."""
    if number is None:
        return None
    return options[int(number)] if number in range(len(options)) else UNKNOWN


def _raw_number(options: tuple[str, ...], number: float | None) -> Attributes:
    return {"raw": number} if number is not None and number not in range(len(options)) else None


# The appliance


def _figure(key: str, en: str, zh: str, icon: str, **about: Any) -> ApplianceEntity:
    return EntityDescription(
        key=key,
        name=Name(en, zh),
        value=lambda record: getattr(record, key),
        exists=lambda record: getattr(record, key) is not None or key in record.skipped,
        source=STATUS,
        state_class="measurement",
        icon=icon,
        **about,
    )


def _load(key: str, en: str, zh: str, icon: str) -> ApplianceEntity:
    return _figure(key, en, zh, icon, unit="%", essential=True)


def _throughput(
    key: str, name: Name, read: Callable[[ApplianceRecord], Throughput | None], direction: str
) -> ApplianceEntity:
    def value(record: ApplianceRecord) -> Value:
        throughput = read(record)
        return None if throughput is None else throughput.bits(direction)

    def attributes(record: ApplianceRecord) -> Attributes:
        throughput = read(record)
        if throughput is None or getattr(throughput, direction) is None or throughput.bits(direction) is not None:
            return None
        return {"raw": getattr(throughput, direction), "unit": throughput.unit}

    return EntityDescription(
        key=key,
        name=name,
        value=value,
        exists=lambda record: has_field(read(record), direction) or key in record.skipped,
        attributes=attributes,
        source=STATUS,
        device_class="data_rate",
        unit="bit/s",
        state_class="measurement",
    )


def _log_counter(key: str, field: str, en: str, zh: str, icon: str) -> ApplianceEntity:
    return EntityDescription(
        key=key,
        name=Name(en, zh),
        value=lambda record: None if record.log is None else getattr(record.log, field),
        exists=lambda record: has_field(record.log, field) or key in record.skipped,
        source=STATUS,
        state_class="total_increasing",
        enabled=False,
        icon=icon,
    )


_SYS_TIME: ApplianceEntity = EntityDescription(
    key="sys_time",
    name=Name("System time", "系统时间"),
    value=lambda record: iso(record.system_time),
    exists=lambda record: record.sys_time is not None,
    attributes=lambda record: {"raw": record.sys_time} if record.sys_time and record.system_time is None else None,
    source=STATUS,
    device_class="timestamp",
    category=DIAGNOSTIC,
    enabled=False,
)

_VERSION: ApplianceEntity = EntityDescription(
    key="version",
    name=Name("Version", "版本"),
    value=lambda record: cut(record.version),
    attributes=lambda record: whole(record.version),
    source=STATUS,
    category=DIAGNOSTIC,
    icon="mdi:chip",
)

_FIGURES: tuple[ApplianceEntity, ...] = (
    _figure("online_user", "Online users", "在线用户数", "mdi:account-multiple"),
    _figure("session_num", "Sessions", "会话数", "mdi:swap-horizontal"),
    _load("cpu_usage", "CPU usage", "CPU 使用率", "mdi:cpu-64-bit"),
    _load("mem_usage", "Memory usage", "内存使用率", "mdi:memory"),
    _load("disk_usage", "Disk usage", "磁盘使用率", "mdi:harddisk"),
    _load("bandwidth_usage", "Bandwidth usage", "带宽使用率", "mdi:gauge"),
    _throughput("throughput_send", Name("Throughput sent", "发送流速"), lambda record: record.throughput, "send"),
    _throughput("throughput_recv", Name("Throughput received", "接收流速"), lambda record: record.throughput, "recv"),
    _log_counter("log_block", "block", "Blocked log entries", "拦截日志数", "mdi:cancel"),
    _log_counter("log_record", "record", "Recorded log entries", "记录日志数", "mdi:text-box-outline"),
    _SYS_TIME,
    _VERSION,
)


def _online_count(status: str, en: str, zh: str, icon: str, **about: Any) -> ApplianceEntity:
    key = f"online_user_{status}"
    return EntityDescription(
        key=key,
        name=Name(en, zh),
        value=lambda record: dict(record.online_counts).get(key),
        exists=lambda record: key in dict(record.online_counts) or key in record.skipped,
        source=ONLINE_USERS,
        state_class="measurement",
        icon=icon,
        **about,
    )


ONLINE_COUNTS: tuple[ApplianceEntity, ...] = (
    _online_count("frozen", "Frozen users", "冻结用户数", "mdi:account-cancel"),
    _online_count("pc", "PC users", "PC 用户数", "mdi:laptop", enabled=False),
    _online_count("mobile", "Mobile users", "移动终端用户数", "mdi:cellphone", enabled=False),
    _online_count("multi", "Multi-terminal users", "多终端用户数", "mdi:devices", enabled=False),
)
"""Numbers of online users by status and by terminal."""


def _rank_attributes(items: Iterable[WireModel] | None, unit: str) -> Attributes:
    listed = [item.model_dump() for item in items or ()]
    return {**limited("rank", listed), "unit": unit} if listed else None


def _ranks(unit: str) -> tuple[ApplianceEntity, ...]:
    return (
        EntityDescription(
            key="user_rank",
            name=Name("Traffic of the heaviest user", "流量最高用户的流量"),
            value=lambda record: record.user_rank[0].total if record.user_rank else None,
            exists=lambda record: record.user_rank is not None or "user_rank" in record.skipped,
            attributes=lambda record: _rank_attributes(record.user_rank, unit),
            source=STATUS,
            device_class="data_rate" if unit.endswith("/s") else "data_size",
            unit=unit,
            state_class="measurement",
            category=DIAGNOSTIC,
            enabled=False,
        ),
        EntityDescription(
            key="app_rank",
            name=Name("Application with most traffic", "流量最高的应用"),
            value=lambda record: cut(record.app_rank[0].app) if record.app_rank else None,
            exists=lambda record: record.app_rank is not None or "app_rank" in record.skipped,
            attributes=lambda record: _rank_attributes(record.app_rank, unit),
            source=STATUS,
            category=DIAGNOSTIC,
            enabled=False,
            icon="mdi:apps",
        ),
    )


def _interface_throughput(interface: str) -> tuple[ApplianceEntity, ...]:
    key = entity_key(interface)

    def read(record: ApplianceRecord) -> Throughput | None:
        return record.interface(interface)

    return (
        _throughput(
            f"throughput_{key}_send", Name(f"{interface}: throughput sent", f"{interface}：发送流速"), read, "send"
        ),
        _throughput(
            f"throughput_{key}_recv", Name(f"{interface}: throughput received", f"{interface}：接收流速"), read, "recv"
        ),
    )


def appliance_entities(interfaces: Iterable[str], rank_unit: str) -> tuple[ApplianceEntity, ...]:
    """Return the entity descriptions of the appliance, without those of its rule libraries."""
    single = [entity for interface in interfaces for entity in _interface_throughput(interface)]
    return (*_FIGURES, *ONLINE_COUNTS, *single, *_ranks(rank_unit))


def keys_of_call(call: str) -> tuple[str, ...]:
    """Return the keys of the entities that a status call feeds; a call for one interface ends with its name."""
    figure, _, interface = call.removeprefix("status/").partition(" ")
    key = figure.replace("-", "_")
    if key == "throughput":
        prefix = f"throughput_{entity_key(interface)}" if interface else key
        return (f"{prefix}_send", f"{prefix}_recv")
    return ("log_block", "log_record") if key == "log" else (key,)


def library_entities(key: str, name: str) -> tuple[ApplianceEntity, ...]:
    """Return the entity descriptions of one rule library."""

    def exists(field: str) -> Callable[[ApplianceRecord], bool]:
        return lambda record: has_field(record.library(key), field)

    def version(field: str, en: str, zh: str, icon: str) -> ApplianceEntity:
        return EntityDescription(
            key=f"library_{key}_{field}",
            name=Name(f"{name}: {en}", f"{name}：{zh}"),
            value=lambda record: cut(getattr(record.library(key), field)),
            exists=exists(field),
            attributes=lambda record: whole(getattr(record.library(key), field)),
            source=LIBRARIES,
            category=DIAGNOSTIC,
            enabled=False,
            icon=icon,
        )

    def versions(record: ApplianceRecord) -> Value:
        library = record.library(key)
        known = {"installed_version": cut(library.current), "latest_version": cut(library.new)}
        return {name: text for name, text in known.items() if text is not None} or None

    def expiry(record: ApplianceRecord) -> Attributes:
        return {"expire": record.library(key).expire} if record.library(key).expire else None

    return (
        EntityDescription(
            key=f"library_{key}_update",
            name=Name(f"{name}: update", f"{name}：更新"),
            component=Component.UPDATE,
            value=versions,
            exists=lambda record: exists("current")(record) and exists("new")(record),
            source=LIBRARIES,
            category=DIAGNOSTIC,
            icon="mdi:database-sync",
        ),
        version("current", "current version", "当前版本", "mdi:database"),
        version("new", "newest version", "最新版本", "mdi:database-arrow-up"),
        EntityDescription(
            key=f"library_{key}_enable",
            name=Name(f"{name}: automatic update", f"{name}：自动更新"),
            component=Component.BINARY_SENSOR,
            value=lambda record: on_off(record.library(key).enable),
            exists=exists("enable"),
            source=LIBRARIES,
            category=DIAGNOSTIC,
            icon="mdi:update",
        ),
        EntityDescription(
            key=f"library_{key}_expire",
            name=Name(f"{name}: update licence ends", f"{name}：升级授权到期时间"),
            value=lambda record: iso(record.library(key).expires),
            exists=exists("expire"),
            attributes=expiry,
            source=LIBRARIES,
            device_class="timestamp",
            category=DIAGNOSTIC,
            essential=True,
            icon="mdi:certificate",
        ),
        EntityDescription(
            key=f"library_{key}_is_expired",
            name=Name(f"{name}: update licence expired", f"{name}：升级授权已过期"),
            component=Component.BINARY_SENSOR,
            value=lambda record: on_off(record.library(key).is_expired),
            exists=exists("is_expired"),
            attributes=expiry,
            source=LIBRARIES,
            device_class="problem",
            category=DIAGNOSTIC,
            essential=True,
        ),
    )


# Policies


def _policy_attributes(policy: NetPolicy) -> Attributes:
    info = policy.policy_info
    texts = {"type": info.type, "founder": info.founder, "expire": info.expire, "depict": info.depict}
    lists = {name: list(values) for name, values in policy.user_info.model_dump().items()}
    return {name: value for name, value in (texts | lists).items() if value}


NET_POLICY_ENTITIES: tuple[EntityDescription[NetPolicy, Writer], ...] = (
    EntityDescription(
        key="status",
        name=Name("Enabled", "启用"),
        component=Component.BINARY_SENSOR,
        value=lambda policy: on_off(policy.policy_info.status),
        exists=lambda policy: has_field(policy.policy_info, "status"),
        essential=True,
        attributes=_policy_attributes,
        icon="mdi:shield-check",
    ),
)

_CHANNEL_FIELDS = ("applications", "ip_group", "active_time", "line", "priority", "is_default_child", "is_low_speed")


def _channel_attributes(record: ChannelRecord) -> Attributes:
    attributes = {"parent": record.parent, **{name: getattr(record.channel, name) for name in _CHANNEL_FIELDS}}
    return {
        name: value[:MAX_ATTRIBUTES] if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None
    }


def _bandwidth(field: str, index: int, en: str, zh: str) -> ChannelEntity:
    def value(record: ChannelRecord) -> Value:
        pair: tuple[int | float | None, int | float | None] | None = getattr(record.channel, field)
        return None if pair is None else pair[index]

    direction, zh_direction = (("up", "上行"), ("down", "下行"))[index]
    return EntityDescription(
        key=f"{field}_{direction}",
        name=Name(f"{en} {direction}", f"{zh}（{zh_direction}）"),
        value=value,
        exists=lambda record: has_field(record.channel, field),
        device_class="data_rate",
        unit="bit/s",
        state_class="measurement",
        category=DIAGNOSTIC,
        enabled=False,
    )


CHANNEL_ENTITIES: tuple[ChannelEntity, ...] = (
    EntityDescription(
        key="policy_enable",
        name=Name("Enabled", "启用"),
        component=Component.BINARY_SENSOR,
        value=lambda record: on_off(record.channel.policy_enable),
        exists=lambda record: has_field(record.channel, "policy_enable"),
        essential=True,
        attributes=_channel_attributes,
        icon="mdi:speedometer",
    ),
    *(
        _bandwidth(field, index, en, zh)
        for field, en, zh in (
            ("assured_bandwidth", "Assured bandwidth", "保证带宽"),
            ("max_bandwidth", "Maximum bandwidth", "最大带宽"),
            ("single_user_limit", "Single user limit", "单用户限制"),
        )
        for index in (0, 1)
    ),
)


# Watched groups


async def _write_policies(writer: Writer, group: Device, values: Mapping[str, Any]) -> None:
    await writer.write_group_policies(group, {key: bool(value) for key, value in values.items()})


GROUP_ENTITIES: tuple[GroupEntity, ...] = (
    EntityDescription(
        key="netpolicy",
        name=Name("Policies", "上网策略数"),
        value=lambda record: None if record.policies is None else len(record.policies),
        exists=lambda _: True,
        attributes=lambda record: None if record.policies is None else limited("policies", record.policies),
        source=GROUPS,
        essential=True,
        state_class="measurement",
        icon="mdi:shield-account",
    ),
)


def policy_switch(policy: str) -> GroupEntity:
    """Return the switch that attaches a net policy to a group; several in one `set` are written together."""
    key = f"netpolicy_{entity_key(policy)}"

    async def write(writer: Writer, group: Device, value: Any) -> Update | None:
        await _write_policies(writer, group, {key: value})
        return None

    return EntityDescription(
        key=key,
        name=Name(f"Policy {policy}", f"策略 {policy}"),
        component=Component.SWITCH,
        value=lambda record: None if record.policies is None else on_off(policy in record.policies),
        exists=lambda _: True,
        write=write,
        group="netpolicy",
        write_group=_write_policies,
        source=GROUPS,
        icon="mdi:shield-link-variant",
    )


# Watched users


def _has_presence(record: UserRecord) -> bool:
    return record.has_presence


def _login_text(key: str, name: Name, **about: Any) -> UserEntity:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: cut(getattr(record.login, key)),
        exists=_has_presence,
        attributes=lambda record: whole(getattr(record.login, key)),
        source=ONLINE_USERS,
        **about,
    )


def _login_option(key: str, name: Name, options: tuple[str, ...], icon: str) -> UserEntity:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: option_of(options, getattr(record.login, key)),
        exists=_has_presence,
        attributes=lambda record: _raw_number(options, getattr(record.login, key)),
        source=ONLINE_USERS,
        device_class="enum",
        options=tuple(dict.fromkeys((*options, UNKNOWN))),
        icon=icon,
    )


def _login_attributes(record: UserRecord) -> Attributes:
    if not record.logins:
        return None
    return {"logins": len(record.logins), **limited("ips", (login.ip for login in record.logins))}


def _expiry_attributes(record: UserRecord) -> Attributes:
    """Return the date as the AC writes it, which need not be a date."""
    expiry = record.account and not record.account_missed and record.account.expire_time
    return expiry.model_dump(include={"enable", "date"}, exclude_none=True) if expiry else None


def _account_has(field: str) -> Callable[[UserRecord], bool]:
    return lambda record: has_field(record.account, field)


async def _log_out(writer: Writer, user: Device, _: Any) -> Update | None:
    return await writer.write_logout(user)


USER_ENTITIES: tuple[UserEntity, ...] = (
    EntityDescription(
        key="online",
        name=Name("Online", "在线"),
        component=Component.BINARY_SENSOR,
        value=lambda record: None if record.logins is None else on_off(bool(record.logins)),
        exists=_has_presence,
        attributes=_login_attributes,
        source=ONLINE_USERS,
        essential=True,
        device_class="connectivity",
    ),
    _login_text("ip", Name("IP", "IP 地址"), icon="mdi:ip-network"),
    _login_text("mac", Name("MAC", "MAC 地址"), category=DIAGNOSTIC, enabled=False),
    _login_text("father_path", Name("Group", "组"), icon="mdi:account-group"),
    _login_option("terminal", Name("Terminal", "终端类型"), TERMINAL, "mdi:devices"),
    _login_option("authway", Name("Authentication", "认证方式"), AUTHWAY, "mdi:account-key"),
    EntityDescription(
        key="login_time",
        name=Name("Login time", "登录时间"),
        value=lambda record: iso(record.login.login_time),
        exists=_has_presence,
        source=ONLINE_USERS,
        device_class="timestamp",
    ),
    EntityDescription(
        key="online_time",
        name=Name("Online time", "在线时长"),
        value=lambda record: record.login.online_time,
        exists=lambda record: has_field(record.login, "online_time") and record.login.login_time is None,
        source=ONLINE_USERS,
        device_class="duration",
        unit="s",
        state_class="measurement",
    ),
    EntityDescription(
        key="enable",
        name=Name("Account enabled", "账号启用"),
        component=Component.BINARY_SENSOR,
        value=lambda record: None if record.account is None or record.account_missed else on_off(record.account.enable),
        exists=_account_has("enable"),
        source=USERS,
        essential=True,
        icon="mdi:account-check",
    ),
    EntityDescription(
        key="expire_time",
        name=Name("Account expires", "账号过期时间"),
        value=lambda record: None if record.account is None or record.account_missed else iso(record.account.expires),
        exists=_account_has("expire_time"),
        attributes=_expiry_attributes,
        source=USERS,
        essential=True,
        device_class="timestamp",
        icon="mdi:account-clock",
    ),
    EntityDescription(
        key="logout",
        name=Name("Log out", "强制注销"),
        component=Component.BUTTON,
        exists=lambda record: record.can_log_out and record.has_presence,
        write=_log_out,
        confirmed=lambda user: user.state.get("online") == "OFF",
        source=ONLINE_USERS,
        icon="mdi:logout",
    ),
)


"""`online_time` only without a login time: it grows with each poll, so that a state would be published for nothing."""


# Watched bindings


def _any_enabled(record: BindingRecord) -> Value:
    """Return whether a binding is enabled; None where the AC says of none that it is, and of one nothing."""
    states = [None] if record.users_missed or not record.users else [binding.enable for binding in record.users]
    return on_off(True) if True in states else None if None in states else on_off(False)


def _pair_field(field: str) -> Callable[[BindingRecord], str | None]:
    def read(record: BindingRecord) -> str | None:
        return getattr(record.pair[0], field) if record.pair and not record.pair_missed else None

    return read


def _pair_text(field: str, name: Name, **about: Any) -> BindingEntity:
    read = _pair_field(field)
    return EntityDescription(
        key=field,
        name=name,
        value=lambda record: cut(read(record)),
        exists=lambda record: record.pair is not None,
        attributes=lambda record: whole(read(record)),
        source=BINDINGS,
        **about,
    )


USER_BINDING_ENTITIES: tuple[BindingEntity, ...] = (
    EntityDescription(
        key="enable",
        name=Name("Enabled", "启用"),
        component=Component.BINARY_SENSOR,
        value=_any_enabled,
        exists=lambda record: record.users is not None,
        source=BINDINGS,
        essential=True,
        icon="mdi:link-lock",
    ),
    EntityDescription(
        key="user_bindings",
        name=Name("User bindings", "用户绑定数"),
        value=lambda record: None if record.users is None or record.users_missed else len(record.users),
        exists=lambda record: record.users is not None,
        attributes=lambda record: (
            limited("bindings", (one.model_dump() for one in record.users)) if record.users else None
        ),
        source=BINDINGS,
        state_class="measurement",
        icon="mdi:account-lock",
    ),
)
PAIR_ENTITIES: tuple[BindingEntity, ...] = (
    _pair_text("ip", Name("Bound IP", "绑定 IP"), icon="mdi:ip-network"),
    _pair_text("mac", Name("Bound MAC", "绑定 MAC"), icon="mdi:network"),
    _pair_text("desc", Name("Description", "描述"), category=DIAGNOSTIC, enabled=False),
)
BINDING_ENTITIES: tuple[BindingEntity, ...] = (*USER_BINDING_ENTITIES, *PAIR_ENTITIES)
