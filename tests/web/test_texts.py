"""Languages of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet2mqtt.web import page
from fleet2mqtt.web.texts import LANGUAGES, choose_language, load_texts
from tests.web.web_bench import bench

ASSETS = Path(page.__file__).parent / "assets"


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_each_language_has_the_same_texts_and_placeholders() -> None:
    english, chinese = map(load_texts, LANGUAGES)
    assert english.keys() == chinese.keys()
    assert all(text.strip() for text in (*english.values(), *chinese.values()))
    assert {key: placeholders(text) for key, text in english.items()} == {
        key: placeholders(text) for key, text in chinese.items()
    }


def test_every_text_that_the_page_names_exists_and_is_used() -> None:
    html, script = (ASSETS.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "page.js"))
    known = load_texts("en").keys()
    assert set(re.findall(r"\{\{(\w+)\}\}", html)) | set(re.findall(r'\bt\("(\w+)"', script)) <= known
    words = set(re.findall(r"\w+", html + script))
    by_prefix = ("durability_", "error_", "node_", "source_", "type_")
    assert {key for key in known if key not in words and not key.startswith(by_prefix)} == set()


@pytest.mark.parametrize(
    ("wanted", "accepted", "language"),
    [
        ("", "", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        ("", "de-DE,de;q=0.9,zh;q=0.5,en;q=0.7", "en"),
        ("", "en;q=0, zh;q=0.1", "zh-Hans"),
        ("", "zh;q=x, fr", "en"),
        ("en", "zh-CN", "en"),
        ("zh-Hans", "en", "zh-Hans"),
        ("zh", "en", "zh-Hans"),
        ("fr", "zh", "zh-Hans"),
    ],
)
def test_language_is_the_wanted_or_else_the_first_accepted(wanted: str, accepted: str, language: str) -> None:
    assert choose_language(wanted, accepted) == language


@pytest.mark.parametrize(("query", "title"), [("", "概览"), ("?lang=en", "Overview")])
async def test_page_is_in_the_language_of_the_browser_or_the_url(tmp_path: Path, query: str, title: str) -> None:
    async with (
        bench(tmp_path) as parts,
        parts.client.get("/alarms" + query, headers={"Accept-Language": "zh-CN"}) as answer,
    ):
        assert f">{title}</a>" in await answer.text()
        assert answer.headers["Content-Language"] in LANGUAGES
        assert answer.headers["Vary"] == "Accept-Language"
