"""The documents cannot drift: links resolve, configurations load, commands exist, and the contract is what passes."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
import textwrap
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
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.sdk.api import platforms
from tests import documented
from tests.bridge_under_test import CHANNEL, VOIP, RunningBridge, Site, open_site
from tests.documented import blocks as fenced
from tests.platforms.context import lent, options
from tests.process import ran
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
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "packaging").rglob("*.md"),
    )
)
TOPICS = Topics("fleet2mqtt", "homeassistant")

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_TOPIC = re.compile(r"<(?:b|discovery)>/[^\s`{}…]*[^\s`{}…/]")


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return _FENCE.sub("", text_of(page))


def in_english(page: Path) -> bool:
    """False for the pages whose blocks are those of an English page: test_languages.py compares them."""
    return "zh-CN" not in name(page)


def blocks(wanted: str) -> list[tuple[Path, str]]:
    """The fenced blocks of all pages in a language."""
    return [(page, body) for page in PAGES for language, body in fenced(text_of(page)) if language == wanted]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """Return the anchors that a `#` may name: the headings as GitHub writes them."""
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


HOME_ASSISTANT = re.compile(r"^(?:triggers:|alias:|- action:|type: button)", re.MULTILINE)
"""How the blocks begin that are Home Assistant's; tests/integration/test_examples.py has it read them."""
PROMETHEUS = "# prometheus.yml\n"
OPTIONS = re.compile(r"^(?:mqtt|push|web|cluster|notify|alarms|backends):", re.MULTILINE)
BACKEND = "backends: {hq: {platform: ums, url: 'http://10.0.0.5:8080'}}\n"


def configuration(page: Path, text: str) -> str:
    """Return a block of options as a whole configuration: with a backend, or below that of the page's first block."""
    if not OPTIONS.search(text):
        before = [body for language, body in fenced(text_of(page)) if language == "yaml"]
        return before[0] + textwrap.indent(text, "    ")
    return text if re.search(r"^backends:", text, re.MULTILINE) else text + BACKEND


def load(page: Path, text: str, folder: Path) -> None:
    """Load a block as a configuration, with the secrets and files that it names."""
    whole = configuration(page, text)
    secrets = dict.fromkeys(re.findall(r"!secret (\w+)", whole), "sesame-sesame")
    secrets |= {name: "json://sesame" for name in secrets if name.endswith("_url")}
    secrets |= {name: "postgresql://db/fleet2mqtt" for name in secrets if name.endswith("_dsn")}
    (folder / "secrets.yaml").write_text("".join(f"{name}: {value}\n" for name, value in secrets.items()))
    for file in re.findall(r"[\w-]+\.pem", whole):
        trustme.CA().cert_pem.write_to_path(folder / file)
    assert parse(whole, folder / "fleet2mqtt.yaml").backends


CONFIGURATIONS = [
    (page, text) for page, text in blocks("yaml") if not HOME_ASSISTANT.search(text) and not text.startswith(PROMETHEUS)
]


@pytest.mark.parametrize(
    ("page", "text"), CONFIGURATIONS, ids=lambda part: name(part) if isinstance(part, Path) else ""
)
def test_configurations_load(page: Path, text: str, tmp_path: Path) -> None:
    load(page, text, tmp_path)


@pytest.mark.parametrize(
    ("page", "text"),
    [each for each in CONFIGURATIONS if in_english(each[0])],
    ids=lambda part: name(part) if isinstance(part, Path) else "",
)
def test_configuration_with_a_mistake_is_refused(page: Path, text: str, tmp_path: Path) -> None:
    plain = re.sub(r"\s#.*", "", text)
    options = list(re.finditer(r"(?<=[ {])[a-z_]+: ", plain))
    wrong = [f"{plain[: option.start()]}not_{plain[option.start() :]}" for option in options[-2:]]
    # Of what the vendor gets, such as `params`, nothing is known.
    assert any(not is_accepted(page, each, tmp_path) for each in wrong)


def is_accepted(page: Path, text: str, folder: Path) -> bool:
    try:
        load(page, text, folder)
    except ConfigError:
        return False
    return True


async def test_scrape_configuration_is_valid(tmp_path: Path) -> None:
    shown = [text for page, text in blocks("yaml") if text.startswith(PROMETHEUS)]
    assert shown
    shutil.copy(ROOT / "packaging/monitoring/prometheus/alerts.yaml", tmp_path)
    for text in shown:
        (tmp_path / "prometheus.yml").write_text(text)
        checked = await ran("promtool", "check", "config", str(tmp_path / "prometheus.yml"))
        assert checked.code == 0, checked


def test_languages_of_blocks_are_those_that_are_tried() -> None:
    """Each of them has its tests; `text` is what is printed or drawn."""
    languages = {language for page in PAGES for language, _ in fenced(text_of(page))}
    assert languages - {"text"} == {"bash", "json", "sh", "sql", "toml", "yaml"}


def test_every_block_of_commands_is_run_by_a_test() -> None:
    asked = set()
    for file in (ROOT / "tests").rglob("*.py"):
        calls = re.findall(r'commands\(\s*"([^"]+)",\s*("[^"]+")', file.read_text("utf-8"))
        asked |= {(page, ast.literal_eval(first_words)) for page, first_words in calls}
    claimed = [*asked, *documented.NOT_RUN]
    unclaimed = []
    for page in filter(in_english, PAGES):
        for block in documented.shell_blocks(name(page)):
            claims = {words for where, words in claimed if where == name(page) and block.startswith(words)}
            if len(claims) != 1:
                unclaimed.append((name(page), block, claims))
    assert unclaimed == []
    for page, first_words in claimed:
        assert documented.commands(page, first_words), (page, first_words)


@pytest.mark.parametrize(
    ("page", "text"), blocks("json"), ids=lambda part: name(part) if isinstance(part, Path) else ""
)
def test_examples_are_json(page: Path, text: str) -> None:
    assert isinstance(json.loads(text), dict), page


def commands() -> dict[str, set[str]]:
    """Return each subcommand that a page names, with its options."""
    told: dict[str, set[str]] = {}
    for page in PAGES:
        shell = "\n".join(body for language, body in fenced(text_of(page)) if language in {"sh", "ini"})
        for line in (*shell.splitlines(), *_CODE.findall(prose(page))):
            if found := re.search(r"(?:^|(?<!lib)[/=])fleet2mqtt (-{0,2}[a-z]\S*(?: test)?)(.*)", line):
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


def documented_topics() -> dict[str, re.Pattern[str]]:
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
    patterns = documented_topics()
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
    """Return the values of `error.code` in results and responses of the core."""
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
