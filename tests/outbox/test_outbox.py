"""The outbox with real files: each event is stored once, and stays until it is published."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.model import Severity, UpdateOrigin
from fleet2mqtt.errors import OutboxError, OutboxFull
from fleet2mqtt.outbox import Outbox, OutboxLimits, Stored
from tests.sample_alarms import RAISED, add, alarm, ids, nameless
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.outbox.engines import Store


async def test_body_matches_contract(outbox: Outbox) -> None:
    raised_at = datetime(2021, 3, 9, 17, 55, 40, tzinfo=timezone(timedelta(hours=8)))
    full = alarm(
        1,
        raised_at=raised_at,
        line="4",
        code=33,
        category="ip extension",
        description="IP 分机离线",
        description_en="IP extension offline",
        tags=("a", "", "c"),
    )
    before = datetime.now(UTC)
    (event,) = (await outbox.add([full], {"hq_voip_1": "OM50"}.get)).new
    assert before <= event.received_at <= datetime.now(UTC)
    assert event.body == {
        "id": "hq:1",
        "seq": 1,
        "type": "raised",
        "backend": "hq",
        "device": "hq_voip_1",
        "device_name": "OM50",
        "line": "4",
        "severity": "critical",
        "level": "serious",
        "code": 33,
        "category": "ip extension",
        "name": "eEMS_NOTIFY_IPEXT_OFFLINE",
        "description": "IP 分机离线",
        "description_en": "IP extension offline",
        "raised_at": "2021-03-09T17:55:40+08:00",
        "received_at": event.received_at.isoformat(),
        "source": "push",
        "tags": ["a", "", "c"],
        "alarm_type": "eEMS_NOTIFY_IPEXT_OFFLINE",
    }


async def test_event_with_unknown_fields_is_stored_unchanged(outbox: Outbox) -> None:
    (event,) = await add(outbox, 1, cleared=True, active=True, alarm_key="door", severity=Severity.CLEARED)
    assert event.body["type"] == "cleared"
    nulls = {"device_name", "line", "code", "category", "description", "description_en"}
    assert {key for key, value in event.body.items() if value is None} == nulls
    assert await outbox.unpublished(0) == [event]


async def test_text_invalid_in_utf8_is_stored(outbox: Outbox) -> None:
    (event,) = await add(outbox, 1, id="hq:\ud800", device="hq_\udfff", alarm_key="\ud800", name="half \ud83d")
    assert (event.id, event.device, event.body["name"]) == ("hq:?", "hq_?", "half ?")
    assert await outbox.unpublished(0) == [event]


async def test_id_with_nul_is_one_event(outbox: Outbox) -> None:
    assert ids(await add(outbox, 1, id="hq:a\0b")) == ["hq:a?b"]
    assert await add(outbox, 1, id="hq:a\0b") == ()


async def test_history_accepts_any_sequence_number(outbox: Outbox) -> None:
    (event,) = await add(outbox, 1)
    assert await outbox.history(-(2**70), 10) == ([event], False)
    assert await outbox.history(2**70, 10) == ([], False)
    assert (await outbox.get_dead_letter(2**70), await outbox.discard(2**70)) == (None, False)


async def test_duplicates_are_ignored(outbox: Outbox) -> None:
    assert ids(await add(outbox, 2, 1, 2, 3, 1)) == ["hq:2", "hq:1", "hq:3"]
    assert ids(await add(outbox, 3, 4, 1, source=UpdateOrigin.POLL)) == ["hq:4"]
    assert await outbox.add([], nameless) == Stored()
    assert [event.seq for event in await outbox.unpublished(0)] == [1, 2, 3, 4]


async def test_clear_is_distinct_from_raise(outbox: Outbox) -> None:
    first = (await outbox.add([alarm(1), alarm(1, cleared=True)], nameless)).new
    again = (await outbox.add([alarm(1, cleared=True), alarm(1)], nameless)).new
    assert [event.cleared for event in first] == [False, True]
    assert again == ()


async def test_concurrent_repeats_are_one_event(outbox: Outbox) -> None:
    answers = await asyncio.gather(*(add(outbox, 1, 2 + n % 3) for n in range(30)))
    assert sorted(ids(event for events in answers for event in events)) == ["hq:1", "hq:2", "hq:3", "hq:4"]
    assert outbox.depth == 4


async def test_identity_and_numbers_outlive_restart_and_publishing(store: Store) -> None:
    async with store.open(OutboxLimits(history_rows=0)) as outbox:
        await outbox.published(event.seq for event in await add(outbox, 1, 2, 3))
    async with store.open() as outbox:
        assert await outbox.history(0, 10) == ([], False)
        assert (outbox.first_seq, outbox.last_seq) == (4, 3)
        assert [event.seq for event in await add(outbox, 3, 2, 1, 4)] == [4]


async def test_waiting_calls_share_a_commit(outbox: Outbox) -> None:
    before = outbox.commits
    await asyncio.gather(*(add(outbox, number) for number in range(32)))
    assert outbox.depth == 32
    assert 1 <= outbox.commits - before <= 2


async def test_commit_with_one_known_alarm_numbers_the_others(outbox: Outbox) -> None:
    await add(outbox, 1, 2)
    answers = await asyncio.gather(*(add(outbox, number) for number in (3, 2, 4, 3, 5)))
    assert [[(event.id, event.seq) for event in events] for events in answers] == [
        [("hq:3", 3)],
        [],
        [("hq:4", 4)],
        [],
        [("hq:5", 5)],
    ]
    assert (outbox.depth, outbox.last_seq) == (5, 5)
    assert [event.seq for event in await outbox.unpublished(0)] == [1, 2, 3, 4, 5]


async def test_event_has_its_number_in_its_json(outbox: Outbox) -> None:
    await add(outbox, 1)
    (event,) = await add(outbox, 2, name='a ","seq":0," b', description='"seq":0,')
    (stored,), _ = await outbox.history(1, 1)
    assert json.loads(event.data) == json.loads(stored.data) == event.body
    assert event.body["seq"] == 2


async def test_published_events_leave_the_queue_once(outbox: Outbox) -> None:
    first, second, third = await add(outbox, 1, 2, 3)
    assert outbox.oldest == first.received_at
    await asyncio.gather(*(outbox.published([first.seq, third.seq]) for _ in range(3)))
    await outbox.published([first.seq, 999])
    await outbox.published([])
    assert await outbox.unpublished(0) == [second]
    assert await outbox.unpublished(second.seq) == []
    assert (outbox.depth, outbox.size > 0) == (1, True)
    await outbox.published([second.seq])
    assert (outbox.depth, outbox.size) == (0, 0)
    assert outbox.oldest is None


async def test_unpublished_comes_in_pages(outbox: Outbox) -> None:
    await add(outbox, *range(10))
    assert [event.seq for event in await outbox.unpublished(3, limit=4)] == [4, 5, 6, 7]


async def test_counters_outlive_restart(store: Store) -> None:
    async with store.open() as outbox:
        await add(outbox, 1, 2)
        await outbox.add_dead_letter("hq", "event", "no id", b"{}")
        figures = (outbox.depth, outbox.size, outbox.oldest, outbox.first_seq, outbox.dead)
    async with store.open() as outbox:
        assert (outbox.depth, outbox.size, outbox.oldest, outbox.first_seq, outbox.dead) == figures


async def test_full_by_rows_refuses_the_whole_call_and_no_other(store: Store) -> None:
    async with store.open(OutboxLimits(rows=3)) as outbox:
        await add(outbox, 1, 2)
        small, large = await asyncio.gather(add(outbox, 5), add(outbox, 3, 4), return_exceptions=True)
        assert isinstance(small, tuple)
        assert isinstance(large, OutboxFull)
        assert await add(outbox, 1, 2, 5) == ()
        assert outbox.refused == {"full": 2, "disk": 0}
        await outbox.published([1, 2, 3])
        assert ids(await add(outbox, 3, 4)) == ["hq:3", "hq:4"]


async def test_full_by_bytes(store: Store) -> None:
    async with store.open(OutboxLimits(bytes=2_000)) as outbox:
        with pytest.raises(OutboxFull):
            await add(outbox, 1, description="x" * 2_000)
        await add(outbox, 1)
        assert 0 < outbox.size < 2_000
        with pytest.raises(OutboxFull):
            await add(outbox, *range(2, 10))
        assert outbox.depth == 1


async def test_history_is_bounded_and_says_so(store: Store) -> None:
    async with store.open(OutboxLimits(history_rows=3)) as outbox:
        await add(outbox, *range(1, 9))
        await outbox.published([1, 2, 3, 5, 6, 7])
        events, more = await outbox.history(0, 10)
        assert ([event.seq for event in events], more) == ([4, 5, 6, 7, 8], False)
        assert outbox.first_seq == 4
        events, more = await outbox.history(5, 2)
        assert ([event.seq for event in events], more) == ([6, 7], True)


async def test_identities_are_bounded_but_never_those_of_held_events(store: Store) -> None:
    async with store.open(OutboxLimits(history_rows=2, seen_rows=4)) as outbox:
        await add(outbox, *range(1, 9))
        assert await add(outbox, *range(1, 9)) == ()
        await outbox.published(range(1, 9))
        assert await add(outbox, 5, 6, 7, 8) == ()
        assert ids(await add(outbox, 4)) == ["hq:4"]


async def test_changed_wakes_for_new_and_remaining_events(store: Store) -> None:
    async with store.open() as outbox:
        waiter = asyncio.ensure_future(outbox.changed())
        await add(outbox, 1)
        await waiter
        await add(outbox, 1)
        waiter = asyncio.ensure_future(outbox.changed())
        await outbox.unpublished(0)
        assert not waiter.done()
        waiter.cancel()
    async with store.open() as outbox:
        async with asyncio.timeout(PATIENCE):
            await outbox.changed()


async def test_close_waits_for_submitted_calls_and_rejects_later_ones(store: Store) -> None:
    async with store.open() as outbox:
        calls = [asyncio.ensure_future(add(outbox, number)) for number in range(50)]
        await asyncio.sleep(0)
    assert [ids(events) for events in await asyncio.gather(*calls)] == [[f"hq:{number}"] for number in range(50)]
    with pytest.raises(OutboxError, match="closed"):
        await add(outbox, 100)
    with pytest.raises(OutboxError, match="closed"):
        await outbox.active_alarms()


async def test_close_with_a_commit_in_progress_counts_each_alarm_once(store: Store) -> None:
    async with store.open() as outbox:
        events = await add(outbox, 1, 2, 3)
        in_progress = asyncio.ensure_future(outbox.published([events[0].seq]))
        for _ in range(2):  # it is handed to the thread
            await asyncio.sleep(0)
        waiting = asyncio.ensure_future(add(outbox, 4))
        await asyncio.sleep(0)
    await in_progress
    assert [event.seq for event in await waiting] == [4]
    async with store.open() as outbox:
        assert (await outbox.summary(events[0].received_at))["last_hour"]["critical"] == 0
        assert sum((await outbox.summary(RAISED))["last_day"].values()) == 4
        assert (outbox.depth, outbox.last_seq) == (3, 4)


async def test_cancelled_caller_does_not_affect_others(outbox: Outbox) -> None:
    calls = [asyncio.ensure_future(add(outbox, number)) for number in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert [ids(answer) for answer in answers if isinstance(answer, tuple)] == [["hq:0"], ["hq:2"]]
