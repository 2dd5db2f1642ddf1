"""Templates that are refused when the configuration is loaded, and their limit of time."""

from __future__ import annotations

import time
from itertools import count

import pytest

from fleet2mqtt.config import templates
from fleet2mqtt.config.templates import TemplateProblem, check, render

LOOP = "{% for x in range(9) %}"
END = "{% endfor %}"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{", "unexpected"),
        ("x" * 10_001, "longer than"),
        ("\n{% include 'a' %}", "line 2: include"),
        ("{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('a') }}", "macro is not possible"),
        (LOOP * 3 + END * 3, "2 deep at most"),
        ("{% for x in y recursive %}{{ loop(y) }}{% endfor %}", "recursive"),
        ("{{ x|center(99999999) }}", "No filter named"),
    ],
)
def test_template_is_refused(source: str, problem: str) -> None:
    with pytest.raises(TemplateProblem, match=problem):
        check(source)


def test_loops_beside_each_other_are_possible() -> None:
    assert render((LOOP + "{{ x }}" + END) * 3, {}, 1000) == "012345678" * 3


def test_template_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MAX_SECONDS", -1.0)
    with pytest.raises(TemplateProblem, match="takes longer"):
        render("a{{ x }}b", {"x": 1}, 1000)


def test_template_is_not_ended_for_a_machine_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = count(0.0, 60.0)
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(minutes))
        text = render("a{{ x }}b", {"x": 1}, 1000)
    assert text == "a1b"


def test_values_are_clipped() -> None:
    assert render("{{ x[0].y|length }}", {"x": [{"y": "z" * 9000}]}, 1000) == str(templates.MAX_TEXT)
