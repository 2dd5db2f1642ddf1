"""Generate the tree of packages and modules in docs/architecture.md from the source.

    scripts/generate [--check]

A package's line is the first line of its docstring.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "bridge" / "fleet2mqtt"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: scripts/generate -->\n", "<!-- end of tree -->\n"
WIDTH = 118


def tree(source: Path = SOURCE) -> str:
    """Return the tree as text: packages with what they are for, and their modules."""
    return "".join(f"{line}\n" for line in ("bridge/fleet2mqtt/", *_modules(source, "  "), *_packages(source, "  ")))


def _packages(folder: Path, indent: str) -> Iterator[str]:
    for package in sorted(path for path in folder.iterdir() if (path / "__init__.py").exists()):
        yield f"{indent}{package.name + '/':<16} {_first_line(package / '__init__.py')}".rstrip()
        yield from _modules(package, indent + "  ")
        yield from _packages(package, indent + "  ")


def _modules(folder: Path, indent: str) -> Iterator[str]:
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    yield from textwrap.wrap(" ".join(names), WIDTH, initial_indent=indent, subsequent_indent=indent)


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.partition("\n")[0]


def page() -> str:
    """Return the page with the tree of now."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}```text\n{tree()}```\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write the page, or with --check tell whether it is up to date; return the exit code."""
    text = page()
    if text == PAGE.read_text("utf-8"):
        return 0
    if arguments == ["--check"]:
        print(f"{PAGE.relative_to(ROOT)} is not up to date: run scripts/generate", file=sys.stderr)  # noqa: T201
        return 1
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
