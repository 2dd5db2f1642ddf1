"""The omstation simulator: the login of the vendor's document, and the calls of its public pages."""

from __future__ import annotations

from fleet2mqtt.simulators.omstation.app import DEMO, SIMULATOR, create
from fleet2mqtt.simulators.omstation.state import Simulator

__all__ = ["DEMO", "SIMULATOR", "Simulator", "create"]
