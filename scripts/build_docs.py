"""Build the documentation's site from the pages of the repository, into build/site or below another folder.

    scripts/docs

Pages keep their places below docs/; README.md becomes the start page, those of platforms come into platforms/. Links to
files that are no page lead to GitHub. The API reference for authors of platforms is generated from docstrings. Broken
links fail.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
SOURCE, SITE = "site-source", "site"
REPOSITORY = "https://github.com/fleet2mqtt/fleet2mqtt"
PLATFORMS = ROOT / "bridge" / "fleet2mqtt" / "platforms"
API = ("sdk/api", "devices/model", "sdk/updates", "sdk/device_cache", "sdk/http_client", "sdk/sweep", "sdk/validators")
"""Modules that a platform is written with."""

_LINK = re.compile(r"(?<=\]\()([^)\s#]*)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)

NAVIGATION: dict[str, dict[str, str]] = {
    "fleet2mqtt": {"Start": "index.md", "Install": "install.md", "Compatibility": "compatibility.md"},
    "Operate": {
        "Home Assistant": "home-assistant.md",
        "Alarms": "alarms.md",
        "Notifications": "notifications.md",
        "Monitoring": "monitoring.md",
        "Cluster": "cluster.md",
        "Backup and upgrade": "backup.md",
        "Security": "security.md",
        "Changelog": "changelog.md",
    },
    "Integrate": {"MQTT contract": "mqtt.md", "Examples": "examples.md", "Performance": "performance.md"},
    "Develop": {
        "Contributing": "contributing.md",
        "Architecture": "architecture.md",
        "API for platforms": "api.md",
        "Glossary": "glossary.md",
        "Quirks": "quirks.md",
    },
}
"""Titles and places of the pages, but for those that come from folders: platforms, decisions and Chinese."""


class Page(NamedTuple):
    """A page of the repository, and its place in the site."""

    path: Path
    place: str


def pages() -> Iterator[Page]:
    """Yield the pages of the site."""
    yield Page(ROOT / "README.md", "index.md")
    yield Page(ROOT / "README.zh-CN.md", "zh-CN/index.md")
    for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY"):
        yield Page(ROOT / f"{name}.md", f"{name.lower()}.md")
    yield Page(ROOT / "examples" / "README.md", "examples.md")
    for path in sorted((ROOT / "docs").rglob("*.md")):
        yield Page(path, path.relative_to(ROOT / "docs").as_posix())
    for path in sorted(PLATFORMS.glob("*/README.md")):
        yield Page(path, f"platforms/{path.parent.name.strip('_')}.md")


def link(target: str, page: Page, places: dict[Path, str]) -> str:
    """Return a relative link as it is in the site: to a page or picture there, else to GitHub."""
    if not target or "://" in target or target.startswith("mailto:"):
        return target
    path = (page.path.parent / target).resolve()
    place = places.get(path)
    if place is None and path.is_relative_to(ROOT / "docs" / "images"):
        place = path.relative_to(ROOT / "docs").as_posix()
    if place is None:
        kind = "tree" if path.is_dir() else "blob"
        return f"{REPOSITORY}/{kind}/main/{path.relative_to(ROOT).as_posix()}"
    return os.path.relpath(place, Path(page.place).parent)


def convert(page: Page, places: dict[Path, str]) -> str:
    """Return the text of a page with its links, those in code left alone."""
    text, parts, end = page.path.read_text("utf-8"), [], 0
    for fence in (*_FENCE.finditer(text), None):
        prose = text[end : fence.start() if fence else None]
        parts.append(_LINK.sub(lambda found: link(found[1], page, places) + (found[2] or ""), prose))
        if fence:
            parts.append(fence[0])
            end = fence.end()
    return "".join(parts)


def api_page() -> str:
    """Return the reference of the modules that a platform is written with."""
    parts = [
        "# API for platforms\n",
        (
            "From the docstrings of the modules that a platform is written with. "
            "[Architecture](architecture.md#a-new-platform) has the steps, `platforms/_template` a platform to copy.\n"
        ),
    ]
    for name in API:
        tree = ast.parse((ROOT / "bridge" / "fleet2mqtt" / f"{name}.py").read_text("utf-8"))
        parts.append(f"## fleet2mqtt.{name.replace('/', '.')}\n\n{_text(tree)}\n")
        parts += [_entry(node) for node in _public(tree.body)]
    return "\n".join(parts)


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _public(body: list[ast.stmt]) -> Iterator[Definition]:
    """Yield the definitions with a public name."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node


