"""Models of AC responses with its names, and records that entity descriptions read. Sangfor document 2.15, 3 to 5.1.

Chapter 1 (status) is missing in the document; its fields are those of public clients, see README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Protocol

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from fleet2mqtt.devices.model import Device, Update
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.vendor_json import Boolean, EmptyList, Number, Text, Timestamp, WireModel

Item = dict[str, Any]
"""A list item as the AC sends it."""

UNLIMITED = -1
BITS_PER_BYTE = 8
_MAC_DIGITS = 12


class Writer(Protocol):
    """Protocol of the client that entity descriptions write with."""

    async def write_group_policies(self, group: Device, attached: Mapping[str, bool]) -> None:
        """Attach net policies to a group, or detach them."""
        ...

    async def write_logout(self, user: Device) -> Update:
        """Log a user out at every address."""
        ...


def normalize_mac(text: str) -> str | None:
    """Return a MAC in any notation as the AC writes it, 11-11-11-11-11-11; None for what is none."""
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
    without_unit = not isinstance(value, str) or not any(character.isalpha() for character in value)
    return vendor_json.number(value) if without_unit else None  # "12 Kbps" contradicts the member `unit`


def _expiry(value: Any) -> Any:
    return value if isinstance(value, dict) else {"date": value}


def _flatten_extend(value: Any) -> Any:
    """Return an account with the extension fields in one place: they are flat, or under `extend`."""
    extend = value.get("extend") if isinstance(value, dict) else None
    return {**extend, **value} if isinstance(extend, dict) else value


Object = BeforeValidator(_object)
Rate = Annotated[int | float | None, BeforeValidator(_rate)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Bandwidths = Annotated[tuple[int | float | None, int | float | None] | None, BeforeValidator(_bandwidths)]
"""Up and down, bit/s; None for unlimited."""


def _aliases(*names: str, default: Any = None) -> Any:
    return Field(default=default, validation_alias=AliasChoices(*names))


class PolicyInfo(WireModel):
    """`policy_info` of a net policy; the texts are in the AC's language."""

    name: Text = None
    type: Text = None
    founder: Text = None
    expire: Text = None
    expires: Timestamp = _aliases("expire")
    status: Boolean = None
    depict: Text = None


class UserInfo(WireModel):
    """`user_info` of a net policy, without the fields that name people or their addresses."""

    location: Texts = ()
    terminal: Texts = ()
    target_area: Texts = ()


class NetPolicy(WireModel):
    """An item of policy/netpolicy, Sangfor document 3.1."""

    policy_info: Annotated[PolicyInfo, Object] = PolicyInfo()
    user_info: Annotated[UserInfo, Object] = UserInfo()


class FluxPolicy(WireModel):
    """A channel of policy/fluxpolicy, as Sangfor document 3.2 prints it, tabulates it, and as devices send it."""

    id: Text = None
    father: Text = _aliases("fatherID", "father_id")
    name: Text = None
    applications: Text = _aliases("target_applications", "service")
    ip_group: Text = _aliases("ip_group", "targetip_group", "di")
    active_time: Text = _aliases("active_time", "time")
    line: Text = None
    priority: Text = None
    policy_enable: Boolean = _aliases("policy_enable", "status")
    assured_bandwidth: Bandwidths = _aliases("assured_bandwidth", "assured")
    max_bandwidth: Bandwidths = _aliases("max_bandwidth", "max")
    single_user_limit: Bandwidths = _aliases("single_user_limit", "single")
    is_default_child: Boolean = None
    is_low_speed: Boolean = None
    children: Annotated[tuple[Any, ...], EmptyList] = _aliases("children", "childrens", default=())


class OnlineUser(WireModel):
    """An item of online-users, Sangfor document 5.1."""

    name: Text = None
    show_name: Text = None
    father_path: Text = None
    ip: Text = None
    mac: Text = None
    terminal: Number = None
    authway: Number = None
    login_time: Timestamp = None
    online_time: Number = None


class Expiry(WireModel):
    """`expire_time` of a local user: an object, or its date alone, which is "" for never."""

    enable: Boolean = None
    date: Text = None
    moment: Timestamp = _aliases("date")


class Account(WireModel):
    """The response of user?name=, as public sources have it, without what is personal."""

    enable: Boolean = None
    expire_time: Annotated[Expiry | None, BeforeValidator(_expiry)] = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        return _flatten_extend(value)

    @property
    def expires(self) -> datetime | None:
        """Time when the account expires; None for never, and where it is not known."""
        expiry = self.expire_time
        return None if expiry is None or expiry.enable is False else expiry.moment


