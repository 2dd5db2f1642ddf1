"""The rows of the AC, its policies, and what is watched: groups, users, bindings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fleet2mqtt.devices.ids import slug
from fleet2mqtt.devices.model import Component, EntityCategory, EntityDescription, Name, Value, on_off
from fleet2mqtt.platforms.sangfor_ac.writes import log_out, set_policy
from fleet2mqtt.sdk import vendor_json

if TYPE_CHECKING:
    from fleet2mqtt.platforms.sangfor_ac.models import BindingRecord, ChannelRecord, GroupRecord, NetPolicy, UserRecord

DIAGNOSTIC = EntityCategory.DIAGNOSTIC
UNKNOWN = "unknown"
TERMINAL = (UNKNOWN, "mobile", "pc", "multi")
AUTHWAY = ("none", "password", "sms", "single_sign_on", "auth_free")

Read = Callable[[Any], Any]


def row_key(text: str) -> str:
    """A key, lower snake case, for the vendor's name of something; two names never share one."""
    found = slug(text, 40)
    plain = "-" not in found and text == text.lower()
    return found if plain else slug(f"\x1f{text}", 40).replace("-", "_")


def _sensor(key: str, en: str, zh: str, value: Read, **more: Any) -> EntityDescription:
    return EntityDescription(key=key, name=Name(en, zh), value=value, **more)


def _binary(key: str, en: str, zh: str, value: Read, **more: Any) -> EntityDescription:
    return _sensor(key, en, zh, lambda r: on_off(value(r)), component=Component.BINARY_SENSOR, **more)


def _figure(key: str, en: str, zh: str, icon: str) -> EntityDescription:
    return _sensor(key, en, zh, lambda r: getattr(r, key), state_class="measurement", icon=icon)


def _percent(key: str, en: str, zh: str, icon: str) -> EntityDescription:
    return _sensor(key, en, zh, lambda r: getattr(r, key), state_class="measurement", unit="%", icon=icon)


def _rate(key: str, en: str, zh: str, value: Read, **more: Any) -> EntityDescription:
    return _sensor(key, en, zh, value, device_class="data_rate", unit="bit/s", state_class="measurement", **more)


def _listed(name: str, rows: tuple[Any, ...] | None) -> Mapping[str, Any] | None:
    return {name: [row.model_dump() for row in rows]} if rows else None


def named(options: tuple[str, ...], number: float | None) -> str | None:
    """The option with this number, `unknown` for one that nobody knows, None for no number."""
    if number is None:
        return None
    return options[int(number)] if number in range(len(options)) else UNKNOWN


def _raw(options: tuple[str, ...], number: float | None) -> Mapping[str, Value] | None:
    return {"raw": number} if number is not None and number not in range(len(options)) else None


BOX = (
    _figure("online_user", "Online users", "在线用户数", "mdi:account-multiple"),
    _figure("session_num", "Sessions", "会话数", "mdi:swap-horizontal"),
    _percent("cpu_usage", "CPU usage", "CPU 使用率", "mdi:cpu-64-bit"),
    _percent("mem_usage", "Memory usage", "内存使用率", "mdi:memory"),
    _percent("disk_usage", "Disk usage", "磁盘使用率", "mdi:harddisk"),
    _percent("bandwidth_usage", "Bandwidth usage", "带宽使用率", "mdi:gauge"),
    _rate("throughput_send", "Throughput sent", "发送流速", lambda r: r.throughput and r.throughput.bits("send")),
    _rate("throughput_recv", "Throughput received", "接收流速", lambda r: r.throughput and r.throughput.bits("recv")),
    _sensor(
        "log_block",
        "Blocked",
        "拦截日志数",
        lambda r: r.log and r.log.block,
        state_class="total_increasing",
        icon="mdi:cancel",
    ),
    _sensor(
        "log_record",
        "Recorded",
        "记录日志数",
        lambda r: r.log and r.log.record,
        state_class="total_increasing",
        icon="mdi:text-box-outline",
    ),
    _sensor(
        "sys_time",
        "System time",
        "系统时间",
        lambda r: vendor_json.iso(r.sys_time),
        device_class="timestamp",
        category=DIAGNOSTIC,
        enabled=False,
    ),
    _sensor("version", "Version", "版本", lambda r: r.version, category=DIAGNOSTIC, icon="mdi:chip"),
    _sensor(
        "user_rank",
        "Traffic of the heaviest user",
        "流量最高用户的流量",
        lambda r: r.user_rank[0].total if r.user_rank else None,
        exists=lambda r: r.user_rank is not None,
        attributes=lambda r: _listed("rank", r.user_rank),
        device_class="data_size",
        unit="B",
        state_class="measurement",
        category=DIAGNOSTIC,
        enabled=False,
    ),
    _sensor(
        "app_rank",
        "Application with most traffic",
        "流量最高的应用",
        lambda r: r.app_rank[0].app if r.app_rank else None,
        exists=lambda r: r.app_rank is not None,
        attributes=lambda r: _listed("rank", r.app_rank),
        category=DIAGNOSTIC,
        enabled=False,
        icon="mdi:apps",
    ),
)


