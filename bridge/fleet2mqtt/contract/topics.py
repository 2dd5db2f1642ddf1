"""The topics of the contract (docs/mqtt.md)."""

from __future__ import annotations

from dataclasses import dataclass

from fleet2mqtt.devices.ids import slug


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics below a base topic and a discovery prefix."""

    base: str
    prefix: str

    @property
    def state(self) -> str:
        """The topic of the bridge's own `online`/`offline`, also that of the will."""
        return f"{self.base}/bridge/state"

    def bridge(self, name: str) -> str:
        """Return `bridge/info`, `bridge/health` or `bridge/logging`."""
        return f"{self.base}/bridge/{name}"

    def cluster_node(self, node: str, name: str) -> str:
        """Return `state` or `health` of a node of the cluster."""
        return f"{self.base}/bridge/node/{node}/{name}"

    def backend(self, backend: str, name: str) -> str:
        """Return `availability` or `health` of a backend."""
        return f"{self.base}/backend/{backend}/{name}"

    def source(self, backend: str, source: str) -> str:
        """Return the topic that shows whether a secondary source of a backend works: `online` or `offline`."""
        return f"{self.base}/backend/{backend}/source/{source}/availability"

    def device(self, device: str, name: str) -> str:
        """Return `state`, `attributes`, `availability`, `set`, `get` or `result` of a device."""
        return f"{self.base}/device/{device}/{name}"

    def device_event(self, device: str, key: str) -> str:
        """Return the topic of the events of a device's event entity, never retained."""
        return f"{self.base}/device/{device}/event/{key}"

    def alarm_event(self, severity: str, device: str) -> str:
        """Return the topic of a device's alarm events of one severity, never retained."""
        return f"{self.base}/alarm/event/{severity}/{device}"

    def alarm_suppressed(self, severity: str, device: str) -> str:
        """Return the topic of a device's alarm events that are withheld from `alarm_event`, never retained."""
        return f"{self.base}/alarm/suppressed/{severity}/{device}"

    def alarm_active(self, device: str, alarm_key: str) -> str:
        """Return the retained topic of an alarm while it is active."""
        return f"{self.base}/alarm/active/{device}/{slug(alarm_key)}"

    @property
    def alarm_summary(self) -> str:
        """The topic of the alarm summary."""
        return f"{self.base}/alarm/summary"

    def node(self, device: str) -> str:
        """Return the node id of a device in Home Assistant: `<base slug>_<device>`."""
        return f"{slug(self.base)}_{device}"

    def discovery(self, device: str) -> str:
        """Return the topic of a device's discovery message."""
        return f"{self.prefix}/device/{self.node(device)}/config"

    def commands(self) -> tuple[str, ...]:
        """Return the topic filters of commands and requests."""
        return (
            self.device("+", "set"),
            self.device("+", "set/+"),
            self.device("+", "get"),
            self.bridge("request/+"),
            self.backend("+", "request/+"),
        )

    def commands_of(self, backend: str) -> tuple[str, ...]:
        """Return the topic filters of commands, and of the requests to a backend."""
        return (
            self.device("+", "set"),
            self.device("+", "set/+"),
            self.device("+", "get"),
            self.backend(backend, "request/+"),
        )
