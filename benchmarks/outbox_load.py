"""Adds alarms to an outbox as 32 pushes at a time do, and prints what it took: python -m benchmarks.outbox_load.

Arguments: the engine, its file or DSN, seconds, and the time of day at which to begin, so that two can begin at once.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.load import quantile
from fleet2mqtt.devices.model import Alarm, Severity, UpdateOrigin
from fleet2mqtt.outbox import Outbox, open_outbox
from fleet2mqtt.outbox.postgres import open_database

CONCURRENT = 32
DEVICES = 500
WARM_UP = 0.5


@asynccontextmanager
async def opened(engine: str, where: str) -> AsyncIterator[Outbox]:
    """The outbox of an engine."""
    if engine == "sqlite":
        async with open_outbox(Path(where)) as outbox:
            yield outbox
    else:
        async with open_database(where, require_replication=engine == "postgres") as database:
            yield await database.outbox()


async def add_alarms(outbox: Outbox, seconds: float) -> list[float]:
    """Add alarms for so long; return the seconds that each took."""
    waits: list[float] = []
    end = time.monotonic() + seconds
    run = secrets.token_hex(4)

    async def add(number: int) -> None:
        while time.monotonic() < end:
            begin = time.perf_counter()
            await outbox.add((_alarm(run, number * 97 + len(waits)),), lambda _: "OM50")
            waits.append(time.perf_counter() - begin)

    await asyncio.gather(*(add(number) for number in range(CONCURRENT)))
    return waits


def _alarm(run: str, number: int) -> Alarm:
    return Alarm(
        id=f"hq:{run}{secrets.token_hex(8)}",
        backend="hq",
        device=f"hq_{number % DEVICES}",
        severity=Severity.MAJOR,
        level="warning",
        name="eEMS_NOTIFY_IPEXT_OFFLINE",
        raised_at=datetime.now(UTC),
        source=UpdateOrigin.PUSH,
        code=33,
        category="ip extension",
        description="IP 分机离线",
    )


async def main(engine: str, where: str, seconds: float, begin: float) -> None:
    """Add alarms, and print alarms a second, and milliseconds of an alarm."""
    async with opened(engine, where) as outbox:
        await add_alarms(outbox, WARM_UP)
        await asyncio.sleep(begin - time.time())
        waits = sorted(await add_alarms(outbox, seconds))
    p50, p99 = (quantile(waits, share) * 1e3 for share in (0.5, 0.99))
    sys.stdout.write(json.dumps({"rate": len(waits) / seconds, "p50": p50, "p99": p99}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
