"""What the AC sends, by its own names, and the records that the rows read. Sangfor document 2.15, 3, 4.1, 4.2, 5.1.

Chapter 1 (status) is cut off in the document; its fields are those of public clients, see README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.vendor_json import EmptyList, Moment, Number, Text, Truth, WireModel

UNLIMITED = -1
_MAC_DIGITS = 12


def mac_of(text: str) -> str | None:
    """A MAC in any notation as the AC writes it, 11-11-11-11-11-11; None for what is none."""
    digits = "".join(character for character in text if character not in ":-. ").upper()
    if len(digits) != _MAC_DIGITS or not set(digits) <= set("0123456789ABCDEF"):
        return None
    return "-".join(digits[at : at + 2] for at in range(0, _MAC_DIGITS, 2))


def _object(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(text for item in items if (text := vendor_json.text(item)) is not None)


def _bandwidths(value: Any) -> tuple[int | float | None, ...] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    return tuple(None if (number := vendor_json.number(item)) == UNLIMITED else number for item in value)


def _rate(value: Any) -> int | float | None:
    alone = not isinstance(value, str) or not any(character.isalpha() for character in value)
    return vendor_json.number(value) if alone else None  # "12 Kbps" is something else than what `unit` says


def _expiry(value: Any) -> Any:
    return value if isinstance(value, dict) else {"date": value}


def _account(value: Any) -> Any:
    """With the extension fields, which some sources have flat and some under `extend`, in one place."""
    extend = value.get("extend") if isinstance(value, dict) else None
    return {**extend, **value} if isinstance(extend, dict) else value


Object = BeforeValidator(_object)
Rate = Annotated[int | float | None, BeforeValidator(_rate)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Bandwidths = Annotated[tuple[int | float | None, int | float | None] | None, BeforeValidator(_bandwidths)]
"""Up and down, bit/s; None for unlimited."""


def _as(*names: str, default: Any = None) -> Any:
    return Field(default=default, validation_alias=AliasChoices(*names))


class PolicyInfo(WireModel):
    """`policy_info` of a net policy; the texts are in the device's language."""

    name: Text = None
    type: Text = None
    founder: Text = None
    expire: Text = None
    status: Truth = None
    depict: Text = None


class UserInfo(WireModel):
    """`user_info` of a net policy, without the fields that name people or their addresses."""

    location: Texts = ()
    terminal: Texts = ()
    target_area: Texts = ()


class NetPolicy(WireModel):
    """A row of policy/netpolicy, the Sangfor document 3.1."""

    policy_info: Annotated[PolicyInfo, Object] = PolicyInfo()
    user_info: Annotated[UserInfo, Object] = UserInfo()


class FluxPolicy(WireModel):
    """A channel of policy/fluxpolicy, as the Sangfor document 3.2 prints it, tabulates it, and as devices send it."""

    id: Text = None
    father: Text = _as("fatherID", "father_id")
    name: Text = None
    applications: Text = _as("target_applications", "service")
    ip_group: Text = _as("ip_group", "targetip_group")
    active_time: Text = _as("active_time", "time")
    line: Text = None
    priority: Text = None
    policy_enable: Truth = _as("policy_enable", "status")
    assured_bandwidth: Bandwidths = _as("assured_bandwidth", "assured")
    max_bandwidth: Bandwidths = _as("max_bandwidth", "max")
    single_user_limit: Bandwidths = _as("single_user_limit", "single")
    is_default_child: Truth = None
    is_low_speed: Truth = None
    children: Annotated[tuple[Any, ...], EmptyList] = _as("children", "childrens", default=())


class OnlineUser(WireModel):
    """A row of online-users, the Sangfor document 5.1."""

    name: Text = None
    show_name: Text = None
    father_path: Text = None
    ip: Text = None
    mac: Text = None
    terminal: Number = None
    authway: Number = None
    login_time: Moment = None
    online_time: Number = None


class Expiry(WireModel):
    """`expire_time` of a local user: an object, or its date alone, which is "" for never."""

    enable: Truth = None
    date: Text = None
    moment: Moment = _as("date")


