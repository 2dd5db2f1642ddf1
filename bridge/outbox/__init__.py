"""Alarm events on disk until the broker has them. The only place that knows SQLite, all of it on one thread."""

from bridge.outbox.box import Outbox, open_outbox
from bridge.outbox.records import DeadLetter, Event, Limits

__all__ = ["DeadLetter", "Event", "Limits", "Outbox", "open_outbox"]
