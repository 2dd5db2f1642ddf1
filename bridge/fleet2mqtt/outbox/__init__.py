"""Alarm events on disk until the broker has acknowledged them: one protocol, two engines. The only user of SQLite."""

from fleet2mqtt.outbox.models import (
    DISK_RETRY_DELAY,
    TRANSACTION_WAIT,
    Addition,
    AlarmEvent,
    DeadLetter,
    OutboxLimits,
    Stored,
)
from fleet2mqtt.outbox.protocol import Outbox
from fleet2mqtt.outbox.sqlite import open_outbox

__all__ = [
    "DISK_RETRY_DELAY",
    "TRANSACTION_WAIT",
    "Addition",
    "AlarmEvent",
    "DeadLetter",
    "Outbox",
    "OutboxLimits",
    "Stored",
    "open_outbox",
]
