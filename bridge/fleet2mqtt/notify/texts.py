"""Texts of notifications: templates in English and Chinese, or the operator's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from fleet2mqtt.config import templates
from fleet2mqtt.config.models import Language, NotifyConfig

_LOG = logging.getLogger(__name__)

TextIn = Callable[[str, Mapping[str, Any]], str]
"""Returns the text of an alarm in a language."""
MAX_TITLE = 250
MAX_TITLE_BYTES = 280
"""In a mail each of them may take three characters of one line, and servers refuse lines of more than 998."""
MAX_LENGTH = 8_000
"""Characters of a body; what is longer is cut."""
MAX_PLAIN = 500
"""Characters of a plain body, for a server that refuses the other one."""

_TITLES = {
    Language.ENGLISH: "{% if kind == 'digest' %}{{ total }} alarm notifications{% else %}"
    "{% if kind == 'cleared' %}Cleared: {% elif kind == 'reminder' %}Not acknowledged: {% endif %}"
    "[{{ severity }}] {{ alarm.device_name or alarm.device }}: {{ alarm.text }}{% endif %}",
    Language.CHINESE: "{% if kind == 'digest' %}{{ total }} 条告警通知{% else %}"
    "{% if kind == 'cleared' %}已恢复：{% elif kind == 'reminder' %}未确认：{% endif %}"
    "[{{ severity }}] {{ alarm.device_name or alarm.device }}：{{ alarm.text }}{% endif %}",
}
_BODIES = {
    Language.ENGLISH: """\
{% if kind == 'digest' %}Since: {{ since }}
Raised: {% for each, count in raised.items() %}{{ count }} {{ each }} {% else %}0{% endfor %}
Cleared: {{ digest.cleared }}
Reminders: {{ digest.reminders }}
{% for each in digest.examples %}- [{{ each.severity_name }}] {{ each.device_name or each.device }}: {{ each.text }}
{% endfor %}{% else %}Device: {{ alarm.device_name or alarm.device }} ({{ alarm.device }})
Alarm: {{ alarm.name }}{% if alarm.line %}, line {{ alarm.line }}{% endif %}
Raised: {{ raised_at }}
{% if kind == 'cleared' %}Cleared: {{ cleared_at }}
{% endif %}Id: {{ alarm.id }}{% endif %}""",
    Language.CHINESE: """\
{% if kind == 'digest' %}自：{{ since }}
新告警：\
{% for each, count in raised.items() %}{{ each }} {{ count }} 条 {% else %}0 条{% endfor %}
已恢复：{{ digest.cleared }} 条
未确认提醒：{{ digest.reminders }} 条
{% for each in digest.examples %}- [{{ each.severity_name }}] {{ each.device_name or each.device }}：{{ each.text }}
{% endfor %}{% else %}设备：{{ alarm.device_name or alarm.device }}（{{ alarm.device }}）
告警：{{ alarm.name }}{% if alarm.line %}，线路 {{ alarm.line }}{% endif %}
发生时间：{{ raised_at }}
{% if kind == 'cleared' %}恢复时间：{{ cleared_at }}
{% endif %}编号：{{ alarm.id }}{% endif %}""",
}
_CHINESE_SEVERITIES = {
    "critical": "紧急",
    "major": "重要",
    "minor": "次要",
    "warning": "警告",
    "indeterminate": "未定",
}


def render(
    config: NotifyConfig, language: Language, message: Mapping[str, Any], text_in: TextIn, *, plain: bool = False
) -> tuple[str, str]:
    """Return title and body of a message; a plain one is short and by the default templates.

    A template that fails is replaced by the default one. It may take some seconds: not for the event loop.
    """
    language = config.language or language
    values = _values(config, language, message, text_in)
    own = (None, None) if plain else (config.title, config.body)
    title = _render(config, "title", own[0], _TITLES[language], values)
    body = _render(config, "body", own[1], _BODIES[language], values)
    title = " ".join(title.split())[:MAX_TITLE].encode()[:MAX_TITLE_BYTES].decode(errors="ignore")
    return title, body[: MAX_PLAIN if plain else MAX_LENGTH]


def _values(config: NotifyConfig, language: Language, message: Mapping[str, Any], text_in: TextIn) -> Mapping[str, Any]:
    names = _CHINESE_SEVERITIES if language is Language.CHINESE else {}
    zone = config.time_zone or (config.quiet_hours.zone if config.quiet_hours else UTC)

    def shown(body: Mapping[str, Any]) -> dict[str, Any]:
        severity = body.get("severity", "")
        return {**body, "severity_name": names.get(severity, severity), "text": text_in(language, body)}

    alarm = shown(message["alarm"]) if "alarm" in message else {}
    digest = dict(message.get("digest") or {})
    digest["examples"] = [shown(each) for each in digest.get("examples", ())]
    raised = digest.get("raised", {})
    since = digest.get("since")
    return {
        "kind": message["kind"],
        "alarm": alarm,
        "digest": digest,
        "severity": alarm.get("severity_name"),
        "raised": {names.get(each, each): count for each, count in raised.items()},
        "total": sum(raised.values()) + digest.get("cleared", 0) + digest.get("reminders", 0),
        "raised_at": _local(alarm.get("raised_at"), zone),
        "cleared_at": _local(alarm.get("cleared_at"), zone),
        "since": None if since is None else _local(datetime.fromtimestamp(since, UTC).isoformat(), zone),
    }


def _local(moment: str | None, zone: tzinfo) -> str | None:
    if moment is None:
        return None
    return datetime.fromisoformat(moment).astimezone(zone).isoformat(" ", "seconds")


def _render(config: NotifyConfig, what: str, own: str | None, default: str, values: Mapping[str, Any]) -> str:
    if own is not None:
        try:
            return templates.render(own, values, MAX_LENGTH)
        except templates.TemplateProblem as error:
            _LOG.warning("notify.%s.%s: the template fails, the default one is used: %s", config.name, what, error)
    return templates.render(default, values, MAX_LENGTH)
