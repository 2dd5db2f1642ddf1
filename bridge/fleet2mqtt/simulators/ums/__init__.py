"""A simulated New Rock UMS, written from the UMS document alone."""

from fleet2mqtt.simulators.ums.app import SIMULATOR, Simulator, create

__all__ = ["SIMULATOR", "Simulator", "create"]
