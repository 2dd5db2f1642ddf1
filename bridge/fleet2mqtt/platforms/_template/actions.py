"""The actions: vendor calls that are not entities. Arguments carry the vendor's own field names."""

from __future__ import annotations

from typing import Any

from fleet2mqtt.platforms._template import schemas
from fleet2mqtt.platforms._template.coordinator import DEVICES, Coordinator
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of


async def _restart(coordinator: Coordinator, arguments: dict[str, Any]) -> Any:
    return await coordinator.client.restart(arguments["id"], arguments["delay"])


# Named noun first. `destructive=True` for what deletes, logs out or changes passwords: it works only when `allow` names
# it. The sources are polled afterwards, so that the entities show the effect.
ACTIONS = (ActionDescription("relay_restart", "Restart a relay", schemas.RESTART, _restart, (DEVICES,)),)


def backend_actions(coordinator: Coordinator) -> tuple[Action, ...]:
    """Return the actions of a backend."""
    return actions_of(coordinator, ACTIONS)
