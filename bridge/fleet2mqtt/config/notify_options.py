"""Options of notifications: targets with their URLs, selectors, times and templates."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from datetime import time
from importlib import import_module
from types import MappingProxyType
from typing import Any

import voluptuous as vol

from fleet2mqtt.config import validators
from fleet2mqtt.config.alarm_options import RULE, severity
from fleet2mqtt.config.models import Language, NotifyConfig, QuietHours, Secret
from fleet2mqtt.devices.model import Severity
from fleet2mqtt.devices.selection import Rule

_BIG = 2**31 - 1
_MISSING = "notifications need an extra that is not installed: pip install 'fleet2mqtt[notify]'"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,23}")


def _library(name: str) -> Any:
    """Import a library of the extra; it is not loaded without `notify:`."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise vol.Invalid(_MISSING) from error


class _Silence(logging.Filter):
    """Drops what Apprise logs, which repeats URLs and their secrets; keeps the last HTTP status of each thread."""

    def __init__(self) -> None:
        super().__init__()
        self.last = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop a record."""
        found = re.search(r"\berror[=: ]+(\d{3})\b", record.getMessage())
        if found:
            self.last.status = found[1]
        return False


_SILENCE = _Silence()


def load_apprise() -> Any:
    """Import Apprise and keep its log from showing secrets. Raises vol.Invalid if it is not installed."""
    apprise = _library("apprise")
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.WARNING)
    logger.addFilter(_SILENCE)
    for name in ("urllib3", "requests"):  # these log URLs while they debug
        logging.getLogger(name).setLevel(logging.WARNING)
    return apprise


def last_http_status() -> str | None:
    """Return the HTTP status of this thread's last failure that Apprise reported, and forget it."""
    status: str | None = getattr(_SILENCE.last, "status", None)
    _SILENCE.last.status = None
    return status


def _url(value: Any) -> Secret:
    given = validators.text(value)
    apprise = load_apprise()
    if apprise.Apprise.instantiate(given, suppress_exceptions=True) is None:  # the message may not repeat the value
        raise vol.Invalid("expected one URL of Apprise, such as mailtos://user:password@example.com")
    return Secret(given)


def _template(value: Any) -> str:
    given = validators.text(value)
    jinja2 = _library("jinja2")
    try:
        jinja2.Environment(autoescape=True).parse(given)
    except jinja2.TemplateSyntaxError as error:
        raise vol.Invalid(f"expected a template of Jinja2: {error.message}") from error
    return given


def _clock(value: Any) -> time:
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise vol.Invalid('expected a time of day in quotes, such as "22:00"')
    return time.fromisoformat(value)


def _severities(value: Any) -> frozenset[Severity]:
    given = value if isinstance(value, list) else [value]
    return frozenset(validators.each(severity, "expected a list of severities such as [critical, major]")(given))


def _quiet_hours(value: Any) -> QuietHours:
    options = {
        vol.Required("start"): _clock,
        vol.Required("end"): _clock,
        vol.Required("time_zone"): validators.time_zone,
        vol.Optional("but"): _severities,
    }
    given = validators.section(options)(value)
    return QuietHours(zone=given.pop("time_zone"), **given)


def _rule(value: Any) -> Rule:
    given = validators.section(RULE)(value)
    if not given:
        raise vol.Invalid(f"expected one of {', '.join(map(str, RULE))} at least")
    return Rule(**given)


_rules = validators.each(_rule, "expected a list of rules such as [{group: Branch*}]")
_OPTIONS: dict[Any, Any] = {
    vol.Required("url", msg="missing; expected a URL of Apprise, best as !secret"): _url,
    vol.Optional("include"): _rules,
    vol.Optional("exclude"): _rules,
    vol.Optional("severities"): _severities,
    vol.Optional("quiet_hours"): _quiet_hours,
    vol.Optional("storm_count"): validators.whole(1, 1000),
    vol.Optional("storm_within"): validators.number(1, 3600),
    vol.Optional("delay"): validators.number(0, _BIG),
    vol.Optional("escalate_after"): validators.number(1, _BIG),
    vol.Optional("escalate_repeat"): validators.whole(1, 100),
    vol.Optional("language"): validators.choice(Language),
    vol.Optional("title"): _template,
    vol.Optional("body"): _template,
}


def targets(value: Any) -> Mapping[str, NotifyConfig]:
    """Validate the option `notify`: targets by name."""
    given = {} if value is None else value
    if not isinstance(given, dict):
        raise vol.Invalid("expected a mapping, a name: with url: under it")
    section = validators.section(_OPTIONS)
    built: dict[str, NotifyConfig] = {}
    problems: list[vol.Invalid] = []
    for name, options in given.items():
        if not _NAME.fullmatch(str(name)):
            problems.append(validators.KeyProblem("expected a name of a-z 0-9 _ -, 24 at most", [name]))
            continue
        try:
            built[str(name)] = NotifyConfig(name=str(name), **section(options))
        except vol.Invalid as error:
            error.prepend([name])
            problems += error.errors if isinstance(error, vol.MultipleInvalid) else [error]
    if problems:
        raise vol.MultipleInvalid(problems)
    return MappingProxyType(built)
