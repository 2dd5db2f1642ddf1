"""Names in a backend's `allow` that are no actions of its platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from fleet2mqtt.config.problems import OptionPath, Problem, nearest, printable
from fleet2mqtt.config.yaml_reader import Document
from fleet2mqtt.sdk import api


def unknown_actions(
    document: Document, platforms: Mapping[str, Callable[[], api.Platform]]
) -> tuple[list[Problem], list[Problem]]:
    """Return what is wrong in the `allow` of all backends, and what only deserves a warning.

    A name that another installed platform has, or that an earlier version of this one had, was copied or is out of
    date. Any other one is a typo, which would be found out only when the action is wanted.
    """
    problems, warnings = [], []
    for path, name, platform in _names(document, platforms):
        table = api.action_table(platform())
        destructive = [action.name for action in table or () if action.destructive]
        if table is None or any(action.name == name for action in table):
            continue
        hint = f"those that have to be allowed are {', '.join(destructive) or 'none'}"
        if name in api.former_actions(platform()):
            warnings.append(document.problem(path, f"{name} is no longer an action and has no effect; {hint}"))
        elif owners := [each for each, load in platforms.items() if _has(load(), name)]:
            message = f"{name} is an action of {', '.join(owners)} and has no effect here; {hint}"
            warnings.append(document.problem(path, message))
        else:
            near = nearest(name, [action.name for action in table])
            problems.append(document.problem(path, f"there is no action {printable(name)};{near} {hint}"))
    return problems, warnings


def _names(
    document: Document, platforms: Mapping[str, Callable[[], api.Platform]]
) -> Iterator[tuple[OptionPath, str, Callable[[], api.Platform]]]:
    backends = document.at(("backends",))
    for backend in backends if isinstance(backends, dict) else ():
        platform = document.at(("backends", backend, "platform"))
        allowed = document.at(("backends", backend, "allow"))
        if isinstance(platform, str) and platform in platforms and isinstance(allowed, list):
            for index, name in enumerate(allowed):
                path = ("backends", backend, "allow", index)
                if isinstance(name, str) and name and name not in document.secrets and not document.is_broken(path):
                    yield path, name, platforms[platform]


def _has(platform: api.Platform, name: str) -> bool:
    return any(action.name == name for action in api.action_table(platform) or ())
