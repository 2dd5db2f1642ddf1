"""The outbox in PostgreSQL, which the nodes of a cluster share. The only user of psycopg beside `cluster`."""

from fleet2mqtt.outbox.postgres.alarm_writer import Fence
from fleet2mqtt.outbox.postgres.outbox import Database, PostgresOutbox, open_database
from fleet2mqtt.outbox.postgres.session import Session

__all__ = ["Database", "Fence", "PostgresOutbox", "Session", "open_database"]
