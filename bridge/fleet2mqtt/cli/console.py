"""Questions at a terminal, and their answers; what is not a terminal is read line by line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from getpass import getpass

from fleet2mqtt.cli.process import print_line

Translate = Callable[[str], str]
_YES = frozenset(("y", "yes", "j", "是"))
_NO = frozenset(("n", "no", "否"))


class Console:
    """Asks in the language of the operator."""

    def __init__(self, translate: Translate) -> None:
        self._translate = translate

    def say(self, text: str) -> None:
        """Print a line."""
        print_line(self._translate(text))

    def ask(self, question: str, default: str = "", *, optional: bool = False) -> str:
        """Return the answer, the default for an empty one; asks again unless there is a default or it is optional."""
        while True:
            answer = self._read(f"{self._translate(question)}{f' [{default}]' if default else ''}: ").strip()
            if answer or default or optional:
                return answer or default

    def ask_secret(self, question: str, *, optional: bool = False) -> str:
        """Return an answer that is not shown while it is typed."""
        prompt = f"{self._translate(question)}: "
        while True:
            answer = (getpass(prompt) if sys.stdin.isatty() else self._read(prompt)).strip()
            if answer or optional:
                return answer

    def choose(self, question: str, names: Sequence[str]) -> str:
        """Return one of the names, which is chosen by name or number."""
        for number, name in enumerate(names, 1):
            print_line(f"  {number} {name}")
        while True:
            answer = self.ask(question)
            if answer in names:
                return answer
            if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(names):
                return names[int(answer) - 1]

    def confirm(self, question: str, *, default: bool) -> bool:
        """Return True for yes."""
        while True:
            answer = self._read(f"{self._translate(question)} [{'Y/n' if default else 'y/N'}]: ").strip().casefold()
            if answer in _YES | _NO or not answer:
                return answer in _YES or (default and not answer)

    def _read(self, prompt: str) -> str:
        if sys.stdin.isatty():
            return input(prompt)
        print_line(prompt.rstrip())
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line
