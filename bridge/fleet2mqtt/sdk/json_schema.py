"""JSON Schemas of action arguments, converted from the voluptuous schemas that validate them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import voluptuous as vol
from voluptuous_openapi import UNSUPPORTED, convert

_LENGTHS = {"minLength": "minItems", "maxLength": "maxItems"}


class Described:
    r"""A validator with the JSON Schema of what it accepts, for a function that cannot be converted.

    `Described(_date, type="string", pattern=r"^\d{4}-\d\d-\d\d$")` validates by `_date(value)`.
    """

    __slots__ = ("_validate", "schema")

    def __init__(self, validate: Callable[[Any], Any], **schema: Any) -> None:
        self._validate = vol.Schema(validate)
        self.schema = schema

    def __call__(self, value: Any) -> Any:
        """Return the validated value. Raises vol.Invalid."""
        return self._validate(value)


def json_schema(schema: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a mapping of arguments: no other members, and lengths of lists as numbers of items."""
    converted: dict[str, Any] = convert(vol.Schema(dict(schema)), openapi_version="3.1.0", custom_serializer=_serialize)
    corrected: dict[str, Any] = _correct(converted)
    return corrected


def _serialize(schema: Any) -> Any:
    return dict(schema.schema) if isinstance(schema, Described) else UNSUPPORTED


def _correct(value: Any) -> Any:
    """Return a schema with what the converter leaves out or misnames."""
    if isinstance(value, list):
        return [_correct(item) for item in value]
    if not isinstance(value, dict):
        return value
    corrected = {
        name: {key: _correct(each) for key, each in member.items()} if name == "properties" else _correct(member)
        for name, member in value.items()
    }
    if corrected.get("type") == "object" and isinstance(corrected.get("properties"), dict):
        corrected.setdefault("additionalProperties", False)
    if corrected.get("type") == "array":
        corrected = {_LENGTHS.get(name, name): member for name, member in corrected.items()}
    return corrected
