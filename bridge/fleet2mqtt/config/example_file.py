"""The example file with every option, and configurations for one platform made from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

import yaml

NAME = "fleet2mqtt.example.yaml"

_BACKENDS = "backends:\n"
_COMMON_BEGIN = "    # These options every platform has:\n"
_INTERVALS = "    #scan_interval:\n"
_OPTION = re.compile(r"^( *)#?([A-Za-z_]\w*):(?: |$)")
_COMMENT = re.compile(r"^ *# ?(.*)$")

OptionNames = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleOption:
    """An option that the example sets: its name, its value as written there, and the comment above it."""

    name: str
    value: str
    comment: str


def text() -> str:
    """Return the example file."""
    return resources.files("fleet2mqtt.config").joinpath(NAME).read_text("utf-8")


def for_platform(platform: str) -> str:
    """Return a configuration with one backend of this platform: what it needs is set, all else is left out.

    Raises KeyError for a platform that the example does not have.
    """
    general, _, rest = text().partition(_BACKENDS)
    blocks = {_platform(block): block for block in re.split(r"\n(?=  # )", rest)}
    return f"{general}{_BACKENDS}{_with_common(blocks[platform], next(iter(blocks.values())))}"


def backend_name(configuration: str) -> str:
    """Return the name of the first backend of a configuration made from the example."""
    return next(
        names[1] for _, names in _options(configuration.splitlines()) if names[:1] == ("backends",) and names[1:]
    )


def set_options(configuration: str) -> tuple[ExampleOption, ...]:
    """Return the options that the backend of a configuration sets, besides its platform."""
    lines = configuration.splitlines()
    backend = ("backends", backend_name(configuration))
    found = []
    for number, names in _options(lines):
        line = lines[number].strip()
        if names[:2] == backend and len(names) == 3 and names[2] != "platform" and not line.startswith("#"):
            found.append(
                ExampleOption(name=names[2], value=line.partition(":")[2].strip(), comment=_above(lines, number))
            )
    return tuple(found)


def comments(configuration: str) -> Iterator[tuple[OptionNames, str]]:
    """Yield the path of each option, set or left out, with the comment above it."""
    lines = configuration.splitlines()
    for number, names in _options(lines):
        yield names, _above(lines, number)


def fill(configuration: str, values: Mapping[OptionNames, str]) -> str:
    """Return a configuration with these options set, by their path; a value is YAML, empty for a section.

    Raises KeyError for an option that the configuration does not name.
    """
    lines = configuration.splitlines()
    missing = dict(values)
    for number, names in _options(tuple(lines)):
        if names in missing:
            indent = len(lines[number]) - len(lines[number].lstrip(" "))
            lines[number] = f"{' ' * indent}{names[-1]}: {missing.pop(names)}".rstrip()
    if missing:
        raise KeyError(f"the example has no option {', '.join(map('.'.join, missing))}")
    return "\n".join(lines) + "\n"


def scalar(value: object) -> str:
    """Return a value as YAML in one line."""
    dumped = yaml.safe_dump(value, allow_unicode=True, width=10_000, default_flow_style=True)
    return dumped.removesuffix("\n").removesuffix("\n...")


def _platform(block: str) -> str:
    found = re.search(r"^    platform: (\w+)$", block, re.MULTILINE)
    return found[1] if found else ""


def _with_common(block: str, first: str) -> str:
    """Return the block of a backend with the options that every platform has, which the first block lists."""
    if _COMMON_BEGIN in block:
        return block
    own = {names[0] for _, names in _options(block.splitlines(), below=4)}
    _, begin, rest = first.partition(_COMMON_BEGIN)
    entries = _entries(rest.partition(_INTERVALS)[0].splitlines(keepends=True))
    common = "".join(entry for entry in entries if not own & {names[0] for _, names in _options(entry.splitlines(), 4)})
    # The first platform has a default of its own, and a kind of sub-device that others do not have.
    common = common.replace("#stale_after: 0\n", "#stale_after: 7200\n")
    common = re.sub(r" *#- \{kind: .*\n", "", common)
    before, intervals, after = block.partition(_INTERVALS)
    return f"{before}\n{begin}{common}{intervals}{after}"


def _entries(lines: Iterable[str]) -> Iterator[str]:
    """Yield the parts of a block that begin with a comment and end before the next one."""
    entry, has_option = "", False
    for line in lines:
        is_comment = line.startswith("    # ")
        if is_comment and has_option:
            yield entry
            entry, has_option = "", False
        entry += line
        has_option = has_option or (not is_comment and bool(line.strip()))
    yield entry


def _options(lines: Iterable[str], below: int = 0) -> Iterator[tuple[int, OptionNames]]:
    """Yield the line number and the path of each option, set or left out, that is indented by `below` at least."""
    stack: list[tuple[int, str]] = []
    for number, line in enumerate(lines):
        match = _OPTION.match(line)
        if match is None or len(match[1]) < below:
            continue
        while stack and stack[-1][0] >= len(match[1]):
            stack.pop()
        stack.append((len(match[1]), match[2]))
        yield number, tuple(name for _, name in stack)


def _above(lines: list[str], number: int) -> str:
    """Return the comment above a line."""
    found: list[str] = []
    for line in reversed(lines[:number]):
        match = _COMMENT.match(line)
        if match is None or _OPTION.match(line):
            break
        found.insert(0, match[1])
    return " ".join(found)
