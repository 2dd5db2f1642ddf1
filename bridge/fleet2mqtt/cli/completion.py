"""`fleet2mqtt completion`: completion of commands, options and their values in bash."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from fleet2mqtt.cli.process import OK, print_line

_SCRIPT = """\
# Completion of fleet2mqtt, by `fleet2mqtt completion bash`.
_fleet2mqtt() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} path=fleet2mqtt each words=
    COMPREPLY=()
    for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $each" in
{paths}
        esac
    done
    case "$path $before" in
{values}
    esac
    case "$path" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -F _fleet2mqtt fleet2mqtt
"""


def run(options: argparse.Namespace) -> int:
    """Print the script of the shell."""
    print_line(script(options.parser).removesuffix("\n"))
    return OK


def script(parser: argparse.ArgumentParser) -> str:
    """Return the completion of a parser's commands as a script for bash."""
    parsers = dict(_parsers(parser, "fleet2mqtt"))
    paths = [f'            "{path}") path="{path}" ;;' for path in parsers if " " in path]
    values, words = [], []
    for path, each in parsers.items():
        offered: list[str] = []
        for action in each._actions:  # noqa: SLF001 - argparse lists its arguments nowhere else
            names = " | ".join(f'"{path} {name}"' for name in action.option_strings)
            offered += action.option_strings or map(str, action.choices or ())
            if names and action.type is Path:
                values.append(f'        {names}) COMPREPLY=($(compgen -f -- "$word")); return ;;')
            elif names and action.choices:
                choices = " ".join(map(str, action.choices))
                values.append(f'        {names}) COMPREPLY=($(compgen -W "{choices}" -- "$word")); return ;;')
        words.append(f'        "{path}") words="{" ".join(dict.fromkeys(offered))}" ;;')
    return _SCRIPT.format(
        paths="\n".join(paths),
        values="\n".join(values),
        words="\n".join(words),
    )


def _parsers(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield path, parser
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for name, each in action.choices.items():
                yield from _parsers(each, f"{path} {name}")
