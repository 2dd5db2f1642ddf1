"""Texts of the page: one table per language, chosen by `?lang=` or by the browser's languages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import orjson

ENGLISH, CHINESE = LANGUAGES = ("en", "zh-Hans")
_FOLDER = Path(__file__).parent / "assets"
_MAX_HEADER = 500


def load_texts(language: str) -> Mapping[str, str]:
    """Return the table of a language."""
    return cast("Mapping[str, str]", orjson.loads(_FOLDER.joinpath(f"{language}.json").read_bytes()))


def choose_language(wanted: str, accepted: str) -> str:
    """Return the language of a page: the one in `?lang=`, else the first known one of an Accept-Language header."""
    if (language := _known(wanted)) is not None:
        return language
    for tag in _by_quality(accepted[:_MAX_HEADER]):
        if (language := _known(tag)) is not None:
            return language
    return ENGLISH


def _known(tag: str) -> str | None:
    return {"en": ENGLISH, "zh": CHINESE}.get(tag.strip().partition("-")[0].casefold())


def _by_quality(header: str) -> list[str]:
    found = []
    for position, item in enumerate(header.split(",")):
        tag, _, parameter = item.partition(";")
        name, _, value = parameter.strip().partition("=")
        try:
            quality = float(value) if name == "q" else 1.0
        except ValueError:
            quality = 0.0
        if quality > 0:
            found.append((-quality, position, tag))
    return [tag for _, _, tag in sorted(found)]
