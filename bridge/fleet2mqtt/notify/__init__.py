"""Notifications of alarms by Apprise: a second consumer of the outbox, with a checkpoint of its own."""
