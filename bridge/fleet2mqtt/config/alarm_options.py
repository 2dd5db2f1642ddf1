"""Options of alarm management: conditions, and rules for vendors' alarms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import voluptuous as vol

from fleet2mqtt.config import validators
from fleet2mqtt.config.problems import nearest
from fleet2mqtt.devices.alarm_rules import AlarmRules, RecoveryPair
from fleet2mqtt.devices.conditions import EVERY, ConditionOptions
from fleet2mqtt.devices.model import Name, Severity
from fleet2mqtt.devices.selection import Rule
from fleet2mqtt.sdk.validators import identifier

_BIG = 2**31 - 1
_KEY = validators.matching(r"[a-z0-9_]{1,64}", "a key of a-z 0-9 _")
_SEVERITIES = tuple(severity.value for severity in Severity if severity is not Severity.CLEARED)
_CONDITIONS = "expected a mapping, lines like gateway_offline: {on_delay: 300}"


def severity(value: Any) -> Severity:
    """Validate a severity of X.733; an alarm is not raised as cleared."""
    if value not in _SEVERITIES:
        raise vol.Invalid(f"expected one of {', '.join(_SEVERITIES)}")
    return Severity(value)


def _texts(value: Any) -> Name:
    if isinstance(value, str):
        text = validators.text(value)
        return Name(text, text)
    options = {vol.Required("en"): validators.text, vol.Optional("zh-Hans"): validators.text}
    given = validators.section(options)(value)
    return Name(given["en"], given.get("zh-Hans", given["en"]))


def _states(value: Any) -> tuple[str | float, ...]:
    """Validate the values at which a condition holds; a flag as YAML reads it is a switch's ON or OFF."""
    given = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(each, str | int | float) for each in given):
        raise vol.Invalid("expected a value or a list of values, as the state shows them")
    return tuple(("ON" if each else "OFF") if isinstance(each, bool) else each for each in given)


_SETTINGS: dict[Any, Any] = {
    vol.Optional("enabled"): validators.flag,
    vol.Optional("severity"): severity,
    vol.Optional("threshold"): validators.number(-_BIG, _BIG),
    vol.Optional("hysteresis"): validators.number(0, _BIG),
    vol.Optional("on_delay"): validators.number(0, _BIG),
    vol.Optional("off_delay"): validators.number(0, _BIG),
}
_DEFINITION: dict[Any, Any] = {
    vol.Optional("entity"): _KEY,
    vol.Optional("above"): validators.number(-_BIG, _BIG),
    vol.Optional("below"): validators.number(-_BIG, _BIG),
    vol.Optional("values"): _states,
    vol.Optional("kind"): validators.matching(r"[a-z_]+", "the kind of a sub-device such as line, or backend"),
    vol.Optional("text"): _texts,
}


RULE: dict[Any, Any] = {
    vol.Optional(name): validators.text for name in ("id", "name", "model", "group", "tag", "location")
}


def _selector(value: Any) -> ConditionOptions:
    """Validate the options of a condition for the devices that a rule selects."""
    given = validators.section(_SETTINGS | RULE)(value)
    attributes = {key: given.pop(key) for key in [str(marker) for marker in RULE] if key in given}
    if not attributes:
        raise vol.Invalid(f"expected one of {', '.join(map(str, RULE))} at least, beside what changes")
    return ConditionOptions(rule=Rule(**attributes), **given)


def _condition(value: Any, *, own: bool) -> ConditionOptions:
    """Validate the options of a condition; of the operator's `own` with what it compares."""
    selectors = {
        vol.Optional("for"): validators.each(_selector, "expected a list such as [{group: Lab*, enabled: false}]")
    }
    given = validators.section(_SETTINGS | selectors | (_DEFINITION if own else {}))(value)
    if own:
        compared = [key for key in ("above", "below", "values") if key in given]
        if "entity" not in given:
            raise vol.Invalid("missing entity: of a condition of your own")
        if len(compared) != 1:
            raise vol.Invalid("expected one of above, below, values beside entity")
    return ConditionOptions(selectors=given.pop("for", ()), **given)


