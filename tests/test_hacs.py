"""Checks of hassfest and of the HACS action on the integration, as neither can be run on its own.

Each rule answers what it finds. It is held against the project, and against a copy that breaks it.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Rule = Callable[[Path], Iterator[str]]

PROJECT = Path(__file__).parents[1]
DOMAIN = "fleet2mqtt"
COMPONENT = Path("custom_components") / DOMAIN
MANIFEST = {
    "domain": str,
    "name": str,
    "codeowners": list,
    "config_flow": bool,
    "dependencies": list,
    "documentation": str,
    "integration_type": str,
    "iot_class": str,
    "issue_tracker": str,
    "mqtt": list,
    "quality_scale": str,
    "requirements": list,
    "version": str,
}
HACS = {
    "name": str,
    "homeassistant": str,
    "content_in_root": bool,
    "country": list,
    "filename": str,
    "hacs": str,
    "hide_default_branch": bool,
    "persistent_directory": str,
    "zip_release": bool,
}
SLUG = re.compile(r"(?!.+[_-]{2})(?![_-])[a-z0-9_-]+(?<![_-])")
URL = re.compile(r"((ftp|ftps|https?|mqtts?)://|www\.)[a-z0-9]+([-.][a-z0-9]+)*\.[a-z]{2,5}", re.IGNORECASE)
SLUGGED = ("entity", "exceptions", "services", "selector", "device", "issues")
# Home Assistant's components that need not be named among the dependencies: entity platforms, and files of our own.
FREE = {"binary_sensor", "sensor", "diagnostics", "repairs", "system_health"}
RULES = {
    "bronze": """
        action-setup appropriate-polling brands common-modules config-flow-test-coverage config-flow
        dependency-transparency docs-actions docs-triggers docs-conditions docs-high-level-description
        docs-installation-instructions docs-removal-instructions entity-event-setup entity-unique-id has-entity-name
        runtime-data test-before-configure test-before-setup unique-config-entry
    """,
    "silver": """
        action-exceptions config-entry-unloading docs-configuration-parameters docs-installation-parameters
        entity-unavailable integration-owner log-when-unavailable parallel-updates reauthentication-flow test-coverage
    """,
    "gold": """
        devices diagnostics discovery-update-info discovery docs-data-update docs-examples docs-known-limitations
        docs-supported-devices docs-supported-functions docs-troubleshooting docs-use-cases dynamic-devices
        entity-category entity-device-class entity-disabled-by-default entity-translations exception-translations
        icon-translations reconfiguration-flow repair-issues stale-devices
    """,
    "platinum": "async-dependency inject-websession strict-typing",
}


def read(root: Path, name: str) -> Any:
    """A JSON or YAML file of the integration."""
    text = (root / COMPONENT / name).read_text("utf-8")
    return yaml.safe_load(text) if name.endswith("yaml") else json.loads(text)


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{above}.{key}" if above else key
        if isinstance(value, dict):
            yield from leaves(value, path)
        else:
            yield path, value


def languages(root: Path) -> dict[str, Any]:
    return {
        path.stem: read(root, f"translations/{path.name}") for path in (root / COMPONENT / "translations").iterdir()
    }


def sources(root: Path) -> dict[str, ast.Module]:
    return {path.name: ast.parse(path.read_text("utf-8")) for path in sorted((root / COMPONENT).glob("*.py"))}


def calls(root: Path, *names: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of these names, with the first argument if it is a text."""
    for tree in sources(root).values():
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", None)
            if isinstance(node, ast.Call) and name in names and node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value), node


def manifest_is_in_order(root: Path) -> Iterator[str]:
    manifest = read(root, "manifest.json")
    yield from (
        f"unknown or wrong: {key}" for key, value in manifest.items() if not isinstance(value, MANIFEST.get(key, ()))
    )
    yield from (f"missing: {key}" for key in MANIFEST.keys() - manifest.keys())
    if list(manifest) != ["domain", "name", *sorted(manifest.keys() - {"domain", "name"})]:
        yield "the keys are not domain, name, then the alphabet"
    if manifest["domain"] != DOMAIN or not re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"]):
        yield "domain or version"
    if not all(manifest[key].startswith("https://") for key in ("documentation", "issue_tracker")):
        yield "an address that is not https"
    if f'version = "{manifest["version"]}"' not in (root / "pyproject.toml").read_text():
        yield "the bridge has another version"


def imports_are_declared(root: Path) -> Iterator[str]:
    allowed = FREE | set(read(root, "manifest.json")["dependencies"])
    for name, tree in sources(root).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("homeassistant.components"):
                _, _, *inner = str(node.module).split(".")
                named = inner[:1] or [alias.name for alias in node.names]
                yield from (f"{name} imports {each}" for each in named if each not in allowed)


