"""The interface between a platform and the core: Backend, Source, Action, Push, Subscription, Context.

See docs/architecture.md, "A new platform".

A platform is a module named by an entry point of the group `fleet2mqtt.platforms`. It has

    SCHEMA: dict                    its own options, voluptuous; the common ones are in fleet2mqtt.config.loader
    connect(context)                an async context manager that gives a Backend, without asking the vendor anything
    ACTIONS: tuple[ActionDescription, ...]
                                    optional: the table of its actions, by which names in `allow` are validated
    CONDITIONS: tuple[Condition, ...]
                                    optional: the alarms that the bridge raises itself from what it reads
    KINDS: frozenset[str]           optional: the kinds of its sub-devices, by which rules of selection are validated
    FORMER_ACTIONS: frozenset[str]  optional: names of actions that earlier versions had
    check(options)                  optional: what is wrong in no option alone, as an iterable of vol.Invalid with the
                                    path of the option to change; `options` as the file has them, right or wrong
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Generic, NamedTuple, Protocol, cast
from zoneinfo import ZoneInfo

import voluptuous as vol

from fleet2mqtt.devices.conditions import Condition
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import ClientT, Device, EntityDescription, Update
from fleet2mqtt.errors import BackendError
from fleet2mqtt.sdk.json_schema import json_schema

ENTRY_POINTS = "fleet2mqtt.platforms"
SECRET = "secret"  # noqa: S105 - marks one
"""As the `description` of an option's marker in SCHEMA: its value must not show in any output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that is polled: every `interval` seconds `poll()` yields updates, page by page.

    It raises BackendError. The first failure in a row is logged, and the recovery. `primary` sources decide whether the
    backend is available; another one that fails makes the devices and entities that it owns unavailable. `freshness`
    returns a value of the vendor's own that changes while its data is alive (a clock, an uptime); when it does not
    change for the backend's `stale_after`, the data of this source is stale. `needs_clock` makes the source wait until
    this machine's clock is set: what is new among past alarms cannot be told before.

    `entities` are all those that the source feeds, where it serves nothing else, and `kind` the kind of the sub-devices
    that it reads. A source of which no entity is enabled, or whose kind is excluded, is not polled, nor is one that is
    `off` in `scan_interval`; what it owns is not published then. Without `entities` it is polled whatever is enabled.
    """

    name: str
    interval: float
    poll: Callable[[], AsyncIterator[Update]]
    primary: bool = False
    freshness: Callable[[], Any] | None = None
    needs_clock: bool = False
    entities: tuple[EntityDescription, ...] = ()
    kind: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A vendor call that is not an entity, offered as `backend/<backend>/request/<name>`.

    `run(arguments)` gets what `schema` let through and gives the answer's `data`; it raises BackendError or
    CommandError. A destructive one works only when the backend's `allow` names it. `refresh` names the sources polled
    afterwards, so that the entities show what it did.
    """

    name: str
    summary: str
    schema: Mapping[Any, Any]
    run: Callable[[dict[str, Any]], Awaitable[Any]]
    destructive: bool = False
    refresh: tuple[str, ...] = ()


class ActionDescription(NamedTuple, Generic[ClientT]):
    """The definition of an action in a platform's table; its `run` takes the backend's client first."""

    name: str
    summary: str
    schema: Mapping[Any, Any]
    run: Callable[[ClientT, dict[str, Any]], Awaitable[Any]]
    refresh: tuple[str, ...] = ()
    destructive: bool = False


