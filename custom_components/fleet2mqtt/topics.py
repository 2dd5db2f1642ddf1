"""The bridge's topics that this integration uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics below a base topic."""

    base: str

    @property
    def info(self) -> str:
        return f"{self.base}/bridge/info"

    @property
    def state(self) -> str:
        return f"{self.base}/bridge/state"

    @property
    def health(self) -> str:
        return f"{self.base}/bridge/health"

    @property
    def summary(self) -> str:
        return f"{self.base}/alarm/summary"

    @property
    def backend_health(self) -> str:
        return f"{self.base}/backend/+/health"

    @property
    def alarms(self) -> str:
        return f"{self.base}/alarm/event/+/+"

    @property
    def responses(self) -> tuple[str, str]:
        return f"{self.base}/bridge/response/+", f"{self.base}/backend/+/response/+"

    def request(self, backend: str | None, name: str) -> str:
        """Return the request topic of a backend, or without one of the bridge."""
        return (
            f"{self.base}/bridge/request/{name}" if backend is None else f"{self.base}/backend/{backend}/request/{name}"
        )

    def backend_of(self, topic: str) -> str:
        """Return the backend of a topic: `hq` of <base>/backend/hq/health."""
        return topic.removeprefix(f"{self.base}/backend/").split("/")[0]
