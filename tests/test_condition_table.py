"""The table of conditions in docs/alarms.md is the code's, and each text is there in both languages."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from fleet2mqtt.devices.builtin_conditions import BACKEND_CONDITIONS, bridge_conditions
from fleet2mqtt.devices.conditions import Comparison, Condition
from fleet2mqtt.outbox import OutboxLimits
from fleet2mqtt.sdk import api

PAGE = Path(__file__).parents[1] / "docs" / "alarms.md"
PLATFORMS = sorted(set(api.platforms()) - {"template"})
TABLES: dict[str, tuple[Condition, ...]] = {
    "every backend": BACKEND_CONDITIONS,
    "the bridge": bridge_conditions(OutboxLimits().rows),
    **{name: tuple(api.conditions(api.platforms()[name]())) for name in PLATFORMS},
}
CONDITIONS = [condition for table in TABLES.values() for condition in table]
DAY = 86_400


def meaning(each: Condition) -> str:
    """Return the sentence with which the page describes when a condition is met."""
    value = each.computed or f"`{each.entity}`"
    threshold = each.threshold or 0
    match each.comparison:
        case Comparison.ABOVE:
            text = f"{value} is above {threshold:.0f}"
        case Comparison.BELOW:
            text = f"{value} is below {threshold:.0f}"
        case Comparison.WITHIN:
            text = f"{value} is less than {threshold / DAY:.0f} days ahead" if threshold else f"{value} is past"
        case Comparison.OLDER:
            text = f"{value} is more than {threshold:.0f} s ago"
        case Comparison.IS:
            text = each.computed or f"{value} is {' or '.join(f'`{one}`' for one in each.values)}"
    text += "".join(f" and `{key}` is `{wanted}`" for key, wanted in each.requires.items())
    text += f", for {each.on_delay:.0f} s" if each.on_delay else ""
    return text if each.enabled else f"{text}; disabled by default"


def test_page_lists_every_condition_as_it_is() -> None:
    rows = [
        f"| {where} | `{each.key}` | {each.severity.value} | {meaning(each)} |"
        for where, table in TABLES.items()
        for each in table
    ]
    page = PAGE.read_text(encoding="utf-8")
    listed = [line for line in page.splitlines() if re.match(r"\| [a-z_ ]+ \| `[a-z_]+` \| [a-z]+ \|", line)]
    assert listed == rows


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda each: each.key)
def test_text_is_in_both_languages_with_the_same_figures(condition: Condition) -> None:
    english, chinese = condition.text.text("en"), condition.text.text("zh-Hans")
    assert re.search(r"[一-鿿]", chinese), chinese
    assert not re.search(r"[一-鿿]", english), english
    assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", chinese))
    assert not english.endswith(".")
    assert not re.search("[，。：] ", chinese), chinese


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_keys_are_unique_within_a_table(table: tuple[Condition, ...]) -> None:
    keys = [each.key for each in table]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("platform", ["omstation", "sangfor_ac", "smart_gateway", "ums"])
def test_each_condition_is_about_a_key_of_the_platform(platform: str) -> None:
    case = Path(__file__).parent / "platforms" / platform / "cases" / "full_state" / "full_state.json"
    states = [found["state"] for found in json.loads(case.read_text(encoding="utf-8"))["devices"].values()]
    for condition in TABLES[platform]:
        assert any(fnmatchcase(key, condition.entity) for state in states for key in state), condition.key
