"""Problems of the configuration: file, line, option and message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

OptionPath = tuple[str | int, ...]
"""The way to a value: keys of mappings and indexes of lists, from the root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong; as text `file:line: path: message`. Line 0 means the file as a whole."""

    file: Path
    line: int = 0
    column: int = 0
    path: OptionPath = ()
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return ": ".join((place, *filter(None, (dotted(self.path),)), self.message))


def dotted(path: OptionPath) -> str:
    """Return a path as text: `("push", "allow", 0)` as `push.allow[0]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{printable(key)}" for key in path).removeprefix(".")


def printable(name: str) -> str:
    """Return a name as it may be written to a terminal."""
    return name if name.isprintable() else ascii(name)[1:-1]


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ` did you mean …?` with the most similar name, or nothing if none is similar."""
    return "".join(f" did you mean {match}?" for match in get_close_matches(name, list(names), n=1))
