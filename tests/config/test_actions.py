"""Names in `allow`: typos are problems, names of other platforms and versions are warnings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from fleet2mqtt.config.loader import parse
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.sdk.api import ActionDescription, Platform, platforms

if TYPE_CHECKING:
    from typing import Any

    from fleet2mqtt.config.loader import Platforms


async def _run(*_: Any) -> None:
    raise AssertionError("nothing runs here")


def platform(*actions: str, former: frozenset[str] = frozenset()) -> Platform:
    table = tuple(ActionDescription(name, "", {}, _run, (), name.endswith("delete")) for name in actions)
    return cast("Platform", SimpleNamespace(SCHEMA={}, ACTIONS=table, FORMER_ACTIONS=former))


PLATFORMS: Platforms = {
    "gateway": lambda: platform("mapping_list", "mapping_delete", former=frozenset(("login",))),
    "cloud": lambda: platform("device_delete"),
    "open": lambda: cast("Platform", SimpleNamespace(SCHEMA={})),
}


def text(kind: str, allow: str) -> str:
    return f"backends:\n  a:\n    platform: {kind}\n    url: http://a\n    allow: {allow}\n"


FILE = Path("/nowhere/f.yaml")


def test_typo_in_allow_is_a_problem_with_its_line_and_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text("gateway", "\n      - mapping_delete\n      - maping_delete"), FILE, PLATFORMS)
    [problem] = raised.value.problems
    assert problem == (
        "/nowhere/f.yaml:7: backends.a.allow[1]: there is no action maping_delete; did you mean mapping_delete? "
        "those that have to be allowed are mapping_delete"
    )


def test_typos_in_allow_are_reported_with_every_other_problem() -> None:
    with pytest.raises(ConfigError) as raised:
        parse("language: fr\n" + text("gateway", "[zzz]"), FILE, PLATFORMS)
    assert [problem.split(": ")[1] for problem in raised.value.problems] == ["language", "backends.a.allow[0]"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("device_delete", "device_delete is an action of cloud and has no effect here"),
        ("login", "login is no longer an action and has no effect"),
    ],
)
def test_name_of_another_platform_or_version_is_a_warning(name: str, message: str) -> None:
    config = parse(text("gateway", f"[mapping_delete, {name}]"), FILE, PLATFORMS)
    assert config.backends["a"].allow == ("mapping_delete", name)
    assert config.warnings == (
        f"/nowhere/f.yaml:5: backends.a.allow[1]: {message}; those that have to be allowed are mapping_delete",
    )


@pytest.mark.parametrize(("kind", "allow"), [("gateway", "[mapping_list, mapping_delete]"), ("open", "[anything]")])
def test_names_of_actions_are_neither_problems_nor_warnings(kind: str, allow: str) -> None:
    assert parse(text(kind, allow), FILE, PLATFORMS).warnings == ()


@pytest.mark.parametrize("name", sorted(platforms()))
def test_platform_publishes_the_table_of_its_actions(name: str) -> None:
    table = platforms()[name]().ACTIONS  # type: ignore[attr-defined]
    assert table
    assert all(isinstance(action, ActionDescription) for action in table)
