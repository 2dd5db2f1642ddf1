"""Completion in a real bash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.cli.parser import main
from fleet2mqtt.sdk.api import platforms
from tests.process import ran

if TYPE_CHECKING:
    from pathlib import Path

OFFERED = """
source "$1"; shift
COMP_WORDS=(fleet2mqtt "$@"); COMP_CWORD=$#
_fleet2mqtt
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "completion").write_text(capsys.readouterr().out, "utf-8")
    return str(tmp_path / "completion")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("",), {"run", "check", "init", "demo", "--version"}),
        (("si",), {"simulate"}),
        (("simulate", ""), {*platforms(), "--port", "--still"}),
        (("simulate", "ums", "--po"), {"--port"}),
        (("run", "-c", "/proc/self/statu"), {"/proc/self/status"}),
        (("alarms", "t"), {"test"}),
        (("alarms", "test", "--log-level", ""), {"debug", "info", "warning", "error"}),
        (("demo", "--broker", "m"), {"mosquitto"}),
    ],
)
async def test_bash_completes(words: tuple[str, ...], offered: set[str], script: str) -> None:
    ended = await ran("bash", "-c", OFFERED, "bash", script, *words)
    assert (ended.code, ended.errors) == (0, "")
    assert offered <= set(ended.output.split())
    if len(offered) == 1:
        assert set(ended.output.split()) == offered
