"""What a single option may be. Each check gives the value as the program wants it, or raises vol.Invalid.

A message says what is allowed and never repeats the value: it may be a secret. Numbers and switches may come as texts,
as they do from `!env_var` and `!secret`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import voluptuous as vol

from fleet2mqtt.config.models import Network
from fleet2mqtt.config.problems import nearest, shown
from fleet2mqtt.sdk import validators

Check = Callable[[Any], Any]
Choice = TypeVar("Choice", bound=StrEnum)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_WORDS = {
    "expected bool": "expected true or false",
    "expected dict": "expected a mapping, lines like key: value",
    "expected a dictionary": "expected a mapping, lines like key: value",
    "expected float": "expected a number",
    "expected int": "expected a whole number",
    "expected list": "expected a list",
    "expected str": "expected a text, quoted where it reads as a number",
    "required key not provided": "missing, and required",
    "not a valid value": "not a value that is allowed here",
}


class KeyFault(vol.Invalid):
    """The key itself is wrong, whatever its value is."""


def wording(error: vol.Invalid) -> str:
    """The message of a fault, in the words that all faults use."""
    return _WORDS.get(error.error_message, error.error_message)


def section(rows: Mapping[Any, Any], *, extra: bool = False) -> Check:
    """A mapping with these options; one that is left empty has the defaults. Names the options that it does not know.

    With `extra` other options pass.
    """
    inner = {marker: section(check) if isinstance(check, dict) and check else check for marker, check in rows.items()}
    schema = vol.Schema(inner, extra=vol.ALLOW_EXTRA if extra else vol.PREVENT_EXTRA)
    names = sorted(str(marker) for marker in rows if isinstance(marker, str | vol.Marker))

    def check(value: Any) -> Any:
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise vol.Invalid("expected a mapping, lines like key: value")
        try:
            return schema(value)
        except vol.MultipleInvalid as error:
            raise vol.MultipleInvalid([_known(fault, names) for fault in error.errors]) from error

    return check


def _known(fault: vol.Invalid, names: list[str]) -> vol.Invalid:
    if len(fault.path) != 1 or fault.error_message != "extra keys not allowed":
        return fault
    hint = nearest(str(fault.path[0]), names)
    return KeyFault(f"unknown option;{hint} allowed are {', '.join(names)}", fault.path)


def text(value: Any) -> str:
    """A text in one line."""
    if not isinstance(value, str):
        raise vol.Invalid("expected a text; quote one that reads as a number or as yes or no")
    if not value or _CONTROL.search(value):
        raise vol.Invalid("expected a text in one line that is not empty")
    return value


def matching(pattern: str, words: str) -> Check:
    """A text of this form; `words` say which."""
    form = re.compile(pattern)

    def check(value: Any) -> str:
        if not isinstance(value, str) or not form.fullmatch(value):
            raise vol.Invalid(f"expected {words}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A number within bounds, as a float."""

    def check(value: Any) -> float:
        given = _read_number(value, float)
        if given is None or not low <= given <= high:
            raise vol.Invalid(f"expected a number from {low:g} to {high:g}")
        return float(given)

    return check


def whole(low: int, high: int) -> Check:
    """A whole number within bounds."""

    def check(value: Any) -> int:
        given = _read_number(value, int)
        if not isinstance(given, int) or not low <= given <= high:
            raise vol.Invalid(f"expected a whole number from {low} to {high}")
        return given

    return check


