"""Notifications from the outbox to real servers of mail and HTTP, through their failures and restarts."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.alarms.handling import AlarmSources
from fleet2mqtt.alarms.texts import text_in as text_of
from fleet2mqtt.config.models import Language, NotifyConfig, Secret
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.devices.selection import Rule
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.notify import notifier
from fleet2mqtt.notify.notifier import NAMES, OPEN, OWNER, LocalAlarms, Notifier, Target
from fleet2mqtt.notify.state import TargetState, count_waiting
from fleet2mqtt.outbox import Outbox, OutboxLimits, open_outbox
from tests.receivers import Receiver, open_mailbox, open_receiver
from tests.sample_alarms import AllActive, add, add_and_disconnect
from tests.sample_devices import device, update
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

text_in = partial(text_of, AlarmSources())


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with open_receiver() as server:
        yield server


@asynccontextmanager
async def running(outbox: Outbox, url: str, retry: float = 0.05, **options: Any) -> AsyncIterator[Target]:
    """A target whose tasks are cancelled at once at the end, wherever they are."""
    config = NotifyConfig(name="duty", url=Secret(url), **options)
    target = Target(config, Language.ENGLISH, outbox, LocalAlarms(records=AllActive(), devices={}), text_in)
    target.first_retry = retry
    task = asyncio.ensure_future(target.run())
    try:
        yield target
    finally:
        task.cancel()
        await asyncio.wait([task])


async def raise_alarm(outbox: Outbox, target: Target, number: int, *, cleared: bool = False) -> None:
    await add(outbox, number, active=True, alarm_key=f"a{number}", cleared=cleared, description_en=f"alarm {number}")
    target.wake.set()


async def test_mail_of_a_raise_and_its_end(tmp_path: Path) -> None:
    async with (
        open_mailbox() as box,
        open_outbox(tmp_path / "o.sqlite") as outbox,
        running(outbox, box.url) as target,
    ):
        await raise_alarm(outbox, target, 1)
        await raise_alarm(outbox, target, 1, cleared=True)
        await wait_until(lambda: target.results["sent"] == 2, "the notifications")
    assert box.subjects == ["[critical] hq_voip_1: alarm 1", "Cleared: [critical] hq_voip_1: alarm 1"]


async def test_refused_message_is_sent_again_until_it_is_taken_once(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [500, 404, 503]
    async with open_outbox(tmp_path / "o.sqlite") as outbox, running(outbox, receiver.url) as target:
        await raise_alarm(outbox, target, 1)
        await raise_alarm(outbox, target, 2)
        await wait_until(lambda: target.results["sent"] == 2, "the notifications")
        assert target.figures() == {
            "sent": 2,
            "failed": 3,
            "queued": 0,
            "oldest_age": None,
            "missed": 0,
            "last_error": None,
        }
    assert receiver.titles == ["[critical] hq_voip_1: alarm 1", "[critical] hq_voip_1: alarm 2"]


async def test_what_waits_survives_restarts_and_is_sent_once(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [500]
    async with open_outbox(tmp_path / "o.sqlite") as outbox, running(outbox, receiver.url, retry=600.0) as target:
        await raise_alarm(outbox, target, 1)
        await wait_until(lambda: target.results["failed"] == 1 or target.results["sent"] == 1, "the notifications")
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        await add(outbox, 2, description_en="alarm 2")  # while no target runs
        async with running(outbox, receiver.url) as target:
            await wait_until(lambda: len(receiver.taken) == 2 and target.results["sent"] == 2, "the notifications")
    async with open_outbox(tmp_path / "o.sqlite") as outbox, running(outbox, receiver.url) as target:
        await raise_alarm(outbox, target, 3)
        await wait_until(lambda: len(receiver.taken) == 3, "the notifications")
    assert [title[-1] for title in receiver.titles] == ["1", "2", "3"]


async def test_new_target_begins_with_what_comes_now(tmp_path: Path, receiver: Receiver) -> None:
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        await add(outbox, 1)
        async with running(outbox, receiver.url) as target:
            await raise_alarm(outbox, target, 2)
            await wait_until(lambda: target.results["sent"] == 1, "the notifications")
        assert outbox.checkpoint(OWNER, "duty")
    assert receiver.titles == ["[critical] hq_voip_1: alarm 2"]


async def test_text_that_is_refused_again_and_again_is_sent_plain(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [400, 400, 400]
    async with (
        open_outbox(tmp_path / "o.sqlite") as outbox,
        running(outbox, receiver.url, body="own {{ alarm.id }}") as target,
    ):
        await raise_alarm(outbox, target, 1)
        await wait_until(lambda: target.results["sent"] == 1, "the notification")
    assert receiver.taken[0]["message"].startswith("Device: hq_voip_1")


async def test_message_that_is_taken_while_the_bridge_stops_is_not_sent_again(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.held.clear()
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        async with running(outbox, receiver.url) as target:
            await raise_alarm(outbox, target, 1)
            await wait_until(lambda: receiver.asked == 1, "the request")
            asyncio.get_running_loop().call_later(0.1, receiver.held.set)
        async with running(outbox, receiver.url) as target:
            await raise_alarm(outbox, target, 2)
            await wait_until(lambda: len(receiver.taken) >= 2, "the notifications")
    assert [title[-1] for title in receiver.titles] == ["1", "2"]


async def test_message_whose_target_is_replaced_while_that_is_recorded_is_not_sent_again(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        write, recording, released = outbox.save_checkpoints, asyncio.Event(), asyncio.Event()

        async def hold(backend: str, texts: dict[str, str]) -> None:
            if receiver.taken:
                recording.set()
                await released.wait()
            await write(backend, texts)

        monkeypatch.setattr(outbox, "save_checkpoints", hold)
        targets = notifier_of(outbox, NotifyConfig(name="duty", url=Secret(receiver.url)))
        task = asyncio.ensure_future(targets.run())
        await raise_alarm(outbox, targets.targets["duty"], 1)
        await recording.wait()
        asyncio.get_running_loop().call_later(0.1, released.set)
        await targets.replace(
            {"duty": NotifyConfig(name="duty", url=Secret(receiver.url), title="new: {{ alarm.id }}")}
        )
        await raise_alarm(outbox, targets.targets["duty"], 2)
        await wait_until(lambda: not waiting(outbox) and len(receiver.taken) >= 2, "the notifications")
        task.cancel()
        await asyncio.wait([task])
    assert receiver.titles == ["[critical] hq_voip_1: alarm 1", "new: hq:2"]


async def test_disk_that_fails_ends_nothing(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "DISK_RETRY_DELAY", 0.05)
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        write, failures = outbox.save_checkpoints, [4]

        async def fail(backend: str, texts: dict[str, str]) -> None:
            if failures[0]:
                failures[0] -= 1
                raise OutboxError("no space left on device")
            await write(backend, texts)

        monkeypatch.setattr(outbox, "save_checkpoints", fail)
        config = NotifyConfig(name="duty", url=Secret(receiver.url))
        all_targets = notifier_of(outbox, config)
        task = asyncio.ensure_future(all_targets.run())
        await raise_alarm(outbox, all_targets.targets["duty"], 1)
        await wait_until(lambda: receiver.titles and failures[0] == 0, "the notification")
        failures[0] = 1  # what was taken is recorded a while later
        await raise_alarm(outbox, all_targets.targets["duty"], 2)
        await wait_until(lambda: not waiting(outbox) and len(receiver.taken) == 2, "the record")
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])


def notifier_of(outbox: Outbox, *configs: NotifyConfig) -> Notifier:
    return Notifier(configs, Language.ENGLISH, outbox, LocalAlarms(records=AllActive(), devices={}), text_in)


def waiting(outbox: Outbox) -> int:
    return count_waiting(outbox.checkpoint(OWNER, "duty") or "")


async def test_removed_target_is_named_and_forgotten(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [500]
    config, other = (NotifyConfig(name=name, url=Secret(receiver.url)) for name in ("duty", "other"))
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        for configs, done in (((config,), lambda: waiting(outbox) == 1), ((other,), lambda: not waiting(outbox))):
            targets = notifier_of(outbox, *configs)
            task = asyncio.ensure_future(targets.run())
            await wait_until(lambda names=configs: outbox.checkpoint(OWNER, NAMES) == names[0].name, "its name")  # type: ignore[misc]
            if configs == (config,):
                await raise_alarm(outbox, targets.targets["duty"], 1)
            await wait_until(done, "what is stored")
            task.cancel()
            await asyncio.wait([task])
        assert outbox.checkpoint(OWNER, "duty") is None
        assert outbox.checkpoint(OWNER, "duty" + OPEN) is None
    assert "notify.duty is no longer configured; 1 notifications of it are dropped" in caplog.text


async def test_state_that_is_not_readable_is_named_and_begun_anew(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        await add(outbox, 1)
        await outbox.save_checkpoint(OWNER, "duty", '{"seq": 0}')
        async with running(outbox, receiver.url) as target:
            await raise_alarm(outbox, target, 2)
            await wait_until(lambda: receiver.taken, "the notification")
    assert "notify.duty: what it was told is not readable" in caplog.text
    assert [title[-1] for title in receiver.titles] == ["2"]


async def test_failure_is_logged_once_and_its_end(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    receiver.statuses = [500] * 4
    async with open_outbox(tmp_path / "o.sqlite") as outbox, running(outbox, receiver.url) as target:
        await raise_alarm(outbox, target, 1)
        await wait_until(lambda: target.results["sent"] == 1, "the notification")
    lines = [record.getMessage() for record in caplog.records if record.name == notifier.__name__]
    assert lines == [
        "notify.duty: a notification waits: HTTP 500; trying again in 0.05 s",
        "notify.duty: notifications are taken again",
    ]


async def test_events_that_were_deleted_unread_are_counted(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_outbox(tmp_path / "o.sqlite", OutboxLimits(history_rows=2)) as outbox:
        await outbox.save_checkpoint(OWNER, "duty", stored_at(seq=0))
        events = await add(outbox, *range(1, 11))
        await outbox.published(event.seq for event in events)
        await add(outbox, 11)  # with it, what is beyond the bound is deleted
        await wait_until(lambda: outbox.first_seq > 1, "the deletion")
        async with running(outbox, receiver.url) as target:
            await wait_until(lambda: receiver.titles and outbox.last_seq == target.state.seq, "the notifications")
            assert target.missed == outbox.first_seq - 1
    assert f"notify.duty: {target.missed} events were deleted unread" in caplog.text


async def test_others_have_their_turn_while_many_events_are_read(tmp_path: Path, receiver: Receiver) -> None:
    count = 3 * notifier.EVENTS_A_TURN
    async with open_outbox(tmp_path / "o.sqlite") as outbox, running(outbox, receiver.url) as target:
        await wait_until(lambda: outbox.checkpoint(OWNER, "duty") is not None, "the target to be ready")
        await add(outbox, *range(count))
        seen = {target.state.seq}
        target.wake.set()
        while target.state.seq < count:
            await asyncio.sleep(0)
            seen.add(target.state.seq)
    assert len(seen) > 3  # it was seen at work


@pytest.mark.parametrize("targets", [1, 3])
async def test_alarms_that_keep_coming_are_taken_a_few_transactions_later(
    tmp_path: Path, receiver: Receiver, targets: int
) -> None:
    size, behind = 30, []
    async with open_outbox(tmp_path / "o.sqlite") as outbox, AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(running(outbox, receiver.url, severities=frozenset()))
            for _ in range(targets)
        ]
        await wait_until(lambda: outbox.checkpoint(OWNER, "duty") is not None, "the targets to be ready")
        for first in range(0, 200 * size, size):
            await add(outbox, *range(first, first + size))
            for target in readers:
                target.wake_for_events()
            behind.append(outbox.last_seq - min(target.state.seq for target in readers))
    assert statistics.median(behind) <= 4 * size


async def test_event_whose_sender_has_disconnected_is_taken_with_the_one_before(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LONGEST_SLEEP", "SAVE_INTERVAL"):
        monkeypatch.setattr(notifier, name, 3_600)
    async with (
        open_outbox(tmp_path / "o.sqlite") as outbox,
        running(outbox, receiver.url, severities=frozenset()) as target,
    ):
        await wait_until(lambda: outbox.checkpoint(OWNER, "duty") is not None, "the target to be ready")
        for number in (1, 2):  # the second one is read from memory
            await raise_alarm(outbox, target, number)
            await wait_until(lambda: outbox.last_seq == target.state.seq, "the event")
        await add(outbox, 3)
        await add_and_disconnect(outbox, 4)
        await wait_until(lambda: outbox.last_seq == 4, "the commit")
        target.wake.set()
        await wait_until(lambda: target.state.seq == 4, "both")


def stored_at(seq: int) -> str:
    """Return the stored state of a target that has read up to an event."""
    state = TargetState(NotifyConfig(name="duty", url=Secret("json://a")), lambda _: True, lambda _: None)
    state.seq = seq
    return state.dump()


async def test_target_is_told_of_selected_devices_and_what_is_behind_them(tmp_path: Path, receiver: Receiver) -> None:
    registry = Registry(time.monotonic, lambda *_: ())
    gate = device("gate", groups={"7": "Branch 7"})
    registry.accept(update(gate, device("gate_line", via="gate", kind="line"), device("other")), "", settled=True)
    include = NotifyConfig(name="include", url=Secret(receiver.url), include=(Rule(group="Branch*"),))
    exclude = NotifyConfig(name="exclude", url=Secret(receiver.url), exclude=(Rule(group="Branch*"),))
    for config, expected in ((include, {"gate", "gate_line"}), (exclude, {"other", "unknown"})):
        async with open_outbox(tmp_path / f"{config.name}.sqlite") as outbox:
            target = Target(
                config, Language.ENGLISH, outbox, LocalAlarms(records=AllActive(), devices=registry.devices), text_in
            )
            selected = {id_ for id_ in ("gate", "gate_line", "other", "unknown") if target._selects(id_)}  # noqa: SLF001
        assert selected == expected


async def test_other_targets_replace_only_what_changed_and_keep_what_waits(tmp_path: Path, receiver: Receiver) -> None:
    async with open_outbox(tmp_path / "o.sqlite") as outbox, open_receiver() as other:
        receiver.statuses = [500] * 1000
        same = NotifyConfig(name="same", url=Secret(other.url))
        targets = notifier_of(outbox, same, NotifyConfig(name="duty", url=Secret(receiver.url)))
        unchanged, former = targets.targets["same"], targets.targets["duty"]
        task = asyncio.ensure_future(targets.run())
        await raise_alarm(outbox, former, 1)
        targets.wake()
        await wait_until(lambda: former.results["failed"] == 1 and other.taken, "the failure")
        await targets.replace({"same": same, "duty": NotifyConfig(name="duty", url=Secret(other.url))})
        assert targets.targets["same"] is unchanged
        await wait_until(lambda: targets.figures()["duty"]["sent"] == 1, "what waited")
        assert targets.figures()["duty"]["failed"] == 1
        await targets.replace({})
        await wait_until(lambda: not outbox.checkpoint(OWNER, "same"), "what is left of it")
        await targets.replace({"same": same})
        await wait_until(lambda: outbox.checkpoint(OWNER, NAMES) == "same", "its name")
        await raise_alarm(outbox, targets.targets["same"], 2)
        await wait_until(lambda: len(other.taken) == 3, "the notification")
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
    assert [title[-1] for title in other.titles] == ["1", "1", "2"]
