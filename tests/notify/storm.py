"""A storm of alarms through the outbox to a mail server: its mails, and their processor time.

    python -m tests.notify.storm --events 50000 --seconds 60

Ends with 1 if an event is missing in what was told, or if there is another number of digests than one.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fleet2mqtt.alarms.handling import AlarmSources
from fleet2mqtt.alarms.texts import text_in
from fleet2mqtt.config.models import Language, NotifyConfig, Secret
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.notify.notifier import LocalAlarms, Notifier
from fleet2mqtt.outbox import open_outbox
from tests.receivers import open_mailbox
from tests.sample_alarms import AllActive, add
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.receivers import Mailbox

BATCH = 50
STORM_COUNT = 20
_COUNTS = re.compile(r"^(?:Raised: (\d+) critical|Cleared: (\d+)|Reminders: (\d+))", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Number of stored events, of those in mails, and of digests; seconds of the processor."""

    events: int
    told: int
    digests: int
    mails: int
    cpu: float
    longest_gap: float
    """The longest time in which the event loop did nothing else."""

    @property
    def problems(self) -> list[str]:
        found = [] if self.told == self.events else [f"{self.events - self.told} events are in no mail"]
        return found + ([] if self.digests == 1 else [f"{self.digests} digests"])


def tally(subjects: Iterable[str], bodies: Iterable[str]) -> tuple[int, int]:
    """Count the events that mails tell of, and digests."""
    told = digests = 0
    for subject, body in zip(subjects, bodies, strict=True):
        if subject.endswith("alarm notifications"):
            digests += 1
            told += sum(int(number) for numbers in _COUNTS.findall(body) for number in numbers if number)
        else:
            told += 1
    return told, digests


async def storm(folder: Path, events: int, seconds: float, within: float) -> Storm:
    """Raise half as many alarms as `events` and clear them, over `seconds`; return the outcome."""
    async with open_mailbox() as box, open_outbox(folder / "o.sqlite") as outbox:
        config = NotifyConfig(name="duty", url=Secret(box.url), storm_count=STORM_COUNT, storm_within=within)
        registry = Registry(time.monotonic, lambda *_: ())
        texts = partial(text_in, AlarmSources())
        notifier = Notifier(
            [config], Language.ENGLISH, outbox, LocalAlarms(records=AllActive(), devices=registry.devices), texts
        )
        task = asyncio.ensure_future(notifier.run())
        gaps: list[float] = []
        watch = asyncio.ensure_future(_watch(gaps))
        begin, cpu = time.monotonic(), time.process_time()
        for number in range(0, events // 2, BATCH):
            numbers = range(number, min(number + BATCH, events // 2))
            for cleared in (False, True):
                await add(outbox, *numbers, active=True, cleared=cleared)
                notifier.wake()
            await asyncio.sleep(begin + seconds * 2 * number / events - time.monotonic())
        stored = outbox.last_seq
        await wait_until(lambda: tally(box.subjects, box.bodies)[0] >= stored, partial(_seen, box))
        cpu = time.process_time() - cpu
        for each in (task, watch):
            each.cancel()
        await asyncio.wait((task, watch))
        told, digests = tally(box.subjects, box.bodies)
    return Storm(
        events=stored, told=told, digests=digests, mails=len(box.mails), cpu=cpu, longest_gap=max(gaps, default=0.0)
    )


def _seen(box: Mailbox) -> str:
    return f"the digest: {box.subjects} {box.bodies[-1:]}"


async def _watch(gaps: list[float]) -> None:
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.005)
        gaps.append(time.monotonic() - before - 0.005)


def main() -> int:
    """Run a storm and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.notify.storm", description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--within", type=float, default=60.0, help="storm_within of the target")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        came = asyncio.run(storm(Path(folder), options.events, options.seconds, options.within))
    sys.stdout.write("\n".join((str(came), *came.problems, "")))
    return bool(came.problems)


if __name__ == "__main__":
    sys.exit(main())
