"""The topics of the contract (docs/mqtt.md), in one place."""

from __future__ import annotations

from dataclasses import dataclass

from fleet2mqtt.devices.ids import slug


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics under a base topic and a discovery prefix."""

    base: str
    prefix: str

    @property
    def state(self) -> str:
        """The bridge's own `online`/`offline`, also its last will."""
        return f"{self.base}/bridge/state"

    def bridge(self, name: str) -> str:
        """`bridge/info`, `bridge/health`, `bridge/logging`."""
        return f"{self.base}/bridge/{name}"

    def backend(self, backend: str, name: str) -> str:
        """`availability` and `health` of a backend."""
        return f"{self.base}/backend/{backend}/{name}"

    def source(self, backend: str, source: str) -> str:
        """Return the topic that shows whether a secondary source of a backend works: `online` or `offline`."""
        return f"{self.base}/backend/{backend}/source/{source}/availability"

    def device(self, device: str, name: str) -> str:
        """`state`, `attributes`, `availability`, `set`, `get` and `result` of a device."""
        return f"{self.base}/device/{device}/{name}"

    def alarm_event(self, severity: str, device: str) -> str:
        """Where an alarm event goes, never retained."""
        return f"{self.base}/alarm/event/{severity}/{device}"

    def alarm_active(self, device: str, alarm_key: str) -> str:
        """Where an alarm stands, retained, until it is cleared."""
        return f"{self.base}/alarm/active/{device}/{slug(alarm_key)}"

    @property
    def alarm_summary(self) -> str:
        """Counts by severity."""
        return f"{self.base}/alarm/summary"

    def node(self, device: str) -> str:
        """The device's name towards Home Assistant: `<base slug>_<device>`."""
        return f"{slug(self.base)}_{device}"

    def discovery(self, device: str) -> str:
        """Home Assistant's device discovery topic of a device."""
        return f"{self.prefix}/device/{self.node(device)}/config"

    def commands(self) -> tuple[str, ...]:
        """The filters on which commands and requests come in."""
        return (
            self.device("+", "set"),
            self.device("+", "set/+"),
            self.device("+", "get"),
            self.bridge("request/+"),
            self.backend("+", "request/+"),
        )
