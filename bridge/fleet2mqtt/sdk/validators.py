"""Validators for options and action arguments, for voluptuous schemas of the bridge and of platforms."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import voluptuous as vol


def identifier(value: str | int) -> str:
    """Validate an id, which is a text to the vendor: digits that YAML or JSON made a number are a text again."""
    if isinstance(value, str):
        return value
    if type(value) is not int or value < 0:  # a truth is an int too
        raise vol.Invalid("expected a text, or a whole number for one of digits")
    return str(value)


def whole(value: int) -> int:
    """Validate a whole number; a boolean is none."""
    if type(value) is not int:
        raise vol.Invalid("expected a whole number")
    return value


def scan_interval(*optional: str, **defaults: float) -> dict[Any, Any]:
    """Return the schema of `scan_interval`, with a platform's sources and their default seconds.

    The sources named in `optional` may be `off`, which the schema returns as None: they are not polled.
    """
    seconds: Callable[[Any], Any] = vol.Schema(vol.All(_number, vol.Range(min=0.1, max=86_400)))
    intervals = {
        vol.Optional(name, default=default): _or_off(seconds) if name in optional else seconds
        for name, default in defaults.items()
    }
    return {vol.Optional("scan_interval", default=dict): intervals}


def _or_off(seconds: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def validate(value: Any) -> Any:
        if value is False or value == "off":  # YAML makes a plain off false
            return None
        if isinstance(value, str | bool):
            raise vol.Invalid("expected a number of seconds, or off")
        return seconds(value)

    return validate


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = "expected a number of seconds"
        raise vol.Invalid(message)
    return value


_NOT_IN_URL = re.compile(r"[\s\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def url(value: Any) -> str:
    """Validate an HTTP base URL, and return it without the slash at its end; the message does not repeat it."""
    given = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(given)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or _NOT_IN_URL.search(given):
        raise vol.Invalid("expected a URL such as http://10.0.0.5:8080")
    if "@" in parts.netloc or "?" in given or "#" in given:
        raise vol.Invalid("expected a URL without credentials, query and fragment")
    return given.rstrip("/")


def zone(name: Any) -> ZoneInfo:
    """Return an IANA time zone."""
    try:
        return ZoneInfo(name)
    except (ValueError, TypeError, KeyError, OSError) as error:
        message = "expected an IANA time zone such as Asia/Shanghai"
        raise vol.Invalid(message) from error
