"""Rules, dashboards and template in packaging/monitoring use metrics that a bridge has, in queries that are valid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import yaml

from tests.bridge_under_test import run_bridge
from tests.broker import HOST, Broker, free_port
from tests.commandline import get_text
from tests.process import ran

if TYPE_CHECKING:
    from collections.abc import Iterator

MONITORING = Path(__file__).parents[1] / "packaging" / "monitoring"
RULES = MONITORING / "prometheus" / "alerts.yaml"
DASHBOARDS = sorted((MONITORING / "grafana").glob("*.json"))
TEMPLATE: dict[str, Any] = yaml.safe_load((MONITORING / "zabbix" / "fleet2mqtt.yaml").read_text("utf-8"))[
    "zabbix_export"
]
METRIC = re.compile(r"\b(?:fleet2mqtt|process)_[a-z0-9_]+\b")
GRAFANA = {"$__rate_interval": "5m", "$instance": ".*", "$backend": ".*"}


def panels(dashboard: Path) -> Iterator[dict[str, Any]]:
    yield from json.loads(dashboard.read_text("utf-8"))["panels"]


def dashboard_queries() -> Iterator[str]:
    for dashboard in DASHBOARDS:
        for panel in panels(dashboard):
            for target in panel["targets"]:
                query = target["expr"]
                for name, value in GRAFANA.items():
                    query = query.replace(name, value)
                assert "$" not in query, query
                yield query


def zabbix_items() -> Iterator[dict[str, Any]]:
    (template,) = TEMPLATE["templates"]
    yield from template["items"]
    for rule in template["discovery_rules"]:
        yield rule
        yield from rule["item_prototypes"]


def texts_with_metrics() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    yield from dashboard_queries()
    for item in zabbix_items():
        yield from (step["parameters"][0] for step in item.get("preprocessing", ()))


async def test_every_metric_that_is_queried_exists(broker: Broker, tmp_path: Path) -> None:
    queried = {name for text in texts_with_metrics() for name in METRIC.findall(text)}
    web = free_port()
    keys = {"url": f"ws://{HOST}:1/mqtt", "key": "key", "secret": "secret"}
    login = {"app_id": "a", "access_key": "b", "secret_key": "c"}
    options = {
        "mqtt": {"host": HOST, "port": broker.port},
        "data_dir": "data",
        "push": {"host": HOST, "port": free_port()},
        "web": {"host": HOST, "port": web},
        "notify": {"duty": {"url": f"json://{HOST}:1/"}},
        "backends": {"things": {"platform": "thingscloud", "url": f"http://{HOST}:1", **login, "subscribe": keys}},
    }
    async with run_bridge(broker, tmp_path, options) as bridge:
        await bridge.refresh()
        shown = await get_text(f"http://{HOST}:{web}/metrics")
    families = set(re.findall(r"^# TYPE (\S+) ", shown, re.MULTILINE))
    there = families | set(re.findall(r"^([a-z0-9_]+)[{ ]", shown, re.MULTILINE))
    assert "fleet2mqtt_subscription_connected" in there
    assert queried - there == set()


async def test_rules_and_their_tests_hold() -> None:
    checked = await ran("promtool", "check", "rules", str(RULES))
    assert (checked.code, "15 rules found" in checked.output) == (0, True), checked
    tested = await ran("promtool", "test", "rules", str(RULES.with_name("alerts.test.yaml")))
    assert tested.code == 0, tested


def test_every_rule_is_tested() -> None:
    rules = {rule["alert"] for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]}
    tests = RULES.with_name("alerts.test.yaml").read_text("utf-8")
    assert rules == set(re.findall(r'alertname="(\w+)"', tests))


async def test_queries_of_dashboards_are_valid(tmp_path: Path) -> None:
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(dashboard_queries())]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    checked = await ran("promtool", "check", "rules", "--lint=none", str(file))
    assert checked.code == 0, checked
    rules.append({"record": "wrong", "expr": "sum(rate(x[5m])"})
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    assert (await ran("promtool", "check", "rules", str(file))).code != 0


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_can_be_imported(dashboard: Path) -> None:
    content = json.loads(dashboard.read_text("utf-8"))
    assert content["uid"] == f"fleet2mqtt-{dashboard.stem}"
    variables = {variable["name"] for variable in content["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(content["panels"]))) - {"__rate_interval"}
    assert used <= variables
    assert len({panel["id"] for panel in panels(dashboard)}) == len(content["panels"])
    for panel in panels(dashboard):
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        assert panel["title"]


def test_dashboards_are_those_that_the_page_names() -> None:
    assert [path.stem for path in DASHBOARDS] == ["alarms", "bridge", "fleet"]


def test_template_is_consistent() -> None:
    (template,) = TEMPLATE["templates"]
    keys = [item["key"] for item in zabbix_items()]
    assert len(set(keys)) == len(keys)
    uuids = re.findall(r"uuid: (\w+)", yaml.safe_dump(TEMPLATE))
    assert len(set(uuids)) == len(uuids)
    assert all(UUID(each).version == 4 for each in uuids)
    maps = {each["name"] for each in template["valuemaps"]}
    for item in zabbix_items():
        assert item.get("master_item", {"key": "fleet2mqtt.metrics"})["key"] in keys
        assert item.get("valuemap", {"name": "yes or no"})["name"] in maps
        for trigger in (*item.get("triggers", ()), *item.get("trigger_prototypes", ())):
            found = re.findall(rf"\(/{template['template']}/([^,()]+)", trigger["expression"])
            assert found
            assert set(found) <= set(keys)


def test_page_lists_every_rule_with_its_severity() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
    page = (MONITORING.parents[1] / "docs" / "monitoring.md").read_text("utf-8")
    told = dict(re.findall(r"^\| `(Fleet2mqtt\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert told == {rule["alert"]: rule["labels"]["severity"] for rule in rules}