class Account(WireModel):
    """The answer of user?name=, as public sources have it, without what is personal."""

    enable: Truth = None
    expire_time: Annotated[Expiry | None, BeforeValidator(_expiry)] = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        return _account(value)

    @property
    def expires(self) -> datetime | None:
        """When it does; None for never, and where it is not known."""
        expiry = self.expire_time
        return None if expiry is None or expiry.enable is False else expiry.moment


class NoAuth(WireModel):
    """`noauth` of a binding; `indate` 0 is for ever."""

    enable: Truth = None
    indate: Number = None


class UserBinding(WireModel):
    """A row of bindinfo/user-bindinfo, the Sangfor document 4.1."""

    enable: Truth = None
    desc: Text = None
    name: Text = None
    addr: Text = None
    addr_type: Text = None
    time: Text = None
    limitlogon: Truth = None
    noauth: Annotated[NoAuth, Object] = NoAuth()


class IpMacBinding(WireModel):
    """The answer of ipmac-bindinfo, the Sangfor document 4.2."""

    ip: Text = None
    mac: Text = None
    desc: Text = None


class Library(WireModel):
    """A row of status/insidelib: a rule library and its versions."""

    name: Text = None
    type: Text = None
    current: Text = None
    new: Text = None
    expire: Text = None
    enable: Truth = None
    is_expired: Truth = None


class Throughput(WireModel):
    """status/throughput in `unit` per second, bytes where it is missing."""

    send: Rate = None
    recv: Rate = None
    unit: Text = None

    def bits(self, direction: str) -> int | float | None:
        """`send` or `recv` in bit/s."""
        amount: int | float | None = getattr(self, direction)
        return amount if amount is None or (self.unit or "").lower().startswith("bit") else amount * 8


class LogCounters(WireModel):
    """status/log."""

    block: Number = None
    record: Number = None


class UserRank(WireModel):
    """A row of status/user-rank in bytes, without whose it is; `status` false is frozen."""

    group: Text = None
    up: Number = None
    down: Number = None
    total: Number = None
    session: Number = None
    status: Truth = None


class AppRank(WireModel):
    """A row of status/app-rank in bytes, without its users."""

    app: Text = None
    line: Text = None
    line_name: Text = None
    up: Number = None
    down: Number = None
    total: Number = None
    rate: Number = None
    session: Number = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRecord:
    """The AC as it is known now; None for what it has not said yet."""

    version: str | None = None
    online_user: int | float | None = None
    session_num: int | float | None = None
    cpu_usage: int | float | None = None
    mem_usage: int | float | None = None
    disk_usage: int | float | None = None
    bandwidth_usage: int | float | None = None
    throughput: Throughput | None = None
    log: LogCounters | None = None
    sys_time: datetime | None = None
    user_rank: tuple[UserRank, ...] | None = None
    app_rank: tuple[AppRank, ...] | None = None
    libraries: tuple[tuple[str, Library], ...] = ()
    """By the key of their rows."""

    def library(self, key: str) -> Library:
        """The library with this key."""
        return dict(self.libraries).get(key, Library())


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRecord:
    """A flux policy and what it is a child of."""

    channel: FluxPolicy
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """A watched group: the net policies attached to it."""

    path: str
    policies: tuple[str, ...] | None
    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """A watched user: where it is online, the newest login first, None where that is not known; and its account.

    `seen` says that the AC tells who is online at all. `account` is None where it has none of that name.
    """

    name: str
    logins: tuple[OnlineUser, ...] | None = None
    logout: bool
    """Whether there is a button to log it out."""
    seen: bool = False
    account: Account | None = None

    @property
    def login(self) -> OnlineUser:
        """The newest login."""
        return self.logins[0] if self.logins else OnlineUser()


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingRecord:
    """A watched search: the bindings of users that it finds, and the one of an IP with a MAC."""

    search: str
    users: tuple[UserBinding, ...] | None
    pair: tuple[IpMacBinding, ...] | None