def library_rows(key: str, name: str) -> tuple[EntityDescription, ...]:
    """The rows of one rule library."""
    diagnostic: dict[str, Any] = {"category": DIAGNOSTIC}
    return (
        _sensor(
            f"library_{key}_current",
            f"{name}: current version",
            f"{name}：当前版本",
            lambda r: r.library(key).current,
            icon="mdi:database",
            **diagnostic,
        ),
        _sensor(
            f"library_{key}_new",
            f"{name}: newest version",
            f"{name}：最新版本",
            lambda r: r.library(key).new,
            icon="mdi:database-arrow-up",
            **diagnostic,
        ),
        _binary(
            f"library_{key}_enable", f"{name}: enabled", f"{name}：启用", lambda r: r.library(key).enable, **diagnostic
        ),
        _binary(
            f"library_{key}_is_expired",
            f"{name}: expired",
            f"{name}：已过期",
            lambda r: r.library(key).is_expired,
            attributes=lambda r: {"expire": r.library(key).expire} if r.library(key).expire else None,
            device_class="problem",
            **diagnostic,
        ),
    )


def _about_policy(r: NetPolicy) -> Mapping[str, Any]:
    info = r.policy_info
    texts = {"type": info.type, "founder": info.founder, "expire": info.expire, "depict": info.depict}
    lists = {name: list(values) for name, values in r.user_info.model_dump().items()}
    return {name: value for name, value in (texts | lists).items() if value}


NET_POLICY = (
    _binary(
        "status", "Enabled", "启用", lambda r: r.policy_info.status, attributes=_about_policy, icon="mdi:shield-check"
    ),
)

_CHANNEL_FIELDS = ("applications", "ip_group", "active_time", "line", "priority", "is_default_child", "is_low_speed")


def _about_channel(r: ChannelRecord) -> Mapping[str, Any]:
    told = {"parent": r.parent, **{name: getattr(r.channel, name) for name in _CHANNEL_FIELDS}}
    return {name: value for name, value in told.items() if value is not None}


def _bandwidth(field: str, index: int, en: str, zh: str) -> EntityDescription:
    def value(r: ChannelRecord) -> Any:
        pair = getattr(r.channel, field)
        return pair and pair[index]

    return _rate(
        f"{field}_{('up', 'down')[index]}",
        f"{en} {('up', 'down')[index]}",
        f"{zh}（{('上行', '下行')[index]}）",
        value,
        exists=lambda r: getattr(r.channel, field) is not None,
        category=DIAGNOSTIC,
        enabled=False,
    )


