"""The role of a unit in a cluster: what a cluster changes in the application that runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet2mqtt.bridge_unit import ClusterView
from fleet2mqtt.cluster.errands import Perform
from fleet2mqtt.cluster.inbox import Process
from fleet2mqtt.cluster.journal import CommandJournal
from fleet2mqtt.config.models import Config
from fleet2mqtt.contract.payloads import Reply
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.sdk.api import Action
from fleet2mqtt.unit import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRole:
    """Parts of a node that the application of a unit uses."""

    unit: str
    """Name of the unit: that of its backend, or that of the bridge unit."""
    view: ClusterView | None
    """The other units as the bridge unit sees them, None for another unit."""
    owns: Callable[[str], bool]
    """Returns True for a device or backend that is this unit's."""
    confirm_lease: Callable[[], Awaitable[None]]
    """Returns once the lease is renewed in the database. Raises LeaseLost."""
    journal: Callable[[Callable[[Reply], None]], CommandJournal]
    """Returns the journal of commands, which publishes stored replies by the function that it is given."""
    is_last: Callable[[], Awaitable[bool]]
    """Returns True if this is the bridge unit and no other node is alive."""
    reload: Callable[[], Awaitable[dict[str, Any]]]
    """Has the node load its configuration file again, and its units apply it. Raises CommandError."""
    load: Callable[[Path], Config]
    """Returns what of the node's configuration the unit uses now."""
    actions: Callable[[Unit, Outbox, Mapping[str, Action], Perform], dict[str, Action]]
    """Takes the requests and views of the unit, and returns the requests that are about all units."""
    load_windows: Callable[[], Awaitable[None]]
    """Applies the maintenance windows that are stored. Raises OutboxError."""
    run: Callable[[Unit, Process], Coroutine[Any, Any, None]]
    """Runs what a unit does in a cluster besides, until cancelled: processes pushes, reports its figures."""

    @property
    def is_bridge(self) -> bool:
        """True for the bridge unit."""
        return self.view is not None
