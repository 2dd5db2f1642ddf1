"""docs/home-assistant.md describes all of the integration, and its examples are valid there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
COMPONENT = ROOT / "custom_components/fleet2mqtt"
PAGE = (ROOT / "docs/home-assistant.md").read_text("utf-8")
IMAGES = ROOT / "docs/images"
SERVICES: dict[str, Any] = yaml.safe_load((COMPONENT / "services.yaml").read_text())
TEXTS: dict[str, Any] = json.loads((COMPONENT / "translations/en.json").read_text())
LARGEST = 150_000

_ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \|(.*?)\| (.*) \|$", re.MULTILINE)
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
_IMAGE = re.compile(r"\((?:docs/)?images/([\w.-]+)\)")


def given(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The actions of ours that an automation performs, with their data."""
    if isinstance(tree, list):
        for each in tree:
            yield from given(each)
    elif isinstance(tree, dict):
        if str(tree.get("action", "")).startswith("fleet2mqtt."):
            yield tree["action"].removeprefix("fleet2mqtt."), tree.get("data", {})
        for each in tree.values():
            yield from given(each)


def rows() -> dict[str, tuple[str, str]]:
    """Return the rows of the tables of actions: data and description of each action."""
    found = {}
    for names, data, does in _ROW.findall(PAGE):
        found.update({name: (data.strip(), does) for name in re.findall(r"`(\w+)`", names) if name in SERVICES})
    return found


ROWS = rows()
EXAMPLES = [each for text in _YAML.findall(PAGE) for each in given(yaml.safe_load(text))]


def test_page_lists_every_action() -> None:
    assert SERVICES.keys() - ROWS.keys() == {"request"}, "which has a paragraph of its own"
    assert [name for name, _ in EXAMPLES if name == "request"]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_example_of_action_is_valid(name: str) -> None:
    data, does = ROWS[name]
    fields = SERVICES[name]["fields"].keys() - {"config_entry_id", "backend"}
    required = {field for field in fields if SERVICES[name]["fields"][field].get("required")}
    if not data.startswith("as "):
        example = yaml.safe_load(data.strip("`") or "{}")
        assert required <= example.keys() <= fields
        assert fields <= example.keys() | set(re.findall(r"`(\w+)", does)) | set(mentioned(does)), "one is not told of"


def mentioned(text: str) -> Iterator[str]:
    """The names in examples within a text: `noauth: {…}`."""
    for code in re.findall(r"`([^`]+)`", text):
        yield from re.findall(r"(\w+)(?=:)", code)


@pytest.mark.parametrize(("name", "data"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_yaml_example_is_valid(name: str, data: dict[str, Any]) -> None:
    fields = SERVICES[name]["fields"]
    assert {field for field in fields if fields[field].get("required")} <= data.keys() <= fields.keys()


def test_issue_has_paragraph() -> None:
    """The link `learn more` of an issue leads to a heading."""
    headings = {heading.lower().replace(" ", "_") for heading in re.findall(r"^### (.+)$", PAGE, re.MULTILINE)}
    assert TEXTS["issues"].keys() <= headings


def test_fields_and_options_are_documented() -> None:
    labels = [*TEXTS["config"]["step"]["user"]["data"].values(), *TEXTS["options"]["step"]["init"]["data"].values()]
    assert [label for label in labels if f"| {label} |" not in PAGE] == []


def test_blueprints_are_documented() -> None:
    blueprints = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "blueprints").rglob("*.yaml"))
    assert blueprints
    assert [path for path in blueprints if f"`{path}`" not in PAGE] == []


def test_pictures_are_shown_and_are_no_burden() -> None:
    shown = set(_IMAGE.findall(PAGE + (ROOT / "README.md").read_text("utf-8")))
    assert shown == {path.name for path in IMAGES.iterdir()}
    assert [path.name for path in IMAGES.iterdir() if path.stat().st_size > LARGEST] == []
