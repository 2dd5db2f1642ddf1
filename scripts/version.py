"""Print, compare or set the version number: `scripts/version` says how.

pyproject.toml is the source. The package's `__version__` comes from the installed metadata, so it needs no entry here.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"
SOURCE = ROOT / "pyproject.toml"
NUMBER = r"\d+\.\d+\.\d+"
# Each file with the text around its version number, which occurs once.
PLACES = {
    SOURCE: re.compile(rf'^(version = ")({NUMBER})(")$', re.MULTILINE),
    ROOT / "packaging/addon/config.yaml": re.compile(rf'^(version: ")({NUMBER})(")$', re.MULTILINE),
    ROOT / "custom_components/fleet2mqtt/manifest.json": re.compile(rf'^(  "version": ")({NUMBER})(")', re.MULTILINE),
}
UNRELEASED = "## [Unreleased]\n"
SECTION = re.compile(rf"^## \[({NUMBER})\] - \d{{4}}-\d{{2}}-\d{{2}}$", re.MULTILINE)
COMPARED = re.compile(rf"^(\[Unreleased\]: (.*/)compare/)(v{NUMBER})\.\.\.HEAD$", re.MULTILINE)


def fail(message: str) -> str:
    """Return the message as it is shown on standard error."""
    return f"scripts/version: {message}"


def name(path: Path) -> str:
    """Return a path as the messages show it."""
    return path.relative_to(ROOT).as_posix()


def read_version(path: Path) -> str:
    """Return the version number in a file; exits where there is not exactly one."""
    found = PLACES[path].findall(path.read_text("utf-8"))
    if len(found) != 1:
        sys.exit(fail(f"{name(path)} has {len(found)} version numbers, expected one"))
    return str(found[0][1])


def read_versions() -> dict[str, str]:
    """Return the version number of every file by its name; CHANGELOG.md counts with its newest section."""
    versions = {name(path): read_version(path) for path in PLACES}
    released = SECTION.search(CHANGELOG.read_text("utf-8"))
    return versions | {name(CHANGELOG): released[1] if released else "none"}


def check_versions() -> str:
    """Return the version number; exits where the files disagree."""
    versions = read_versions()
    if len(set(versions.values())) != 1:
        sys.exit(fail("; ".join(f"{file} has {version}" for file, version in versions.items())))
    return read_version(SOURCE)


def read_notes(heading: str) -> str:
    """Return what CHANGELOG.md says below a heading, up to the next one of its rank or to the links."""
    _, _, rest = CHANGELOG.read_text("utf-8").partition(heading)
    return re.split(r"^(?:## |\[[^\]]+\]: )", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()


def set_version(new: str) -> None:
    """Write a version number to every file, and make the section Unreleased that version's, dated today."""
    old = check_versions()
    if not re.fullmatch(NUMBER, new):
        sys.exit(fail(f"{new!r} is no version number such as 1.2.3"))
    if tuple(map(int, new.split("."))) <= tuple(map(int, old.split("."))):
        sys.exit(fail(f"{new} is not newer than {old}"))
    if not read_notes(UNRELEASED):
        sys.exit(fail("CHANGELOG.md has nothing under Unreleased"))
    for path, pattern in PLACES.items():
        path.write_text(pattern.sub(rf"\g<1>{new}\g<3>", path.read_text("utf-8")), "utf-8")
    changelog = CHANGELOG.read_text("utf-8")
    changelog = changelog.replace(UNRELEASED, f"{UNRELEASED}\n## [{new}] - {datetime.now(UTC):%Y-%m-%d}\n", 1)
    changelog = COMPARED.sub(rf"\g<1>v{new}...HEAD\n[{new}]: \g<2>compare/\g<3>...v{new}", changelog)
    CHANGELOG.write_text(changelog, "utf-8")


def main(arguments: list[str]) -> None:
    """Run one command line."""
    match arguments:
        case []:
            sys.stdout.write(f"{check_versions()}\n")
        case ["--notes"]:
            version = check_versions()
            heading = next(each[0] for each in SECTION.finditer(CHANGELOG.read_text("utf-8")) if each[1] == version)
            sys.stdout.write(f"{read_notes(heading)}\n")
        case [new] if not new.startswith("-"):
            set_version(new)
            sys.stdout.write(f"{check_versions()}\n")
        case _:
            sys.exit(fail("expected nothing, a version number or --notes"))


if __name__ == "__main__":
    main(sys.argv[1:])
