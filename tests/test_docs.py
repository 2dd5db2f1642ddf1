"""The documents cannot drift: links resolve, configurations load, commands exist, and the contract is what passes."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import tomllib
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from functools import cache
from pathlib import Path

import pytest
import trustme
import yaml

from fleet2mqtt.cli.simulate import options_for
from fleet2mqtt.config.loader import parse
from fleet2mqtt.contract.payloads import ResultStatus
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import Severity
from fleet2mqtt.sdk.api import platforms
from tests.bridge_under_test import CHANNEL, VOIP, RunningBridge, Site, open_site
from tests.platforms.context import lent, options
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
CONTRACT = ROOT / "docs" / "mqtt.md"
QUIRKS = ROOT / "docs" / "quirks.md"
CASES = ROOT / "tests" / "platforms"
PLATFORMS = ROOT / "bridge" / "fleet2mqtt" / "platforms"
PAGES = sorted(
    (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *PLATFORMS.glob("*/README.md"),
    )
)
TOPICS = Topics("fleet2mqtt", "homeassistant")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_TOPIC = re.compile(r"<(?:b|discovery)>/[^\s`{}…]*[^\s`{}…/]")


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return _FENCE.sub("", text_of(page))


def blocks(wanted: str) -> list[tuple[Path, str]]:
    """The fenced blocks of all pages in a language."""
    return [(page, body) for page in PAGES for language, body in _FENCE.findall(text_of(page)) if language == wanted]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """What a `#` may name: the headings as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize(
    ("page", "text"),
    [(page, text) for page, text in blocks("yaml") if "backends:" in text],  # others are Home Assistant's
    ids=lambda part: name(part) if isinstance(part, Path) else "",
)
def test_configurations_load(page: Path, text: str, tmp_path: Path) -> None:
    secrets = re.findall(r"!secret (\w+)", text)
    (tmp_path / "secrets.yaml").write_text("".join(f"{secret}: sesame-sesame\n" for secret in secrets))
    for file in re.findall(r"[\w-]+\.pem", text):
        trustme.CA().cert_pem.write_to_path(tmp_path / file)
    assert parse(text, tmp_path / "fleet2mqtt.yaml").backends, page


@pytest.mark.parametrize(
    ("page", "text"), blocks("json"), ids=lambda part: name(part) if isinstance(part, Path) else ""
)
def test_examples_are_json(page: Path, text: str) -> None:
    assert isinstance(json.loads(text), dict), page


def commands() -> dict[str, set[str]]:
    """Each subcommand that a page tells to run, with the options it tells to give."""
    told: dict[str, set[str]] = {}
    for page in PAGES:
        shell = "\n".join(body for language, body in _FENCE.findall(text_of(page)) if language in {"sh", "ini"})
        for line in (*shell.splitlines(), *_CODE.findall(prose(page))):
            if found := re.search(r"(?:^|[/=])fleet2mqtt (-{0,2}[a-z]\S*(?: test)?)(.*)", line):
                told.setdefault(found[1], set()).update(re.findall(r"(?<=\s)--?[a-z][a-z-]*", found[2]))
    return told


@pytest.mark.parametrize("command", sorted(commands()))
async def test_commands_exist(command: str) -> None:
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "fleet2mqtt", *command.split(), "--help"), stdout=PIPE, stderr=PIPE, cwd=ROOT
    )
    shown, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert commands()[command] <= set(re.findall(r"--?[a-z][a-z-]*", shown.decode()))


def test_commands_are_found() -> None:
    assert commands().keys() >= {"run", "check", "dump", "simulate"}
    assert "-c" in commands()["run"]


def test_scripts_exist() -> None:
    told = {
        path
        for page in PAGES
        for path in re.findall(r"(?<![\w/])(?:\./)?((?:scripts|\.ci)/\w+)(?![\w.])", text_of(page))
    }
    assert "scripts/demo" in told
    assert [path for path in told if not os.access(ROOT / path, os.X_OK)] == []


def test_dependency_has_documented_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = (*project["dependencies"], *project["optional-dependencies"]["dev"])
    names = {re.split(r"[\s<>=\[;]", each)[0] for each in wanted}
    told = re.findall(r"^\| ([\w, -]+) \|", text_of(ROOT / "docs/decisions/0003-dependencies.md"), re.MULTILINE)
    assert names - set(", ".join(told).split(", ")) == set()


@pytest.mark.parametrize("platform", sorted(platforms()))
async def test_action_is_on_platform_page(platform: str, tmp_path: Path) -> None:
    module = platforms()[platform]()
    chosen = options(module.SCHEMA, "http://127.0.0.1:9", options_for(platform))
    async with module.connect(lent(platform, chosen, {}, tmp_path)) as backend:
        actions = {action.name for action in backend.actions}
    assert actions
    assert actions - set(_CODE.findall(text_of(PLATFORMS / platform / "README.md"))) == set()


