"""Home Assistant's limits: a state of 255 characters, and attributes that its recorder can store.

Longer texts would show as unknown, and larger attributes would not be recorded, each with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from fleet2mqtt.devices.model import Value

MAX_STATE = 255
"""Characters of a state."""
MAX_ATTRIBUTES = 15_000
"""Bytes of an entity's attributes as JSON. The recorder stores 16 KiB, with what Home Assistant adds to them."""
TEXT = "text"
"""The attribute with a whole text whose state is cut."""
OMITTED = "omitted"
"""The attribute with the number of list items, characters of a text, or attributes that are left out."""
_DIGITS = 20


def limit(
    state: dict[str, Value], attributes: dict[str, Mapping[str, Any]]
) -> tuple[dict[str, Value], dict[str, Mapping[str, Any]]]:
    """Return a device's state with long texts cut, and its attributes with those texts, cut to what can be recorded."""
    long = {key: value for key, value in state.items() if isinstance(value, str) and len(value) > MAX_STATE}
    if long:
        state = {**state, **{key: value[: MAX_STATE - 1] + "…" for key, value in long.items()}}
        attributes = {**attributes, **{key: {**attributes.get(key, {}), TEXT: value} for key, value in long.items()}}
    return state, {key: limit_attributes(values) for key, values in attributes.items()}


def limit_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entity's attributes as they are, or with lists and texts cut so that they can be recorded."""
    if _size(attributes) <= MAX_ATTRIBUTES:
        return attributes
    kept: dict[str, Any] = {OMITTED: 0}
    smallest = len("null")
    left = MAX_ATTRIBUTES - _size(kept) - _DIGITS - sum(_size(name) + len(":,") + smallest for name in attributes)
    for name, value in sorted(attributes.items(), key=lambda pair: isinstance(pair[1], list | str)):
        if left < 0:  # not even all names fit
            left += _size(name) + len(":,") + smallest
            kept[OMITTED] += 1
            continue
        kept[name] = _cut(value, left + smallest)
        if kept[name] is not value and isinstance(value, list | str):
            kept[OMITTED] += len(value) - len(kept[name])
        left -= max(_size(kept[name]) - smallest, 0)
    return kept


def _cut(value: Any, limit_: int) -> Any:
    """Return a value that takes at most so many bytes; None for an object that is larger."""
    if _size(value) <= limit_:
        return value
    if isinstance(value, list):
        count, size = 0, 2
        for item in value:
            size += _size(item) + 1
            if size > limit_:
                break
            count += 1
        return value[:count]
    return _cut_text(value, limit_) if isinstance(value, str) else None


def _cut_text(text: str, limit_: int) -> str:
    """Return the beginning of a text that takes at most so many bytes as JSON, which escapes some characters."""
    cut = text.encode(errors="replace")[: max(limit_ - 2, 0)].decode(errors="ignore")
    while cut and (excess := _size(cut) - limit_) > 0:
        cut = cut[: -max(excess // 6, 1)]
    return cut


def _size(value: Any) -> int:
    return len(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))
