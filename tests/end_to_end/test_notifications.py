"""Notifications of a bridge as a process, between a vendor and real servers of mail and HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.commandline import get_text
from tests.notify.plant import DOWN, UP, open_plant
from tests.receivers import open_mailbox, open_receiver
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.notify.plant import Plant
    from tests.receivers import Receiver


def ids_of(texts: list[str]) -> list[str]:
    """The event ids that mails or messages are about."""
    return [line.removeprefix("Id: ") for text in texts for line in text.splitlines() if line.startswith("Id: ")]


async def has(taken: list[Any], number: int) -> None:
    await wait_until(lambda: len(taken) >= number, lambda: f"{number} of {taken}", PATIENCE)


async def test_raise_and_end_come_by_mail_and_webhook_until_acknowledged_again(tmp_path: Path) -> None:
    async with open_mailbox() as box, open_receiver() as receiver:
        notify = {
            "mail": {"url": box.url},
            "hook": {"url": receiver.url, "escalate_after": 1, "escalate_repeat": 100, "storm_count": 1000},
            "later": {"url": receiver.url, "delay": 100_000},
        }
        async with open_plant(tmp_path, notify) as plant, plant.bridge() as process:
            acknowledged, other = plant.macs
            plant.vendor.set_online(acknowledged, False, push=False)
            plant.vendor.set_online(other, False, push=False)
            await has(box.mails, 2)
            [*_, alarm] = [each for each in await active(plant) if acknowledged.lower() in each["device"]]
            await wait_until(lambda: reminders(receiver, alarm["id"]) >= 2, "reminders")
            await plant.ask("alarm_acknowledge", id=alarm["id"], operator="Li")
            told, others = reminders(receiver, alarm["id"]), reminders(receiver, "") - reminders(receiver, alarm["id"])
            await wait_until(lambda: reminders(receiver, "") - reminders(receiver, alarm["id"]) > others + 2, "more")
            assert reminders(receiver, alarm["id"]) <= told + 1  # one may have been on its way
            plant.vendor.set_online(acknowledged, True, push=False)
            plant.vendor.set_online(other, True, push=False)
            await has(box.mails, 4)
            await wait_until(lambda: sum("Cleared: " in title for title in receiver.titles) == 2, "both ends")
            while (figures := await health(plant))["mail"]["queued"]:
                assert figures["mail"]["sent"] == 3
            assert figures["mail"] == {
                "sent": 4, "failed": 0, "queued": 0, "oldest_age": None, "missed": 0, "last_error": None,
            }  # fmt: skip
            assert figures["later"]["sent"] == 0
            web = (await process.says("web listens on")).split()[-1]
            assert 'fleet2mqtt_notifications_total{result="sent",target="mail"} 4.0' in await get_text(
                f"http://{web}/metrics"
            )
    assert [subject.startswith("Cleared: ") for subject in box.subjects] == [False, False, True, True]
    assert sorted(ids_of(box.bodies[:2])) == sorted(ids_of(box.bodies[2:]))


def reminders(receiver: Receiver, id_: str) -> int:
    """Count the reminders about an alarm, or about all."""
    return sum(
        1
        for each in receiver.taken
        if each["title"].startswith("Not acknowledged: ") and (not id_ or id_ in ids_of([each["message"]]))
    )


async def health(plant: Plant) -> dict[str, Any]:
    """The figures of the targets; a message is counted a moment after it was taken."""
    figures: dict[str, Any] = (await plant.ask("health"))["data"]["bridge"]["notifications"]
    return figures


async def active(plant: Plant) -> list[dict[str, Any]]:
    alarms: list[dict[str, Any]] = (await plant.ask("alarms", state="active"))["data"]["alarms"]
    return alarms


async def test_quiet_hours_hold_alarms_until_they_are_taken_away(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    quiet = {
        "start": f"{now - timedelta(hours=6):%H:%M}",
        "end": f"{now + timedelta(hours=6):%H:%M}",
        "time_zone": "UTC",
        "but": ["critical"],
    }
    async with open_mailbox() as box:
        duty = {"url": box.url, "language": "zh-Hans"}
        async with open_plant(tmp_path, {"duty": duty | {"quiet_hours": quiet}}) as plant, plant.bridge() as process:
            plant.vendor.set_line(plant.macs[0], "FXO-7", con_state="1")  # major
            await wait_until(lambda: plant.seen.all("fleet2mqtt/alarm/event/major/#"), "the alarm")
            plant.vendor.set_online(plant.macs[1], False, push=False)  # critical
            await has(box.mails, 1)
            assert "[紧急]" in box.subjects[0]
            await plant.reload(process, {"duty": duty})
            await has(box.mails, 2)
    assert box.subjects[1] == "1 条告警通知"
    assert "新告警：重要 1 条" in box.bodies[1]
    assert len(box.mails) == 2


async def test_selectors_change_while_the_bridge_runs(tmp_path: Path) -> None:
    async with open_receiver() as receiver, open_plant(tmp_path, {}) as plant:
        one, two = plant.macs
        plant.configure({"duty": {"url": receiver.url, "include": [{"id": f"*_{one.lower()}"}]}})
        async with plant.bridge() as process:
            await both_drop_and_return(plant)
            await has(receiver.taken, 2)
            await plant.reload(process, {"duty": {"url": receiver.url, "exclude": [{"id": f"*_{one.lower()}"}]}})
            await both_drop_and_return(plant)
            await has(receiver.taken, 4)
            await plant.reload(process, {"renamed": {"url": receiver.url}})
            assert await process.says("notify.duty is no longer configured; 0 notifications")
            await both_drop_and_return(plant)
            await has(receiver.taken, 8)
    devices = [text.partition("(")[2].partition(")")[0] for text in (each["message"] for each in receiver.taken)]
    first, second = f"hq_voip_{one.lower()}", f"hq_voip_{two.lower()}"
    assert devices[:4] == [first, first, second, second]
    assert sorted(devices[4:]) == [first, first, second, second]


async def both_drop_and_return(plant: Plant) -> None:
    for online, type_ in ((False, "raised"), (True, "cleared")):
        before = len(changes(plant, type_))
        for mac in plant.macs:
            plant.vendor.set_online(mac, online, push=False)
        await wait_until(
            lambda type_=type_, before=before: len(changes(plant, type_)) >= before + 2,  # type: ignore[misc]
            lambda: str([message.text[:150] for message in plant.seen.all("fleet2mqtt/alarm/#")]),
            30,
        )


def changes(plant: Plant, type_: str) -> list[Any]:
    return [each for each in plant.seen.all("fleet2mqtt/alarm/event/#") if each.json["type"] == type_]


STORM = 60


async def test_storm_of_pushes_comes_as_one_digest(tmp_path: Path) -> None:
    async with open_mailbox() as box:
        notify = {"duty": {"url": box.url, "storm_count": 4, "storm_within": 10}}
        async with open_plant(tmp_path, notify) as plant, plant.bridge():
            async with aiohttp.ClientSession() as session:
                for code in (DOWN, UP):
                    pushes = (plant.push(session, plant.macs[0], code, str(number)) for number in range(STORM))
                    assert all(await asyncio.gather(*pushes))
            await has(box.mails, 5)
            while (figures := await health(plant))["duty"]["queued"]:
                assert figures["duty"]["sent"] == 4
            assert figures["duty"]["sent"] == 5
    assert box.subjects[4] == f"{2 * STORM - 4} alarm notifications"
    assert f"Raised: {STORM - 4} " in box.bodies[4]
    assert f"Cleared: {STORM}" in box.bodies[4]


async def test_targets_that_fail_hold_up_no_other_and_show_no_secret(tmp_path: Path) -> None:
    secret = "Canary99Secret"
    async with open_mailbox() as box, open_receiver() as receiver:
        receiver.statuses = [403] * 1000
        notify = {
            "good": {"url": box.url},
            "bad": {"url": receiver.url.replace("//", f"//user:{secret}@").replace("hook", secret)},
            "tls": {"url": receiver.url.replace("json:", "jsons:").replace("hook", secret)},
        }
        async with open_plant(tmp_path, notify) as plant, plant.bridge() as process:
            plant.vendor.set_online(plant.macs[0], False, push=False)
            await has(box.mails, 1)
            for name, reason in (("bad", "HTTP 403"), ("tls", "it does not speak TLS as expected")):
                await process.says(f"notify.{name}: a notification waits: {reason}")
            await plant.ask("health")
            web = (await process.says("web listens on")).split()[-1]
            pages = [await get_text(f"http://{web}/{page}") for page in ("metrics", "api/status", "api/alarms")]
    said = [message.payload.decode("utf-8", "replace") for message in plant.seen.messages]
    assert any("notify.bad" in each for each in said)
    assert not [each for each in (*said, *pages, process.output) if secret in each]
    stored = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir() if file.is_file())
    assert secret.encode() not in stored
