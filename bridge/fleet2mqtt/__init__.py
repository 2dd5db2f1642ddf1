"""fleet2mqtt: bridges fleets of telecom and IoT devices to MQTT."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("fleet2mqtt")
