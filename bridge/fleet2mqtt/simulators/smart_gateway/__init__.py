"""A simulated IG200 system, written from the vendor's document alone."""

from fleet2mqtt.simulators.smart_gateway.app import create
from fleet2mqtt.simulators.smart_gateway.data import FIRST_RULE, FIRST_SN, FREE_RULE, SECOND_RULE, SECOND_SN
from fleet2mqtt.simulators.smart_gateway.state import SIMULATOR, Simulator

__all__ = ["FIRST_RULE", "FIRST_SN", "FREE_RULE", "SECOND_RULE", "SECOND_SN", "SIMULATOR", "Simulator", "create"]
