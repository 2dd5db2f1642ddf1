"""The files around the code: version number, changelog, glossary, workflows, forms, hooks, and what dependabot watches.

The scripts run as processes, on a copy of the project where they change something.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tomllib
import zipfile
from datetime import date
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.process import ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.process import Ended

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
CHANGES = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
NOT_OURS = (".git", ".venv*", ".bench", ".node-red", "dist", "build", "__pycache__", "*_cache", ".hypothesis")
# Terms of version 0.1.0 that must not come back as terms.
REPLACED = {
    *(
        "answer",
        "asker",
        "box",
        "dialect",
        "dig",
        "essence",
        "fact",
        "fate",
        "floor",
        "grave",
        "hold",
        "house",
        "ledger",
    ),
    *(
        "look",
        "mischief",
        "mourning",
        "native",
        "note",
        "pace",
        "patience",
        "provenance",
        "row",
        "shelf",
        "take",
        "touch",
    ),
    *("turn", "turns", "watermark", "word"),
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def data_of(path: Path) -> Any:
    return yaml.load(text_of(path), yaml.BaseLoader)  # noqa: S506 - "on" stays a text; BaseLoader makes texts only


def own_files(pattern: str = "*") -> Iterator[Path]:
    """Every file of the project, without environments, caches and what a test run writes beside them."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(each for each in folders if not any(fnmatch(each, pattern) for pattern in NOT_OURS))
        own = (Path(folder, file) for file in sorted(files) if not file.startswith(".coverage"))
        yield from (path for path in own if path.match(pattern))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project without tests, and with its environment already set up."""
    root = tmp_path / "project"
    for path in own_files():
        relative = path.relative_to(ROOT)
        if relative.parts[0] not in {"benchmarks", "tests"}:
            (root / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / relative)
    (root / "scripts/setup").write_text("#!/bin/sh\n", "utf-8")
    return root


async def run(root: Path, script: str, *arguments: str, **environment: str) -> Ended:
    variables = {"FLEET2MQTT_VENV": sys.prefix, **environment}
    settings = [f"{key}={value}" for key, value in variables.items()]
    return await ran("env", *settings, str(root / "scripts" / script), *arguments)


def replace(root: Path, file: str, old: str, new: str) -> None:
    """Change a file of a copy; the text must be there."""
    path = root / file
    before = text_of(path)
    assert old in before, f"{file} has no {old!r}"
    path.write_text(before.replace(old, new, 1), "utf-8")


def version_of(root: Path) -> str:
    return str(tomllib.loads(text_of(root / "pyproject.toml"))["project"]["version"])


# The version number


async def test_version_every_place_has_the_same(copy: Path) -> None:
    number = version_of(ROOT)
    manifest = json.loads(text_of(ROOT / "custom_components/fleet2mqtt/manifest.json"))
    addon = data_of(ROOT / "packaging/addon/config.yaml")
    assert (manifest["version"], addon["version"], version("fleet2mqtt")) == (number, number, number)
    ended = await run(copy, "version")
    assert (ended.code, ended.output) == (0, f"{number}\n")


async def test_version_set_changes_every_place(copy: Path) -> None:
    replace(copy, "CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n### Fixed\n\n- Something.\n")
    old = version_of(ROOT)
    ended = await run(copy, "version", "99.0.0")
    assert (ended.code, ended.output) == (0, "99.0.0\n"), ended.errors
    assert version_of(copy) == "99.0.0"
    assert json.loads(text_of(copy / "custom_components/fleet2mqtt/manifest.json"))["version"] == "99.0.0"
    assert data_of(copy / "packaging/addon/config.yaml")["version"] == "99.0.0"
    changelog = text_of(copy / "CHANGELOG.md")
    assert re.search(
        r"^## \[Unreleased\]\n\n## \[99\.0\.0\] - \d{4}-\d{2}-\d{2}\n\n### Fixed$", changelog, re.MULTILINE
    )
    assert "/compare/v99.0.0...HEAD\n" in changelog
    assert f"[99.0.0]: https://github.com/fleet2mqtt/fleet2mqtt/compare/v{old}...v99.0.0\n" in changelog
    notes = await run(copy, "version", "--notes")
    assert notes.output.startswith("### Fixed\n\n- Something.\n")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("0.0.1", "is not newer than"),
        (version_of(ROOT), "is not newer than"),
        ("1.2", "is no version number"),
        ("v99.0.0", "is no version number"),
        ("--latest", "expected nothing"),
    ],
)
async def test_version_set_to_an_unfit_number_changes_nothing(copy: Path, number: str, said: str) -> None:
    before = text_of(copy / "CHANGELOG.md")
    ended = await run(copy, "version", number)
    assert ended.code == 1
    assert said in ended.errors
    assert (version_of(copy), text_of(copy / "CHANGELOG.md")) == (version_of(ROOT), before)


async def test_version_set_without_changes_is_refused(copy: Path) -> None:
    changelog = text_of(copy / "CHANGELOG.md")
    emptied = re.sub(r"(## \[Unreleased\]\n).*?(?=^## )", r"\1\n", changelog, flags=re.MULTILINE | re.DOTALL)
    (copy / "CHANGELOG.md").write_text(emptied, "utf-8")
    ended = await run(copy, "version", "99.0.0")
    assert (ended.code, "nothing under Unreleased" in ended.errors) == (1, True)


async def test_version_that_differs_somewhere_is_named(copy: Path) -> None:
    number = version_of(ROOT)
    replace(copy, "custom_components/fleet2mqtt/manifest.json", f'"version": "{number}"', '"version": "98.0.0"')
    for arguments in ((), ("99.0.0",), ("--notes",)):
        ended = await run(copy, "version", *arguments)
        assert ended.code == 1
        assert f"pyproject.toml has {number}" in ended.errors
        assert "custom_components/fleet2mqtt/manifest.json has 98.0.0" in ended.errors


async def test_release_of_another_tag_is_refused(copy: Path) -> None:
    ended = await run(copy, "release", "v99.0.0", "build")
    assert ended.code == 1
    assert f"the tag is v99.0.0, but the version is {version_of(ROOT)}" in ended.errors


async def test_release_without_a_known_step_is_refused(copy: Path) -> None:
    ended = await run(copy, "release", f"v{version_of(ROOT)}", "all")
    assert (ended.code, "not 'all'" in ended.errors) == (2, True)


def stand_in(path: Path, log: Path) -> None:
    """A program that notes its name and arguments, one a line, and the texts of files among them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noted = (
        f'for each in "{path.name}" "$@"; do echo "$each"; [ -f "$each" ] && [ "$each" = "$8" ] && cat "$each"; done'
    )
    path.write_text(f'#!/bin/sh\n({noted}) >>"{log}"\nexit 0\n', "utf-8")
    path.chmod(0o755)


