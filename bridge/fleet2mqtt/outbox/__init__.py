"""Alarm events on disk until the broker has acknowledged them. The only user of SQLite, on one thread."""

from fleet2mqtt.outbox.models import AlarmEvent, DeadLetter, OutboxLimits, Stored
from fleet2mqtt.outbox.outbox import Outbox, open_outbox

__all__ = ["AlarmEvent", "DeadLetter", "Outbox", "OutboxLimits", "Stored", "open_outbox"]
