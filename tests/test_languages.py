"""The operator's pages in English and Chinese say the same: headings, code, tables, and the names in each section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
CHINESE = ROOT / "docs" / "zh-CN"
PAIRS = {
    ROOT / "README.md": ROOT / "README.zh-CN.md",
    **{ROOT / "docs" / path.name: path for path in sorted(CHINESE.glob("*.md"))},
}
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```\n", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"(?:(?<=\s)|^)#\s.*$", re.MULTILINE)


class Section(NamedTuple):
    """Parts of a section that are the same in any language: level of the heading, code, rows, and names."""

    level: int
    code: tuple[str, ...]
    rows: int
    items: int
    names: frozenset[str]
    heading: str


def sections(page: Path) -> list[Section]:
    text = page.read_text("utf-8")
    blocks = [f"{language}:{_COMMENT.sub('', body)}" for language, body in _FENCE.findall(text)]
    numbers = iter(range(len(blocks)))
    text = _FENCE.sub(lambda _: f"BLOCK{next(numbers)}\n", text)
    found = []
    for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE):
        if not part.startswith("#"):
            continue
        heading, _, body = part.partition("\n")
        found.append(
            Section(
                level=len(heading) - len(heading.lstrip("#")),
                code=tuple(
                    "\n".join(line.rstrip() for line in blocks[int(number)].splitlines() if line.strip())
                    for number in re.findall(r"BLOCK(\d+)", body)
                ),
                rows=len(re.findall(r"^\|", body, re.MULTILINE)),
                items=len(re.findall(r"^(?:[*-]|\d+\.) ", body, re.MULTILINE)),
                names=frozenset(re.sub(r"\s+", " ", name) for name in re.findall(r"`([^`]+)`", body)),
                heading=heading,
            )
        )
    return found


@pytest.mark.parametrize(("english", "chinese"), PAIRS.items(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_are_in_step(english: Path, chinese: Path) -> None:
    ours, theirs = sections(english), sections(chinese)
    assert [section.level for section in ours] == [section.level for section in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        where = f"{mine.heading} / {other.heading}"
        assert mine.code == other.code, where
        assert (mine.rows, mine.items) == (other.rows, other.items), where
        assert mine.names - other.names == set(), where


def test_operators_pages_are_all_there() -> None:
    assert {path.name for path in CHINESE.glob("*.md")} == {
        "alarms.md",
        "cluster.md",
        "home-assistant.md",
        "install.md",
        "notifications.md",
        "platforms.md",
    }


@pytest.mark.parametrize("page", PAIRS.values(), ids=lambda path: path.name)
def test_chinese_page_is_chinese(page: Path) -> None:
    prose = re.sub(r"`[^`]+`", "", _FENCE.sub("", page.read_text("utf-8")))
    paragraphs = [each for each in re.split(r"\n\n", prose) if len(each) > 80 and "](" not in each]
    assert [each for each in paragraphs if not re.search(r"[\u4e00-\u9fff]", each)] == []


@pytest.mark.parametrize(("english", "chinese"), PAIRS.items(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_lead_to_each_other(english: Path, chinese: Path) -> None:
    assert re.search(rf"\[中文\]\((?:zh-CN/)?{re.escape(chinese.name)}\)", english.read_text("utf-8"))
    assert re.search(rf"\[English\]\((?:\.\./)?{re.escape(english.name)}\)", chinese.read_text("utf-8"))
