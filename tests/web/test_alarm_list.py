"""Lists of alarms as JSON: active and past, filtered, in pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.alarms import maintenance
from fleet2mqtt.alarms.handling import AlarmSources
from fleet2mqtt.alarms.manager import Operator
from fleet2mqtt.devices.alarm_rules import AlarmRules
from fleet2mqtt.devices.conditions import Condition, ConditionTable
from fleet2mqtt.devices.model import Name, Severity, UpdateOrigin
from fleet2mqtt.outbox import open_outbox
from tests.sample_alarms import RAISED, alarm
from tests.web.web_bench import Bench, Vendor, bench, device

if TYPE_CHECKING:
    from pathlib import Path

GATEWAY = device(1, name="Branch 1", groups={"7": "Branches"}, connections=(("mac", "00:0e:a9:3d:02:2e"),))


def vendor() -> Vendor:
    return Vendor("hq", devices=(GATEWAY, device(2, name="Branch 2")))


async def listed(parts: Bench, query: str = "") -> list[str]:
    return [row["id"] for row in (await parts.json(f"/api/alarms?{query}"))["alarms"]["rows"]]


async def raise_three(parts: Bench, hq: Vendor) -> None:
    """Two active alarms of the first gateway, the second acknowledged; one without an end of the other."""
    of_gateway = {"device": GATEWAY.id, "active": True}
    await parts.hub.accept(
        hq.update(
            alarms=(
                alarm(
                    1, alarm_key="one", description="线路离线", description_en="Line offline", line="4", **of_gateway
                ),
                alarm(2, alarm_key="two", severity=Severity.MINOR, **of_gateway),
                alarm(3, device="hq_0002"),
            )
        )
    )
    await parts.alarms.acknowledge(await parts.alarms.find(event="hq:2"), Operator(name="Li"))


async def test_active_alarms_are_listed_newest_first_with_what_operators_did(tmp_path: Path) -> None:
    hq = vendor()
    async with bench(tmp_path, hq) as parts:
        await raise_three(parts, hq)
        body = await parts.json("/api/alarms?lang=zh")
    second, first = body["alarms"]["rows"]
    assert (second["id"], second["severity"], second["acknowledged_by"]) == ("hq:2", "minor", "Li")
    assert (first["device_name"], first["text"], first["line"], first["state"]) == (
        "Branch 1",
        "线路离线",
        "4",
        "active",
    )
    assert datetime.fromisoformat(first["raised_at"]) == RAISED + timedelta(seconds=1)
    assert body["counts"]["unacknowledged"]["critical"] == 1
    assert body["backends"] == ["hq"]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("severity=critical", ["hq:1"]),
        ("severity=critical&severity=minor", ["hq:2", "hq:1"]),
        ("backend=branch", []),
        ("backend=hq&acknowledged=true", ["hq:2"]),
        ("acknowledged=false", ["hq:1"]),
        ("shelved=true", []),
        ("group=Branches", ["hq:2", "hq:1"]),
        ("device=hq_0002", []),
        ("text=LINE 线路", ["hq:1"]),
        ("text=离线 000E.A93D.022E", ["hq:1"]),
        ("text=line and more", []),
        ("state=past", ["hq:3"]),
        ("state=past&device=hq_0001", []),
        ("state=past&severity=minor", []),
    ],
)
async def test_alarms_are_filtered(tmp_path: Path, query: str, ids: list[str]) -> None:
    hq = vendor()
    async with bench(tmp_path, hq) as parts:
        await raise_three(parts, hq)
        assert await listed(parts, query) == ids


@pytest.mark.parametrize(
    ("query", "named"),
    [("severity=bad", "severity: expected one of critical"), ("page=0", "page: "), ("page=x", "page: "),
     ("state=past&before=-1", "before: "), ("acknowledged=1", "acknowledged: "), ("state=open", "state: ")],
)  # fmt: skip
async def test_a_parameter_that_is_not_allowed_is_named(tmp_path: Path, query: str, named: str) -> None:
    async with bench(tmp_path) as parts:
        assert (await parts.json(f"/api/alarms?{query}", 400))["error"].startswith(named)
        assert (await parts.json(f"/api/alarms/events?{query}", 400))["error"].startswith(named)


async def test_past_alarms_show_their_end_and_the_last_acknowledgement(tmp_path: Path) -> None:
    hq = vendor()
    async with bench(tmp_path, hq) as parts:
        await raise_three(parts, hq)
        for key, number in (("one", 4), ("two", 5)):
            await parts.hub.accept(
                hq.update(alarms=(alarm(number, device=GATEWAY.id, active=True, alarm_key=key, cleared=True),))
            )
        assert await listed(parts) == []
        again = alarm(6, device=GATEWAY.id, active=True, alarm_key="one")
        await parts.hub.accept(hq.update(alarms=(again,)))
        rows = (await parts.json("/api/alarms?state=past"))["alarms"]["rows"]
    assert [row["id"] for row in rows] == ["hq:3", "hq:2", "hq:1"]
    assert [row["state"] for row in rows] == [None, "cleared", "cleared"]
    assert [row["acknowledged_by"] for row in rows] == [None, "Li", None]
    ends = [row["ended_at"] and datetime.fromisoformat(row["ended_at"]) for row in rows]
    assert ends == [None, RAISED + timedelta(seconds=5), RAISED + timedelta(seconds=4)]


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", ["Fault (1+1) reported", "Gone", "CPU at 97.5 (limit 90)"]),
        ("zh", ["其他", "离开", "处理器 97.5，上限 90"]),
    ],
)
async def test_texts_of_conditions_and_rules_are_in_the_language_of_the_page(
    tmp_path: Path, language: str, texts: list[str]
) -> None:
    """The bridge's own language is Chinese; the newest alarm is of a condition that had another text then."""
    hq = vendor()
    cpu = Condition(
        key="cpu_above", severity=Severity.MAJOR, entity="cpu",
        text=Name("CPU at {value} (limit {threshold})", "处理器 {value}，上限 {threshold}"),
    )  # fmt: skip
    table = ConditionTable((cpu, replace(cpu, key="fault", text=Name("Fault (1.1) {value} {value}", "故障"))))
    rules = AlarmRules(texts={"33": Name("Gone", "离开")})
    sources = AlarmSources(tables=lambda _: table, rules_of=lambda _: rules)
    condition = {"device": GATEWAY.id, "active": True, "source": UpdateOrigin.CONDITION}
    async with bench(tmp_path, hq, sources=sources) as parts:
        await parts.hub.accept(
            hq.update(
                alarms=(
                    alarm(
                        1, name="cpu_above", alarm_key="cpu_above", description="处理器 97.5，上限 90",
                        description_en="CPU at 97.5 (limit 90)", **condition,
                    ),
                    alarm(2, code=33, active=True, alarm_key="33", device=GATEWAY.id),
                    alarm(
                        3, name="fault", alarm_key="fault", description="其他",
                        description_en="Fault (1+1) reported", **condition,
                    ),
                )
            )
        )  # fmt: skip
        rows = (await parts.json(f"/api/alarms?lang={language}"))["alarms"]["rows"]
    assert [row["text"] for row in rows] == texts