def hacs_takes_it(root: Path) -> Iterator[str]:
    hacs = json.loads((root / "hacs.json").read_text())
    yield from (f"unknown or wrong: {key}" for key, value in hacs.items() if not isinstance(value, HACS.get(key, ())))
    if "name" not in hacs:
        yield "no name"
    if [path.name for path in (root / "custom_components").iterdir() if path.name != "__pycache__"] != [DOMAIN]:
        yield "HACS manages exactly one directory"
    yield from (f"no {name}" for name in ("README.md", "LICENSE") if not (root / name).is_file())


def images_have_their_size(root: Path) -> Iterator[str]:
    for name, size in (("icon.png", 256), ("icon@2x.png", 512)):
        head = (root / COMPONENT / "brand" / name).read_bytes()[:24]
        width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        if head[:8] != b"\x89PNG\r\n\x1a\n" or (width, height) != (size, size):
            yield f"{name} is not a PNG of {size} by {size}"


def translations_are_complete(root: Path) -> Iterator[str]:
    trees = {language: dict(leaves(tree)) for language, tree in languages(root).items()}
    english = trees["en"]
    for language, texts in trees.items():
        yield from (f"{language} lacks {path}" for path in english.keys() - texts.keys())
        yield from (f"only {language} has {path}" for path in texts.keys() - english.keys())
        for path in english.keys() & texts.keys():
            if _placeholders(texts[path]) != _placeholders(english[path]):
                yield f"{language}: other placeholders than English in {path}"


def _placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def translations_are_well_formed(root: Path) -> Iterator[str]:
    for language, tree in languages(root).items():
        for path, text in leaves(tree):
            parts = path.split(".")
            if parts[0] in SLUGGED and not all(SLUG.fullmatch(part) for part in parts):
                yield f"{language}: {path} is no slug"
            if text != text.strip() or URL.search(text) or "[%key" in text or re.search(r"<[a-z/]|'\{\w+\}'", text):
                yield f"{language}: {path} has blanks around it, a URL, HTML, a reference or a quoted placeholder"
        for key, issue in tree["issues"].items():
            if "title" not in issue or ("description" in issue) == ("fix_flow" in issue):
                yield f"{language}: issue {key} needs a title and one of description and fix_flow"
        for section in ("config", "options"):
            for step, texts in tree[section]["step"].items():
                yield from (
                    f"{step} describes {each}"
                    for each in texts.get("data_description", {}).keys() - texts.get("data", {}).keys()
                )


def actions_are_the_same_everywhere(root: Path) -> Iterator[str]:
    table = (root / COMPONENT / "action_table.py").read_text("utf-8")
    by_hand = re.findall(
        r'"((?:alarm|maintenance)_[a-z]+)"', (root / COMPONENT / "alarm_actions.py").read_text("utf-8")
    )
    registered = {*re.findall(r"^        name=\"(\w+)\"", table, re.MULTILINE), *by_hand, "request"}
    described, icons = read(root, "services.yaml"), read(root, "icons.json")["services"]
    texts = languages(root)["en"]
    for where, names in (("services.yaml", described), ("icons.json", icons), ("en.json", texts["services"])):
        yield from (f"{where} lacks {name}" for name in registered - names.keys())
        yield from (f"{where} has {name}, which is not registered" for name in names.keys() - registered)
    for name in registered & described.keys() & texts["services"].keys():
        fields, told = described[name]["fields"], texts["services"][name]["fields"]
        yield from (f"{name}: fields {each} differ" for each in fields.keys() ^ told.keys())
        for field in fields.values():
            key = (field["selector"].get("select") or {}).get("translation_key")
            options = set((field["selector"].get("select") or {}).get("options", ()))
            if key and options != texts["selector"][key]["options"].keys():
                yield f"{name}: the options of {key} are not translated"


def icons_are_icons(root: Path) -> Iterator[str]:
    icons, texts = read(root, "icons.json"), languages(root)["en"]
    yield from (f"{path}: {icon}" for path, icon in leaves(icons) if not re.fullmatch(r"mdi:[a-z0-9-]+", icon))
    for platform, entities in texts["entity"].items():
        yield from (f"{platform}.{key} has no icon" for key in entities.keys() ^ icons["entity"][platform].keys())


