"""The simulator of ThingsCloud."""

from __future__ import annotations

from fleet2mqtt.simulators.thingscloud.app import DEMO, OPERATIONS, SIMULATOR, Simulator, create
from fleet2mqtt.simulators.thingscloud.broker import AppBroker
from fleet2mqtt.simulators.thingscloud.live import simulate_step
from fleet2mqtt.simulators.thingscloud.requests import Token

__all__ = ["DEMO", "OPERATIONS", "SIMULATOR", "AppBroker", "Simulator", "Token", "create", "simulate_step"]
