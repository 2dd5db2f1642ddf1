"""Options from environment variables, which go before those of the file: FLEET2MQTT__MQTT__HOST is `mqtt.host`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleet2mqtt.config import yaml_reader
from fleet2mqtt.config.problems import OptionPath, Problem, dotted
from fleet2mqtt.config.yaml_reader import Document
from fleet2mqtt.errors import ConfigError

PREFIX = "FLEET2MQTT__"
_SEPARATOR = "__"
_YAML = re.compile(r"""[\[{"].*|-?(0|[1-9]\d*)(\.\d+)?|true|false|off|null""", re.DOTALL)
"""Values that are read as YAML; every other one is a text, for instance 0123."""


def option_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that stand for options."""
    return {name: value for name, value in sorted(variables.items()) if name.startswith(PREFIX)}


def apply_variables(document: Document, variables: Mapping[str, str], texts: Collection[str] = ()) -> Document:
    """Return a document with the options of environment variables; a problem with one names the variable.

    Numbers, flags, lists, mappings and quoted texts are read as such, except of the variables in `texts`.
    """
    paths: dict[OptionPath, str] = {_path(name): name for name in variables}
    value, problems = document.value, [each for each in document.problems if not _is_below(each.path, paths)]
    for path, name in paths.items():
        content = variables[name] if name in texts else _content(name, variables[name])
        blocked = _first_that_is_no_mapping(value, path[:-1])
        if blocked is not None:
            message = f"{dotted(blocked) or 'the configuration'} is no mapping, so no option can be set in it"
            problems.append(Problem(file=Path(name), path=path, message=message))
        else:
            value = _with(value, path, content)
    return replace(
        document,
        value=value,
        problems=tuple(problems),
        broken=frozenset(path for path in document.broken if not _is_below(path, paths)),
        variables={path: name for path, name in paths.items() if path} | _inner(document, paths),
    )


def _path(name: str) -> OptionPath:
    return tuple(name.removeprefix(PREFIX).lower().split(_SEPARATOR))


def _content(name: str, value: str) -> Any:
    if not _YAML.fullmatch(value):
        return value
    try:
        read = yaml_reader.read(value, Path(name))
    except ConfigError:  # a text such as {first}-{last}; where none is expected, the option's validator says so
        return value
    return value if read.problems else read.value


def _inner(document: Document, paths: Mapping[OptionPath, str]) -> dict[OptionPath, str]:
    """Return the mappings that only variables have made, with the beginning of their names."""
    made = {path[:length] for path in paths for length in range(1, len(path))}
    return {path: PREFIX + _SEPARATOR.join(map(str, path)).upper() for path in made if path not in document.positions}


def _first_that_is_no_mapping(value: Any, path: OptionPath) -> OptionPath | None:
    for length, key in enumerate((*path, "")):
        if value is not None and not isinstance(value, dict):
            return path[:length]
        value = value.get(key) if value else None
    return None


def _with(value: Any, path: OptionPath, content: Any) -> Any:
    if not path:
        return content
    return {**(value or {}), path[0]: _with((value or {}).get(path[0]), path[1:], content)}


def _is_below(path: OptionPath, paths: Mapping[OptionPath, str]) -> bool:
    return any(path[:length] in paths for length in range(1, len(path) + 1))