def actions_of(client: ClientT, table: Iterable[ActionDescription[ClientT]]) -> tuple[Action, ...]:
    """Return the actions of a platform's table, bound to `client`."""
    return tuple(
        Action(
            name=description.name,
            summary=description.summary,
            schema=description.schema,
            run=partial(description.run, client),
            destructive=description.destructive,
            refresh=description.refresh,
        )
        for description in table
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A kind of push. `accept(body)` returns the update that it brings; raises InvalidResponse.

    `success` is the response body that the vendor's document defines, `failure` returns the one for an error text.
    """

    kind: str
    accept: Callable[[bytes], Update]
    success: bytes
    failure: Callable[[str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCall:
    """A vendor's call that the bridge serves: `POST /<prefix>/<backend>/<secret>/<name>` on the push port.

    `respond(body, headers)` returns the JSON of the response from what the platform knows, also for a request that is
    wrong. Secret and sender are checked before, as for a push.
    """

    prefix: str
    name: str
    respond: Callable[[bytes, Mapping[str, str]], bytes]


@dataclass(slots=True, kw_only=True)
class SubscriptionStatus:
    """The connection of a subscription. `since` is when it was made or lost, `next_try` when it is tried again.

    `failures` counts attempts and losses in a row, `messages` what was received, `dropped` what came too fast or was
    too large. `error` is why there is no connection.
    """

    connected: bool = False
    since: datetime | None = None
    failures: int = 0
    messages: int = 0
    dropped: int = 0
    last_message: datetime | None = None
    error: BackendError | None = None
    next_try: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A vendor's MQTT broker, whose messages are accepted as pushes of the kind that `kinds` has for their filter.

    `url` has the scheme ws, wss, mqtt or mqtts; `ca` and `verify` are as for HTTP. `set_connected` is called with each
    change. `refresh` names the sources that are polled at once when the connection is lost.
    """

    url: str
    username: str = field(repr=False)
    password: str = field(repr=False)
    kinds: Mapping[str, str] = field(repr=False)
    set_connected: Callable[[bool], None]
    refresh: tuple[str, ...] = ()
    ca: str | None = None
    verify: bool = True
    status: SubscriptionStatus = field(default_factory=SubscriptionStatus)


@dataclass(slots=True)
class Calls:
    """Calls to one endpoint, and those that failed."""

    calls: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend(Generic[ClientT]):
    """One configured instance of a platform, ready to be polled and commanded.

    `client` is passed to the `write` of entity descriptions. `read(device)` reads this device now (a read-back, a
    `get`) and returns the update; it raises BackendError. `calls` counts by endpoint; `quota` describes the largest
    rate of calls in a sentence.
    """

    name: str
    platform: str
    client: ClientT
    sources: tuple[Source, ...]
    read: Callable[[Device], Awaitable[Update]]
    actions: tuple[Action, ...] = ()
    pushes: tuple[Push, ...] = ()
    served: tuple[ServedCall, ...] = ()
    subscription: Subscription | None = None
    calls: Mapping[str, Calls] = field(default_factory=dict)
    quota: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    manufacturer: str | None = None
    configuration_url: str | None = None
    unpolled: frozenset[str] = frozenset()
    """Names of the sources that the options leave out; the core sets it, and takes them out of `sources`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Argument of `connect`: the backend's name, its validated options, ids, and storage for checkpoints.

    `checkpoint(device)` is the text last given to `save_checkpoint(device, text)`, across restarts: how far the alarm
    history of a device was read.
    """

    name: str
    options: Mapping[str, Any]
    ids: Ids
    data_dir: Path
    checkpoint: Callable[[str], str | None]
    save_checkpoint: Callable[[str, str], Awaitable[None]]
    primary_fails: Callable[[], bool] = lambda: False
    """Return True while a primary source of the backend fails; a sweep asks before it gives up (`sdk.sweep`)."""
    selects: Callable[[Device], bool] = lambda _: True
    """Return False for a device that the options exclude: it is not polled in detail."""
    has_rules: bool = False
    """True if rules include or exclude devices: an unknown device may be one that they exclude."""
    excludes_kind: Callable[[str], bool] = lambda _: False
    """Return True if the options exclude all sub-devices of a kind: not even the list of them is worth a call."""
    is_enabled: Callable[[EntityDescription], bool] = lambda entity: entity.enabled
    """Return False for an entity that is not published or disabled by default: no call is worth it."""
    publishes: Callable[[EntityDescription], bool] = lambda _: True
    """Return False for an entity that is not published, not even as a disabled one: no field is worth requesting."""
    narrow: Callable[[Mapping[str, str], Mapping[str, str]], frozenset[tuple[str | None, str | None]]] = lambda *_: (
        frozenset()
    )
    """Return the pairs of a model and a group, by id, that rules limit the devices to: only those are worth listing."""
    may_enable: Callable[[str], bool] = lambda _: False
    """Return True if the options enable entities that are disabled by default, whose keys begin with a prefix."""

    @property
    def zone(self) -> ZoneInfo:
        """Time zone of vendor times that name none."""
        return cast("ZoneInfo", self.options["time_zone"])

    def interval(self, source: str) -> float:
        """Return the poll interval of a source in seconds; infinity for one that is off."""
        seconds = self.options["scan_interval"][source]
        return math.inf if seconds is None else float(seconds)


class Platform(Protocol):
    """Interface of the module behind an entry point."""

    SCHEMA: Mapping[Any, Any]

    def connect(self, context: Context) -> AbstractAsyncContextManager[Backend]:
        """Open one configured instance."""
        ...


@cache
def platforms() -> Mapping[str, Callable[[], Platform]]:
    """Return the installed platforms, by name; call one to import it.

    They are those at the first call: each search reads the metadata of every installed package.
    """
    return MappingProxyType({point.name: _loader(point.load) for point in entry_points(group=ENTRY_POINTS)})


def contradictions(platform: Platform, options: Mapping[str, Any]) -> list[vol.Invalid]:
    """Return what a platform's own check finds wrong in a backend's options as the file has them."""
    check = getattr(platform, "check", None)
    return [] if check is None else list(check(options))


def action_table(platform: Platform) -> tuple[ActionDescription, ...] | None:
    """Return the table of a platform's actions, None for a platform that has none to be read before it is connected."""
    table: tuple[ActionDescription, ...] | None = getattr(platform, "ACTIONS", None)
    return table


def conditions(platform: Platform) -> tuple[Condition, ...]:
    """Return the table of a platform's conditions."""
    table: tuple[Condition, ...] = getattr(platform, "CONDITIONS", ())
    return table


def kinds(platform: Platform) -> frozenset[str] | None:
    """Return the kinds of sub-devices that a platform has, None for a platform that does not name them."""
    named: frozenset[str] | None = getattr(platform, "KINDS", None)
    return named


def former_actions(platform: Platform) -> frozenset[str]:
    """Return the names of actions that earlier versions of a platform had."""
    return getattr(platform, "FORMER_ACTIONS", frozenset())


def _loader(load: Callable[[], Any]) -> Callable[[], Platform]:
    def loaded() -> Platform:
        module = load()
        if not isinstance(module, ModuleType):
            message = f"{module!r} is not a module"
            raise TypeError(message)
        return cast("Platform", module)

    return loaded


def describe(action: Action) -> dict[str, Any]:
    """Return an action as `bridge/info` lists it, with a JSON Schema of its arguments."""
    return {
        "name": action.name,
        "summary": action.summary,
        "destructive": action.destructive,
        "arguments": json_schema(action.schema),
    }
