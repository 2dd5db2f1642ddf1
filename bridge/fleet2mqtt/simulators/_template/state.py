"""The state of a simulated relay cloud, and its changes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import FaultInjector


@dataclass(slots=True, kw_only=True)
class Relay:
    """A relay by the vendor's names. `temperature` in °C is part of its reading."""

    id: str
    name: str
    model: str = "RX-2"
    firmware: str = "1.4.0"
    online: bool = True
    relay: bool = False
    limit: int = 10
    temperature: float = 21.5

    def listed(self) -> dict[str, Any]:
        """Return the relay as the list has it."""
        return {name: value for name, value in asdict(self).items() if name != "temperature"}

    def reading(self) -> dict[str, Any]:
        """Return the relay's reading: numbers as texts, a time in UTC."""
        return {"temperature": f"{self.temperature:.1f}", "at": datetime.now(UTC).isoformat(timespec="seconds")}


@dataclass(slots=True, kw_only=True)
class Simulator:
    """The relays by id, and the key that a client has to send."""

    key: str = "example"
    fault_injector: FaultInjector = field(default_factory=FaultInjector)
    relays: dict[str, Relay] = field(default_factory=dict)
    restarts: list[str] = field(default_factory=list)

    def populate(self, count: int) -> None:
        """Start with so many relays."""
        for number in range(1, count + 1):
            self.relays[f"R-{1000 + number}"] = Relay(id=f"R-{1000 + number}", name=f"Relay {number}")


SIMULATOR = web.AppKey("_template_simulator", Simulator)
