"""Selection: rules for devices and sub-devices, details of entities, overrides; and how the registry applies them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleet2mqtt.devices.model import Device
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.devices.selection import Detail, Override, Rule, Selection, SelectionFilter
from tests.sample_devices import device, row, update

GATEWAY = device("hq_1", name="Branch 7", model="OM50", groups={"n": "North"}, tags=("vip",), location="Oslo")
LINE = device("hq_1_fxo", name="Branch 7 FXO-1", via="hq_1", kind="line", scope="lines:1")
OWN = device("hq", scope="backend")


def filtered(selection: Selection, *devices: Device) -> list[str]:
    selects = SelectionFilter(lambda _: selection).selects
    return [each.id for each in devices if selects(each)]


@pytest.mark.parametrize(
    "rule",
    [
        Rule(id="1"),
        Rule(id="HQ_*"),
        Rule(name="branch *"),
        Rule(model="OM[35]0"),
        Rule(group="north"),
        Rule(group="n"),
        Rule(tag="v?p"),
        Rule(location="oslo", group="*"),
    ],
)
def test_rule_matches_device_and_its_sub_devices_follow(rule: Rule) -> None:
    assert filtered(Selection(include=(rule,)), OWN, GATEWAY, LINE) == ["hq", "hq_1", "hq_1_fxo"]
    assert filtered(Selection(exclude=(rule,)), OWN, GATEWAY, LINE) == ["hq"]


@pytest.mark.parametrize(
    "rule", [Rule(id="2"), Rule(group="South"), Rule(group="north", tag="no"), Rule(location="*gen")]
)
def test_rule_does_not_match_every_attribute(rule: Rule) -> None:
    assert filtered(Selection(include=(rule,)), OWN, GATEWAY, LINE) == ["hq"]
    assert filtered(Selection(exclude=(rule,)), OWN, GATEWAY, LINE) == ["hq", "hq_1", "hq_1_fxo"]


def test_rule_with_kind_is_about_sub_devices_only() -> None:
    assert filtered(Selection(exclude=(Rule(kind="line"),)), OWN, GATEWAY, LINE) == ["hq", "hq_1"]
    only = Selection(include=(Rule(kind="line", name="*FXO-2"),))
    assert filtered(only, OWN, GATEWAY, LINE) == ["hq", "hq_1"]


@pytest.mark.parametrize("rule", [Rule(group="north"), Rule(tag="vip"), Rule(location="oslo")])
def test_rule_with_kind_compares_what_a_sub_device_has_from_its_device(rule: Rule) -> None:
    rule = replace(rule, kind="line")
    other = device("hq_2", groups={"s": "South"})
    own = replace(LINE, id="hq_1_own", groups={"w": "West"}, tags=("plain",), location="Bergen")
    devices = (OWN, GATEWAY, LINE, own, other, device("hq_2_fxo", via="hq_2", kind="line"))
    assert filtered(Selection(include=(rule,)), *devices) == ["hq", "hq_1", "hq_1_fxo", "hq_2"]
    assert filtered(Selection(exclude=(rule,)), *devices) == ["hq", "hq_1", "hq_1_own", "hq_2", "hq_2_fxo"]


def test_kind_is_excluded_by_a_rule_without_other_attributes() -> None:
    assert Selection(exclude=(Rule(kind="line", name="*1"), Rule(kind="line"))).excludes_kind("line")
    assert not Selection(exclude=(Rule(kind="line", name="*1"), Rule(name="*"))).excludes_kind("line")


TABLE = (row("usual"), row("hidden", enabled=False), row("alarmed", essential=True))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), {"usual": True, "hidden": False, "alarmed": True}),
        (Selection(entities=Detail.FULL), {"usual": True, "hidden": True, "alarmed": True}),
        (Selection(entities=Detail.MINIMAL), {"alarmed": True}),
        (
            Selection(entities=Detail.MINIMAL, overrides={"hidden": Override(enabled=True)}),
            {"hidden": True, "alarmed": True},
        ),
        (Selection(overrides={"usual": Override(enabled=False)}), {"usual": False, "hidden": False, "alarmed": True}),
    ],
)
def test_details_and_overrides_decide_about_entities(selection: Selection, expected: dict[str, bool]) -> None:
    applied = SelectionFilter(lambda _: selection).apply("hq", TABLE)
    assert {entity.key: entity.enabled for entity in applied} == expected


def test_override_changes_name_icon_and_unit() -> None:
    selection = Selection(overrides={"usual": Override(name="Mine", icon="mdi:phone", unit="V")})
    entity = SelectionFilter(lambda _: selection).apply("hq", TABLE)[0]
    assert (entity.name.en, entity.name.zh, entity.icon, entity.unit) == ("Mine", "Mine", "mdi:phone", "V")


def test_apply_returns_one_tuple_for_one_tuple() -> None:
    apply = SelectionFilter(lambda _: Selection(entities=Detail.FULL)).apply
    assert apply("hq", TABLE) is apply("hq", TABLE)


class Running:
    """A registry whose selection changes while it runs."""

    def __init__(self) -> None:
        self.selection = Selection()
        self.registry = Registry(lambda: 1.0, lambda _: (), SelectionFilter(lambda _: self.selection))

    def accept(self, *devices: Device, **more: Any) -> None:
        self.registry.accept(update(*devices, requested_at=1.0, **more), "now")


def test_rule_added_to_a_running_fleet_removes_devices_and_their_sub_devices() -> None:
    running = Running()
    running.accept(OWN, GATEWAY, LINE, device("hq_2"))
    running.selection = Selection(exclude=(Rule(group="North"),))
    assert running.registry.apply_selection("hq").removed == {"hq_1", "hq_1_fxo"}
    running.accept(device("hq_1", name="Branch 7", groups={"n": "North"}), LINE)
    assert running.registry.devices.keys() == {"hq", "hq_2"}
    assert running.registry.is_excluded("hq_1_fxo")


def test_device_that_moves_into_an_excluded_group_is_removed_and_returns() -> None:
    running = Running()
    running.selection = Selection(exclude=(Rule(group="South"),))
    running.accept(GATEWAY, LINE)
    moved = update(replace(GATEWAY, groups={"s": "South"}), LINE, requested_at=1.0)
    assert running.registry.accept(moved, "now").removed == {"hq_1", "hq_1_fxo"}
    assert running.registry.devices == {}
    running.accept(replace(GATEWAY), LINE)
    assert running.registry.devices.keys() == {"hq_1", "hq_1_fxo"}


def test_sub_device_is_removed_when_its_device_moves_and_returns() -> None:
    running = Running()
    running.selection = Selection(exclude=(Rule(kind="line", group="South"),))
    running.accept(GATEWAY, LINE)
    running.accept(replace(GATEWAY, groups=None), LINE)
    assert running.registry.devices.keys() == {"hq_1", "hq_1_fxo"}, "nothing is removed while groups are unknown"
    moved = update(replace(GATEWAY, groups={"s": "South"}), LINE, requested_at=1.0)
    assert running.registry.accept(moved, "now").removed == {"hq_1_fxo"}
    running.accept(replace(GATEWAY), replace(LINE))
    assert running.registry.devices.keys() == {"hq_1", "hq_1_fxo"}


def test_rule_with_kind_added_to_a_running_fleet_compares_the_groups_of_the_device() -> None:
    running = Running()
    running.accept(LINE, GATEWAY)
    running.selection = Selection(exclude=(Rule(kind="line", group="North"),))
    assert running.registry.apply_selection("hq").removed == {"hq_1_fxo"}


def test_rule_taken_away_lets_devices_return() -> None:
    running = Running()
    running.selection = Selection(exclude=(Rule(group="North"),))
    running.accept(GATEWAY, LINE)
    assert running.registry.devices == {}
    running.selection = Selection()
    running.registry.apply_selection("hq")
    running.accept(GATEWAY, LINE)
    assert running.registry.devices.keys() == {"hq_1", "hq_1_fxo"}


@pytest.mark.parametrize("answered", [None, frozenset[str]()])
def test_details_reduced_while_the_values_are_of_the_last_run(answered: frozenset[str] | None) -> None:
    """A reload takes the devices for restored ones; keys that it removes are not kept among those."""
    running = Running()
    state = {"usual": 1, "hidden": 2, "alarmed": 3}
    given = device("hq_1", entities=TABLE, state=state, answered=answered)
    running.accept(given)
    running.registry.detach_backend("hq")
    running.selection = Selection(entities=Detail.MINIMAL)
    running.registry.apply_selection("hq")
    running.registry.accept(update(replace(given), requested_at=2.0), "now", settled=False)
    assert running.registry.devices["hq_1"].state == {"alarmed": 3}


def test_source_that_is_not_polled_has_neither_devices_nor_entities() -> None:
    running = Running()
    table = (row("usual"), row("measured", source="lines"))
    line = device("hq_1_fxo", via="hq_1", source="lines", scope="lines:1")
    gateway = device("hq_1", entities=table, state={"usual": 1, "measured": 2})
    running.accept(gateway, line)
    running.selection = Selection(unpolled=frozenset({"lines"}), overrides={"measured": Override(enabled=True)})
    assert not running.selection.is_enabled(table[1])
    changes = running.registry.apply_selection("hq")
    assert (changes.removed, changes.discovery_changed) == ({"hq_1_fxo"}, {"hq_1"})
    running.accept(device("hq_1", entities=table, state={"usual": 3, "measured": 4}), line)
    assert running.registry.devices.keys() == {"hq_1"}
    assert running.registry.devices["hq_1"].state == {"usual": 3}
    assert running.registry.removed_components == {"hq_1": {"measured": "sensor"}}


def test_details_reduced_in_a_running_fleet_remove_entities() -> None:
    running = Running()
    state = {"usual": 1, "hidden": 2, "alarmed": 3}
    running.accept(device("hq_1", entities=TABLE, state=state))
    running.selection = Selection(entities=Detail.MINIMAL)
    changes = running.registry.apply_selection("hq")
    assert changes.discovery_changed == {"hq_1"}
    assert running.registry.devices["hq_1"].state == {"alarmed": 3}
    assert running.registry.removed_components == {"hq_1": {"usual": "sensor", "hidden": "sensor"}}
    running.accept(device("hq_1", entities=TABLE, state=state | {"alarmed": 4}))
    assert running.registry.devices["hq_1"].state == {"alarmed": 4}


def test_details_reduced_before_restored_values_are_confirmed_remove_them() -> None:
    running = Running()
    state = {"usual": 1, "hidden": 2, "alarmed": 3}
    running.accept(device("hq_1", entities=TABLE, state=state))
    running.registry.detach_backend("hq")
    running.selection = Selection(entities=Detail.MINIMAL)
    running.registry.apply_selection("hq")
    running.registry.accept(update(device("hq_1", entities=TABLE, state={}), requested_at=1.0), "now", settled=False)
    assert running.registry.devices["hq_1"].state == {"alarmed": 3}
