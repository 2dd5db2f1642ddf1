"""Texts of notifications in both languages and time zones, and templates that fail."""

from __future__ import annotations

from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fleet2mqtt.alarms.handling import AlarmSources
from fleet2mqtt.alarms.texts import text_in as text_of
from fleet2mqtt.config.models import Language, NotifyConfig, Secret
from fleet2mqtt.devices.builtin_conditions import BACKEND_CONDITIONS
from fleet2mqtt.devices.conditions import ConditionTable
from fleet2mqtt.notify.texts import MAX_LENGTH, MAX_PLAIN, render

SHANGHAI = ZoneInfo("Asia/Shanghai")
ALARM = {
    "id": "hq:1",
    "backend": "hq",
    "device": "hq_voip_1",
    "device_name": "三号网关",
    "line": "FXO-7",
    "severity": "major",
    "name": "backend_unreachable",
    "alarm_type": "backend_unreachable",
    "description": "Not reachable",
    "description_en": "Not reachable",
    "raised_at": "2026-06-01T14:00:00+00:00",
    "cleared_at": "2026-06-01T16:30:00.25+00:00",
    "source": "condition",
}
table = ConditionTable(BACKEND_CONDITIONS, {}, {})
text_in = partial(text_of, AlarmSources(tables=lambda _: table))


def shown(message: dict[str, Any], language: Language = Language.CHINESE, **options: Any) -> tuple[str, str]:
    config = NotifyConfig(name="duty", url=Secret("json://a"), **options)
    return render(config, language, message, text_in)


def test_condition_is_told_in_the_language_of_the_target_and_its_local_time() -> None:
    condition = table.get("backend_unreachable")
    assert condition is not None
    alarm = ALARM | {"description": condition.text.en, "description_en": condition.text.en}
    title, body = shown({"kind": "cleared", "alarm": alarm}, time_zone=SHANGHAI)
    assert title == f"已恢复：[重要] 三号网关：{condition.text.text('zh-Hans')}"
    assert body.splitlines() == [
        "设备：三号网关（hq_voip_1）",
        "告警：backend_unreachable，线路 FXO-7",
        "发生时间：2026-06-01 22:00:00+08:00",
        "恢复时间：2026-06-02 00:30:00+08:00",
        "编号：hq:1",
    ]
    title, body = shown({"kind": "reminder", "alarm": alarm}, language=Language.ENGLISH)
    assert title == f"Not acknowledged: [major] 三号网关: {condition.text.en}"
    assert "Raised: 2026-06-01 14:00:00+00:00" in body


def test_digest_is_told_in_chinese() -> None:
    digest = {
        "since": 1_780_322_400.0,
        "due": 0.0,
        "raised": {"major": 2, "critical": 1},
        "cleared": 4,
        "reminders": 0,
        "examples": [ALARM | {"source": "push", "description": "掉线"}],
    }
    title, body = shown({"kind": "digest", "digest": digest}, time_zone=SHANGHAI)
    assert title == "7 条告警通知"
    assert body.splitlines() == [
        "自：2026-06-01 22:00:00+08:00",
        "新告警：重要 2 条 紧急 1 条 ",
        "已恢复：4 条",
        "未确认提醒：0 条",
        "- [重要] 三号网关：掉线",
    ]


def test_title_is_one_line_that_fits_a_mail() -> None:
    title, _ = shown({"kind": "raised", "alarm": ALARM | {"device_name": "长" * 300 + "\r\nBcc: x@example.com"}})
    assert "\n" not in title
    assert 250 < len(title.encode()) <= 280


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ alarm.nothing.at_all }}",
        "{{ 'x' * 100000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ 'x'.ljust(999999999) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{% for x in range(1000000) %}{{ x }}{% endfor %}",
        "{{ self.__init__ }}{{ alarm.update({}) }}",
        "{{ 1 / 0 }}",
    ],
)
def test_template_that_fails_is_replaced(template: str, caplog: pytest.LogCaptureFixture) -> None:
    title, body = shown({"kind": "raised", "alarm": ALARM}, Language.ENGLISH, title=template, body="{{ alarm.id }}!")
    assert title.startswith("[major] 三号网关")
    assert body == "hq:1!"
    assert "notify.duty.title: the template fails" in caplog.text


def test_long_output_is_cut_and_plain_text_is_short() -> None:
    loop = "{% for x in range(1000) %}{% for y in range(1000) %}0123456789{% endfor %}{% endfor %}"
    _, body = shown({"kind": "raised", "alarm": ALARM}, body=loop)
    assert len(body) == MAX_LENGTH
    config = NotifyConfig(name="duty", url=Secret("json://a"), body=loop)
    _, body = render(
        config, Language.ENGLISH, {"kind": "raised", "alarm": ALARM | {"name": "n" * 900}}, text_in, plain=True
    )
    assert body.startswith("Device:")
    assert len(body) == MAX_PLAIN


def test_value_of_an_alarm_is_no_template() -> None:
    _, body = shown({"kind": "raised", "alarm": ALARM | {"name": "{{ 7 * 6 }}{% for x in y %}"}}, Language.ENGLISH)
    assert "Alarm: {{ 7 * 6 }}{% for x in y %}" in body
