"""The project's source as the architecture test sees it: modules and what they import."""

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

    `loads` are the imports without those: the modules that have to be there when this one runs.
    """

    name: str
    imports: frozenset[str]
    loads: frozenset[str]

    @property
    def root(self) -> str:
        """The top-level package: `fleet2mqtt` or `custom_components`."""
        return self.name.split(".")[0]

    @property
    def package(self) -> str:
        """The package or module below the root: `web` of fleet2mqtt.web.page, `` of the root itself."""
        return (*self.name.split("."), "")[1]

    @property
    def part(self) -> str:
        """The part below the package: `ums` of fleet2mqtt.platforms.ums.client."""
        return (*self.name.split("."), "", "")[2]


Modules = dict[str, Module]


def read_tree(packages: Mapping[str, Path]) -> Modules:
    """Read the modules of packages, each given with its source root."""
    paths = [(path, root) for package, root in packages.items() for path in sorted((root / package).rglob("*.py"))]
    return parse({_name(path.relative_to(root)): path.read_text() for path, root in paths})


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
    return Module(
        name=name.removesuffix(".__init__"),
        imports=frozenset(target for node in nodes for target in _targets(node, name, names)),
        loads=frozenset(target for node in running for target in _targets(node, name, names)),
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