async def test_release_publishes_what_was_built(copy: Path, tmp_path: Path) -> None:
    number = version_of(ROOT)
    log = tmp_path / "log"
    for program in ("buildah", "gh", "qemu-aarch64-static"):
        stand_in(tmp_path / "bin" / program, log)
    stand_in(tmp_path / "uv/bin/uv", log)
    (tmp_path / "uv/bin/python").symlink_to(sys.executable)
    lock = copy / "requirements-uv.txt"
    (tmp_path / "uv/.made-from").write_text(f"{hashlib.sha256(lock.read_bytes()).hexdigest()}  {lock.name}\n", "utf-8")
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "FLEET2MQTT_UV_VENV": str(tmp_path / "uv")}
    environment |= {"IMAGE": "registry.invalid/a/fleet2mqtt", "REGISTRY_USER": "a", "REGISTRY_PASSWORD": "sesame"}
    steps = [
        re.fullmatch(r'\./scripts/release "\$GITHUB_REF_NAME" (\w+)', str(step["run"]))
        for step in data_of(GITHUB / "workflows/release.yml")["jobs"]["release"]["steps"]
        if "run" in step
    ]
    for step in steps:
        assert step
        ended = await run(copy, "release", f"v{number}", step[1], **environment)
        assert ended.code == 0, ended.errors
    built = (f"dist/fleet2mqtt-{number}-py3-none-any.whl", f"dist/fleet2mqtt-{number}.tar.gz")
    lines = text_of(log).splitlines()
    assert "sesame" not in lines
    assert lines[lines.index("--platform") :][:2] == ["--platform", "linux/amd64,linux/arm64"]
    assert f"docker://registry.invalid/a/fleet2mqtt:{number}" in lines
    pypi = lines[lines.index("uv") + 1 :]
    assert pypi[:2] == ["publish", "--trusted-publishing"]
    assert pypi[3:5] == list(built)
    github = lines[lines.index("gh") + 1 :]
    assert github[:6] == ["release", "create", f"v{number}", "--verify-tag", "--title", f"v{number}"]
    assert {*built, f"dist/fleet2mqtt-{number}.cdx.json", "dist/fleet2mqtt.zip"} <= set(github)
    assert "### Added" in github
    assert (
        f"Version: {number}\n"
        in zipfile.ZipFile(copy / built[0]).read(f"fleet2mqtt-{number}.dist-info/METADATA").decode()
    )