def what_is_raised_is_translated(root: Path) -> Iterator[str]:
    known = languages(root)["en"]["exceptions"].keys()
    used = {key for key, _ in calls(root, "usage", "failure")}
    for tree in sources(root).values():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "translation_key" and isinstance(node.value, ast.Constant):
                used.add(str(node.value.value))
            if isinstance(node, ast.Assign) and any(getattr(each, "id", "") == "_OF_THE_USER" for each in node.targets):
                used |= set(ast.literal_eval(node.value).values())
    yield from (f"{key} is said nowhere" for key in known - used)
    entities = {
        "connectivity",
        "bridge_health",
        *(key for part in languages(root)["en"]["entity"].values() for key in part),
    }
    yield from (f"{key} is not translated" for key in used - known - entities)


def quality_scale_is_whole(root: Path) -> Iterator[str]:
    rules = read(root, "quality_scale.yaml")["rules"]
    known = {rule for tier in RULES.values() for rule in tier.split()}
    yield from (f"{rule} is missing" for rule in known - rules.keys())
    yield from (f"{rule} is no rule" for rule in rules.keys() - known)
    for rule, said in rules.items():
        status = said if isinstance(said, str) else said["status"]
        if status not in ("done", "exempt") or (status == "exempt" and not said.get("comment")):
            yield f"{rule} is {status}"


def replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    """A change that breaks something."""

    def change(root: Path) -> None:
        path = root / file
        text = path.read_text("utf-8")
        assert old in text, f"{file} has no {old!r} to break"
        path.write_text(text.replace(old, new, 1), "utf-8")

    return change


def component(name: str) -> str:
    return str(COMPONENT / name)


EN, ZH = component("translations/en.json"), component("translations/zh-Hans.json")
BROKEN: tuple[tuple[Rule, Callable[[Path], object], str], ...] = (
    (manifest_is_in_order, replace(component("manifest.json"), '"mqtt":', '"mqttt":'), "unknown or wrong: mqttt"),
    (
        manifest_is_in_order,
        replace(component("manifest.json"), '"version": "', '"version": "9'),
        "the bridge has another version",
    ),
    (imports_are_declared, replace(component("manifest.json"), '["mqtt"],\n  "doc', '[],\n  "doc'), "imports mqtt"),
    (hacs_takes_it, replace("hacs.json", '"name"', '"nmae"'), "unknown or wrong: nmae"),
    (images_have_their_size, lambda root: (root / COMPONENT / "brand/icon.png").write_bytes(b"GIF89a"), "icon.png"),
    (
        translations_are_complete,
        replace(ZH, '"bridge_offline": {\n      "message"', '"b": {\n      "message"'),
        "zh-Hans",
    ),
    (translations_are_complete, replace(ZH, "{platform}", "{plattform}"), "zh-Hans: other placeholders"),
    (translations_are_well_formed, replace(EN, "The bridge is offline.", "The bridge is offline. "), "en: exceptions"),
    (actions_are_the_same_everywhere, replace(component("services.yaml"), "fxo_test:", "fxo_tset:"), "lacks fxo_test"),
    (actions_are_the_same_everywhere, replace(component("icons.json"), '"fxo_test"', '"fxo"'), "lacks fxo_test"),
    (icons_are_icons, replace(component("icons.json"), "mdi:memory", "memory"), "entity.sensor.rss.default"),
    (what_is_raised_is_translated, replace(component("services.py"), '"not_loaded"', '"nto_loaded"'), "nto_loaded"),
    (
        quality_scale_is_whole,
        replace(component("quality_scale.yaml"), "brands: done", "brands: todo"),
        "brands is todo",
    ),
)
HELD = tuple(dict.fromkeys(rule for rule, _, _ in BROKEN))


@pytest.mark.parametrize("rule", HELD)
def test_integration_keeps_import_rules(rule: Rule) -> None:
    assert list(rule(PROJECT)) == []


@pytest.mark.parametrize(("rule", "broken", "violation"), BROKEN)
def test_import_rule_finds_violation(
    rule: Rule, broken: Callable[[Path], object], violation: str, tmp_path: Path
) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "custom_components", tmp_path / "custom_components", ignore=ignored)
    for name in ("hacs.json", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, tmp_path)
    broken(tmp_path)
    assert any(violation in found for found in rule(tmp_path))


def test_there_is_no_other_manifest() -> None:
    """Some releases of the HACS and hassfest actions look at every file of that name."""
    hidden = {".git", ".venv", ".venv-ha", ".venv-phacc", ".venv-uv", "node_modules"}
    found = [path for path in PROJECT.rglob("manifest.json") if not hidden & set(path.relative_to(PROJECT).parts)]
    assert found == [PROJECT / COMPONENT / "manifest.json"]
