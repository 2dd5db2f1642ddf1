"""Validators of single options. Each returns the value as the program uses it, or raises vol.Invalid.

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
from fleet2mqtt.config.problems import nearest, printable
from fleet2mqtt.sdk import validators

Validator = Callable[[Any], Any]
Choice = TypeVar("Choice", bound=StrEnum)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_MESSAGES = {
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


class KeyProblem(vol.Invalid):
    """The key itself is wrong, whatever its value is."""


def message_of(error: vol.Invalid) -> str:
    """Return the message of a problem, with the same wording for the same cause."""
    return _MESSAGES.get(error.error_message, error.error_message)


def section(options: Mapping[Any, Any], *, extra: bool = False) -> Validator:
    """Return a validator of a mapping with these options; it names the options that it does not know.

    A mapping that is left empty has the defaults. With `extra` other options pass.
    """
    inner = {marker: section(each) if isinstance(each, dict) and each else each for marker, each in options.items()}
    schema = vol.Schema(inner, extra=vol.ALLOW_EXTRA if extra else vol.PREVENT_EXTRA)
    names = sorted(str(marker) for marker in options if isinstance(marker, str | vol.Marker))

    def validate(value: Any) -> Any:
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise vol.Invalid("expected a mapping, lines like key: value")
        try:
            return schema(value)
        except vol.MultipleInvalid as error:
            raise vol.MultipleInvalid([_describe_unknown(problem, names) for problem in error.errors]) from error

    return validate


def _describe_unknown(problem: vol.Invalid, names: list[str]) -> vol.Invalid:
    if len(problem.path) != 1 or problem.error_message != "extra keys not allowed":
        return problem
    hint = nearest(str(problem.path[0]), names)
    return KeyProblem(f"unknown option;{hint} allowed are {', '.join(names)}", problem.path)


def text(value: Any) -> str:
    """Validate a text in one line."""
    if not isinstance(value, str):
        raise vol.Invalid("expected a text; quote one that reads as a number or as yes or no")
    if not value or _CONTROL.search(value):
        raise vol.Invalid("expected a text in one line that is not empty")
    return value


def matching(pattern: str, expected: str) -> Validator:
    """Return a validator of texts of this form, which `expected` describes."""
    form = re.compile(pattern)

    def validate(value: Any) -> str:
        if not isinstance(value, str) or not form.fullmatch(value):
            raise vol.Invalid(f"expected {expected}")
        return value

    return validate


def number(low: float, high: float) -> Validator:
    """Return a validator of numbers within bounds; it returns floats."""

    def validate(value: Any) -> float:
        given = _read_number(value, float)
        if given is None or not low <= given <= high:
            raise vol.Invalid(f"expected a number from {low:g} to {high:g}")
        return float(given)

    return validate


def whole(low: int, high: int) -> Validator:
    """Return a validator of whole numbers within bounds."""

    def validate(value: Any) -> int:
        given = _read_number(value, int)
        if not isinstance(given, int) or not low <= given <= high:
            raise vol.Invalid(f"expected a whole number from {low} to {high}")
        return given

    return validate


def _read_number(value: Any, kind: type[int | float]) -> float | None:
    if isinstance(value, str):
        try:
            return kind(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def flag(value: Any) -> bool:
    """Validate true or false."""
    given = _FLAGS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(given, bool):
        raise vol.Invalid("expected true or false")
    return given


def choice(kind: type[Choice]) -> Validator:
    """Return a validator of members of an enumeration."""
    members = {str(member): member for member in kind}

    def validate(value: Any) -> Choice:
        given = members.get(str(value))
        if given is None:
            raise vol.Invalid(f"expected one of {', '.join(members)}")
        return given

    return validate


def host(value: Any) -> str:
    """Validate a host name or address without anything around it."""
    given = value if isinstance(value, str) else ""
    if not given or re.search(r"[\s/@\\\[\]]", given) or _CONTROL.search(given) or given.count(":") == 1:
        raise vol.Invalid("expected a host name or an address alone, without mqtt:// and without a port")
    return given


def time_zone(value: Any) -> ZoneInfo:
    """Validate the name of an IANA time zone."""
    try:
        return validators.zone(value)
    except KeyError as error:  # what zoneinfo raises for a name that it does not know
        raise vol.Invalid("expected an IANA time zone such as Asia/Shanghai") from error


def file_in(folder: Path) -> Validator:
    """Return a validator of readable files, relative to `folder`; it returns absolute paths."""

    def validate(value: Any) -> str:
        name = folder / text(value)
        try:
            with name.open("rb"):
                return str(name.absolute())
        except (OSError, ValueError) as error:
            expected = (getattr(error, "strerror", None) or "no such path").lower()
            raise vol.Invalid(f"expected a file that can be read; this one: {expected}") from error

    return validate


def authorities_in(folder: Path) -> Validator:
    """Return a validator of PEM files with trusted certificates; it returns absolute paths."""
    readable = file_in(folder)

    def validate(value: Any) -> str:
        file: str = readable(value)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        except OSError as error:
            raise vol.Invalid("expected a file with certificates in PEM") from error
        return file

    return validate


def path_in(folder: Path) -> Validator:
    """Return a validator of paths, relative to `folder`."""

    def validate(value: Any) -> Path:
        return (folder / text(value)).absolute()

    return validate


def headers(value: Any) -> dict[str, str]:
    """Validate HTTP header fields: names and texts."""
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise vol.Invalid("expected a mapping, lines like Name: text")
    problems = []
    for name, content in value.items():
        try:
            text(content)
        except vol.Invalid as error:
            problems.append(vol.Invalid(error.error_message, [name]))
        if not _HEADER.fullmatch(name):
            problems.append(KeyProblem("expected the name of an HTTP header such as Authorization", [name]))
    if problems:
        raise vol.MultipleInvalid(problems)
    return dict(value)


def networks(value: Any) -> tuple[Network, ...]:
    """Validate a list of at least one address or network."""
    return _each(value, _network, "expected a list of addresses or networks such as [10.0.0.5/32]", least=1)


def networks_or_none(value: Any) -> tuple[Network, ...]:
    """Validate a list of addresses or networks, which may be empty."""
    return _each(value, _network, "expected a list of addresses or networks such as [10.0.0.5/32]", least=0)


def _network(value: Any) -> Network:
    try:
        return ip_network(text(value))
    except ValueError as error:
        raise vol.Invalid("expected an address or a network such as 10.0.0.5 or 10.0.0.0/24") from error


def actions(value: Any) -> tuple[str, ...]:
    """Validate a list of names of actions."""
    name = matching(r"[a-z][a-z0-9_]*", "the name of an action such as mapping_delete")
    return _each(value, name, "expected a list of actions such as [mapping_delete]", least=0)


def each(validate: Validator, expected: str) -> Validator:
    """Return a validator of lists of one or more values; `expected` is the message for what is not such a list."""
    return lambda value: _each(value, validate, expected, least=1)


def _each(value: Any, validate: Validator, expected: str, *, least: int) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) < least:
        raise vol.Invalid(expected)
    given, problems = [], []
    for index, item in enumerate(value):
        try:
            given.append(validate(item))
        except vol.MultipleInvalid as error:
            error.prepend([index])
            problems += error.errors
        except vol.Invalid as error:
            problems.append(vol.Invalid(error.error_message, [index]))
    if problems:
        raise vol.MultipleInvalid(problems)
    return tuple(given)


def one_of(name: Any, names: Mapping[str, Any], kind: str) -> str:
    """Validate one of these names; the message names the nearest."""
    if isinstance(name, str) and name in names:
        return name
    hint = nearest(printable(str(name)), names)
    raise vol.Invalid(f"unknown {kind};{hint} installed are {', '.join(sorted(names)) or 'none'}")
