"""A case asserts the keys that it lists, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.platforms import expectations

if TYPE_CHECKING:
    from pathlib import Path

ACTUAL: dict[str, Any] = {
    "devices": {
        "hq": {"name": "HQ", "state": {"voltage": 48, "is_full": "ON"}, "attributes": {"voltage": {"limit": 40}}},
        "hq_1": {"name": "Line 1", "state": {"voltage": None}},
    },
    "inventories": {"lines": ["hq_1"]},
    "requests": [{"call": "GET /"}],
}


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"devices": {"hq": {}, "hq_1": {}}},
        {"devices": {"hq": {"state": {"voltage": 48}, "absent": ["position"]}, "hq_1": {"state": {"voltage": None}}}},
        {"inventories": {"lines": ["hq_1"]}, "alarms": []},
        ACTUAL,
    ],
)
def test_case_that_lists_some_keys_passes_whatever_the_others_are(expected: dict[str, Any]) -> None:
    assert expectations.differences(expected, ACTUAL) == []
    assert expectations.differences(expectations.renew(expected, ACTUAL), ACTUAL) == []


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        ({"devices": {"hq": {}}}, "devices: hq_1 is not expected"),
        ({"devices": {"hq": {}, "hq_1": {}, "hq_2": {}}}, "devices: hq_2 is missing"),
        ({"devices": {"hq": {"state": {"voltage": 47}}, "hq_1": {}}}, "devices.hq.state.voltage: 48, expected 47"),
        ({"devices": {"hq": {"state": {"load": 1}}, "hq_1": {}}}, "devices.hq.state.load: missing, expected 1"),
        (
            {"devices": {"hq": {"absent": ["is_full"]}, "hq_1": {}}},
            "devices.hq.is_full: present, expected to be absent",
        ),
        ({"requests": [{"call": "POST /"}]}, 'requests[0].call: "GET /", expected "POST /"'),
        ({"requests": []}, 'requests: [{"call": "GET /"}], expected []'),
        ({"inventories": {}}, 'inventories.lines: ["hq_1"] is not expected'),
    ],
)
def test_case_whose_listed_keys_differ_names_each_of_them(expected: dict[str, Any], difference: str) -> None:
    assert expectations.differences(expected, ACTUAL) == [difference]
    assert expectations.differences(expectations.renew(expected, ACTUAL), ACTUAL) == []


def test_number_in_place_of_boolean_differs() -> None:
    assert expectations.differences({"answers": [True]}, {"answers": [1]}) == ["answers[0]: 1, expected true"]


def test_update_rewrites_the_listed_keys_only(tmp_path: Path) -> None:
    file = tmp_path / expectations.EXPECTED
    file.write_text(json.dumps({"devices": {"hq": {"state": {"voltage": 1}, "absent": ["is_full", "load"]}}}))
    expectations.update(tmp_path, ACTUAL)
    assert json.loads(file.read_text()) == {
        "devices": {"hq": {"state": {"voltage": 48}, "absent": ["load"]}, "hq_1": ACTUAL["devices"]["hq_1"]}
    }


def test_update_of_a_new_case_writes_everything(tmp_path: Path) -> None:
    expectations.update(tmp_path, ACTUAL)
    assert json.loads((tmp_path / expectations.EXPECTED).read_text()) == ACTUAL
    assert expectations.check(tmp_path, ACTUAL) == []


def test_full_state_case_compares_and_rewrites_everything(tmp_path: Path) -> None:
    file = tmp_path / expectations.FULL_STATE
    file.write_text(json.dumps(ACTUAL | {"devices": {}}))
    assert len(expectations.check(tmp_path, ACTUAL)) == 2
    expectations.update(tmp_path, ACTUAL)
    assert json.loads(file.read_text()) == ACTUAL
    assert expectations.check(tmp_path, ACTUAL | {"alarms": ["one"]}) == ['alarms: ["one"] is not expected']
