"""Parameters in the URLs of the web application: validated, with errors that name the parameter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fleet2mqtt.web.texts import choose_language

MAX_TEXT = 200
MAX_NUMBER = 1 << 53
_BOOLEANS = {"true": True, "false": False}


class ParameterError(Exception):
    """A parameter of a URL has a value that is not allowed; the text names it and what is allowed."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one request, and the language of its response."""

    values: Mapping[str, Sequence[str]]
    language: str

    @classmethod
    def of(cls, values: Mapping[str, Sequence[str]], accepted: str) -> Parameters:
        """Return the parameters of a request with an Accept-Language header."""
        return cls(values, choose_language(next(iter(values.get("lang", ())), ""), accepted))

    @property
    def key(self) -> tuple[object, ...]:
        """Return what is equal for requests with the same response."""
        return self.language, tuple(sorted((name, tuple(values)) for name, values in self.values.items()))

    def text(self, name: str) -> str:
        """Return a text, at most 200 characters, "" without one."""
        return next(iter(self.values.get(name, ())), "").strip()[:MAX_TEXT]

    def number(self, name: str, default: int) -> int:
        """Return a whole number from 1. Raises ParameterError."""
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MAX_NUMBER:
            raise ParameterError(f"{name}: expected a whole number from 1, got {text!r}")
        return int(text)

    def choices(self, name: str, allowed: Collection[str]) -> frozenset[str]:
        """Return the values of a parameter that may be given several times. Raises ParameterError."""
        given = frozenset(value for value in self.values.get(name, ()) if value)
        for value in sorted(given.difference(allowed)):
            raise ParameterError(f"{name}: expected one of {', '.join(allowed)}, got {value[:MAX_TEXT]!r}")
        return given

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        """Return one of the allowed values. Raises ParameterError."""
        return next(iter(self.choices(name, allowed)), default)

    def boolean(self, name: str) -> bool | None:
        """Return True, False, or None without the parameter. Raises ParameterError."""
        found = next(iter(self.choices(name, tuple(_BOOLEANS))), None)
        return None if found is None else _BOOLEANS[found]
