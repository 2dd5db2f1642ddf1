"""One action, and the validators of its fields. scripts/generate makes the table of actions, action_table.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import voluptuous as vol
from homeassistant.helpers import config_validation as cv

Fields = Mapping[Any, Any]

STRING = cv.string
TEXT = vol.All(cv.string, vol.Length(min=1, max=255))
SOME_TEXTS = vol.All(cv.ensure_list, [TEXT])
TEXTS = vol.All(SOME_TEXTS, vol.Length(min=1))
BOOLEAN = cv.boolean
DATETIME = vol.All(cv.datetime, lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S"))
MAPPING = dict
ANY = vol.Any(dict, list, cv.string)


def one_of(*values: Any) -> Any:
    """Return a validator for one of these values; numbers may come as texts, as forms send them."""
    if all(isinstance(value, int) for value in values):
        return vol.All(vol.Coerce(int), vol.In(values))
    return vol.In(values)


def integer(low: int | None = None, high: int | None = None) -> Any:
    """Return a validator for a whole number within bounds."""
    return vol.All(vol.Coerce(int), vol.Range(min=low, max=high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action, with the same name here and at the bridge. `changes` says that it changes something at the vendor.

    A field whose vendor's name Home Assistant does not allow (`startTime`) or would misread (`device_id`) is in
    `renamed`.
    """

    name: str
    platform: str
    fields: Fields
    changes: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the bridge's arguments for the fields of a form."""
        return {self.renamed.get(key, key): value for key, value in data.items()}