def _entry(node: Definition) -> str:
    if not isinstance(node, ast.ClassDef):
        kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        signature = f"{kind} {node.name}({ast.unparse(node.args)}){returns}"
        return f"#### {node.name}\n\n```python\n{signature}\n```\n\n{_text(node)}\n"
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    fields = [f"    {ast.unparse(each)}" for each in node.body if isinstance(each, ast.AnnAssign | ast.Assign)]
    shown = "\n".join((f"class {node.name}{bases}:", *fields)) if fields else f"class {node.name}{bases}"
    methods = [_entry(each) for each in _public(node.body) if ast.get_docstring(each)]
    return "\n".join((f"### {node.name}\n\n```python\n{shown}\n```\n\n{_text(node)}\n", *methods))


def _text(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return a docstring, in which indented lines are code already."""
    return (ast.get_docstring(node) or "").replace("<", "&lt;")


def configuration() -> str:
    """Return the configuration of zensical."""
    navigation = ",\n".join(
        f"  {{{title!r} = [{', '.join(f'{{{name!r} = {place!r}}}' for name, place in listed.items())}]}}"
        for title, listed in sections().items()
    )
    return f"""\
[project]
site_name = "fleet2mqtt"
site_description = "Bridges fleets of telecom and IoT devices to MQTT, with Home Assistant discovery"
repo_url = "{REPOSITORY}"
docs_dir = "{SOURCE}"
site_dir = "{SITE}"
nav = [
{navigation}
]

[project.theme]
language = "en"
font = false

[project.markdown_extensions.tables]
[project.markdown_extensions.attr_list]
[project.markdown_extensions.md_in_html]
[project.markdown_extensions.toc]
permalink = true
slugify = {{object = "pymdownx.slugs.slugify", kwds = {{case = "lower"}}}}
[project.markdown_extensions.pymdownx.highlight]
[project.markdown_extensions.pymdownx.superfences]
"""


def sections() -> dict[str, dict[str, str]]:
    """Return the navigation: titles and places by section."""
    found = dict(NAVIGATION)
    found["Platforms"] = {"Credentials": "platforms.md"} | _listed("platforms/")
    found["Decisions"] = _listed("decisions/")
    found["中文"] = _listed("zh-CN/")
    return {title: found[title] for title in ("fleet2mqtt", "Platforms", *found)}


def _listed(folder: str) -> dict[str, str]:
    """Return the pages in a folder of the site by the title that each has, its start page first."""
    listed = sorted(
        (page for page in pages() if page.place.startswith(folder)),
        key=lambda page: (page.path.parent != ROOT, page.place),
    )
    return {_title(page): page.place for page in listed}


def _title(page: Page) -> str:
    heading = page.path.read_text("utf-8").partition("# ")[2].partition("\n")[0]
    return re.sub(r" \(`.*`\)|[`']", "", heading)


def main(build: Path = BUILD) -> int:
    """Build the site in a folder; return the exit code."""
    source = build / SOURCE
    for folder in (source, build / SITE):
        shutil.rmtree(folder, ignore_errors=True)
    places = {page.path.resolve(): page.place for page in pages()}
    for page in pages():
        target = source / page.place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(convert(page, places), "utf-8")
    (source / "api.md").write_text(api_page(), "utf-8")
    shutil.copytree(ROOT / "docs" / "images", source / "images")
    (build / "zensical.toml").write_text(configuration(), "utf-8")
    program = Path(sys.executable).with_name("zensical")
    return subprocess.call([program, "build", "--strict", "--clean"], cwd=build)  # noqa: S603 - of this environment


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
