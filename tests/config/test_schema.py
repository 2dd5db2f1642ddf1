"""The JSON Schema of the configuration, by which editors complete and check it."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from fleet2mqtt.config import example_file
from fleet2mqtt.sdk.api import platforms

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs/contract/configuration.schema.json").read_text("utf-8"))
VALIDATOR = Draft7Validator(SCHEMA)


class EditorLoader(yaml.SafeLoader):
    """Reads YAML as an editor does, to which `!secret` and `!env_var` are texts."""


EditorLoader.add_multi_constructor("!", lambda _, __, node: str(node.value))


def read(text: str) -> Any:
    return yaml.load(text, EditorLoader)  # noqa: S506 - a safe loader


def whole(text: str) -> Any:
    return read(re.sub(r"^( *)#(?=\S)", r"\1", text, flags=re.MULTILINE))


def errors(value: Any) -> list[str]:
    return [f"{'.'.join(map(str, error.path))}: {error.message[:200]}" for error in VALIDATOR.iter_errors(value)]


def test_schema_is_up_to_date() -> None:
    Draft7Validator.check_schema(SCHEMA)
    script = ROOT / "scripts" / "generate_configuration_schema.py"
    checked = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_example_is_valid_with_every_option() -> None:
    assert errors(read(example_file.text())) == []
    assert errors(whole(example_file.text())) == []


@pytest.mark.parametrize("platform", sorted(platforms()))
def test_unknown_option_and_wrong_value_of_a_backend_are_refused(platform: str) -> None:
    configuration = read(example_file.for_platform(platform))
    assert errors(configuration) == []
    (backend,) = configuration["backends"].values()
    for change in ({"colour": "red"}, {"platform": "abacus"}, {"timeout": 1000}, {"scan_interval": {"colour": 5}}):
        changed = copy.deepcopy(configuration)
        changed["backends"] = {"a": backend | change}
        assert errors(changed) != [], change


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"mqtt": {"host": "a", "port": 99_999}},
        {"mqtt": {"port": 1883}},
        {"mqtt": {"host": "a", "protocol": "4"}},
        {"language": "de"},
        {"web": {"host": "a", "colour": "red"}},
        {"backends": {"No Name": {"platform": "ums", "url": "http://a"}}},
    ],
)
def test_wrong_option_is_refused(change: dict[str, Any]) -> None:
    assert errors({"backends": {}}) == []
    assert errors({"backends": {}} | change) != []


def test_options_are_described() -> None:
    assert SCHEMA["properties"]["base_topic"]["description"].startswith("The first level of all topics")
    listed = SCHEMA["properties"]["backends"]["additionalProperties"]["oneOf"]
    ums = next(each for each in listed if each["title"] == "ums")
    assert "Seconds for one call" in ums["properties"]["timeout"]["description"]
