"""Options of notifications: targets with their URLs, selectors, times and templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from types import MappingProxyType
from typing import Any

import voluptuous as vol

from fleet2mqtt.config import templates, validators
from fleet2mqtt.config.alarm_options import RULE, severity
from fleet2mqtt.config.apprise_library import build_target
from fleet2mqtt.config.models import Language, NotifyConfig, QuietHours, Secret
from fleet2mqtt.devices.model import Severity
from fleet2mqtt.devices.selection import Rule

_BIG = 2**31 - 1
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,23}")


def _url(value: Any) -> Secret:
    given = validators.text(value)
    if build_target(given) is None:  # the message may not repeat the value
        raise vol.Invalid("expected one URL of Apprise, such as mailtos://user:password@example.com")
    return Secret(given)


def _template(value: Any) -> str:
    given = validators.text(value)
    try:
        templates.check(given)
    except templates.TemplateProblem as error:
        raise vol.Invalid(f"expected a template of Jinja2: {error}") from error
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
    if given["start"] == given["end"]:
        raise vol.Invalid("expected an end that differs from the start")
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
    vol.Optional("time_zone"): validators.time_zone,
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
