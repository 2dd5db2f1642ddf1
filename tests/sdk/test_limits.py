"""Limits of Home Assistant: long texts and large attributes are cut (faults 5.6)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet2mqtt.devices.model import Value
from fleet2mqtt.sdk.limits import MAX_ATTRIBUTES, MAX_STATE, limit, limit_attributes

RULE = {"uuid": "ebfa83fe9b9aa6a83fe", "name": "端口", "port": "1935,22000-22010"}


def test_long_text_is_cut_in_the_state_and_whole_in_the_attributes() -> None:
    text = "端口" * 200
    state, attributes = limit({"port": text, "mark": "x", "load": 5}, {"port": {"raw": 1}})
    assert state == {"port": text[: MAX_STATE - 1] + "…", "mark": "x", "load": 5}
    assert len(str(state["port"])) == MAX_STATE
    assert attributes == {"port": {"raw": 1, "text": text}}


def test_text_of_the_largest_length_is_unchanged() -> None:
    state: dict[str, Value] = {"port": "x" * MAX_STATE}
    assert limit(state, {}) == (state, {})


@pytest.mark.parametrize(
    "attributes",
    [
        {"rules": [RULE] * 500, "raw": 7},
        {"rules": [RULE] * 500, "others": [RULE] * 500},
        {"text": "端" * 20_000},
        {"text": "x" * 20_000, "rules": [RULE] * 5},
        {"rules": [{"text": "x" * 20_000}, RULE]},
        {"nested": {"text": "x" * 20_000}, "raw": 7},
        {"text": '"\x01' * 10_000},
    ],
)
def test_large_attributes_are_cut_to_what_the_recorder_stores(attributes: dict[str, Any]) -> None:
    cut = limit_attributes(attributes)
    assert len(json.dumps(cut, ensure_ascii=False, separators=(",", ":")).encode()) <= MAX_ATTRIBUTES
    assert cut.keys() == {"omitted", *attributes}
    parts = [(value, cut[name]) for name, value in attributes.items() if isinstance(value, list | str)]
    assert cut["omitted"] == sum(len(value) - len(kept) for value, kept in parts)
    assert all(value[: len(kept)] == kept for value, kept in parts)
    assert cut.get("raw") == attributes.get("raw")


def test_attributes_whose_names_alone_are_too_large_are_left_out_in_part() -> None:
    cut = limit_attributes({f"group-{number:08}": "x" for number in range(3000)})
    assert len(json.dumps(cut, separators=(",", ":")).encode()) <= MAX_ATTRIBUTES
    assert len(cut) > 500
    assert cut["omitted"] >= 3000 - (len(cut) - 1)


def test_attributes_that_fit_are_the_same_object() -> None:
    attributes = {"rules": [RULE] * 100}
    assert limit_attributes(attributes) is attributes
