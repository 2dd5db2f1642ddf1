"""The outbox in a SQLite file, on one thread: the engine of a single process, and the default."""

from fleet2mqtt.outbox.sqlite.outbox import SQLiteOutbox, open_outbox

__all__ = ["SQLiteOutbox", "open_outbox"]
