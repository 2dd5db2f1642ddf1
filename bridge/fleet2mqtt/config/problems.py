"""A fault in a file the operator wrote: where it is, and in what words it is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

OptionPath = tuple[str | int, ...]
"""The way to a value: keys of mappings and places in lists, from the root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong; as text `file:line: path: what`. Line 0 means the file as a whole."""

    file: Path
    line: int = 0
    column: int = 0
    keys: OptionPath = ()
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return ": ".join((place, *filter(None, (dotted(self.keys),)), self.message))


def dotted(keys: OptionPath) -> str:
    """`("push", "allow", 0)` as `push.allow[0]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{shown(key)}" for key in keys).removeprefix(".")


def shown(name: str) -> str:
    """A name as it may go to a terminal."""
    return name if name.isprintable() else ascii(name)[1:-1]


def nearest(name: str, names: Iterable[str]) -> str:
    """` did you mean …?`, or nothing where no name is like it."""
    return "".join(f" did you mean {match}?" for match in get_close_matches(name, list(names), n=1))
