"""The outbox beside its queue: active alarms, completion, backlog, summary, last alarms, checkpoints, dead letters."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.model import Severity, UpdateOrigin
from fleet2mqtt.errors import OutboxFull
from fleet2mqtt.outbox import Outbox, OutboxLimits, Stored
from tests.sample_alarms import RAISED, add, alarm, ids, nameless

if TYPE_CHECKING:
    from tests.outbox.engines import Store


RAISE = {"active": True, "alarm_key": "door"}
CLEAR = {"active": True, "alarm_key": "door", "cleared": True, "severity": Severity.CLEARED}


@pytest.mark.parametrize(
    ("steps", "stands"),
    [
        ([(1, RAISE)], "hq:1"),
        ([(1, RAISE), (2, CLEAR)], None),
        ([(2, CLEAR), (1, RAISE)], None),  # read newest first
        ([(1, RAISE), (3, RAISE), (2, CLEAR)], "hq:3"),
        ([(3, RAISE), (1, RAISE)], "hq:3"),
        ([(1, RAISE), (2, CLEAR), (3, RAISE)], "hq:3"),
        ([(1, CLEAR), (1, RAISE)], None),  # same id, same time
        ([(2, RAISE), (2, CLEAR | {"raised_at": RAISED})], None),  # same id, a clock that is behind
        ([(1, RAISE), (2, CLEAR | {"alarm_key": "window"})], "hq:1"),
        ([(1, RAISE), (2, CLEAR | {"device": "hq_voip_2"})], "hq:1"),
        ([(1, RAISE | {"active": False})], None),
    ],
)
@pytest.mark.parametrize("together", [True, False])
async def test_active_alarms_are_counted(
    store: Store, steps: list[tuple[int, dict[str, Any]]], stands: str | None, *, together: bool
) -> None:
    alarms = [alarm(number, **changes) for number, changes in steps]
    async with store.open() as outbox:
        for call in [alarms] if together else [[one] for one in alarms]:
            await outbox.add(call, nameless)
    async with store.open() as outbox:
        assert ids(await outbox.active_alarms()) == ([stands] if stands else [])
        assert (await outbox.summary(datetime.now(UTC)))["active"]["critical"] == (1 if stands else 0)


async def test_active_alarm_outlives_history(store: Store) -> None:
    async with store.open(OutboxLimits(history_rows=0)) as outbox:
        (event,) = await add(outbox, 1, **RAISE)
        await outbox.published([event.seq])
        assert await outbox.active_alarms() == [event]


async def test_remove_device_ends_active_alarms_and_drops_last_alarm(outbox: Outbox) -> None:
    (gone,) = await add(outbox, 1, **RAISE)
    (kept,) = await add(outbox, 2, device="hq_voip_2", **RAISE)
    assert await outbox.forget(["hq_voip_1", "hq_voip_3"]) == [gone]
    assert await outbox.active_alarms() == [kept]
    assert await outbox.last() == {"hq_voip_2": kept}
    assert await outbox.forget(["hq_voip_1"]) == []
    assert len(await outbox.unpublished(0)) == 2


async def test_summary_counts_raise_events_by_when_they_were_raised(outbox: Outbox) -> None:
    now = datetime.now(UTC)
    await add(outbox, 1, 2, raised_at=now)
    (event,) = await add(outbox, 3, severity=Severity.MINOR, raised_at=now + timedelta(days=2))  # the vendor's clock
    await add(outbox, 4, raised_at=now - timedelta(days=2))
    await outbox.add([alarm(1, cleared=True)], nameless)
    none = {"critical": 0, "major": 0, "minor": 0, "warning": 0, "indeterminate": 0}
    counted = none | {"critical": 2, "minor": 1}

    async def windows(**later: int) -> tuple[dict[str, int], dict[str, int]]:
        summary = await outbox.summary(event.received_at + timedelta(**later))
        assert summary["active"] == none
        return summary["last_hour"], summary["last_day"]

    assert await windows() == (counted, counted)
    assert await windows(minutes=59) == (counted, counted)
    assert await windows(minutes=62) == (none, counted)
    assert await windows(hours=23, minutes=59) == (none, counted)
    assert await windows(hours=24, minutes=2) == (none, none)


async def test_last_alarm_is_newest_by_time(outbox: Outbox) -> None:
    await add(outbox, 5, 9, 7)
    await add(outbox, 8)
    await outbox.add([alarm(99, cleared=True)], nameless)
    await add(outbox, 1, device="hq_voip_2")
    twin = await add(outbox, 10, 11, device="hq_voip_3", raised_at=RAISED)
    last = await outbox.last()
    assert {device: event.id for device, event in last.items()} == {
        "hq_voip_1": "hq:9",
        "hq_voip_2": "hq:1",
        "hq_voip_3": "hq:11",
    }
    assert last["hq_voip_3"] == twin[-1]


async def test_checkpoints_and_settings_outlive_restart(store: Store) -> None:
    numbers = count(1)
    async with store.open() as outbox:
        assert outbox.checkpoint("hq", "hq_voip_1") is None
        await asyncio.gather(
            outbox.save_checkpoint("hq", "hq_voip_1", "10"), outbox.save_checkpoint("hq", "hq_voip_1", "11")
        )
        await outbox.save_checkpoint("hq", "hq_voip_2", "5")
        assert outbox.checkpoint("hq", "hq_voip_1") == "11"
        assert await outbox.setting("instance", lambda: f"made {next(numbers)}") == "made 1"
    async with store.open() as outbox:
        assert outbox.checkpoint("hq", "hq_voip_1") == "11"
        assert outbox.checkpoint("hq", "hq_voip_2") == "5"
        assert await outbox.setting("instance", lambda: f"made {next(numbers)}") == "made 1"


async def test_checkpoints_of_a_backend_are_stored_together(store: Store) -> None:
    async with store.open() as outbox:
        await outbox.save_checkpoints("hq", {"hq_voip_1": "1", "hq_voip_2": "2"})
        await outbox.save_checkpoints("hq", {"hq_voip_2": "", "hq_voip_3": "3"})
    async with store.open() as outbox:
        found = [outbox.checkpoint("hq", f"hq_voip_{number}") for number in (1, 2, 3)]
    assert found == ["1", None, "3"]


async def test_checkpoints_are_committed_with_their_alarms(store: Store) -> None:
    async with store.open(OutboxLimits(rows=2)) as outbox:
        commits = outbox.commits
        await outbox.add([alarm(1)], nameless, {("hq", "hq_voip_1"): "one", ("hq", ""): "all"})
        assert outbox.commits == commits + 1
        with pytest.raises(OutboxFull):
            await outbox.add([alarm(2), alarm(3)], nameless, {("hq", "hq_voip_1"): "three"})
        assert outbox.checkpoint("hq", "hq_voip_1") == "one"
        await outbox.add([], nameless, {("hq", ""): ""})
        assert outbox.checkpoint("hq", "") is None
    async with store.open() as outbox:
        assert outbox.checkpoint("hq", "hq_voip_1") == "one"
        assert outbox.checkpoint("hq", "") is None


async def test_later_call_of_a_commit_has_the_last_word(store: Store) -> None:
    async with store.open() as outbox:
        await add(outbox, 9)
        calls = [
            outbox.add([alarm(number)], nameless, {("hq", "d"): text}, {"a": text})
            for number, text in ((1, "one"), (2, "two"), (9, "known"))
        ]
        await asyncio.gather(*calls)
        assert await outbox.managed() == {"a": "two"}, "the last one was known"
    async with store.open() as outbox:
        assert outbox.checkpoint("hq", "d") == "known"


async def test_dead_letters_are_bounded_and_the_same_one_only_counts(store: Store) -> None:
    async with store.open(OutboxLimits(dead_letters=3)) as outbox:
        first, second, third = [await outbox.add_dead_letter("hq", "event", "no id", bytes([65 + n])) for n in range(3)]
        assert await outbox.add_dead_letter("hq", "event", "still no id", b"A") == first
        fourth = await outbox.add_dead_letter("hq", "event", "no id", b"D")
        assert (outbox.dead, outbox.displaced) == (3, 1)
        letters = await outbox.dead_letters(0, 10)
        assert [(letter.id, letter.body, letter.count) for letter in letters] == [
            (first, "A", 2),
            (third, "C", 1),
            (fourth, "D", 1),
        ]
        assert letters[0].error == "still no id"
        assert [letter.id for letter in await outbox.dead_letters(first, 1)] == [third]
        assert await outbox.get_dead_letter(third) == letters[1]
        assert await outbox.get_dead_letter(second) is None
        assert (await outbox.discard(third), await outbox.discard(third), outbox.dead) == (True, False, 2)


async def test_dead_letter_is_truncated_and_may_be_binary(outbox: Outbox) -> None:
    letter = await outbox.get_dead_letter(
        await outbox.add_dead_letter("hq", "event", "not JSON: \ud800", b"\xff" + b"x" * 100_000)
    )
    assert letter is not None
    assert letter.error == "not JSON: ?"
    assert letter.body == "\ufffd" + "x" * (64 * 1024 - 1)


# The same alarm with more facts (faults.md 1.5)


POLLED = {"source": UpdateOrigin.POLL, "line": None, "tags": ()}
PUSHED = {"line": "4", "tags": ("a", "b"), "description": "IP 分机离线"}


@pytest.mark.parametrize("published", [False, True])
async def test_alarm_polled_before_its_push_is_completed_and_published_once(outbox: Outbox, *, published: bool) -> None:
    (event,) = await add(outbox, 1, active=True, alarm_key="door", **POLLED)
    if published:
        await outbox.published([event.seq])
    stored = await outbox.add([alarm(1, active=True, alarm_key="door", **PUSHED)], nameless)
    (completed,) = stored.completed
    assert stored.new == ()
    assert completed.seq == event.seq
    assert completed.body == event.body | {"line": "4", "tags": ["a", "b"], "description": "IP 分机离线"}
    assert (await outbox.history(0, 10))[0] == [completed]
    assert await outbox.active_alarms() == [completed]
    assert await outbox.last() == {"hq_voip_1": completed}
    assert await outbox.unpublished(0) == ([] if published else [completed])


async def test_alarm_pushed_before_its_poll_keeps_its_facts(outbox: Outbox) -> None:
    (event,) = await add(outbox, 1, **PUSHED)
    assert await outbox.add([alarm(1, **POLLED)], nameless) == Stored()
    assert (await outbox.history(0, 10))[0] == [event]


async def test_completed_event_survives_a_restart(store: Store) -> None:
    async with store.open() as outbox:
        await add(outbox, 1, **POLLED)
        (completed,) = (await outbox.add([alarm(1, **PUSHED)], nameless)).completed
    async with store.open() as outbox:
        assert await outbox.unpublished(0) == [completed]


# Alarms from before the bridge was responsible (faults.md 3.13)


async def test_backlog_is_in_the_history_and_not_announced(outbox: Outbox) -> None:
    (old,) = await add(outbox, 1, backlog=True, active=True, alarm_key="door")
    (new,) = await add(outbox, 2)
    assert old.body["backlog"] is True
    assert "backlog" not in new.body
    assert outbox.depth == 1
    assert await outbox.unpublished(0) == [new]
    assert (await outbox.history(0, 10))[0] == [old, new]
    assert await outbox.active_alarms() == [old]
    await outbox.published([new.seq])
    assert (outbox.depth, outbox.size) == (0, 0)


async def test_backlog_is_announced_where_the_options_say_so(store: Store) -> None:
    async with store.open(OutboxLimits(announce_backlog=True)) as outbox:
        (old,) = await add(outbox, 1, backlog=True)
        assert await outbox.unpublished(0) == [old]
        assert outbox.depth == 1


async def test_backlog_full_outbox_still_takes_it(store: Store) -> None:
    async with store.open(OutboxLimits(rows=1)) as outbox:
        await add(outbox, 1)
        (old,) = await add(outbox, 2, backlog=True)
        assert (await outbox.history(1, 10))[0] == [old]
