"""Merging of the parts of units at the bridge unit: pages of alarms, metrics, files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from fleet2mqtt.cluster.documents import read_documents
from fleet2mqtt.cluster.membership import UnitRecord
from fleet2mqtt.cluster.units import Units
from fleet2mqtt.storage import inventory_file
from fleet2mqtt.storage.inventory_file import INVENTORY, Snapshot
from fleet2mqtt.web.cluster_views import merge_active, merge_past
from fleet2mqtt.web.metrics import from_json, merge, to_json
from tests.sample_devices import device

if TYPE_CHECKING:
    from pathlib import Path

LENGTH = 100


def units(*names: str) -> Units:
    records = [
        UnitRecord(name=name, owner="a", epoch=1, wanted="a", weight=1.0, figures={}) for name in ("bridge", *names)
    ]
    return Units({each.name: each for each in records})


def test_device_belongs_to_the_unit_whose_name_its_id_begins_with() -> None:
    known = units("hq", "hq2", "hq_old", "a_b")
    ids = ("hq", "hq_1", "hq2_1", "hq3_1", "hq_old_1", "hq_older_1", "a_b_c", "a_c", "bridge", "bridge_1")
    found = {id_: known.unit_of_device(id_) for id_ in ids}
    assert found == {
        "hq": "hq",
        "hq_1": "hq",
        "hq2_1": "hq2",
        "hq3_1": None,
        "hq_old_1": "hq_old",
        "hq_older_1": "hq",
        "a_b_c": "a_b",
        "a_c": None,
        "bridge": None,
        "bridge_1": None,
    }
    assert known.unit_of_backend("bridge") is None


@given(st.lists(st.sets(st.integers(1, 400)), min_size=1, max_size=4), st.integers(1, 30))
def test_pages_of_past_alarms_have_each_alarm_once_in_order(parts: list[set[int]], length: int) -> None:
    """Each unit returns the next alarms of its own, and where it has stopped to read."""
    alarms = [sorted(part) for part in parts]
    expected = sorted((seq for part in alarms for seq in part), reverse=True)
    found: list[int] = []
    before: int | None = 1_000
    for _ in range(5_000):
        if before is None:
            break
        page = merge_past([page_of(part, before, length) for part in alarms], length)
        found += [row["seq"] for row in page["rows"]]
        assert page["before"] is None or page["before"] <= before
        before = page["before"]
    assert sorted(found, reverse=True) == found
    assert set(found) == set(expected)


def page_of(alarms: list[int], before: int, length: int) -> dict[str, Any]:
    rows = [seq for seq in reversed(alarms) if seq < before]
    cut = rows[:length]
    return {"rows": [{"seq": seq} for seq in cut], "before": cut[-1] if len(rows) > length else None}


def test_page_of_active_alarms_is_cut_from_those_of_all_units() -> None:
    parts = [
        {"matching": 150, "rows": [{"seq": seq} for seq in range(300, 150, -1)]},
        {"matching": 2, "rows": [{"seq": 310}, {"seq": 155}]},
    ]
    second = merge_active(parts, 2)
    assert (second["matching"], second["page"], second["pages"]) == (152, 2, 2)
    assert [row["seq"] for row in second["rows"]][:2] == [201, 200]
    assert len(second["rows"]) == 52


def test_metrics_of_units_are_added_up_and_ages_are_the_oldest() -> None:
    def of_unit(count: float, age: float, backend: str) -> list[Any]:
        calls = CounterMetricFamily("x_calls", "Calls", labels=("backend",))
        calls.add_metric((backend,), count)
        return [
            CounterMetricFamily("x_pushes", "Pushes", value=count),
            GaugeMetricFamily("x_oldest_age_seconds", "Age", value=age),
            calls,
        ]

    parts = [from_json(to_json(of_unit(2, 5, "hq"))), from_json(to_json(of_unit(3, 4, "branch")))]
    samples = {
        (each.name, each.labels.get("backend")): each.value for metric in merge(parts) for each in metric.samples
    }
    assert samples == {
        ("x_pushes_total", None): 5,
        ("x_oldest_age_seconds", None): 5,
        ("x_calls_total", "hq"): 2,
        ("x_calls_total", "branch"): 3,
    }


def test_files_of_one_bridge_are_divided_among_the_units(tmp_path: Path) -> None:
    devices = (
        device("hq_1", backend="hq"),
        device("hq_old_1", backend="hq_old"),
        device("gone_1", backend="gone"),
        device("bridge", backend=""),
    )
    inventory_file.save(tmp_path / INVENTORY, Snapshot(devices=devices, pending_deletions=frozenset({"topic"})))
    (tmp_path / "hq.token.json").write_text("token")
    (tmp_path / "topics.json").write_text("topics")
    found = read_documents(tmp_path, ["hq", "branch"])
    inventories = {unit: inventory_file.parse(body) for (unit, name), body in found.items() if name == INVENTORY}
    assert {unit: [each.id for each in snapshot.devices] for unit, snapshot in inventories.items()} == {
        "hq": ["hq_1"],
        "hq_old": ["hq_old_1"],
        "branch": [],
        "gone": ["gone_1"],
        "bridge": ["bridge"],
    }
    assert inventories["bridge"].pending_deletions == {"topic"}
    assert not inventories["hq"].pending_deletions
    assert [unit for unit, name in found if name == "hq.token.json"] == ["hq"]
    assert {unit for unit, name in found if name == "topics.json"} == inventories.keys()
    assert read_documents(tmp_path / "nothing", ["hq"]) == {}
