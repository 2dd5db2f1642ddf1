"""`fleet2mqtt init`: asks for a vendor's system and the broker, tries both, and writes a commented configuration."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from fleet2mqtt.cli.check import check, open_backends
from fleet2mqtt.cli.console import Console
from fleet2mqtt.cli.process import FAILED, OK, configure_logging
from fleet2mqtt.config import example_file
from fleet2mqtt.config.example_file import OptionNames
from fleet2mqtt.config.loader import BACKEND_NAME, BACKEND_NAME_EXPECTED, load
from fleet2mqtt.config.models import Config
from fleet2mqtt.config.yaml_reader import SECRETS
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.sdk.api import platforms

_SECRET_MODE = 0o600


@dataclass(slots=True, kw_only=True)
class Draft:
    """A configuration while it is asked for: options by path, as YAML, and secrets by name."""

    text: str
    values: dict[OptionNames, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    taken: frozenset[str] = frozenset()
    """Names that secrets.yaml has already."""

    def add_secret(self, names: OptionNames, name: str, value: str) -> None:
        """Set an option to a secret, which gets a name that secrets.yaml does not have yet."""
        name = re.sub(r"\W", "_", name if name[0].isalpha() else f"backend_{name}")
        number, free = 1, name
        while free in self.taken or free in self.secrets:
            number, free = number + 1, f"{name}_{number + 1}"
        self.secrets[free] = value
        self.values[names] = f"!secret {free}"

    def configuration(self) -> str:
        """Return the text of the configuration file."""
        return example_file.fill(self.text, self.values)


def run(options: argparse.Namespace) -> int:
    """Ask, try what was answered, and write the files; return the exit code."""
    console = Console(options.translate)
    file: Path = options.config
    if file.exists():
        raise ConfigError([f"{file}: exists already; choose another file with -c"])
    try:
        while True:
            draft = _ask(console, file, options.language)
            problem, pushes = asyncio.run(_try(draft, options, console))
            if not problem or console.confirm("Write the configuration all the same?", default=False):
                break
            if not console.confirm("Begin again?", default=True):
                return FAILED
    except EOFError:
        console.say("The answers ended early; nothing was written.")
        return FAILED
    _write(file, draft)
    _explain(console, file, draft, pushes=pushes)
    return OK


def _ask(console: Console, file: Path, language: str) -> Draft:
    console.say("Which system shall be connected?")
    platform = console.choose("Platform", sorted(platforms()))
    draft = Draft(text=example_file.for_platform(platform), taken=frozenset(_read_secrets(file.parent)))
    example = example_file.backend_name(draft.text)
    name = _ask_name(console, example)
    draft.text = draft.text.replace(f"\n  {example}:\n", f"\n  {name}:\n", 1)
    for option in example_file.set_options(draft.text):
        _ask_option(console, draft, ("backends", name, option.name), option)
    draft.values["backends", name, "push"] = ""
    draft.add_secret(("backends", name, "push", "secret"), f"{name}_push", secrets.token_urlsafe(18))
    _ask_broker(console, draft)
    if language != "en":
        draft.values["language",] = language
    return draft


def _ask_name(console: Console, example: str) -> str:
    while True:
        name = console.ask("Name of the backend, part of all ids: do not change it later", example)
        if BACKEND_NAME.fullmatch(name) and name != "bridge":
            return name
        console.say(BACKEND_NAME_EXPECTED)


def _ask_option(console: Console, draft: Draft, names: OptionNames, option: example_file.ExampleOption) -> None:
    if option.comment:
        console.say(option.comment)
    if option.value.startswith(("!env_var", "!secret")):
        draft.add_secret(names, f"{names[1]}_{option.name}", console.ask_secret(option.name))
    else:
        default = "" if option.name == "url" else option.value
        question = f"url, such as {option.value}" if option.name == "url" else option.name
        draft.values[names] = example_file.scalar(console.ask(question, default))


def _ask_broker(console: Console, draft: Draft) -> None:
    host = console.ask("Host of the MQTT broker (empty: fleet2mqtt starts one of its own)", optional=True)
    if not host:
        return
    tls = console.confirm("TLS?", default=False)
    draft.values |= {
        ("mqtt",): "",
        ("mqtt", "host"): example_file.scalar(host),
        ("mqtt", "port"): console.ask("Port of the broker", "8883" if tls else "1883"),
    }
    if tls:
        draft.values["mqtt", "tls"] = "true"
    if username := console.ask("User name at the broker (empty: none)", optional=True):
        draft.values["mqtt", "username"] = example_file.scalar(username)
        draft.add_secret(("mqtt", "password"), "mqtt_password", console.ask_secret("Password at the broker"))


async def _try(draft: Draft, options: argparse.Namespace, console: Console) -> tuple[bool, bool]:
    """Try a draft, with a line for each thing tried; return whether one failed, and whether the vendor can push."""
    with tempfile.TemporaryDirectory(prefix="fleet2mqtt-") as folder:
        file = Path(folder) / "fleet2mqtt.yaml"
        _write(file, draft)
        try:
            config = load(file)
        except ConfigError as error:
            for line in error.problems:
                console.say(re.sub(rf"^{re.escape(str(file))}(?::\d+)?: ", "", line))
            return True, False
        configure_logging(options, config)
        failed = False
        for tried, problem in await check(config):
            console.say(f"{tried}: {problem or 'ok'}")
            failed = failed or problem is not None
        return failed, await _has_pushes(config)


async def _has_pushes(config: Config) -> bool:
    async with open_backends(config) as backends:
        return any(backend.pushes or backend.served for backend in backends.values())


def _read_secrets(folder: Path) -> Mapping[str, object]:
    file = folder / SECRETS
    if not file.exists():
        return {}
    try:
        found = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError([f"{file}: cannot be read: expected lines like name: value"]) from error
    if found is not None and not isinstance(found, dict):
        raise ConfigError([f"{file}: cannot be read: expected lines like name: value"])
    return found or {}


def _write(file: Path, draft: Draft) -> None:
    """Write the configuration, and add its secrets to secrets.yaml, which only its owner can read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.parent / SECRETS
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _SECRET_MODE)
    with os.fdopen(descriptor, "a", encoding="utf-8") as stream:
        os.fchmod(descriptor, _SECRET_MODE)
        if beside.stat().st_size and not beside.read_bytes().endswith(b"\n"):
            stream.write("\n")
        stream.writelines(f"{name}: {example_file.scalar(value)}\n" for name, value in draft.secrets.items())
    with file.open("x", encoding="utf-8") as stream:
        stream.write(draft.configuration())


def _explain(console: Console, file: Path, draft: Draft, *, pushes: bool) -> None:
    console.say(f"Written: {file}, and {file.parent / SECRETS} with the secrets, which only you can read.")
    for backend, secret in _push_secrets(draft) if pushes else ():
        console.say("Enter this URL in the vendor's system, so that it reports events at once:")
        console.say(f"  http://<this machine>:8098/push/{backend}/{secret}")
    console.say(f"Start the bridge: fleet2mqtt run -c {file}")


def _push_secrets(draft: Draft) -> Iterator[tuple[str, str]]:
    for names, value in draft.values.items():
        if names[2:] == ("push", "secret"):
            yield names[1], draft.secrets[value.removeprefix("!secret ")]