async def test_alarm_has_its_changes_and_windows_are_listed_active_ones_first(tmp_path: Path) -> None:
    hq, now = vendor(), datetime.now(UTC)
    async with bench(tmp_path, hq) as parts:
        await raise_three(parts, hq)
        later, lasting = (
            maintenance.new_window(
                selector=maintenance.Selector(device=GATEWAY.id),
                start=now + timedelta(hours=hours),
                end=None,
                operator="Ana",
            )
            for hours in (1, -1)
        )
        await parts.windows.add(later)
        await parts.windows.add(lasting)
        await parts.hub.accept(
            hq.update(alarms=(alarm(5, device=GATEWAY.id, active=True, alarm_key="two", cleared=True),))
        )
        shown = await parts.json("/api/alarm?id=hq:2")
        past = await parts.json("/api/alarm?id=hq:3")
        windows = (await parts.json("/api/alarms"))["windows"]
        assert (await parts.json("/api/alarm?id=x", 404))["error"] == "there is no such alarm"
    changes = [(each["type"], each["operator"], each["suppressed"]) for each in shown["changes"]["rows"]]
    assert changes == [("raised", None, False), ("acknowledged", "Li", False), ("cleared", None, True)]
    assert (shown["alarm"]["state"], shown["alarm"]["acknowledged_by"], past["alarm"]["state"]) == (
        "cleared",
        "Li",
        None,
    )
    assert windows["total"] == 2
    assert [(each["id"], each["active"], each["device_name"]) for each in windows["rows"]] == [
        (lasting.id, True, "Branch 1"),
        (later.id, False, "Branch 1"),
    ]


@pytest.mark.parametrize("state", ["active", "past"])
async def test_pages_have_every_alarm_once(tmp_path: Path, state: str) -> None:
    hq, found = vendor(), list[str]()
    async with bench(tmp_path, hq) as parts:
        active = state == "active"
        of = {"active": active, "device": GATEWAY.id}
        alarms = tuple(alarm(n, alarm_key=f"k{n}" if active else "", **of) for n in range(1, 251))
        await parts.hub.accept(hq.update(alarms=alarms))
        query = ""
        while True:
            body = (await parts.json(f"/api/alarms?state={state}{query}"))["alarms"]
            found += [row["id"] for row in body["rows"]]
            if active and body["page"] < body["pages"]:
                query = f"&page={body['page'] + 1}"
            elif not active and body["before"]:
                query = f"&before={body['before']}"
            else:
                break
    assert found == [f"hq:{n}" for n in range(250, 0, -1)]


async def test_past_alarms_with_a_failing_outbox_are_503_and_active_ones_are_shown(tmp_path: Path) -> None:
    async with open_outbox(tmp_path / "other.sqlite") as closed:
        pass
    async with bench(tmp_path, shown_outbox=closed) as parts:
        assert "outbox" in (await parts.json("/api/alarms?state=past", 503))["error"]
        assert "outbox" in (await parts.json("/api/alarms/events?state=past", 503))["error"]
        assert await listed(parts) == []
