"""Texts of alarms in a language, by the conditions and rules that they come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fleet2mqtt.alarms.handling import AlarmSources
from fleet2mqtt.devices.model import Name, UpdateOrigin

_ENGLISH = "en"
_PLACEHOLDER = re.compile(r"\{(value|threshold)\}")


def text_in(sources: AlarmSources, language: str, body: Mapping[str, Any]) -> str:
    """Return the text of an alarm in a language, where there is one: an event has the bridge's own, and English."""
    english, text = body.get("description_en"), body.get("description")
    if body["source"] == UpdateOrigin.CONDITION:
        condition = sources.tables(body["backend"]).get(body["alarm_type"])
        translated = _translate(english or "", condition.text, language) if condition is not None else None
    else:
        rules = sources.rules_of(body["backend"]).texts
        rule = next((rules[name] for name in (str(body.get("code")), body["name"]) if name in rules), None)
        translated = rule.text(language) if rule is not None else None
    found = (translated, english, text) if language == _ENGLISH else (translated, text, english)
    return next(filter(None, found), None) or str(body["name"])


def _translate(english: str, template: Name, language: str) -> str | None:
    """Return the text of a condition in a language, by its English text; None if that was made by another template."""
    pattern, named = "", set[str]()
    for position, part in enumerate(_PLACEHOLDER.split(template.en)):
        if position % 2 == 0:
            pattern += re.escape(part)
        else:
            pattern += f"(?P={part})" if part in named else f"(?P<{part}>.*)"
            named.add(part)
    found = re.fullmatch(pattern, english, re.DOTALL)
    if found is None:
        return None
    values = found.groupdict()
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template.text(language))
