"""No text and no structure makes the configuration raise anything but problems with their place."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet2mqtt.config.loader import parse
from fleet2mqtt.errors import ConfigError
from tests.configuring import PLATFORMS

PIECES = st.sampled_from(
    [
        *"{}[]:,-#&*!|>%@`?'\"\\ \n\t",
        *(
            ": ",
            "\n  ",
            "\n    ",
            "- ",
            "<<: ",
            "*a",
            "&a ",
            "!secret ",
            "!env_var ",
            "!!int ",
            "!!float ",
            "0x",
            "1:2:3",
        ),
        *(
            "backends:",
            "hq:",
            "platform: ums",
            "platform: ",
            "url: http://",
            "url: ",
            "mqtt:",
            "tls: ",
            "push: ",
            "port: ",
        ),
        *("secret: ", "allow: ", "headers: ", "scan_interval: ", "time_zone: ", "true", "null", ".nan", "2021-13-45"),
        *('"\\ud800"', '"\\0"', '"\\U00110000"', "é", "\x85", "\ufeff", "0" * 30, "9" * 5000, "0x" + "f" * 5000),
    ]
)


def faults_or_none(text: str) -> list[str]:
    try:
        parse(text, Path("/nowhere/f.yaml"), PLATFORMS)
    except ConfigError as error:
        return error.problems
    return []


@given(st.text() | st.lists(PIECES | st.text(max_size=3), max_size=40).map("".join))
def test_parse_any_text_raises_only_config_error(text: str) -> None:
    for problem in faults_or_none(text):
        assert re.match(r"/nowhere/f\.yaml:\d+: ", problem)
        assert problem.isprintable()


OPTIONS = st.sampled_from(
    [
        *("mqtt", "host", "port", "tls", "ca", "key", "password", "discovery", "prefix", "base_topic", "push", "web"),
        *("backends", "hq", "platform", "url", "headers", "secret", "allow", "scan_interval", "devices", "time_zone"),
        *("timeout", "stale_after", "page_size", "extra", "language", "alarms"),
    ]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["ums", "http://a"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(OPTIONS, inner, max_size=6),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(["mqtt", "backends", "push", "web", "discovery", "base_topic"]), VALUES))
def test_parse_any_structure_raises_only_config_error(value: dict[str, object]) -> None:
    for problem in faults_or_none(json.dumps(value)):
        assert re.match(r"/nowhere/f\.yaml:1: ", problem)


def test_hypothesis_profile_in_ci_is_reproducible_without_deadline() -> None:
    """By default hypothesis makes up others in each run, and fails a test whose machine was busy for 0.2 s."""
    now = settings()
    assert (now.derandomize, now.deadline) == (True, None)
