"""The application-side MQTT of a project: its options, and the subscription that the core runs.

The vendor's page names the topic of attributes and says that events, replies to commands, alarms, and coming and going
are published too, without their topics: those are options, and nothing is subscribed to by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

import voluptuous as vol

from fleet2mqtt.sdk.api import SECRET, Context, Subscription

KEY = "{key}"
"""Stands for the ProjectViewKey in a topic."""
KINDS = ("attributes", "online", "alarm", "event", "reply", "data")
"""The kinds of messages, which are kinds of pushes."""
REFRESH = ("devices", "attributes")
"""Sources that are polled at once when the connection is lost."""
_SCHEMES = ("ws", "wss", "mqtt", "mqtts")


def _url(value: Any) -> str:
    given = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(given)
        good = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not given.isprintable() or " " in given:
        raise vol.Invalid("expected a URL such as wss://mqtt.example.com/mqtt")
    if "@" in parts.netloc or "?" in given or "#" in given:
        raise vol.Invalid("expected a URL without credentials, query and fragment")
    return given


def _secret(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise vol.Invalid("expected a text in one line; quote one that reads as a number")
    return value


def _view_key(value: Any) -> str:
    key = _secret(value)
    if set(key) & set("/+#{}"):
        raise vol.Invalid("expected the ProjectViewKey, a text without / + # { }, as it is part of the topics")
    return key


def _topic(value: Any) -> str:
    levels = value.split("/") if isinstance(value, str) else []
    wild = [level for level in levels if level != "+" and "+" in level]
    if not any(levels) or not value.isprintable() or wild or any("#" in level for level in levels):
        raise vol.Invalid("expected a topic below the key such as +/attributes, or null; + stands for one whole level")
    return str(value)


def _or_null(validate: Callable[[Any], str]) -> Callable[[Any], str | None]:
    return lambda value: None if value is None else validate(value)


SUBSCRIBE: Mapping[Any, Any] = {
    vol.Optional("url", default=None): _or_null(_url),
    vol.Optional("key", default=None, description=SECRET): _or_null(_view_key),
    vol.Optional("secret", default=None, description=SECRET): _or_null(_secret),
    vol.Optional("topics", default=dict): {
        vol.Optional("attributes", default="+/attributes"): _or_null(_topic),
        **{vol.Optional(kind, default=None): _or_null(_topic) for kind in KINDS[1:]},
    },
}
"""The option `subscribe`; without a `url` nothing is subscribed to."""
_REQUIRED = {"url": "the address of the MQTT broker", "key": "the ProjectViewKey", "secret": "the ProjectViewSecret"}


def check_subscribe(options: Mapping[str, Any]) -> Iterator[vol.Invalid]:
    """Yield a problem for what is missing in `subscribe`, as the file has it, and for topics that are the same."""
    subscribe = options.get("subscribe")
    if not isinstance(subscribe, Mapping):
        return
    given = [name for name in _REQUIRED if subscribe.get(name) is not None]
    for name in _REQUIRED.keys() - set(given) if given else ():
        yield vol.Invalid(f"needs {name} beside it, {_REQUIRED[name]}", ["subscribe", given[0]])
    topics = subscribe.get("topics")
    if not isinstance(topics, Mapping):
        return
    filters = {kind: topic for kind, topic in topics.items() if topic is not None}
    for one, other in combinations(filters, 2):
        if filters[one] == filters[other]:
            yield vol.Invalid(f"the same topic as {one}", ["subscribe", "topics", other])
    if "attributes" in topics and not filters:
        yield vol.Invalid("expected at least one topic", ["subscribe", "topics"])


def build_subscription(context: Context, set_connected: Callable[[bool], None]) -> Subscription | None:
    """Build the subscription of a project; None without a URL for it."""
    options: Mapping[str, Any] = context.options["subscribe"]
    if options["url"] is None:
        return None
    key = options["key"]
    kinds = {_below(key, topic): kind for kind, topic in options["topics"].items() if topic is not None}
    return Subscription(
        url=options["url"],
        username=key,
        password=options["secret"],
        kinds=kinds,
        set_connected=set_connected,
        refresh=REFRESH,
        ca=context.options.get("ca"),
        verify=context.options["verify_tls"],
    )


def _below(key: str, topic: str) -> str:
    return topic.replace(KEY, key) if KEY in topic else f"{key}/{topic}"
