"""Generated files are up to date, and the generator names missing parts."""

from __future__ import annotations

import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = {"action_table.py", "services.yaml", "icons.json", "en.json", "zh-Hans.json"}


def script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return script("generate_actions")


def test_generated_files_are_up_to_date(generator: ModuleType) -> None:
    contents = generator.generate()
    assert {path.name for path in contents} == FILES
    outdated = [path.name for path, text in contents.items() if path.read_text("utf-8") != text]
    assert outdated == [], "run scripts/generate"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda strings: strings["actions"].update(nothing={"fields": {}}), "there is no action nothing"),
        (
            lambda strings: strings["actions"]["fxo_test"]["fields"].pop("device_mac"),
            "fxo_test needs texts for device_mac",
        ),
        (lambda strings: strings["actions"]["fxo_test"]["fields"].update(x={}), "fxo_test has no argument x"),
        (lambda strings: strings.pop("backend"), "ums/strings.yaml: missing at the top: backend"),
        (lambda strings: strings["backend"].pop("zh-Hans"), "backend lacks zh-Hans"),
        (lambda strings: strings["actions"]["fxo_test"].pop("icon"), "actions.fxo_test lacks icon"),
        (lambda strings: strings["actions"]["fxo_test"].pop("zh-Hans"), "actions.fxo_test lacks zh-Hans.name"),
        (
            lambda strings: strings["actions"]["fxo_test"]["fields"]["limit"].pop("example"),
            "actions.fxo_test.fields.limit lacks example",
        ),
        (
            lambda strings: strings["actions"]["fxo_test"]["fields"]["limit"].update(options="none"),
            "options.none of fxo_test.limit is not there",
        ),
    ],
)
def test_texts_that_do_not_fit_the_actions_are_named(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch, change: object, message: str
) -> None:
    strings = yaml.safe_load((ROOT / "bridge/fleet2mqtt/platforms/ums/strings.yaml").read_text("utf-8"))
    assert callable(change)
    change(strings)
    monkeypatch.setattr(generator, "strings_of", lambda _: strings)
    with pytest.raises(generator.Problem, match=message):
        list(generator.documented_actions("ums"))


def test_action_that_two_platforms_have_is_named(generator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """`device_register` is an action of smart_gateway and of omstation; texts of both would hide one of them."""
    strings_of = generator.strings_of
    texts = {"name": "Register", "description": "Registers locks."}
    action = {"icon": "mdi:lock", "changes": True, "en": texts, "zh-Hans": texts}
    field = {"example": "[]", "type": "object", "en": texts, "zh-Hans": texts}
    both = {
        "backend": {"en": "The backend.", "zh-Hans": "后端。"},
        "actions": {"device_register": action | {"fields": {"deviceInfoList": field}}},
    }
    monkeypatch.setattr(
        generator, "strings_of", lambda package: both if package.endswith(".omstation") else strings_of(package)
    )
    with pytest.raises(generator.Problem, match=r"omstation/strings\.yaml: smart_gateway has action device_register"):
        generator.generate()


def test_check_names_files_that_are_not_up_to_date(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "custom_components" / "fleet2mqtt"
    shutil.copytree(generator.INTEGRATION, copy)
    monkeypatch.setattr(generator, "INTEGRATION", copy)
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    assert generator.main(["--check"]) == 0
    (copy / "action_table.py").write_text("")
    assert generator.main(["--check"]) == 1
    assert "custom_components/fleet2mqtt/action_table.py is not up to date" in capsys.readouterr().err
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0


def test_architecture_page_shows_the_tree() -> None:
    tree = script("generate_tree")
    shown = tree.PAGE.read_text("utf-8")
    assert shown == tree.page(), "run scripts/generate"
    for name in ("hub", "outbox/", "sdk/", "platforms/", "discovery_queue", "device_cache"):
        assert f" {name}" in shown


def test_contract_documents_are_up_to_date(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    contract = script("generate_contract")
    assert contract.main(["--check"]) == 0, "run scripts/generate"
    monkeypatch.setattr(contract, "FOLDER", tmp_path / "contract")
    monkeypatch.setattr(contract, "ROOT", tmp_path)
    assert contract.main(["--check"]) == 1
    assert contract.main([]) == 0
    former = tmp_path / "contract" / "former.schema.json"
    former.write_text("{}")
    assert contract.main(["--check"]) == 1
    assert contract.main([]) == 0
    assert not former.exists()
