"""Reading of YAML with the line of each value, with `!secret NAME` and `!env_var NAME [default]`.

A message never repeats a value of the file, because any value may be a secret.
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

from fleet2mqtt.config.problems import OptionPath, Problem, nearest, printable
from fleet2mqtt.errors import ConfigError

SECRETS = "secrets.yaml"
MAX_NODES = 50_000

_YAML = "tag:yaml.org,2002:"
_QUOTED = re.compile(r""" ?(?:'[^'\n]*'|"[^"\n]*")""")
_HARMLESS = re.compile(r" ?'(?:<[a-z ]+>|[\]},:]|\\t)'")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The content of a file. `broken` are the paths whose value is not known; an empty text replaces it.

    `secrets` are all values of `!secret`. `variables` are the environment variables that options came from.
    """

    file: Path
    value: Any
    positions: Mapping[OptionPath, tuple[int, int]]
    problems: tuple[Problem, ...]
    broken: frozenset[OptionPath]
    secrets: frozenset[str]
    variables: Mapping[OptionPath, str] = field(default_factory=dict)

    def problem(self, path: OptionPath, message: str) -> Problem:
        """Return a problem at `path`, with the line of the nearest thing around it that has one."""
        variable = self.variable(path)
        if variable:
            return Problem(file=Path(variable), path=path, message=message)
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self.positions), ())
        line, column = self.positions.get(known, (1, 1))
        return Problem(file=self.file, line=line, column=column, path=path, message=message)

    def variable(self, path: OptionPath) -> str | None:
        """Return the environment variable that the value at `path` came from, None where it came from the file."""
        return next((self.variables[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.variables), None)

    def at(self, path: OptionPath) -> Any:
        """Return the value at `path`, None without one."""
        value = self.value
        for key in path:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int):
                value = value[key]
            else:
                return None
        return value

    def is_broken(self, path: OptionPath) -> bool:
        """Return True if a problem at `path`, or around it, is known already."""
        return any(path[:n] in self.broken for n in range(len(path) + 1))


def read(text: str, file: Path) -> Document:
    """Read a document. Raises ConfigError for what is not YAML; the other problems are in `problems`."""
    reader = _Reader(file=file)
    try:
        root = _compose(text, file)
        if isinstance(root, Problem):
            raise ConfigError([str(root)])
        value = None if root is None else reader.value(root, ())
    except RecursionError as error:
        problem = Problem(file=file, line=1, message="nested too deeply, or an alias within itself")
        raise ConfigError([str(problem)]) from error
    return Document(
        file=file,
        value=value,
        positions=reader.positions,
        problems=tuple(reader.problems),
        broken=frozenset(reader.broken),
        secrets=frozenset(reader.secrets),
    )


def load_text(file: Path) -> str:
    """Return the text of a file in UTF-8. Raises ConfigError."""
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
        message = getattr(error, "strerror", None) or "no such path"
        return Problem(file=file, message=f"cannot be read: {message.lower()}")


def _compose(text: str, file: Path) -> yaml.Node | Problem | None:
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return Problem(file=file, line=mark.line + 1 if mark else 1, message=_describe(error))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return Problem(file=file, line=line, message="not YAML: a character that it does not allow")
    except (ValueError, OverflowError):  # PyYAML lets them out for escapes like "\U99999999"
        line = loader.line + 1 if loader else 1
        return Problem(file=file, line=line, message="not YAML: a number or character code that does not exist")


def _describe(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be understood"
    if "undefined alias" in problem:
        return f"not YAML: {_unquoted(problem)}; quote a text that begins with * or &"
    message = ": ".join(_unquoted(part) for part in (error.context, problem) if part)
    hint = "; indent with spaces" if "'\\t'" in problem else ""
    return f"not YAML: {message}{hint}"


def _unquoted(message: str) -> str:
    message = message.partition(";")[0]
    return _QUOTED.sub(lambda match: match[0] if _HARMLESS.fullmatch(match[0]) else "", message)


def _position(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Secrets:
    values: Mapping[str, str]
    problems: tuple[Problem, ...]


@dataclass(slots=True, kw_only=True)
class _Reader:
    file: Path
    positions: dict[OptionPath, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[OptionPath] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    nodes: int = 0
    secrets_file: _Secrets | None = None

    def value(self, node: yaml.Node, path: OptionPath) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:  # a few aliases of aliases can stand for billions of values
            line, column = _position(node)
            message = f"too large: more than {MAX_NODES} values"
            raise ConfigError([str(Problem(file=self.file, line=line, column=column, message=message))])
        self.positions.setdefault(path, _position(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in (_YAML + "map", _YAML + "seq"):
            return self._add_unknown_tag(node, path)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: OptionPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for base in [value for key, value in node.value if key.tag == _YAML + "merge"]:
            values = self._merged(base, path) | values
        own: set[str] = set()
        for key, value in node.value:
            if key.tag == _YAML + "merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or not key.tag.startswith(_YAML):
                self._add_problem(key, path, "a key must be a plain text")
            elif key.value in own:
                self._add_problem(key, (*path, key.value), "this key is here twice; keep one")
            else:
                own.add(key.value)
                self.positions[*path, key.value] = _position(key)
                values[key.value] = self.value(value, (*path, key.value))
        return values

    def _merged(self, node: yaml.Node, path: OptionPath) -> dict[str, Any]:
        bases = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values: dict[str, Any] = {}
        for base in bases:
            if isinstance(base, yaml.MappingNode) and base.tag == _YAML + "map":
                values = self.value(base, path) | values
            else:
                self._add_problem(base, path, "<<: takes a mapping, or a list of mappings")
        return values

    def _scalar(self, node: yaml.ScalarNode, path: OptionPath) -> Any:
        kind = node.tag.removeprefix(_YAML)
        if kind in ("str", "timestamp", "value", "merge"):
            return node.value
        if kind in ("null", "bool", "int", "float"):
            try:
                return SafeConstructor().construct_object(node)
            except (ValueError, KeyError, IndexError, OverflowError):
                return self._add_broken(node, path, "looks like a number and is none; quote a text")
        if kind == "!secret":
            return self._secret(node, path)
        if kind == "!env_var":
            return self._environment(node, path)
        return self._add_unknown_tag(node, path)

    def _environment(self, node: yaml.ScalarNode, path: OptionPath) -> str:
        name, default = [*node.value.split(maxsplit=1), None, None][:2]
        if not name or not _NAME.fullmatch(name):
            return self._add_broken(node, path, "expected !env_var NAME or !env_var NAME default")
        value: str | None = os.environ.get(name, default)
        if value is None:
            return self._add_broken(node, path, f"the environment variable {name} is not set, and no default is given")
        return value

    def _secret(self, node: yaml.ScalarNode, path: OptionPath) -> str:
        name = node.value.strip()
        if not name:
            return self._add_broken(node, path, "expected !secret NAME")
        if self.secrets_file is None:
            self.secrets_file = _read_secrets(_secrets_path(self.file.parent))
            self.problems += [problem for problem in self.secrets_file.problems if problem.line]
            self.secrets.update(self.secrets_file.values.values())
        if name in self.secrets_file.values:
            return self.secrets_file.values[name]
        if self.secrets_file.problems and not self.secrets_file.problems[0].line:
            return self._add_broken(
                node, path, f"{self.secrets_file.problems[0]}; it takes a line {printable(name)}: VALUE"
            )
        if any(problem.path in ((), (name,)) for problem in self.secrets_file.problems):
            self.broken.add(path)
            return ""
        hint = nearest(name, self.secrets_file.values)
        return self._add_broken(node, path, f"no secret {printable(name)} in {SECRETS};{hint}".removesuffix(";"))

    def _add_unknown_tag(self, node: yaml.Node, path: OptionPath) -> str:
        message = "unknown tag; allowed are !secret NAME and !env_var NAME [default], quote a text that begins with !"
        return self._add_broken(node, path, message)

    def _add_broken(self, node: yaml.Node, path: OptionPath, message: str) -> str:
        self.broken.add(path)
        self._add_problem(node, path, message)
        return ""

    def _add_problem(self, node: yaml.Node, path: OptionPath, message: str) -> None:
        line, column = _position(node)
        self.problems.append(Problem(file=self.file, line=line, column=column, path=path, message=message))


def _secrets_path(folder: Path) -> Path:
    """Return the path of the secrets: the credential that systemd passes to the service, else the file in `folder`."""
    credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", folder), SECRETS)
    return credential if credential.is_file() else folder / SECRETS


def _read_secrets(file: Path) -> _Secrets:
    """Return the secrets as they are written: `007` is not a number."""
    text = _decoded(file)
    root = text if isinstance(text, Problem) else _compose(text, file)
    if root is None:
        return _Secrets(values={}, problems=())
    if isinstance(root, Problem):
        return _Secrets(values={}, problems=(root,))
    if not isinstance(root, yaml.MappingNode):
        return _Secrets(values={}, problems=(Problem(file=file, line=1, message="expected lines like NAME: VALUE"),))
    values: dict[str, str] = {}
    problems = []
    for key, value in root.value:
        line, column = _position(key)
        if not isinstance(key, yaml.ScalarNode):
            problems.append(Problem(file=file, line=line, column=column, message="a name must be a plain text"))
        elif key.value in values:
            message = "this name is here twice; keep one"
            problems.append(Problem(file=file, line=line, column=column, path=(key.value,), message=message))
        elif not isinstance(value, yaml.ScalarNode) or not value.tag.startswith(_YAML) or not value.value:
            message = "expected a text that is not empty; quote one that begins with !"
            problems.append(Problem(file=file, line=line, column=column, path=(key.value,), message=message))
        else:
            values[key.value] = value.value
    return _Secrets(values=values, problems=tuple(problems))
