"""Texts of notifications: templates in English and Chinese, rendered in Jinja2's sandbox."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fleet2mqtt.config.models import Language, NotifyConfig

_LOG = logging.getLogger(__name__)

MAX_LENGTH = 8_000
"""Characters of a body; what is longer is cut."""

_TITLES = {
    Language.ENGLISH: "{% if kind == 'digest' %}{{ total }} alarm notifications{% else %}"
    "{% if kind == 'cleared' %}Cleared: "
    "{% elif kind == 'reminder' %}Not acknowledged: {% endif %}"
    "[{{ alarm.severity }}] {{ alarm.device_name or alarm.device }}: "
    "{{ alarm.description_en or alarm.description or alarm.name }}{% endif %}",
    Language.CHINESE: "{% if kind == 'digest' %}{{ total }} 条告警通知{% else %}{% if kind == 'cleared' %}已恢复："
    "{% elif kind == 'reminder' %}未确认：{% endif %}[{{ severity }}] {{ alarm.device_name or alarm.device }}："
    "{{ alarm.description or alarm.description_en or alarm.name }}{% endif %}",
}
_BODIES = {
    Language.ENGLISH: """\
{% if kind == 'digest' %}Raised: {% for each, count in raised.items() %}{{ count }} {{ each }} {% else %}0{% endfor %}
Cleared: {{ digest.cleared }}
Reminders: {{ digest.reminders }}
{% for each in digest.examples %}- [{{ each.severity }}] {{ each.device_name or each.device }}: \
{{ each.description_en or each.description or each.name }}
{% endfor %}{% else %}Device: {{ alarm.device_name or alarm.device }} ({{ alarm.device }})
Alarm: {{ alarm.name }}{% if alarm.line %}, line {{ alarm.line }}{% endif %}
Raised: {{ alarm.raised_at }}
{% if kind == 'cleared' %}Cleared: {{ alarm.cleared_at }}
{% endif %}Id: {{ alarm.id }}{% endif %}""",
    Language.CHINESE: """\
{% if kind == 'digest' %}新告警：\
{% for each, count in raised.items() %}{{ each }} {{ count }} 条 {% else %}0 条{% endfor %}
已恢复：{{ digest.cleared }} 条
未确认提醒：{{ digest.reminders }} 条
{% for each in digest.examples %}- {{ each.device_name or each.device }}：\
{{ each.description or each.description_en or each.name }}
{% endfor %}{% else %}设备：{{ alarm.device_name or alarm.device }}（{{ alarm.device }}）
告警：{{ alarm.name }}{% if alarm.line %}，线路 {{ alarm.line }}{% endif %}
发生时间：{{ alarm.raised_at }}
{% if kind == 'cleared' %}恢复时间：{{ alarm.cleared_at }}
{% endif %}编号：{{ alarm.id }}{% endif %}""",
}
_CHINESE_SEVERITIES = {
    "critical": "紧急",
    "major": "重要",
    "minor": "次要",
    "warning": "警告",
    "indeterminate": "未定",
}


def render(config: NotifyConfig, language: Language, message: Mapping[str, Any]) -> tuple[str, str]:
    """Return title and body of a message. A template that fails is replaced by the default one."""
    language = config.language or language
    names = _CHINESE_SEVERITIES if language is Language.CHINESE else {}
    digest, alarm = message.get("digest") or {}, message.get("alarm") or {}
    raised = digest.get("raised", {})
    values = {
        "kind": message["kind"],
        "alarm": alarm,
        "digest": digest,
        "severity": names.get(alarm.get("severity", ""), alarm.get("severity")),
        "raised": {names.get(each, each): count for each, count in raised.items()},
        "total": sum(raised.values()) + digest.get("cleared", 0) + digest.get("reminders", 0),
    }
    title = _render(config, config.title, _TITLES[language], values)
    return " ".join(title.split())[:250], _render(config, config.body, _BODIES[language], values)[:MAX_LENGTH]


def _render(config: NotifyConfig, own: str | None, default: str, values: Mapping[str, Any]) -> str:
    from jinja2 import TemplateError  # noqa: PLC0415 - of an extra
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    environment = ImmutableSandboxedEnvironment(autoescape=False)  # plain text
    if own is not None:
        try:
            return environment.from_string(own).render(values)
        except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
            _LOG.warning("notify.%s: a template fails, the default one is used: %s", config.name, error)
    return environment.from_string(default).render(values)