def test_changelog_keeps_its_form() -> None:
    text = text_of(ROOT / "CHANGELOG.md")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})", each) for each in headings[1:]]
    versions = [[int(part) for part in each[1].split(".")] for each in released if each]
    dates = [date.fromisoformat(each[2]) for each in released if each]
    assert len(versions) == len(headings) - 1
    assert (versions, dates) == (sorted(versions, reverse=True), sorted(dates, reverse=True))
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= set(CHANGES)
    links = re.findall(r"^\[(.+?)\]: ", text, re.MULTILINE)
    assert links == [each.partition("]")[0][1:] for each in headings]


# The glossary


def glossary() -> dict[str, list[str]]:
    """The terms of each section of docs/glossary.md that has a table of terms."""
    sections = re.split(r"^## ", text_of(ROOT / "docs/glossary.md"), flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: re.findall(r"^\| (?!term \|)([^|-][^|]*?) \|", section, re.MULTILINE)
        for section in sections
        if "| term |" in section
    }


def test_glossary_terms_are_in_order_and_defined_once() -> None:
    sections = glossary()
    assert len(sections) > 10
    for terms in sections.values():
        assert terms == sorted(terms, key=str.lower)
    concepts = [term for section, terms in sections.items() if section != "Verbs" for term in terms]
    assert sorted(concepts) == sorted(set(concepts))
    assert not REPLACED & set(concepts)


# Workflows, dependabot, forms, hooks


def steps(path: Path) -> Iterator[Mapping[str, Any]]:
    for job in data_of(path)["jobs"].values():
        yield from job.get("steps", ())
        if "uses" in job:
            yield job


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_workflow_calls_scripts_only(path: Path) -> None:
    commands = [str(step["run"]) for step in steps(path) if "run" in step]
    for command in commands:
        script = re.fullmatch(r"\./((?:scripts|\.ci)/\w+)( [^;&|\n]*)?", command)
        assert script, command
        assert os.access(ROOT / script[1], os.X_OK), command


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_workflow_pins_actions_and_grants_nothing_by_default(path: Path) -> None:
    uses = re.findall(r"uses: (\S+)(.*)", text_of(path))
    for action, comment in uses:
        assert action.startswith("./") or re.search(r"@[0-9a-f]{40}$", action), action
        assert action.startswith("./") or re.fullmatch(r" # (v\d+\.\d+\.\d+|main|master)", comment), action
    assert data_of(path)["permissions"] == {"contents": "read"}


