"""Options of `notify:`: problems with their lines, and URLs that nothing shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fleet2mqtt.config.loader import parse
from fleet2mqtt.errors import ConfigError

FILE = Path("/nowhere/f.yaml")


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse(text + "backends: {}\n", FILE, {})
    return list(raised.value.problems)


def test_target_is_loaded_and_its_url_is_secret() -> None:
    text = (
        "notify:\n  duty:\n    url: json://u:pass-word@10.0.0.1/Token1234\n    severities: [critical]\n"
        '    quiet_hours: {start: "22:00", end: "07:00", time_zone: Asia/Shanghai}\n'
        "    include: [{group: Lab*}]\n    title: '{{ alarm.name }}'\n"
    )
    config = parse(text + "backends: {}\n", FILE, {})
    assert {"pass-word", "Token1234"} < config.secrets
    assert "10.0.0.1" not in config.secrets
    assert "Token1234" not in repr(config)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("url: nonsense", "/nowhere/f.yaml:3: notify.duty.url: expected one URL of Apprise"),
        ("url: json://a\n    title: '{{'", "/nowhere/f.yaml:4: notify.duty.title: expected a template of Jinja2"),
        ("url: json://a\n    severities: [bad]", "/nowhere/f.yaml:4: notify.duty.severities[0]: expected one of"),
        ("url: json://a\n    delai: 1", "/nowhere/f.yaml:4: notify.duty.delai: unknown option"),
        ("delay: 1", "/nowhere/f.yaml:2: notify.duty: missing"),
        (
            "url: json://a\n    quiet_hours: {start: 1, end: '07:00', time_zone: UTC}",
            "/nowhere/f.yaml:4: notify.duty.quiet_hours.start: expected a time of day",
        ),
    ],
)
def test_problem_names_its_line(line: str, expected: str) -> None:
    [problem] = problems(f"notify:\n  duty:\n    {line}\n")
    assert problem.startswith(expected) or problem.replace(".url", "").startswith(expected)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    [problem] = problems("notify:\n  duty: {url: 'json://a'}\n")
    assert "pip install 'fleet2mqtt[notify]'" in problem
