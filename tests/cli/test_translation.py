"""Output of the command line in Chinese: the catalogue has every text, and none that is no longer there."""

from __future__ import annotations

import argparse
import ast
import errno
import inspect
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import voluptuous as vol

from fleet2mqtt.cli.parser import main
from fleet2mqtt.cli.translation import CHINESE, Translation, choose_language
from fleet2mqtt.config import apprise_library, example_file
from fleet2mqtt.sdk.api import platforms
from tests.commandline import fleet2mqtt
from tests.process import BRIDGE, ran

if TYPE_CHECKING:
    from collections.abc import Iterator


SOURCE = Path(__file__).parents[2] / "bridge" / "fleet2mqtt"
PRINTED = (
    *sorted((SOURCE / "cli").glob("*.py")),
    *sorted((SOURCE / "config").glob("*.py")),
    *(
        SOURCE / name
        for name in ("sdk/validators.py", "mqtt/embedded_broker.py", "ops/base_topic.py", "notify/channel.py")
    ),
)
OPTIONS = sorted(
    path for name in ("schemas", "auth", "subscription") for path in SOURCE.glob(f"platforms/[a-z]*/{name}.py")
)
RAISED = {
    "Invalid",
    "KeyProblem",
    "ConfigError",
    "NotSent",
    "Problem",
    "ArgumentTypeError",
    "matching",
    "each",
    "_each",
    "_report",
}
SAID = {"print_line", "say", "ask", "ask_secret", "confirm", "choose"}
NAMED = {"msg", "help", "description", "epilog", "message", "expected"}
CHINESE_TEXT = re.compile(r"[\u4e00-\u9fff]")
AS_THEY_ARE = {"{}: {}", "  {} {}", "  {}: {}", "[ -~]{1,128}", "{}{}", "no platform: {}"}
"""Texts without a word of their own."""
ABOUT_ARGUMENTS = {
    "expected JSON, as such or in a text",
    "expected JSON in a text",
    "expected another JSON value in the text",
    "expected types of locks, each once: {}",
    "expected types of locks: {}",
    "expected a date such as 2024-03-07, or a time such as 2024-03-07T01:10:56Z",
    "expected an IP address such as 10.0.0.5",
    "expected a MAC such as 11-11-11-11-11-11",
    'expected a time such as 2030-12-31 23:59:59, or "" for never',
    "expected an IPv4 address such as 192.168.4.5",
    "expected 0 (TCP), 1 (UDP) or 2 (both)",
    'expected ports such as "1935,22000-22010"',
    "{} is no port or range of ports from 1 to {}",
    "expected a MAC such as 000EA93D022E",
    "expected one MAC at least",
    "expected a time such as 2021-03-09 17:55:40",
}
"""Texts in schemas of platforms that are about arguments of actions: they go to MQTT, in English."""


def template(node: ast.expr) -> str | None:
    """A text as the catalogue has it, {} for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
    return None


def texts(path: Path) -> Iterator[str]:
    """The texts with more than a word that a module prints or raises."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = [*node.args] if called in RAISED | SAID else []
        given += [word.value for word in node.keywords if word.arg in NAMED]
        for each in given:
            for inner in each.elts if isinstance(each, ast.List | ast.Tuple) else [each]:
                found = template(inner)
                if found and " " in found.strip() and found not in AS_THEY_ARE:
                    yield found


def filled(text: str) -> str:
    """A text as it is printed."""
    text = text.replace("unknown {};{} ", "unknown platform;{} ").replace(";{} ", "; ", 1)
    names = iter(f"X{number}" for number in range(10))
    return re.sub(r"\{\}", lambda _: next(names), text)


@pytest.fixture(scope="module")
def translate() -> Translation:
    return Translation(CHINESE)


