"""The newest of each device, what changed about it, and when it or one of its rows is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.builtin_entities import ALARM_ENTITIES, added_entities
from fleet2mqtt.devices.model import Component, Inventory, StateMeta, UpdateOrigin
from fleet2mqtt.devices.registry import Changes, Registry
from tests.sample_devices import ENABLE, SIGNAL, device, inventory, row, update

if TYPE_CHECKING:
    from fleet2mqtt.devices.model import Device


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


async def no_refresh(*_: Any) -> None:
    raise AssertionError("nobody presses it here")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> Registry:
    return Registry(clock, added_entities(no_refresh, no_refresh))


def take(
    registry: Registry,
    *devices: Device,
    requested_at: float = 1.0,
    inventories: tuple[Inventory, ...] = (),
    **more: Any,
) -> Changes:
    settled = more.pop("settled", True)
    return registry.accept(
        update(*devices, requested_at=requested_at, inventories=inventories, **more), "now", settled=settled
    )


def test_update_reports_only_changes(registry: Registry) -> None:
    assert take(registry, device()) == Changes(
        discovery_changed={"hq_1"}, state_changed={"hq_1"}, values_changed={"hq_1"}, accepted={"hq_1"}
    )
    assert take(registry, device()) == Changes(accepted={"hq_1"})
    assert take(registry, device(state={"signal": -61, "enable": "ON"})) == Changes(
        state_changed={"hq_1"}, values_changed={"hq_1"}, accepted={"hq_1"}
    )
    renamed = device(name="new", state={"signal": -61, "enable": "ON"})
    assert take(registry, renamed) == Changes(discovery_changed={"hq_1"}, accepted={"hq_1"})
    assert take(registry, renamed) == Changes()
    assert take(registry, device(available=False)).state_changed == {"hq_1"}


def test_older_update_does_not_overwrite_newer(registry: Registry) -> None:
    take(registry, device(state={"signal": -50}), requested_at=5)
    assert take(registry, device(state={"signal": -99}), requested_at=4) == Changes()
    assert take(registry, device(state={"signal": -40}), requested_at=5).state_changed == {"hq_1"}


def test_update_made_before_an_accepted_one_does_not_overwrite_it(registry: Registry) -> None:
    """A source that collects its updates has them accepted after those that another source made meanwhile."""
    waiting = update(device(state={"signal": -60}), requested_at=2.0)
    made_later = update(device(state={"signal": -61}), requested_at=1.0)
    registry.accept(made_later, "now")
    assert registry.accept(waiting, "later").state_changed == set()
    assert registry.devices["hq_1"].state == {"signal": -61}


def test_poll_begun_before_end_of_command_is_ignored(registry: Registry, clock: Clock) -> None:
    take(registry, device(), requested_at=1)
    with registry.suspend_polls("hq_1"):
        assert take(registry, device(state={"enable": "OFF"}), requested_at=200) == Changes()
        shown = take(registry, device(state={"enable": "OFF"}), requested_at=99, origin=UpdateOrigin.COMMAND)
        assert shown.state_changed == {"hq_1"}
        with registry.suspend_polls("hq_1"):
            pass
        assert take(registry, device(), requested_at=200) == Changes()  # one of two commands is still under way
    assert take(registry, device(), requested_at=clock.now - 1) == Changes()
    assert take(registry, device(), requested_at=clock.now).state_changed == {"hq_1"}


def test_device_is_removed_after_two_missing_inventories(registry: Registry) -> None:
    take(registry, device("hq_1"), device("hq_2"))
    for listed in (("hq_2",), ("hq_1", "hq_2"), ("hq_2",)):
        assert take(registry, inventories=(inventory(*listed),)).removed == set()
    assert take(registry, inventories=(inventory("hq_2"),)).removed == {"hq_1"}
    assert registry.devices.keys() == {"hq_2"}


def test_inventory_removes_only_within_scope_and_empty_one_nothing(registry: Registry) -> None:
    take(registry, device("hq_1"), device("hq_line", scope="lines:1"))
    for _ in range(3):
        assert take(registry, inventories=(inventory(), inventory("hq_x", scope="lines:2"))) == Changes()


def test_sub_devices_are_removed_with_their_device(registry: Registry) -> None:
    take(registry, device("hq_1"), device("hq_1_a", scope="a", via="hq_1"), device("hq_1_a_b", scope="b", via="hq_1_a"))
    take(registry, device("hq_2"))
    changes = [take(registry, inventories=(inventory("hq_2"),)) for _ in range(2)]
    assert changes[1].removed == {"hq_1", "hq_1_a", "hq_1_a_b"}
    assert take(registry, device("hq_1_a", scope="a", via="hq_1")).discovery_changed == {"hq_1_a"}


def test_missing_entity_stays_without_value_until_two_inventories(registry: Registry) -> None:
    take(registry, device())
    less = device(entities=(SIGNAL,), state={"signal": -60})
    listed = (inventory("hq_1"),)
    assert take(registry, less).state_changed == {"hq_1"}
    assert registry.devices["hq_1"].state == {"signal": -60, "enable": None}
    assert take(registry, inventories=listed).discovery_changed == set()
    assert take(registry, device()).state_changed == {"hq_1"}  # it is back: counted from the start again
    take(registry, less)
    assert take(registry, inventories=listed).discovery_changed == set()
    assert take(registry, inventories=listed) == Changes(discovery_changed={"hq_1"}, state_changed={"hq_1"})
    assert registry.devices["hq_1"].entity("enable") is None
    assert registry.removed_components == {"hq_1": {"enable": "switch"}}


@pytest.mark.parametrize("why", ["unsettled", "away", "incomplete"])
def test_entity_stays_while_its_existence_is_unknown(registry: Registry, why: str) -> None:
    take(registry, device())
    about: dict[str, Any] = {"available": why != "away", "complete": why != "incomplete"}
    take(registry, device(entities=(SIGNAL,), state={"signal": -60}, **about))
    for _ in range(3):
        take(registry, inventories=(inventory("hq_1"),), settled=why != "unsettled")
    assert registry.devices["hq_1"].entity("enable") is ENABLE


def test_key_with_changed_component_is_removed_under_old_one(registry: Registry) -> None:
    take(registry, device())
    changes = take(registry, device(entities=(SIGNAL, row("enable", Component.BINARY_SENSOR))))
    assert changes.discovery_changed == {"hq_1"}
    assert registry.removed_components == {"hq_1": {"enable": "switch"}}


def test_added_entities_keep_their_values(registry: Registry) -> None:
    assert registry.set_values("hq_1", {"last_alarm": "early"}) is False  # nobody there yet
    take(registry, device(alarms=True))
    assert registry.devices["hq_1"].state["last_alarm"] == "early"
    assert {each.key for each in ALARM_ENTITIES} <= {each.key for each in registry.devices["hq_1"].entities}
    assert registry.set_values("hq_1", {"last_alarm": "late"}) is True
    assert registry.set_values("hq_1", {"last_alarm": "late"}) is False
    assert registry.set_values("hq_1", {"unheard_of": 1}) is False
    take(registry, device(alarms=True, state={"signal": -1, "enable": "ON"}))
    assert registry.devices["hq_1"].state["last_alarm"] == "late"


def test_equal_entity_tables_are_shared(registry: Registry) -> None:
    for number in range(3):
        take(registry, device(f"hq_{number}", alarms=True, entities=(SIGNAL, ENABLE)))
    assert len({id(each.entities) for each in registry.devices.values()}) == 1


def test_restored_device_accepts_updates(registry: Registry) -> None:
    seen = StateMeta(UpdateOrigin.PUSH, "then")
    retired = {"hq_1": {"old": "sensor"}, "hq_gone": {"x": "sensor"}}
    registry.restore([device(record=None)], retired, {"hq_1": seen, "hq_gone": seen})
    assert registry.state_meta == {"hq_1": seen}
    assert registry.removed_components == {"hq_1": {"old": "sensor"}}
    assert take(registry, inventories=(inventory("hq_2"),)).removed == set()
    assert take(registry, inventories=(inventory("hq_2"),)).removed == {"hq_1"}


def test_remove_device_drops_sub_devices_which_may_return(registry: Registry) -> None:
    whole, part = device("hq_1"), device("hq_1_a", via="hq_1", scope="a")
    take(registry, whole, part)
    assert registry.forget(["hq_1", "nobody"]) == {"hq_1", "hq_1_a"}
    assert registry.of_backend("hq") == []
    assert take(registry, whole, part).discovery_changed == {"hq_1", "hq_1_a"}


# Restored, confirmed and missing values (faults.md 1.1)

LISTED, READ = row("signal"), row("voltage", source="lines")
BOTH = {"signal": -60, "voltage": 48}


def restored(registry: Registry, **state: Any) -> None:
    registry.restore([device(record=None, entities=(LISTED, READ), state={**BOTH, **state})], {}, {})


def test_restored_value_source_has_not_answered_stays(registry: Registry) -> None:
    restored(registry)
    partial = device(entities=(LISTED, READ), state={"signal": -61, "voltage": None}, answered=frozenset())
    take(registry, partial, settled=False)
    assert registry.devices["hq_1"].state == {"signal": -61, "voltage": 48}


def test_device_of_another_process_is_read_once_no_value_is_restored(clock: Clock) -> None:
    """Another process may have published a newer value than the restored one."""
    registry = Registry(clock, lambda _: (), restored_is_newest=False)
    restored(registry)
    assert not registry.is_read("hq_1")
    listed = device(entities=(LISTED, READ), state={"signal": -61, "voltage": None}, answered=frozenset())
    take(registry, listed, settled=False)
    assert not registry.is_read("hq_1")
    read = device(entities=(LISTED, READ), state={"signal": -61, "voltage": 48}, answered=frozenset(["lines"]))
    assert take(registry, read, settled=False).state_changed == {"hq_1"}, "though no value is another"
    assert registry.is_read("hq_1")
    assert registry.trust_restored() == []


@pytest.mark.parametrize("settled", [True, False])
def test_device_of_another_process_is_read_once_restored_values_are_trusted(clock: Clock, *, settled: bool) -> None:
    registry = Registry(clock, lambda _: (), restored_is_newest=False)
    restored(registry)
    listed = device(entities=(LISTED, READ), state={"signal": -61, "voltage": None}, answered=frozenset())
    take(registry, listed, settled=False)
    if settled:  # each source of the backend has answered, if not for this device
        assert take(registry, settled=True).state_changed == {"hq_1"}
    else:
        assert registry.trust_restored() == ["hq_1"]
    assert registry.is_read("hq_1")


def test_restored_value_entity_not_there_yet_stays(registry: Registry) -> None:
    restored(registry)
    for _ in range(3):
        partial = device(entities=(LISTED,), state={"signal": -61}, answered=frozenset())
        take(registry, partial, inventories=(inventory("hq_1"),))
    assert registry.devices["hq_1"].state == {"signal": -61, "voltage": 48}
    assert registry.removed_components == {}


def test_restored_value_of_a_release_that_knew_no_sources_stays(registry: Registry) -> None:
    """Descriptions in an inventory file of release 0.1.0 name no source."""
    old = row("voltage")
    registry.restore([device(record=None, entities=(LISTED, old), state=dict(BOTH))], {}, {})
    for entities in ((LISTED, READ), (LISTED,)):
        state = {entity.key: None for entity in entities} | {"signal": -61}
        take(registry, device(entities=entities, state=state, answered=frozenset()), settled=False)
        assert registry.devices["hq_1"].state == {"signal": -61, "voltage": 48}
    read = device(entities=(LISTED, READ), state={"signal": -61, "voltage": None}, answered=frozenset(["lines"]))
    take(registry, read, settled=False)
    assert registry.devices["hq_1"].state == {"signal": -61, "voltage": None}


def test_restored_value_source_answers_blank_is_null(registry: Registry) -> None:
    restored(registry)
    read = device(entities=(LISTED, READ), state={"signal": -61, "voltage": None}, answered=frozenset(["lines"]))
    take(registry, read, settled=False)
    assert registry.devices["hq_1"].state == {"signal": -61, "voltage": None}


def test_restored_value_without_sources_stays_until_every_source_has_answered(registry: Registry) -> None:
    restored(registry)
    partial = device(entities=(LISTED, READ), state={"signal": -61, "voltage": None})
    take(registry, partial, settled=False)
    assert registry.devices["hq_1"].state == {"signal": -61, "voltage": 48}
    changes = take(registry, partial, settled=True)
    assert changes.state_changed == {"hq_1"}
    assert registry.devices["hq_1"].state == {"signal": -61, "voltage": None}


def test_restored_value_confirmed_then_blank_is_null(registry: Registry) -> None:
    restored(registry)
    take(registry, device(entities=(LISTED, READ), state={"signal": -61, "voltage": 47}), settled=False)
    take(registry, device(entities=(LISTED, READ), state={"signal": -61, "voltage": None}), settled=False)
    assert registry.devices["hq_1"].state["voltage"] is None


def test_known_value_source_not_asked_again_stays(registry: Registry) -> None:
    whole = device(entities=(LISTED, READ), state=dict(BOTH), answered=frozenset(["lines"]))
    take(registry, whole)
    take(registry, device(entities=(LISTED,), state={"signal": -61}, answered=frozenset()))
    assert registry.devices["hq_1"].state == {"signal": -61, "voltage": 48}


def test_attributes_of_a_source_that_has_not_answered_stay(registry: Registry) -> None:
    registry.restore(
        [device(record=None, entities=(LISTED, READ), state=dict(BOTH), attributes={"voltage": {"raw": "48V"}})], {}, {}
    )
    take(registry, device(entities=(LISTED, READ), state={"signal": 1, "voltage": None}, answered=frozenset()))
    assert registry.devices["hq_1"].attributes == {"voltage": {"raw": "48V"}}


# A failing source is visible at its own devices (faults.md 2.3)


def test_source_fails_its_devices_are_unavailable_until_it_answers(registry: Registry) -> None:
    line, gateway = device("hq_line", source="lines", scope="lines:1"), device("hq_1")
    take(registry, gateway, line)
    assert registry.set_source_available("hq", "lines", available=False).state_changed == {"hq_line"}
    assert registry.set_source_available("hq", "lines", available=False) == Changes()
    take(registry, device("hq_line", source="lines", scope="lines:1", name="push", state={"signal": 1, "enable": "ON"}))
    assert (registry.devices["hq_line"].available, registry.devices["hq_1"].available) == (False, True)
    assert registry.set_source_available("hq", "lines", available=True).state_changed == {"hq_line"}
    assert registry.devices["hq_line"].available


def test_source_answers_again_device_that_is_unavailable_by_itself_stays_so(registry: Registry) -> None:
    take(registry, device("hq_line", source="lines", available=False))
    registry.set_source_available("hq", "lines", available=False)
    assert registry.set_source_available("hq", "lines", available=True) == Changes()
    assert not registry.devices["hq_line"].available


# An explicit total of 0, and what our own delete named (faults.md 3.10)


def test_confirmed_empty_inventory_twice_removes(registry: Registry) -> None:
    take(registry, device("hq_line", scope="lines:1"))
    empty = Inventory(scope="lines:1", ids=frozenset(), confirmed_empty=True)
    assert take(registry, inventories=(empty,)) == Changes()
    assert take(registry, inventories=(empty,)).removed == {"hq_line"}


def test_confirmed_delete_removes_at_once(registry: Registry) -> None:
    take(registry, device("hq_1"), device("hq_1_a", via="hq_1", scope="a"))
    assert take(registry, removed=("hq_1", "unknown")).removed == {"hq_1", "hq_1_a"}
