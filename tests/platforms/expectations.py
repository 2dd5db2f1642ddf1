"""The expected output of a case: compare it with what the platform produced, and regenerate it.

`expected.json` asserts what it lists. Its sections (`devices`, `inventories`, `requests` …) are compared as a whole,
except for `devices`: the ids there are complete, and of each device only the listed members and keys are compared. A
device that must not have an entity lists its key under `absent`:

    {"devices": {"hq": {}, "hq_1": {"state": {"voltage": null}, "absent": ["position"]}}}

`full_state.json` instead of `expected.json` makes a case the platform's full-state case: everything is compared.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED = "expected.json"
FULL_STATE = "full_state.json"
ABSENT = "absent"


def is_full_state(folder: Path) -> bool:
    """Return True for a full-state case."""
    return (folder / FULL_STATE).exists()


def check(folder: Path, actual: dict[str, Any]) -> list[str]:
    """Return the differences between a case's expected and actual output, one line each."""
    if is_full_state(folder):
        return _differences(_read(folder / FULL_STATE), actual, "")
    return differences(_read(folder / EXPECTED), actual)


def update(folder: Path, actual: dict[str, Any]) -> None:
    """Rewrite the expected output of a case: the keys that it lists, or everything where it has no file yet.

    A file that holds already is left as it is, whatever its order and layout.
    """
    file = folder / (FULL_STATE if is_full_state(folder) else EXPECTED)
    if file.exists() and not check(folder, actual):
        return
    renewed = actual if is_full_state(folder) or not file.exists() else renew(_read(file), actual)
    file.write_text(json.dumps(renewed, indent=2, ensure_ascii=False) + "\n", "utf-8")


def differences(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    """Return where the actual output differs in what `expected` lists, one line each."""
    found = []
    for section, wanted in expected.items():
        if section == "devices":
            found += _devices(wanted, actual.get("devices", {}))
        elif wanted or actual.get(section):
            found += _differences(wanted, actual.get(section), section)
    return found


def renew(expected: dict[str, Any], actual: dict[str, Any]) -> dict[str, Any]:
    """Return the actual output reduced to what `expected` lists; a device that is new is listed whole."""
    return {
        section: _renew_devices(wanted, actual.get("devices", {}))
        if section == "devices"
        else actual.get(section, type(wanted)())
        for section, wanted in expected.items()
    }


def _devices(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    found = [f"devices: {id_} is missing" for id_ in expected.keys() - actual.keys()]
    found += [f"devices: {id_} is not expected" for id_ in actual.keys() - expected.keys()]
    for id_ in (id_ for id_ in expected if id_ in actual):
        path = f"devices.{id_}"
        wanted = {name: value for name, value in expected[id_].items() if name != ABSENT}
        found += _differences(wanted, _listed(wanted, actual[id_]), path)
        found += [f"{path}.{key}: present, expected to be absent" for key in _present(expected[id_], actual[id_])]
    return sorted(found)


def _present(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    members = [member for member in actual.values() if isinstance(member, dict)]
    return [key for key in expected.get(ABSENT, ()) if any(key in member for member in members)]


def _listed(expected: Any, actual: Any) -> Any:
    """Return the part of `actual` that `expected` has keys for."""
    if not isinstance(expected, dict) or not isinstance(actual, dict):
        return actual
    return {key: _listed(value, actual[key]) for key, value in expected.items() if key in actual}


def _renew_devices(expected: dict[str, Any], actual: dict[str, Any]) -> dict[str, Any]:
    renewed = {}
    for id_, device in actual.items():
        if id_ not in expected:
            renewed[id_] = device
            continue
        present = _present(expected[id_], device)
        renewed[id_] = _listed(expected[id_], device)
        absent = [key for key in expected[id_].get(ABSENT, ()) if key not in present]
        if absent:
            renewed[id_][ABSENT] = absent
    return renewed


def _differences(expected: Any, actual: Any, path: str) -> list[str]:
    if isinstance(expected, dict) and isinstance(actual, dict):
        prefix = f"{path}." if path else ""
        found = [f"{prefix}{key}: missing, expected {_text(expected[key])}" for key in expected if key not in actual]
        found += [f"{prefix}{key}: {_text(actual[key])} is not expected" for key in actual if key not in expected]
        for key in (key for key in expected if key in actual):
            found += _differences(expected[key], actual[key], f"{prefix}{key}")
        return found
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = enumerate(zip(expected, actual, strict=True))
        return [line for index, pair in pairs for line in _differences(*pair, f"{path}[{index}]")]
    equal = expected == actual and isinstance(expected, bool) == isinstance(actual, bool)
    return [] if equal else [f"{path}: {_text(actual)}, expected {_text(expected)}"]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return content