FLUX_POLICY = (
    _binary(
        "policy_enable",
        "Enabled",
        "启用",
        lambda r: r.channel.policy_enable,
        attributes=_about_channel,
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


def _attached(r: GroupRecord) -> Mapping[str, Any] | None:
    return None if r.policies is None else {"policies": list(r.policies)}


GROUP = (
    _sensor(
        "netpolicy",
        "Policies",
        "上网策略数",
        lambda r: None if r.policies is None else len(r.policies),
        exists=lambda _: True,
        attributes=_attached,
        state_class="measurement",
        icon="mdi:shield-account",
    ),
)


def policy_switch(policy: str) -> EntityDescription:
    """Whether a net policy is attached to a group."""
    return EntityDescription(
        key=f"netpolicy_{row_key(policy)}",
        name=Name(f"Policy {policy}", f"策略 {policy}"),
        component=Component.SWITCH,
        value=lambda r: None if r.policies is None else on_off(policy in r.policies),
        exists=lambda _: True,
        write=set_policy(policy),
        icon="mdi:shield-link-variant",
    )


def _seen(r: UserRecord) -> bool:
    return r.seen


def _choice(key: str, en: str, zh: str, options: tuple[str, ...], icon: str) -> EntityDescription:
    return _sensor(
        key,
        en,
        zh,
        lambda r: named(options, getattr(r.login, key)),
        exists=_seen,
        attributes=lambda r: _raw(options, getattr(r.login, key)),
        device_class="enum",
        options=tuple(dict.fromkeys((*options, UNKNOWN))),
        icon=icon,
    )


def _logins(r: UserRecord) -> Mapping[str, Any] | None:
    return {"logins": len(r.logins), "ips": [login.ip for login in r.logins]} if r.logins else None


def _about_expiry(r: UserRecord) -> Mapping[str, Any] | None:
    """The date as the AC writes it; what it writes there may be no date."""
    told = r.account and r.account.expire_time
    return told.model_dump(include={"enable", "date"}, exclude_none=True) if told else None


USER = (
    _binary(
        "online",
        "Online",
        "在线",
        lambda r: None if r.logins is None else bool(r.logins),
        exists=_seen,
        attributes=_logins,
        device_class="connectivity",
    ),
    _sensor("ip", "IP", "IP 地址", lambda r: r.login.ip, exists=_seen, icon="mdi:ip-network"),
    _sensor("mac", "MAC", "MAC 地址", lambda r: r.login.mac, exists=_seen, category=DIAGNOSTIC, enabled=False),
    _sensor("father_path", "Group", "组", lambda r: r.login.father_path, exists=_seen, icon="mdi:account-group"),
    _choice("terminal", "Terminal", "终端类型", TERMINAL, "mdi:devices"),
    _choice("authway", "Authentication", "认证方式", AUTHWAY, "mdi:account-key"),
    _sensor(
        "login_time",
        "Login time",
        "登录时间",
        lambda r: vendor_json.iso(r.login.login_time),
        exists=_seen,
        device_class="timestamp",
    ),
    _sensor(
        "online_time",
        "Online time",
        "在线时长",
        lambda r: r.login.online_time,
        exists=_seen,
        device_class="duration",
        unit="s",
        state_class="measurement",
    ),
    _binary(
        "enable", "Account enabled", "账号启用", lambda r: r.account and r.account.enable, icon="mdi:account-check"
    ),
    _sensor(
        "expire_time",
        "Account expires",
        "账号过期时间",
        lambda r: vendor_json.iso(r.account and r.account.expires),
        exists=lambda r: r.account is not None and r.account.expire_time is not None,
        attributes=_about_expiry,
        device_class="timestamp",
        icon="mdi:account-clock",
    ),
    EntityDescription(
        key="logout",
        name=Name("Log out", "强制注销"),
        component=Component.BUTTON,
        exists=lambda r: r.logout and r.seen,
        write=log_out,
        icon="mdi:logout",
    ),
)


def _first(r: BindingRecord, field: str) -> Any:
    return getattr(r.pair[0], field) if r.pair else None


def _paired(r: BindingRecord) -> bool:
    return r.pair is not None


BINDING = (
    _binary(
        "enable",
        "Enabled",
        "启用",
        lambda r: any(row.enable for row in r.users) if r.users else None,
        exists=lambda r: r.users is not None,
        icon="mdi:link-lock",
    ),
    _sensor(
        "user_bindings",
        "User bindings",
        "用户绑定数",
        lambda r: None if r.users is None else len(r.users),
        attributes=lambda r: _listed("bindings", r.users),
        state_class="measurement",
        icon="mdi:account-lock",
    ),
    _sensor("ip", "Bound IP", "绑定 IP", lambda r: _first(r, "ip"), exists=_paired, icon="mdi:ip-network"),
    _sensor("mac", "Bound MAC", "绑定 MAC", lambda r: _first(r, "mac"), exists=_paired, icon="mdi:network"),
    _sensor(
        "desc", "Description", "描述", lambda r: _first(r, "desc"), exists=_paired, category=DIAGNOSTIC, enabled=False
    ),
)
