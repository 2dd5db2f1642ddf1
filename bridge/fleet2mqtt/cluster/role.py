"""The role of a node that owns the unit: what a cluster changes in the application that runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.cluster.inbox import Inbox
from fleet2mqtt.cluster.journal import CommandJournal
from fleet2mqtt.config.models import Config
from fleet2mqtt.contract.payloads import Reply
from fleet2mqtt.push.http_server import ReplaceableServer


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRole:
    """Parts of a node that the application of the owner uses."""

    confirm_lease: Callable[[], Awaitable[None]]
    """Returns once the lease is renewed in the database. Raises LeaseLost."""
    journal: Callable[[Callable[[Reply], None]], CommandJournal]
    """Returns the journal of commands, which publishes stored replies by the function that it is given."""
    inbox: Inbox
    push: ReplaceableServer
    """The node's server for pushes, which runs whether the node owns the unit or not."""
    is_last: Callable[[], Awaitable[bool]]
    """Returns True if no other node is alive."""
    check_reload: Callable[[Config], None]
    """Raises ConfigError for a configuration that only another cluster could have."""
    use_config: Callable[[Config], None]
    """Tells the node with which configuration the unit runs since it was loaded again."""
    health: Callable[[], Mapping[str, Any]]
    """Returns the members `nodes` and `storage` of `bridge/health`."""
