"""The project's source as the architecture test sees it: modules, what they import, and how long they are."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module; imports include those for type checking, as they bind the reader just as much.

    `loads` are the imports without those: what has to be there when the module runs.
    """

    name: str
    imports: frozenset[str]
    loads: frozenset[str]
    lines: int
    functions: tuple[tuple[str, int], ...]

    @property
    def part(self) -> str:
        """What it belongs to right below its package: `hub` of bridge.hub, `web` of bridge.web.page."""
        return (*self.name.split("."), "")[1]

    @property
    def platform(self) -> str | None:
        """`ums` of bridge.backends.ums.client."""
        root, _, rest = self.name.partition(".backends.")
        return rest.split(".")[0] if root == "bridge" and rest else None

    @property
    def is_simulator(self) -> bool:
        return self.platform is not None and any(part.startswith("simulator") for part in self.name.split(".")[3:])


Modules = dict[str, Module]


def read_tree(root: Path, *packages: str) -> Modules:
    """The modules of the packages below a project's root."""
    paths = sorted(path for package in packages for path in (root / package).rglob("*.py"))
    return parse({_name(path.relative_to(root)): path.read_text() for path in paths})


def parse(sources: Mapping[str, str]) -> Modules:
    """The same from source text by module name; `pkg.__init__` is a package."""
    names = {name.removesuffix(".__init__") for name in sources}
    return {name.removesuffix(".__init__"): _module(name, source, names) for name, source in sources.items()}


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts)


def _module(name: str, source: str, names: set[str]) -> Module:
    nodes = list(ast.walk(ast.parse(source)))
    for_types = {id(inner) for node in nodes if _is_for_types(node) for inner in ast.walk(node)}
    running = [node for node in nodes if id(node) not in for_types]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return Module(
        name=name.removesuffix(".__init__"),
        imports=frozenset(target for node in nodes for target in _targets(node, name, names)),
        loads=frozenset(target for node in running for target in _targets(node, name, names)),
        lines=len(source.splitlines()),
        functions=tuple((node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions),
    )


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _targets(node: ast.AST, name: str, names: set[str]) -> Iterator[str]:
    """Modules that a statement imports; `from package import x` means the module x where there is one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = name.split(".")[: -node.level] if node.level else []
        origin = ".".join((*above, *filter(None, [node.module])))
        for alias in node.names:
            inner = f"{origin}.{alias.name}"
            yield inner if inner in names else origin