class NoAuth(WireModel):
    """`noauth` of a binding; `indate` 0 is for ever."""

    enable: Boolean = None
    indate: Number = None


class UserBinding(WireModel):
    """An item of bindinfo/user-bindinfo, Sangfor document 4.1."""

    enable: Boolean = None
    desc: Text = None
    name: Text = None
    addr: Text = None
    addr_type: Text = None
    time: Text = None
    limitlogon: Boolean = None
    noauth: Annotated[NoAuth, Object] = NoAuth()


class IpMacBinding(WireModel):
    """The response of ipmac-bindinfo, Sangfor document 4.2."""

    ip: Text = None
    mac: Text = None
    desc: Text = None


class Library(WireModel):
    """An item of status/insidelib: a rule library.

    `enable` is True if it is updated automatically; `expire` is the end of its update licence.
    """

    name: Text = None
    type: Text = None
    current: Text = None
    new: Text = None
    expire: Text = None
    expires: Timestamp = _aliases("expire")
    enable: Boolean = None
    is_expired: Boolean = None


class Throughput(WireModel):
    """status/throughput in `unit` per second, bytes where it is missing."""

    send: Rate = None
    recv: Rate = None
    unit: Text = None

    def bits(self, direction: str) -> int | float | None:
        """Return `send` or `recv` in bit/s; None in a unit that is not known."""
        amount: int | float | None = getattr(self, direction)
        unit = (self.unit or "bytes").lower()
        if amount is None or unit.startswith("bit"):
            return amount
        return amount * BITS_PER_BYTE if unit.startswith("byte") else None


class LogCounters(WireModel):
    """status/log: numbers of blocked and of recorded requests."""

    block: Number = None
    record: Number = None


class UserRank(WireModel):
    """An item of status/user-rank without the person's name and address; `status` false is frozen."""

    group: Text = None
    up: Number = None
    down: Number = None
    total: Number = None
    session: Number = None
    status: Boolean = None


class AppRank(WireModel):
    """An item of status/app-rank without its users."""

    app: Text = None
    line: Text = None
    line_name: Text = None
    up: Number = None
    down: Number = None
    total: Number = None
    rate: Number = None
    session: Number = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceRecord:
    """The AC as it is known now. A field is None until its call has answered, or once it no longer does."""

    version: str | None = None
    online_user: int | float | None = None
    online_counts: tuple[tuple[str, int | None], ...] = ()
    """Numbers of online users by the key of their entity, None where it is not known any more."""
    session_num: int | float | None = None
    cpu_usage: int | float | None = None
    mem_usage: int | float | None = None
    disk_usage: int | float | None = None
    bandwidth_usage: int | float | None = None
    throughput: Throughput | None = None
    interfaces: tuple[tuple[str, Throughput | None], ...] = ()
    """Throughput of single interfaces, by name."""
    log: LogCounters | None = None
    sys_time: str | None = None
    """The AC's clock as it writes it."""
    system_time: datetime | None = None
    user_rank: tuple[UserRank, ...] | None = None
    app_rank: tuple[AppRank, ...] | None = None
    libraries: tuple[tuple[str, Library], ...] = ()
    """By the key of their entities."""
    skipped: frozenset[str] = frozenset()
    """Keys of entities that are disabled, and whose calls are therefore not made."""

    def library(self, key: str) -> Library:
        """Return the library with this key."""
        return dict(self.libraries).get(key, Library())

    def interface(self, name: str) -> Throughput | None:
        """Return the throughput of an interface."""
        return dict(self.interfaces).get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRecord:
    """A bandwidth channel and the name of its parent."""

    channel: FluxPolicy
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """A watched group and the net policies attached to it; `found` is False where the AC has no such group."""

    path: str
    policies: tuple[str, ...] | None
    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """A watched user: where it is online, the newest login first, and its account.

    `logins` is None where that is not known, `account` where the AC has none of that name. `has_presence` is True if
    the AC reports who is online, `can_log_out` if there is a button to log the user out.
    """

    name: str
    can_log_out: bool
    has_presence: bool = False
    logins: tuple[OnlineUser, ...] | None = None
    account: Account | None = None
    account_missed: bool = False
    """So many sweeps missed the account that its values are not known any more."""

    @property
    def login(self) -> OnlineUser:
        """The newest login."""
        return self.logins[0] if self.logins else OnlineUser()


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingRecord:
    """A watched search: the user bindings that it finds, and the binding of an IP with a MAC; None until answered.

    A part whose call was missed by several sweeps has `…_missed`: its values are not known any more.
    """

    search: str
    users: tuple[UserBinding, ...] | None = None
    pair: tuple[IpMacBinding, ...] | None = None
    users_missed: bool = False
    pair_missed: bool = False
