"""scripts/bench: that it runs, by its smallest sizes. What it measures is no test's business."""

from __future__ import annotations

import sys

from benchmarks import table
from benchmarks.table import Line
from tests.process import ran


async def test_measures_and_prints_one_table() -> None:
    parts = [f"--only={part}" for part in ("push", "publishing", "commands", "cluster", "alarms", "fleet")]
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--no-peers", "--no-write", *parts]
    ended = await ran(*command)
    assert ended.code == 0, ended.output + ended.errors
    lines = [line for line in ended.output.splitlines() if line.startswith("|")]
    assert lines[0] == "| what | fleet2mqtt | beside it | ratio | goal | |"
    for name in (table.BRIDGE, table.MANAGED):
        assert sum(f"push → MQTT, {name}, 32 connections" in line for line in lines) == 1
        assert sum(f"push → MQTT, {name}, 1 connection:" in line for line in lines) == 1
    assert any("by a bare socket" in line for line in lines)
    assert any("beside bare paho" in line for line in lines)
    assert any("added by the bridge" in line for line in lines)
    assert sum("alarms stored in PostgreSQL" in line for line in lines) == 1
    assert any("active alarms, ms p50" in line for line in lines)
    assert sum("min to the first value of the last" in line for line in lines) == 3


async def test_says_what_it_cannot_measure() -> None:
    ended = await ran(sys.executable, "-m", "benchmarks", "--only=nothing")
    assert ended.code == 2
    assert "invalid choice" in ended.errors


def test_line_of_several_runs_has_the_figures_of_each() -> None:
    runs = [[Line(what="a", ours=f"{rate}", theirs="2", ratio=rate / 2, least=1)] for rate in (1, 2, 3)]
    [line] = [line for line in table.render(runs, ()).splitlines() if line.startswith("| a ")]
    assert line == "| a | 1 · 2 · 3 | 2 · 2 · 2 | 0.50 · 1.00 · 1.50 | ≥ 1 | 2 of 3 met |"
