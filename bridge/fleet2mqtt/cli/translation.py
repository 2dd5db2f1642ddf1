"""Translation of what the command line prints: the catalogue beside this module has Chinese for each English text.

Texts are raised and printed in English, wherever they come from, and translated where they are printed. A text that the
catalogue does not have stays as it is.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import resources

import yaml

ENGLISH, CHINESE = "en", "zh-Hans"
LANGUAGES = (ENGLISH, CHINESE)
OPTION = "--language"

_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""In the order of POSIX: the first that is set decides."""
_GAP = "{}"
_NUMBERED = re.compile(r"\{(\d*)\}")


class Translation:
    """Texts in one language. Called with an English text, it returns the translation."""

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, text: str) -> str:
        """Return a text in the language, line by line where it has several that are not known as a whole."""
        if self.language == ENGLISH:
            return text
        if "\n" in text and text not in self.catalogue:
            return "\n".join(map(self, text.split("\n")))
        found = self._find(text)
        return text if found is None else found

    @cached_property
    def catalogue(self) -> Mapping[str, str]:
        """The translations by English text."""
        file = resources.files("fleet2mqtt.cli").joinpath(f"{self.language}.yaml")
        found: dict[str, str] = yaml.safe_load(file.read_text("utf-8"))
        return found

    @cached_property
    def _patterns(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        """The texts with gaps, those with the most text of their own first."""
        texts = sorted((text for text in self.catalogue if _GAP in text), key=lambda text: -len(text.replace(_GAP, "")))
        return tuple(
            (re.compile("(.+?)".join(map(re.escape, text.split(_GAP)))), self.catalogue[text]) for text in texts
        )

    def _find(self, text: str) -> str | None:
        """Return the translation of a text, or of its end after a colon; None without one."""
        if text in self.catalogue:
            return self.catalogue[text]
        for pattern, translated in self._patterns:
            if match := pattern.fullmatch(text):
                return _fill(translated, [self(group) for group in match.groups()])
        head, colon, tail = text.partition(": ")
        found = self._find(tail) if colon else None
        return None if found is None else f"{head}: {found}"


def _fill(text: str, values: Sequence[str]) -> str:
    """Fill the gaps of a translation, which are numbered where their order is another one."""
    numbers = iter(range(len(values)))
    return _NUMBERED.sub(lambda gap: values[int(gap[1]) if gap[1] else next(numbers)], text)


def choose_language(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the language that `--language` names, else that of the locale."""
    given = ""
    for number, argument in enumerate(arguments):
        if argument == OPTION and number + 1 < len(arguments):
            given = arguments[number + 1]
        elif argument.startswith(f"{OPTION}="):
            given = argument.removeprefix(f"{OPTION}=")
    if given in LANGUAGES:
        return given
    locale = next((environment[name] for name in _VARIABLES if environment.get(name)), "")
    return CHINESE if locale.lower().startswith("zh") else ENGLISH


class Parser(argparse.ArgumentParser):
    """An argument parser whose help and errors are translated."""

    translate: Callable[[str], str] = str

    def translate_all(self, translate: Callable[[str], str]) -> None:
        """Translate all texts of this parser and of its commands."""
        self.translate = translate
        self.description = translate(self.description) if self.description else None
        self.epilog = translate(self.epilog) if self.epilog else None
        for group in self._action_groups:
            group.title = translate(group.title) if group.title else None
        for action in self._actions:
            action.help = translate(action.help) if action.help else action.help
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no other way to its commands
                for listed in action._choices_actions:  # noqa: SLF001 - as above
                    listed.help = translate(listed.help) if listed.help else listed.help
                for parser in action.choices.values():
                    parser.translate_all(translate)

    def format_usage(self) -> str:
        """Return the usage, translated."""
        return self.translate(super().format_usage().rstrip("\n")) + "\n"

    def format_help(self) -> str:
        """Return the help, its first word translated as well."""
        usage, rest = super().format_usage(), super().format_help()
        return self.format_usage() + rest.removeprefix(usage) if rest.startswith(usage) else rest

    def error(self, message: str) -> None:  # type: ignore[override] # as argparse, it does not return
        """Print the usage and a translated message, and end with exit code 2."""
        super().error(self.translate(message))