def _read_number(value: Any, kind: type[int | float]) -> float | None:
    if isinstance(value, str):
        try:
            return kind(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def flag(value: Any) -> bool:
    """True or false."""
    given = _FLAGS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(given, bool):
        raise vol.Invalid("expected true or false")
    return given


def choice(kind: type[Choice]) -> Check:
    """A member of an enumeration."""
    members = {str(member): member for member in kind}

    def check(value: Any) -> Choice:
        given = members.get(str(value))
        if given is None:
            raise vol.Invalid(f"expected one of {', '.join(members)}")
        return given

    return check


def host(value: Any) -> str:
    """A host name or address, nothing around it."""
    given = value if isinstance(value, str) else ""
    if not given or re.search(r"[\s/@\\\[\]]", given) or _CONTROL.search(given) or given.count(":") == 1:
        raise vol.Invalid("expected a host name or an address alone, without mqtt:// and without a port")
    return given


def time_zone(value: Any) -> ZoneInfo:
    """An IANA time zone."""
    try:
        return validators.zone(value)
    except KeyError as error:  # what zoneinfo raises for a name that it does not know
        raise vol.Invalid("expected an IANA time zone such as Asia/Shanghai") from error


def file_in(folder: Path) -> Check:
    """A file that can be read; a relative name is looked up in `folder`. Gives its absolute path."""

    def check(value: Any) -> str:
        name = folder / text(value)
        try:
            with name.open("rb"):
                return str(name.absolute())
        except (OSError, ValueError) as error:
            words = (getattr(error, "strerror", None) or "no such path").lower()
            raise vol.Invalid(f"expected a file that can be read; this one: {words}") from error

    return check


def authorities_in(folder: Path) -> Check:
    """A file of certificates to be trusted, in PEM. Gives its absolute path."""
    readable = file_in(folder)

    def check(value: Any) -> str:
        file: str = readable(value)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        except OSError as error:
            raise vol.Invalid("expected a file with certificates in PEM") from error
        return file

    return check


def path_in(folder: Path) -> Check:
    """A path, absolute or in `folder`."""

    def check(value: Any) -> Path:
        return (folder / text(value)).absolute()

    return check


def headers(value: Any) -> dict[str, str]:
    """HTTP header fields: names and texts."""
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise vol.Invalid("expected a mapping, lines like Name: text")
    faults = []
    for name, content in value.items():
        try:
            text(content)
        except vol.Invalid as error:
            faults.append(vol.Invalid(error.error_message, [name]))
        if not _HEADER.fullmatch(name):
            faults.append(KeyFault("expected the name of an HTTP header such as Authorization", [name]))
    if faults:
        raise vol.MultipleInvalid(faults)
    return dict(value)


def networks(value: Any) -> tuple[Network, ...]:
    """One address or network at least."""
    return _each(value, _network, "expected a list of addresses or networks such as [10.0.0.5/32]", least=1)


def _network(value: Any) -> Network:
    try:
        return ip_network(text(value))
    except ValueError as error:
        raise vol.Invalid("expected an address or a network such as 10.0.0.5 or 10.0.0.0/24") from error


def actions(value: Any) -> tuple[str, ...]:
    """Names of actions."""
    name = matching(r"[a-z][a-z0-9_]*", "the name of an action such as mapping_delete")
    return _each(value, name, "expected a list of actions such as [mapping_delete]", least=0)


def each(check: Check, expected: str) -> Check:
    """Return a validator for a list of one or more values, each checked; `expected` is the message for no list."""

    def checked(value: Any) -> tuple[Any, ...]:
        return _each(value, check, expected, least=1)

    return checked


def _each(value: Any, check: Check, words: str, *, least: int) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) < least:
        raise vol.Invalid(words)
    given, faults = [], []
    for index, item in enumerate(value):
        try:
            given.append(check(item))
        except vol.MultipleInvalid as error:
            error.prepend([index])
            faults += error.errors
        except vol.Invalid as error:
            faults.append(vol.Invalid(error.error_message, [index]))
    if faults:
        raise vol.MultipleInvalid(faults)
    return tuple(given)


def one_of(name: Any, names: Mapping[str, Any], what: str) -> str:
    """One of these names; the message says which is nearest."""
    if isinstance(name, str) and name in names:
        return name
    hint = nearest(shown(str(name)), names)
    raise vol.Invalid(f"unknown {what};{hint} installed are {', '.join(sorted(names)) or 'none'}")