# The contract


def documented() -> dict[str, re.Pattern[str]]:
    """The topics of docs/mqtt.md, each with what matches it."""
    fixed = {"b": TOPICS.base, "discovery": TOPICS.prefix, "node": f"{TOPICS.base}_[a-z0-9_-]+"}
    found = _TOPIC.findall(prose(CONTRACT))
    return {topic: re.compile(re.sub(r"<(\w+)>", lambda part: fixed.get(part[1], r"[^/]+"), topic)) for topic in found}


async def everything(site: Site, bridge: RunningBridge) -> set[str]:
    """Every topic there is, after something of each kind has happened."""
    await bridge.settle()
    site.ums.raise_alarm("000EA93D022E", push=False)
    await bridge.refresh(backend="hq_voip")
    await bridge.set(CHANNEL, {"enable": "ON"})
    await bridge.set_key(CHANNEL, "enable", "OFF")
    await site.broker.publish(f"fleet2mqtt/device/{VOIP}/get", {"transaction": "read"})
    await bridge.result(VOIP, "read")
    await bridge.ask("device_list", "backend/hq_voip")
    await site.push(b"{")
    await bridge.event_count(1)
    logging = TOPICS.bridge("logging")
    await wait_until(lambda: bridge.seen.latest(logging), "a line on bridge/logging")
    return {message.topic for message in bridge.seen.messages}


async def test_topics_published_and_documented_are_the_same(tmp_path: Path) -> None:
    patterns = documented()
    async with open_site(tmp_path) as site, site.bridge() as bridge:
        seen = await everything(site, bridge)
        answer = await bridge.ask("nothing_of_this_name")
    assert [topic for topic in sorted(seen) if not any(each.fullmatch(topic) for each in patterns.values())] == []
    seen.add(TOPICS.alarm_active("device", "alarm"))  # no vendor of this site reports recovery
    seen.add(TOPICS.alarm_suppressed("critical", "device"))  # nobody has anything in maintenance
    seen.update(TOPICS.cluster_node("node", name) for name in ("state", "health"))  # one bridge is no cluster
    seen.add(TOPICS.device_event("device", "key"))  # nor has it event entities of its own
    assert [topic for topic, each in patterns.items() if not any(map(each.fullmatch, seen))] == []
    requests = answer["error"]["message"].partition("it has ")[2].split(", ")
    assert set(requests) == set(re.findall(r"^\| `(\w+)` \|", section("Requests to the bridge"), re.MULTILINE))


def section(heading: str) -> str:
    """The part of the contract under a heading, up to the next one."""
    return re.split(r"^#+ ", prose(CONTRACT).partition(f"# {heading}\n")[2], flags=re.MULTILINE)[0]


def test_status_severity_and_error_codes_are_documented() -> None:
    assert {status.value for status in ResultStatus} == set(
        re.findall(r"^\| `(\w+)` \|", section("Results"), re.MULTILINE)
    )
    assert {severity.value for severity in Severity} <= set(_CODE.findall(section("Alarms")))
    explained = set(_CODE.findall(section("Error codes")))
    assert codes() - explained == set()
    assert "not_allowed" in codes()


def codes() -> set[str]:
    """The words that the core gives as `error.code` of results and responses."""
    found: set[str] = set()
    for path in (ROOT / "bridge" / "fleet2mqtt").rglob("*.py"):
        if {"platforms", "simulators"} & set(path.parts):
            continue
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            maker = getattr(call.func, "id", None)
            given = (
                call.args[:1]
                if maker == "CommandError"
                else [word.value for word in call.keywords if word.arg == "code"]
            )
            if maker in {"CommandError", "Fault"}:
                found |= {str(word.value) for word in given if isinstance(word, ast.Constant)}
    return found


@pytest.mark.parametrize("platform", sorted(platforms()))
def test_case_of_quirk_is_listed(platform: str) -> None:
    assert f"\n## {platform}\n" in text_of(QUIRKS)
    cases = {path.name for path in (CASES / platform / "cases").glob("quirk*")}
    assert cases <= set(re.findall(rf"platforms/{platform}/cases/([\w-]+)", text_of(QUIRKS)))


def test_actions_of_home_assistant_are_on_its_page() -> None:
    offered = set(yaml.safe_load((ROOT / "custom_components/fleet2mqtt/services.yaml").read_text("utf-8")))
    assert offered - set(_CODE.findall(text_of(ROOT / "docs/home-assistant.md"))) == set()