def _every(value: Any) -> ConditionOptions:
    """Validate the options for all conditions: those that suit each."""
    suitable = {key: each for key, each in _SETTINGS.items() if str(key) not in {"threshold", "hysteresis"}}
    selectors = {vol.Optional("for"): validators.each(_selector, "expected a list such as [{group: Lab*}]")}
    given = validators.section(suitable | selectors)(value)
    return ConditionOptions(selectors=given.pop("for", ()), **given)


def conditions(value: Any, *, known: Iterable[str]) -> Mapping[str, ConditionOptions]:
    """Validate the options of conditions by key; `known` are those that exist without a definition."""
    given = {} if value is None else value
    if not isinstance(given, dict):
        raise vol.Invalid(_CONDITIONS)
    names = sorted(known)
    validated: dict[str, ConditionOptions] = {}
    problems: list[vol.Invalid] = []
    for key, options in given.items():
        try:
            if key == EVERY:
                validated[EVERY] = _every(options)
                continue
            own = str(key) not in names
            if own and not (isinstance(options, dict) and "entity" in options):
                hint = nearest(str(key), names)
                listed = ", ".join(names)
                raise validators.KeyProblem(
                    f"unknown condition;{hint} there are {listed}; one of your own names its entity:"
                )
            validated[_KEY(str(key))] = _condition(options, own=own)
        except vol.Invalid as error:
            error.prepend([key])
            problems += error.errors if isinstance(error, vol.MultipleInvalid) else [error]
    if problems:
        raise vol.MultipleInvalid(problems)
    return MappingProxyType(validated)


def _pair(value: Any) -> RecoveryPair:
    return RecoveryPair(
        **validators.section({vol.Required("raised"): identifier, vol.Required("by"): identifier})(value)
    )


def _pairs(value: Any) -> tuple[RecoveryPair, ...]:
    if isinstance(value, dict):
        return (_pair(value),)
    pairs: tuple[RecoveryPair, ...] = validators.each(_pair, "expected pairs such as [{raised: 33, by: 34}]")(value)
    return pairs


def _by_name(value: Any, *, validate: validators.Validator, example: str) -> Mapping[str, Any]:
    """Validate a mapping from codes or names of alarms."""
    given = {} if value is None else value
    if not isinstance(given, dict):
        raise vol.Invalid(f"expected a mapping by code or name, lines like {example}")
    validated, problems = {}, []
    for name, each in given.items():
        try:
            validated[str(name)] = validate(each)
        except vol.Invalid as error:
            error.prepend([name])
            problems += error.errors if isinstance(error, vol.MultipleInvalid) else [error]
    if problems:
        raise vol.MultipleInvalid(problems)
    return MappingProxyType(validated)


def _names(value: Any) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    return tuple(identifier(each) for each in given)


RULES: dict[Any, Any] = {
    vol.Optional("recovers"): _pairs,
    vol.Optional("severity"): partial(_by_name, validate=severity, example="33: major"),
    vol.Optional("ignore"): _names,
    vol.Optional("clear_after"): partial(_by_name, validate=validators.number(1, _BIG), example="33: 3600"),
    vol.Optional("texts"): partial(_by_name, validate=_texts, example="33: {en: IP extension offline}"),
}


def backend_alarms(value: Any, *, known: Iterable[str]) -> tuple[AlarmRules, Mapping[str, ConditionOptions]]:
    """Validate the option `alarms` of a backend: rules for its vendor's alarms, and options of its conditions."""
    options = RULES | {vol.Optional("conditions"): partial(conditions, known=tuple(known))}
    given = validators.section(options)(value)
    return AlarmRules(**{key: each for key, each in given.items() if key != "conditions"}), given.get("conditions", {})