@pytest.mark.parametrize("path", [*PRINTED, *OPTIONS], ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_texts_of_a_module_have_a_translation(path: Path, translate: Translation) -> None:
    missing = {
        text
        for text in texts(path)
        if text not in ABOUT_ARGUMENTS
        and not CHINESE_TEXT.search(text)
        and not CHINESE_TEXT.search(translate(filled(text)))
    }
    assert missing == set()


def test_comments_that_init_shows_have_a_translation(translate: Translation) -> None:
    for platform in platforms():
        for option in example_file.set_options(example_file.for_platform(platform)):
            assert not option.comment or CHINESE_TEXT.search(translate(option.comment)), option


def test_reasons_of_failed_notifications_have_a_translation(translate: Translation) -> None:
    for reason in (*(reason for _, reason in apprise_library.REASONS), "error 45009 of the vendor", "not accepted"):
        assert CHINESE_TEXT.search(translate(f"duty: {reason}")), reason


def test_collected_texts_are_those_that_matter() -> None:
    found = {text for path in PRINTED for text in texts(path)}
    assert {"expected true or false", "run the bridge", "{}: valid", "Begin again?"} <= found


def test_catalogue_has_no_text_that_is_not_printed(translate: Translation) -> None:
    sources = [path.read_text("utf-8") for path in SOURCE.rglob("*.py")]
    sources += [inspect.getsource(module) for module in (argparse, vol.validators, vol.schema_builder)]
    strings = "\n".join(
        str(node.value)
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    strings += re.sub(r"\n *# ", " ", example_file.text())
    strings += "".join(f"{os.strerror(number)} {os.strerror(number).lower()}" for number in errno.errorcode)
    strings += "not authorized"  # a reason code of MQTT
    gone = [
        text
        for text in translate.catalogue
        for part in re.split(r"\{\}|[.,;:?()\n]|platform;", text.replace("unknown platform", ""))
        if len(part.strip(" ?;:,()")) > 12 and part.strip(" ?;:,()") not in strings
    ]
    assert gone == []


def test_translation_has_the_gaps_of_its_text(translate: Translation) -> None:
    for text, chinese in translate.catalogue.items():
        assert len(re.findall(r"\{\d*\}", chinese)) == text.count("{}"), text
        assert CHINESE_TEXT.search(chinese), text


FAULTY = """\
mqtt: {host: 127.0.0.1, port: 1, password: hush-hush}
color: red
push: {port: 99999}
backends:
  hq: {platform: ums, url: 10.0.0.5}
  branch: {platform: smart_gatewy, url: "http://10.0.0.6"}
  office: {platform: sangfor_ac, url: "http://10.0.0.7"}
  stations: {platform: omstation, url: "http://a", username: a, password: b, language: de}
  things: {platform: ums, url: "http://a", include: [{kind: line, colour: x}], time_zone: Mars}
"""


def test_problems_of_a_configuration_are_in_chinese(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fleet2mqtt.yaml"
    path.write_text(FAULTY)
    assert main(["--language", "zh-Hans", "check", "-c", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9
    assert lines[0] == f"{path}:1: mqtt.password: 有 password 就要有 username"
    assert lines[2] == f"{path}:3: push.port: 应为 0 到 65535 之间的整数"
    for line in lines:
        assert line.startswith(f"{path}:")
        assert CHINESE_TEXT.search(line), line


@pytest.mark.parametrize(
    ("arguments", "environment", "language"),
    [
        ((), {}, "en"),
        ((), {"LANG": "zh_CN.UTF-8"}, "zh-Hans"),
        ((), {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ((), {"LANG": "en_GB.UTF-8", "LC_MESSAGES": "zh_CN"}, "zh-Hans"),
        (("check", "--language", "en"), {"LANG": "zh_CN.UTF-8"}, "en"),
        (("--language=zh-Hans", "check"), {}, "zh-Hans"),
        (("--language", "klingon"), {"LANG": "zh_CN"}, "zh-Hans"),
        (("--language",), {}, "en"),
    ],
)
def test_language_is_the_option_or_that_of_the_locale(
    arguments: tuple[str, ...], environment: dict[str, str], language: str
) -> None:
    assert choose_language(arguments, environment) == language


async def test_help_in_a_chinese_locale_is_in_chinese() -> None:
    ended = await ran("env", "LC_ALL=zh_CN.UTF-8", "COLUMNS=200", *BRIDGE, "check", "--help")
    assert ended.code == 0
    assert ended.output.startswith("用法：fleet2mqtt check ")
    described = [line for line in re.sub(r"\n {4,}", "    ", ended.output).splitlines() if re.match(r"  -", line)]
    assert len(described) >= 4
    assert [line for line in described if not CHINESE_TEXT.search(line)] == []
    whole: Any = await ran("env", "LC_ALL=zh_CN.UTF-8", "COLUMNS=200", *BRIDGE, "--help")
    assert re.search(r"^    run +运行网桥$", whole.output, re.MULTILINE)
    assert "退出码：" in whole.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("dump", "缺少必需的参数：BACKEND"),
        ("walk", "参数 COMMAND：无效的取值：'walk'"),
        ("demo --devices many", "参数 --devices：应为 0 到 100000 之间的整数"),
        ("check -c x --colour red", "无法识别的参数：--colour red"),
    ],
)
def test_wrong_command_line_is_explained_in_chinese(
    arguments: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


async def test_output_without_a_locale_is_in_english() -> None:
    ended = await fleet2mqtt("--help")
    assert not CHINESE_TEXT.search(ended.output)
