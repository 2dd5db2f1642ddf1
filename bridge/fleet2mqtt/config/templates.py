"""Templates of notifications: Jinja2 in its sandbox, limited in what they say, in time and in size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from fleet2mqtt.config.apprise_library import load_library

MAX_SOURCE = 10_000
MAX_TEXT = 2_000
"""Characters of each text that a template is given."""
MAX_RANGE = 1_000
MAX_NESTED = 2
MAX_SECONDS = 1.0
"""Processor time that a template may take."""
_FORBIDDEN_FILTERS = ("center", "format", "indent", "pprint", "xmlattr")
_FORBIDDEN_METHODS = frozenset(("center", "expandtabs", "format", "format_map", "ljust", "replace", "rjust", "zfill"))
_FORBIDDEN_STATEMENTS = ("Block", "CallBlock", "Extends", "FromImport", "Import", "Include", "Macro")


class TemplateProblem(Exception):
    """A template that cannot be used, or not with these values; the text says why."""


def check(source: str) -> None:
    """Compile a template. Raises TemplateProblem, and vol.Invalid if Jinja2 is not installed."""
    _compiled(source)


def render(source: str, values: Mapping[str, Any], limit: int) -> str:
    """Return the text of a template, of `limit` characters at most. Raises TemplateProblem.

    It may take MAX_SECONDS of the processor: not for the event loop.
    """
    try:
        return "".join(_parts(source, values, limit))[:limit]
    except TemplateProblem:
        raise
    except Exception as error:  # what a template raises is not foreseeable
        raise TemplateProblem(str(error) or type(error).__name__) from error


def _parts(source: str, values: Mapping[str, Any], limit: int) -> Iterator[str]:
    template = _compiled(source)
    # The thread's own time: on a machine that is busy otherwise, or sleeps, no template takes longer.
    deadline, length = time.thread_time() + MAX_SECONDS, 0
    for part in template.generate(_clip(values)):
        yield part
        length += len(part)
        if length >= limit:
            return
        if time.thread_time() > deadline:
            raise TemplateProblem(f"takes longer than {MAX_SECONDS:g} s")


@lru_cache(maxsize=64)
def _compiled(source: str) -> Any:
    jinja2, nodes = load_library("jinja2"), load_library("jinja2.nodes")
    if len(source) > MAX_SOURCE:
        raise TemplateProblem(f"longer than {MAX_SOURCE} characters")
    environment = _environment()
    try:
        parsed = environment.parse(source)
        for node in parsed.find_all(tuple(getattr(nodes, name) for name in _FORBIDDEN_STATEMENTS)):
            raise TemplateProblem(f"line {node.lineno}: {type(node).__name__.lower()} is not possible here")
        if _depth(parsed, nodes.For) > MAX_NESTED or any(each.recursive for each in parsed.find_all(nodes.For)):
            raise TemplateProblem(f"no recursive loops, and loops in loops {MAX_NESTED} deep at most")
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise TemplateProblem(error.message or type(error).__name__) from error


def _depth(node: Any, kind: type) -> int:
    return isinstance(node, kind) + max((_depth(each, kind) for each in node.iter_child_nodes()), default=0)


@lru_cache(maxsize=1)
def _environment() -> Any:
    sandbox = load_library("jinja2.sandbox")

    class Sandbox(sandbox.ImmutableSandboxedEnvironment):  # type: ignore[misc, name-defined] # imported late
        """Refuses what makes large texts or numbers out of small ones."""

        intercepted_binops = frozenset(("*", "**", "%"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            """Calculate with numbers only."""
            both = isinstance(left, int | float) and isinstance(right, int | float)
            if not both or operator == "**" or max(abs(left), abs(right)) > 2**53:
                raise sandbox.SecurityError(f"{operator} is for numbers only, and not for large ones")
            return super().call_binop(context, operator, left, right)

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            """Refuse methods that make long texts."""
            return attr not in _FORBIDDEN_METHODS and super().is_safe_attribute(obj, attr, value)

        def wrap_str_format(self, value: Any) -> Any:
            """Refuse `str.format`, which pads to any width; Jinja2 gives it before it asks for the attribute."""
            if super().wrap_str_format(value) is not None:
                raise sandbox.SecurityError("format is not possible here")

    environment = Sandbox(autoescape=False)  # plain text
    environment.globals = {"range": _range, "dict": dict}
    for name in _FORBIDDEN_FILTERS:
        environment.filters.pop(name, None)
    return environment


def _range(*arguments: int) -> range:
    numbers = range(*arguments)
    if len(numbers) > MAX_RANGE:
        raise TemplateProblem(f"a range of more than {MAX_RANGE} numbers")
    return numbers


def _clip(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, Mapping):
        return {key: _clip(each) for key, each in value.items()}
    return [_clip(each) for each in value] if isinstance(value, list) else value
