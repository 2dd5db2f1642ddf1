"""Events about alarms that were raised before, and the texts of alarm management that are stored with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.model import UpdateOrigin
from fleet2mqtt.errors import OutboxFull
from fleet2mqtt.outbox import AlarmEvent, Outbox, OutboxLimits
from fleet2mqtt.outbox.models import EventDraft, change_draft
from tests.sample_alarms import add, alarm, ids, nameless

if TYPE_CHECKING:
    from tests.outbox.engines import Store


def change(event: AlarmEvent, type_: str, nonce: str = "1", **more: Any) -> EventDraft:
    return change_draft(event, {"type": type_}, nonce=nonce, suppressed=False, cleared=type_ == "closed", **more)


async def raise_door(outbox: Outbox, number: int = 1) -> AlarmEvent:
    (event,) = await add(outbox, number, active=True, alarm_key="door")
    return event


async def test_change_has_the_alarms_id_and_its_own_seq(outbox: Outbox) -> None:
    raised = await raise_door(outbox)
    (event,) = await outbox.change([change(raised, "acknowledged")], {"alarm/hq_voip_1/door": "{}"})
    assert (event.id, event.seq, event.changes_alarm, event.cleared) == (raised.id, 2, True, False)
    assert event.body | {"type": "raised", "seq": 1, "received_at": raised.body["received_at"]} == raised.body
    assert await outbox.unpublished(0) == [raised, event]
    assert await outbox.managed() == {"alarm/hq_voip_1/door": "{}"}


async def test_change_is_no_raise(outbox: Outbox) -> None:
    raised = await raise_door(outbox)
    await outbox.change([change(raised, "acknowledged"), change(raised, "acknowledged", "2")], {})
    summary = await outbox.summary(raised.received_at)
    assert (summary["active"]["critical"], sum(summary["last_day"].values())) == (1, 0)
    assert await outbox.active_alarms() == [raised]
    assert await outbox.last() == {raised.device: raised}


async def test_closed_ends_the_alarm(outbox: Outbox) -> None:
    raised = await raise_door(outbox)
    (event,) = await outbox.change([change(raised, "closed")], {})
    assert event.cleared
    assert await outbox.active_alarms() == []
    assert await add(outbox, 1, active=True, alarm_key="door") == ()


async def test_changes_survive_a_restart(store: Store) -> None:
    async with store.open() as outbox:
        raised = await raise_door(outbox)
        (event,) = await outbox.change([change(raised, "shelved")], {"maintenance/1": "a", "maintenance/2": "b"})
        await outbox.change([], {"maintenance/1": None})
    async with store.open() as outbox:
        assert await outbox.unpublished(0) == [raised, event]
        assert await outbox.managed() == {"maintenance/2": "b"}


async def test_texts_are_stored_with_alarms_or_not_at_all(store: Store) -> None:
    async with store.open(OutboxLimits(rows=1)) as outbox:
        await outbox.add([alarm(1)], nameless, managed={"a": "1"})
        with pytest.raises(OutboxFull):
            await outbox.add([alarm(2)], nameless, managed={"a": "2"})
        assert await outbox.managed() == {"a": "1"}


async def test_changes_of_an_alarm_end_with_its_clear(outbox: Outbox) -> None:
    raised = await raise_door(outbox)
    await add(outbox, 2, active=True, alarm_key="door", device="hq_voip_2")
    (acknowledged,) = await outbox.change([change(raised, "acknowledged")], {})
    (cleared,) = await add(outbox, 3, active=True, alarm_key="door", cleared=True)
    again = await raise_door(outbox, 4)
    await outbox.change([change(again, "acknowledged", "2")], {})
    assert await outbox.changes_of(raised) == [raised, acknowledged, cleared]


async def test_changes_of_an_alarm_without_key(outbox: Outbox) -> None:
    first, second = await add(outbox, 1, 11)
    (acknowledged,) = await outbox.change([change(first, "acknowledged")], {})
    await outbox.change([change(second, "acknowledged", "2")], {})
    assert await outbox.changes_of(first) == [first, acknowledged]
    assert await outbox.event_of("hq:1") == first
    assert await outbox.event_of("hq:7") is None


async def test_suppressed_alarm_is_marked(outbox: Outbox) -> None:
    (event,) = await add(outbox, 1, suppressed=True, suppressed_by="maintenance:1")
    assert event.suppressed
    assert event.body["suppressed_by"] == "maintenance:1"
    assert ids(await outbox.unpublished(0)) == ["hq:1"]


async def test_alarm_of_the_bridge_is_active_though_its_clock_was_set_back(outbox: Outbox) -> None:
    for number, cleared in ((9, False), (9, True), (1, False)):
        await add(outbox, number, active=True, alarm_key="door", cleared=cleared, source=UpdateOrigin.CONDITION)
    assert ids(await outbox.active_alarms()) == ["hq:1"]


async def test_raise_of_a_vendor_that_is_older_than_the_clear_is_not_active(outbox: Outbox) -> None:
    for number, cleared in ((9, False), (9, True), (1, False)):
        await add(outbox, number, active=True, alarm_key="door", cleared=cleared)
    assert await outbox.active_alarms() == []
