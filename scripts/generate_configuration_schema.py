"""Generate docs/contract/configuration.schema.json, by which editors complete and check the configuration file.

    scripts/generate [--check]

Names, types, bounds and choices are read from the validators of the options, descriptions from the comments of the
example file. What a validator checks in a way that JSON Schema cannot say is left open: `fleet2mqtt check` has the last
word.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import voluptuous as vol

from fleet2mqtt.config import example_file, loader
from fleet2mqtt.sdk.api import platforms

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "contract" / "configuration.schema.json"

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
TAGGED = "string"
"""JSON Schema type of a value tagged `!secret` or `!env_var`."""


def section(options: Mapping[Any, Any], described: Mapping[tuple[str, ...], str], path: tuple[str, ...]) -> Schema:
    """Return the schema of a mapping with these options."""
    properties: dict[str, Schema] = {}
    for marker, validator in options.items():
        name = str(marker)
        found = schema_of(validator, described, (*path, name))
        if text := described.get((*path, name)):
            found = {"description": text, **found}
        properties[name] = found
    required = [str(marker) for marker in options if isinstance(marker, vol.Required)]
    return {
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def schema_of(validator: Any, described: Mapping[tuple[str, ...], str], path: tuple[str, ...]) -> Schema:
    """Return the schema of what a validator accepts, as far as it can be told."""
    found: Schema
    match validator:
        case Mapping():
            found = section(validator, described, path)
        case vol.In():
            found = {"enum": [*validator.container]}  # type: ignore[misc] # lists, all of them
        case list():
            found = {"type": "array"}
        case partial():
            found = _of_partial(validator)
        case vol.All():
            parts = [schema_of(each, described, path) for each in validator.validators]
            found = {name: value for part in parts for name, value in part.items()}
        case vol.Range():
            bounds = {"minimum": validator.min, "maximum": validator.max}
            found = {name: value for name, value in bounds.items() if value is not None}
        case _:
            found = _of_function(validator, described, path)
    return found


def _of_partial(validator: partial[Any]) -> Schema:
    if validator.func.__name__ == "one_of":
        return {"enum": sorted(validator.keywords["names"])}
    kinds = {"_tls": ["object", "boolean", TAGGED, "null"], "backend_alarms": ["object", "null"]}
    kind = kinds.get(validator.func.__name__, ["object", "null"])
    return {"type": kind}


def _of_function(validator: Any, described: Mapping[tuple[str, ...], str], path: tuple[str, ...]) -> Schema:
    """Return the schema of what a function of `config/validators` or `sdk/validators` accepts."""
    name = getattr(validator, "__qualname__", "").partition(".")[0]
    inner = inspect.getclosurevars(validator).nonlocals if inspect.isfunction(validator) else {}
    if name == "_section_of":
        return schema_of(inner["section"], described, path)
    if name == "section":
        return section(inner["schema"].schema, described, path)
    if name in {"whole", "number"} and inner:
        kind = "integer" if name == "whole" else "number"
        return {"type": [kind, TAGGED], "minimum": inner["low"], "maximum": inner["high"]}
    simple: dict[str, Schema] = {
        "flag": {"type": ["boolean", TAGGED]},
        "whole": {"type": "integer"},
        "choice": {"enum": _choices(inner)},
        "actions": {"type": "array", "items": TEXT},
        "networks": {"type": "array", "items": TEXT},
        "networks_or_none": {"type": "array", "items": TEXT},
        "each": {"type": "array", "minItems": 1},
        "matching": TEXT,
        "headers": {"type": ["object", "null"], "additionalProperties": TEXT},
        "targets": {"type": ["object", "null"]},
        "url": TEXT,
        "host": TEXT,
        "text": TEXT,
        "time_zone": TEXT,
        "path_in": TEXT,
        "file_in": TEXT,
        "authorities_in": TEXT,
        "_secret": TEXT,
        "_push_secret": TEXT,
        "_dsn": TEXT,
    }
    return dict(simple.get(name, {}))


def _choices(inner: Mapping[str, Any]) -> list[Any]:
    """Return the texts of an enumeration; 5 may also be the number."""
    texts = list(inner.get("members", ()))
    return [*texts, *(int(text) for text in texts if text.isdigit())]


def descriptions() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the comments of the example file by the path of the option below them; a backend goes by its platform."""
    names = {}
    for platform in platforms():
        text = example_file.for_platform(platform)
        names[platform] = example_file.backend_name(text)
        for path, comment in example_file.comments(text):
            if comment and path[:1] == ("backends",) and path[1:2] == (names[platform],):
                yield ("backends", platform, *path[2:]), comment
            elif comment and path[:1] != ("backends",):
                yield path, comment


def generate() -> str:
    """Return the schema as JSON."""
    installed = platforms()
    described = dict(descriptions())
    whole = section(loader.options(installed), described, ())
    backends = [
        {
            "title": name,
            **section(loader.backend_options(load, installed), described, ("backends", name)),
            "type": "object",
        }
        for name, load in sorted(installed.items())
    ]
    for each in backends:
        each["properties"]["platform"] = {"const": each["title"]}
    whole["properties"]["backends"] = {
        "description": "One entry for each vendor system, by a name that becomes part of ids.",
        "type": ["object", "null"],
        "propertyNames": {"pattern": f"^{loader.BACKEND_NAME.pattern}$"},
        "additionalProperties": {"oneOf": backends},
    }
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of fleet2mqtt",
        **whole,
        "type": "object",
    }
    return json.dumps(schema, ensure_ascii=False, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    """Write the file, or with --check tell whether it is up to date; return the exit code."""
    text = generate()
    if FILE.exists() and FILE.read_text("utf-8") == text:
        return 0
    if arguments == ["--check"]:
        print(f"{FILE.relative_to(ROOT)} is not up to date: run scripts/generate", file=sys.stderr)  # noqa: T201
        return 1
    FILE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