def test_workflows_test_every_python_that_is_supported() -> None:
    classifiers = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["classifiers"]
    supported = re.findall(r"Programming Language :: Python :: (3\.\d+)", "\n".join(classifiers))
    tested = data_of(GITHUB / "workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tested == supported


def test_dependabot_watches_every_lock() -> None:
    watched: dict[str, set[Path]] = {}
    for update in data_of(GITHUB / "dependabot.yml")["updates"]:
        folders = update.get("directories", [update.get("directory")])
        watched.setdefault(update["package-ecosystem"], set()).update(ROOT / each.strip("/") for each in folders)
    locks = {path.parent for pattern in ("requirements*.txt", "requirements*.in") for path in own_files(pattern)}
    assert locks
    assert locks - watched["pip"] == set()
    assert {path.parent for path in own_files("Dockerfile")} - watched["docker"] == set()
    assert "github-actions" in watched
    assert [path for folder in watched.values() for path in folder if not path.is_dir()] == []


@pytest.mark.parametrize("path", FORMS, ids=name)
def test_form_asks_for_the_output_of_check_and_dump(path: Path) -> None:
    questions = {item.get("id"): item for item in data_of(path)["body"]}
    assert "fleet2mqtt check -c" in questions["check"]["attributes"]["description"]
    assert "fleet2mqtt dump BACKEND -c" in questions["dump"]["attributes"]["description"]


def test_form_about_a_bug_offers_every_platform_and_requires_the_output() -> None:
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    questions = {item.get("id"): item for item in data_of(GITHUB / "ISSUE_TEMPLATE/bug.yml")["body"]}
    offered = {str(each).split()[0] for each in questions["platform"]["attributes"]["options"]}
    assert offered >= set(project["entry-points"]["fleet2mqtt.platforms"])
    assert [questions[each]["validations"]["required"] for each in ("check", "dump", "version")] == ["true"] * 3


async def test_hooks_are_the_checks() -> None:
    hooks = [hook for repo in data_of(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    ended = await run(ROOT, "check", "--list")
    assert [hook["id"] for hook in hooks] == ended.output.split()
    assert [hook["entry"] for hook in hooks] == [f"scripts/check {hook['id']}" for hook in hooks]
    assert {hook["language"] for hook in hooks} == {"system"}


async def test_check_without_such_a_name_is_refused() -> None:
    ended = await run(ROOT, "check", "format", "lnit")
    assert (ended.code, "not 'lnit'" in ended.errors) == (2, True)


async def test_schemas_fit_the_files(copy: Path) -> None:
    ended = await run(copy, "check_schemas")
    assert ended.code == 0, ended.output + ended.errors


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (".github/workflows/ci.yml", "runs-on:", "run-on:"),
        (".github/workflows/weekly.yml", "    timeout-minutes: 90\n", ""),
        (".github/dependabot.yml", "interval: weekly", "interval: fortnightly"),
        (".github/ISSUE_TEMPLATE/config.yml", "about:", "abuot:"),
        (".github/ISSUE_TEMPLATE/bug.yml", "type: dropdown", "type: choice"),
        (".devcontainer/devcontainer.json", '"remoteUser"', '"remoteuser"'),
        (".pre-commit-config.yaml", "entry:", "entries:"),
    ],
)
async def test_schemas_refuse_a_mistake(copy: Path, file: str, old: str, new: str) -> None:
    replace(copy, file, old, new)
    ended = await run(copy, "check_schemas", file)
    assert ended.code == 1
    assert Path(file).name in ended.output + ended.errors


# Every file


def unreadable(path: Path) -> str | None:
    """Return the first violation of .editorconfig in a file, None if there is none."""
    data = path.read_bytes()
    faults: dict[str, Callable[[], bool]] = {
        "no newline at its end": lambda: bool(data) and not data.endswith(b"\n"),
        "carriage returns": lambda: b"\r" in data,
        "blanks at an end of a line": lambda: re.search(rb"[ \t]+$", data, re.MULTILINE) is not None,
        "no UTF-8": lambda: data.decode("utf-8", "replace").encode() != data,
    }
    return next((fault for fault, is_there in faults.items() if is_there()), None)


def test_files_follow_editorconfig() -> None:
    suffixes = {"", ".cfg", ".html", ".ini", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}
    files = [path for path in own_files() if path.suffix in suffixes and not path.name.startswith(".coverage")]
    kept = ROOT / "tests" / "data_dirs"  # written by earlier versions, and opened as they are
    files = [path for path in files if not path.is_relative_to(kept)]
    assert len(files) > 100
    assert {name(path): fault for path in files if (fault := unreadable(path))} == {}


async def test_repository_has_nothing_that_it_ignores() -> None:
    """An installed environment once came into a commit before .gitignore named it."""
    if not (ROOT / ".git").exists():  # a source distribution
        return
    ended = await ran("git", "-C", str(ROOT), "ls-files", "--cached", "--ignored", "--exclude-standard")
    assert (ended.code, ended.output) == (0, "")
