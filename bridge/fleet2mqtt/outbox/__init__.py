"""Alarm events on disk until the broker has them. The only place that knows SQLite, all of it on one thread."""

from fleet2mqtt.outbox.models import AlarmEvent, DeadLetter, OutboxLimits, Stored
from fleet2mqtt.outbox.outbox import Outbox, open_outbox

__all__ = ["AlarmEvent", "DeadLetter", "Outbox", "OutboxLimits", "Stored", "open_outbox"]
