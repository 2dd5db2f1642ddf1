"""The simulator of the template platform: the relay cloud that the template describes."""

from __future__ import annotations

from fleet2mqtt.simulators._template.app import DEMO, SIMULATOR, create
from fleet2mqtt.simulators._template.state import Simulator

__all__ = ["DEMO", "SIMULATOR", "Simulator", "create"]
