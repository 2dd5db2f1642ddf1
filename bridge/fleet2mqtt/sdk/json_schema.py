"""JSON Schemas of action arguments, converted from the voluptuous schemas that validate them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import voluptuous as vol
from voluptuous_openapi import UNSUPPORTED, convert

from fleet2mqtt.sdk.validators import identifier

_LENGTHS = {
    "array": {"minLength": "minItems", "maxLength": "maxItems"},
    "object": {"minLength": "minProperties", "maxLength": "maxProperties"},
}


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


class ArgumentSchema(dict[Any, Any]):
    """A mapping of arguments, with JSON Schema keywords about several of them together.

    `ArgumentSchema({...}, minProperties=2)` only describes: the action itself refuses what the keywords forbid.
    """

    def __init__(self, schema: Mapping[Any, Any], **keywords: Any) -> None:
        super().__init__(schema)
        self.keywords = keywords


def json_schema(schema: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a mapping of arguments: no other members, and lengths of lists and objects by count."""
    converted: dict[str, Any] = convert(vol.Schema(dict(schema)), openapi_version="3.1.0", custom_serializer=_serialize)
    corrected: dict[str, Any] = _correct(converted)
    together = [{"not": {"required": sorted(pair)}} for pair in _exclusive_pairs(schema)]
    if isinstance(schema, ArgumentSchema):
        together.append(schema.keywords)
    return corrected | {"allOf": together} if together else corrected


def _exclusive_pairs(schema: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of arguments that exclude each other, of which the converter says nothing."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for marker in schema:
        if isinstance(marker, vol.Exclusive):
            groups[marker.group_of_exclusion].append(marker.schema)
    for names in groups.values():
        yield from combinations(names, 2)


def _serialize(schema: Any) -> Any:
    if schema is identifier:
        return {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}
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
    kind = corrected.get("type")
    lengths = _LENGTHS.get(kind, {}) if isinstance(kind, str) else {}
    return {lengths.get(name, name): member for name, member in corrected.items()}
