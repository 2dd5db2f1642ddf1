"""YAML that remembers where each value stands, with `!secret NAME` and `!env_var NAME [default]`.

What a fault says never repeats a value of the file, for any value may be a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import ReaderError

from fleet2mqtt.config.problems import OptionPath, Problem, nearest, shown
from fleet2mqtt.errors import ConfigError

SECRETS = "secrets.yaml"
MAX_NODES = 50_000

_YAML = "tag:yaml.org,2002:"
_QUOTED = re.compile(r""" ?(?:'[^'\n]*'|"[^"\n]*")""")
_HARMLESS = re.compile(r" ?'(?:<[a-z ]+>|[\]},:]|\\t)'")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says. `broken` are the places whose value could not be had; a text that is empty stands there.

    `secrets` are all the values that `!secret` gave.
    """

    file: Path
    value: Any
    marks: Mapping[OptionPath, tuple[int, int]]
    faults: tuple[Problem, ...]
    broken: frozenset[OptionPath]
    secrets: frozenset[str]

    def fault(self, keys: OptionPath, message: str) -> Problem:
        """A fault of what stands at `keys`, or of the nearest thing around it."""
        known = next((keys[:n] for n in range(len(keys), 0, -1) if keys[:n] in self.marks), ())
        line, column = self.marks.get(known, (1, 1))
        return Problem(file=self.file, line=line, column=column, keys=keys, message=message)

    def at(self, keys: OptionPath) -> Any:
        """What stands there, None where nothing does."""
        value = self.value
        for key in keys:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int):
                value = value[key]
            else:
                return None
        return value

    def is_broken(self, keys: OptionPath) -> bool:
        """Whether a fault of this place, or of one around it, is already known."""
        return any(keys[:n] in self.broken for n in range(len(keys) + 1))


def read(text: str, file: Path) -> Document:
    """Read a document. Raises ConfigError where it is no YAML; what else is wrong is in `faults`."""
    reader = _Reader(file=file)
    try:
        root = _compose(text, file)
        if isinstance(root, Problem):
            raise ConfigError([str(root)])
        value = None if root is None else reader.value(root, ())
    except RecursionError as error:
        fault = Problem(file=file, line=1, message="nested too deeply, or an alias within itself")
        raise ConfigError([str(fault)]) from error
    return Document(
        file=file,
        value=value,
        marks=reader.marks,
        faults=tuple(reader.faults),
        broken=frozenset(reader.broken),
        secrets=frozenset(reader.secrets),
    )


def load_text(file: Path) -> str:
    """The text of a file in UTF-8. Raises ConfigError."""
    text = _decoded(file)
    if isinstance(text, Problem):
        raise ConfigError([str(text)])
    return text


def _decoded(file: Path) -> str | Problem:
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Problem(file=file, line=line, message="not UTF-8; save the file in that encoding")
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "no such path"
        return Problem(file=file, message=f"cannot be read: {words.lower()}")


def _compose(text: str, file: Path) -> yaml.Node | Problem | None:
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return Problem(file=file, line=mark.line + 1 if mark else 1, message=_words(error))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return Problem(file=file, line=line, message="not YAML: a character that it does not allow")
    except (ValueError, OverflowError):  # PyYAML lets them out for escapes like "\U99999999"
        line = loader.line + 1 if loader else 1
        return Problem(file=file, line=line, message="not YAML: a number or character code that does not exist")


def _words(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be understood"
    if "undefined alias" in problem:
        return f"not YAML: {_unquoted(problem)}; quote a text that begins with * or &"
    words = ": ".join(_unquoted(part) for part in (error.context, problem) if part)
    hint = "; indent with spaces" if "'\\t'" in problem else ""
    return f"not YAML: {words}{hint}"


def _unquoted(words: str) -> str:
    words = words.partition(";")[0]
    return _QUOTED.sub(lambda match: match[0] if _HARMLESS.fullmatch(match[0]) else "", words)


def _mark(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Store:
    values: Mapping[str, str]
    faults: tuple[Problem, ...]


@dataclass(slots=True, kw_only=True)
class _Reader:
    file: Path
    marks: dict[OptionPath, tuple[int, int]] = field(default_factory=dict)
    faults: list[Problem] = field(default_factory=list)
    broken: set[OptionPath] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    nodes: int = 0
    store: _Store | None = None

    def value(self, node: yaml.Node, keys: OptionPath) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:  # a few aliases of aliases can stand for billions of values
            line, column = _mark(node)
            message = f"too large: more than {MAX_NODES} values"
            raise ConfigError([str(Problem(file=self.file, line=line, column=column, message=message))])
        self.marks.setdefault(keys, _mark(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, keys)
        if node.tag not in (_YAML + "map", _YAML + "seq"):
            return self._tag_fault(node, keys)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        return [self.value(item, (*keys, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, keys: OptionPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for base in [value for key, value in node.value if key.tag == _YAML + "merge"]:
            values = self._merged(base, keys) | values
        own: set[str] = set()
        for key, value in node.value:
            if key.tag == _YAML + "merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or not key.tag.startswith(_YAML):
                self._fault(key, keys, "a key must be a plain text")
            elif key.value in own:
                self._fault(key, (*keys, key.value), "this key stands here twice; keep one")
            else:
                own.add(key.value)
                self.marks[*keys, key.value] = _mark(key)
                values[key.value] = self.value(value, (*keys, key.value))
        return values

    def _merged(self, node: yaml.Node, keys: OptionPath) -> dict[str, Any]:
        bases = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values: dict[str, Any] = {}
        for base in bases:
            if isinstance(base, yaml.MappingNode) and base.tag == _YAML + "map":
                values = self.value(base, keys) | values
            else:
                self._fault(base, keys, "<<: takes a mapping, or a list of mappings")
        return values

    def _scalar(self, node: yaml.ScalarNode, keys: OptionPath) -> Any:
        kind = node.tag.removeprefix(_YAML)
        if kind in ("str", "timestamp", "value", "merge"):
            return node.value
        if kind in ("null", "bool", "int", "float"):
            try:
                return SafeConstructor().construct_object(node)
            except (ValueError, KeyError, IndexError, OverflowError):
                return self._breaks(node, keys, "looks like a number and is none; quote a text")
        if kind == "!secret":
            return self._secret(node, keys)
        if kind == "!env_var":
            return self._environment(node, keys)
        return self._tag_fault(node, keys)

    def _environment(self, node: yaml.ScalarNode, keys: OptionPath) -> str:
        name, default = [*node.value.split(maxsplit=1), None, None][:2]
        if not name or not _NAME.fullmatch(name):
            return self._breaks(node, keys, "expected !env_var NAME or !env_var NAME default")
        value: str | None = os.environ.get(name, default)
        if value is None:
            return self._breaks(node, keys, f"the environment variable {name} is not set, and no default is given")
        return value

    def _secret(self, node: yaml.ScalarNode, keys: OptionPath) -> str:
        name = node.value.strip()
        if not name:
            return self._breaks(node, keys, "expected !secret NAME")
        if self.store is None:
            self.store = _read_secrets(self.file.parent / SECRETS)
            self.faults += [fault for fault in self.store.faults if fault.line]
            self.secrets.update(self.store.values.values())
        if name in self.store.values:
            return self.store.values[name]
        if self.store.faults and not self.store.faults[0].line:
            return self._breaks(node, keys, f"{self.store.faults[0]}; it takes a line {shown(name)}: VALUE")
        if any(fault.keys in ((), (name,)) for fault in self.store.faults):
            self.broken.add(keys)
            return ""
        hint = nearest(name, self.store.values)
        return self._breaks(node, keys, f"no secret {shown(name)} in {SECRETS};{hint}".removesuffix(";"))

    def _tag_fault(self, node: yaml.Node, keys: OptionPath) -> str:
        words = "unknown tag; allowed are !secret NAME and !env_var NAME [default], quote a text that begins with !"
        return self._breaks(node, keys, words)

    def _breaks(self, node: yaml.Node, keys: OptionPath, message: str) -> str:
        self.broken.add(keys)
        self._fault(node, keys, message)
        return ""

    def _fault(self, node: yaml.Node, keys: OptionPath, message: str) -> None:
        line, column = _mark(node)
        self.faults.append(Problem(file=self.file, line=line, column=column, keys=keys, message=message))


def _read_secrets(file: Path) -> _Store:
    """The secrets as they are written: `007` is no number."""
    text = _decoded(file)
    root = text if isinstance(text, Problem) else _compose(text, file)
    if root is None:
        return _Store(values={}, faults=())
    if isinstance(root, Problem):
        return _Store(values={}, faults=(root,))
    if not isinstance(root, yaml.MappingNode):
        return _Store(values={}, faults=(Problem(file=file, line=1, message="expected lines like NAME: VALUE"),))
    values: dict[str, str] = {}
    faults = []
    for key, value in root.value:
        line, column = _mark(key)
        if not isinstance(key, yaml.ScalarNode):
            faults.append(Problem(file=file, line=line, column=column, message="a name must be a plain text"))
        elif key.value in values:
            message = "this name stands here twice; keep one"
            faults.append(Problem(file=file, line=line, column=column, keys=(key.value,), message=message))
        elif not isinstance(value, yaml.ScalarNode) or not value.tag.startswith(_YAML) or not value.value:
            message = "expected a text that is not empty; quote one that begins with !"
            faults.append(Problem(file=file, line=line, column=column, keys=(key.value,), message=message))
        else:
            values[key.value] = value.value
    return _Store(values=values, faults=tuple(faults))
