"""Figures about the bridge: `bridge/info` and `bridge/health`. They are allow-lists: nothing gets in by accident."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fleet2mqtt.contract.payloads import now, stamp
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.sdk.api import Backend, describe

_LOOP_CHECK = 0.5
_STATM = Path("/proc/self/statm")


@dataclass(slots=True)
class Status:
    """Collects the figures of the components. `counters` return the numbers of dropped messages by reason."""

    instance: str
    version: str
    mqtt: MqttClient
    outbox: Outbox
    backends: Mapping[str, Backend]
    counters: Sequence[Callable[[], Mapping[str, int]]]
    log_dropped: Callable[[], int]
    other_bridge: Callable[[], str | None] = lambda: None
    """Returns the id of another bridge on the base topic, None without one."""
    notifications: Callable[[], Mapping[str, Mapping[str, Any]]] = dict
    """Returns the figures of each notification target."""
    cluster: Callable[[], Mapping[str, Any]] = dict
    """Returns what a cluster adds to the health."""
    started_at: datetime = field(default_factory=now)
    started: float = field(default_factory=time.monotonic)
    """The start by a clock that nobody sets."""
    loop_lag: float = 0.0

    def info(self) -> dict[str, Any]:
        """Return the content of `bridge/info`."""
        return {
            "id": self.instance,
            "version": self.version,
            "started_at": stamp(self.started_at),
            "mqtt_protocol": self.mqtt.protocol,
            "backends": {
                backend.name: {
                    "platform": backend.platform,
                    "title": backend.title,
                    "actions": [describe(action) for action in backend.actions],
                }
                for backend in self.backends.values()
            },
        }

    def health(self) -> dict[str, Any]:
        """Return the content of `bridge/health`: times in seconds, sizes in bytes."""
        notifications = self.notifications()
        oldest, age = self.outbox.oldest, self.mqtt.oldest_unacknowledged_age
        return {
            "started_at": stamp(self.started_at),
            "uptime": round(time.monotonic() - self.started),
            "outbox": {
                "depth": self.outbox.depth,
                "bytes": self.outbox.size,
                "oldest_age": round((now() - oldest).total_seconds()) if oldest else None,
                "last_seq": self.outbox.last_seq,
            },
            "dead_letters": self.outbox.dead,
            "dropped": self.dropped(),
            "mqtt": {
                "protocol": self.mqtt.protocol,
                "reconnects": self.mqtt.reconnects,
                "published": self.mqtt.published,
                "last_error": self.mqtt.last_error,
                "oldest_unacknowledged_age": None if age is None else round(age),
            },
            "other_bridge": self.other_bridge(),
            "loop_lag": round(self.loop_lag, 4),
            "rss": rss(),
            **({"notifications": notifications} if notifications else {}),
            **self.cluster(),
        }

    def dropped(self) -> dict[str, int]:
        """Return how many messages were lost or refused, by reason."""
        total: Counter[str] = Counter()
        for counter in self.counters:
            total.update(counter())
        total.update(not_stored(self.outbox.refused, self.outbox.displaced))
        total["log"] += self.log_dropped()
        return {reason: count for reason, count in sorted(total.items()) if count}

    def fingerprint(self) -> Iterable[Any]:
        """Return the figures whose change is published before the next health message is due."""
        mqtt = self.mqtt
        return (
            self.outbox.depth > 0,
            self.outbox.dead,
            self.dropped(),
            mqtt.protocol,
            mqtt.reconnects,
            mqtt.acknowledging,
            self.other_bridge(),
            [(name, each["last_error"]) for name, each in self.notifications().items()],
            self._cluster_fingerprint(),
        )

    def _cluster_fingerprint(self) -> Any:
        cluster = self.cluster()
        return cluster and (cluster["nodes"], cluster["storage"]["durability"])

    async def watch_loop(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(_LOOP_CHECK)
            self.loop_lag = max(0.0, loop.time() - before - _LOOP_CHECK)


def not_stored(refused: Mapping[str, int], displaced: int) -> dict[str, int]:
    """Return how many alarms an outbox has refused, by reason, and how many dead letters it has displaced."""
    counts = {f"alarm_{reason}": count for reason, count in refused.items()} | {"dead_letter_displaced": displaced}
    return {reason: count for reason, count in counts.items() if count}


def rss() -> int:
    """Return the resident memory of this process in bytes."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the highest it ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
