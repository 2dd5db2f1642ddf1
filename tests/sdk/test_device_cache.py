"""The device cache: the same object while nothing changes, one table for equal devices."""

from __future__ import annotations

from dataclasses import dataclass

from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import EntityDescription, Name
from fleet2mqtt.sdk.device_cache import DeviceCache, NewestFirst


@dataclass(frozen=True, slots=True)
class Record:
    load: int | None
    note: str | None = None


TABLE: tuple[EntityDescription[Record, None], ...] = (
    EntityDescription(key="load", name=Name("Load", "负载"), value=lambda record: record.load),
    EntityDescription(key="note", name=Name("Note", "备注"), value=lambda record: record.note),
)
ABOUT = {"vendor_id": "1", "scope": "devices", "name": "one"}


def cache(*, keep_entities: bool = False) -> DeviceCache:
    return DeviceCache(backend="hq", ids=Ids(), about={"manufacturer": "Maker"}, keep_entities=keep_entities)


def test_build_equal_record_returns_the_same_device() -> None:
    devices = cache()
    device = devices.build("hq_1", Record(1), TABLE, **ABOUT)
    assert devices.build("hq_1", Record(1), TABLE, **ABOUT) is device
    assert (device.id, device.state, device.manufacturer) == ("hq_1", {"load": 1}, "Maker")
    assert devices.get("hq_1") is device


def test_build_other_record_or_name_returns_a_new_device() -> None:
    devices = cache()
    device = devices.build("hq_1", Record(1), TABLE, **ABOUT)
    assert devices.build("hq_1", Record(2), TABLE, **ABOUT).state == {"load": 2}
    renamed = devices.build("hq_1", Record(2), TABLE, **ABOUT | {"name": "two"})
    assert renamed.name == "two"
    assert renamed is not device


def test_build_equal_tables_share_one_tuple() -> None:
    devices = cache()
    first = devices.build("hq_1", Record(1), TABLE, **ABOUT)
    second = devices.build("hq_2", Record(2), TABLE, **ABOUT)
    assert first.entities is second.entities


def test_build_field_goes_missing_entity_stays_only_where_asked_for() -> None:
    for keep, keys in ((True, {"load", "note"}), (False, {"load"})):
        devices = cache(keep_entities=keep)
        devices.build("hq_1", Record(1, "a"), TABLE, **ABOUT)
        assert devices.build("hq_1", Record(1), TABLE, **ABOUT).state.keys() == keys


def test_backend_device_has_the_backends_id() -> None:
    device = cache().backend_device(Record(1), TABLE, model="M")
    assert (device.id, device.vendor_id, device.scope, device.name, device.model) == ("hq", "hq", "backend", "hq", "M")


def test_inventory_empty_list_is_none_unless_confirmed() -> None:
    devices = cache()
    assert devices.inventory("devices", ()) == ()
    (empty,) = devices.inventory("devices", (), confirmed_empty=True)
    assert empty.confirmed_empty
    (listed,) = devices.inventory("devices", ["hq_1"], confirmed_empty=True)
    assert (listed.ids, listed.confirmed_empty) == (frozenset(["hq_1"]), False)


def test_discard_forgets_a_device() -> None:
    devices = cache()
    device = devices.build("hq_1", Record(1), TABLE, **ABOUT)
    devices.discard(["hq_1"])
    assert devices.build("hq_1", Record(1), TABLE, **ABOUT) is not device


def test_older_data_is_rejected() -> None:
    guard = NewestFirst()
    assert guard.accept("a", 2.0)
    assert not guard.accept("a", 1.0)
    assert guard.accept("a", 2.0)
    guard.discard("a")
    assert guard.accept("a", 1.0)
