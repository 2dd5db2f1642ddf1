"""A node's own connection to the broker: `bridge/node/<node>/state` and `health`, for people."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Never

from fleet2mqtt.contract.payloads import OFFLINE, ONLINE, dumps
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.errors import MqttError
from fleet2mqtt.mqtt import Message, MqttClient, Settings

FAREWELL_TIMEOUT = 2.0
"""Seconds that the broker has to acknowledge the last message."""


class NodeClient:
    """Publishes whether a node is there, and its health. The will says when it is not."""

    def __init__(self, settings: Settings, topics: Topics, node: str) -> None:
        """`settings` are those of the unit's connection."""
        self._node = node
        self._cluster_state = topics.state
        self._state, self._health = topics.cluster_node(node, "state"), topics.cluster_node(node, "health")
        self._mqtt = MqttClient(self._own(settings), ())
        self._payload: bytes | None = None
        self._changed = asyncio.Event()

    def _own(self, settings: Settings) -> Settings:
        return replace(
            settings,
            client_id=f"{settings.client_id}-node-{self._node}",
            will_topic=self._state,
            will_payload=OFFLINE,
            will_delay=0,
            acknowledge_manually=False,
        )

    def replace_settings(self, settings: Settings) -> None:
        """Connect again, with the settings that the unit's connection has now."""
        self._mqtt.replace_settings(self._own(settings))

    @property
    def connected(self) -> bool:
        """True while the node is connected to the broker."""
        return self._mqtt.connected

    async def run(self) -> Never:
        """Stay connected until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish(), name="node state")
            await self._mqtt.run(_ignore, self._changed.set, lambda _: None)

    def publish_health(self, health: Mapping[str, Any]) -> None:
        """Publish the health of the node, if it changed."""
        payload = dumps(health)
        if payload != self._payload:
            self._payload = payload
            self._changed.set()

    async def publish_cluster_offline(self) -> None:
        """Publish `offline` as the cluster's state: no node is left. Raises MqttError, TimeoutError."""
        async with asyncio.timeout(FAREWELL_TIMEOUT):
            await self._mqtt.publish(self._cluster_state, OFFLINE, retain=True)

    async def close(self) -> None:
        """Publish the will, that the node is offline, and disconnect."""
        await self._mqtt.close()

    async def _publish(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._mqtt.publish(self._state, ONLINE, retain=True)
                if self._payload is not None:
                    await self._mqtt.publish(self._health, self._payload, retain=True)
            except MqttError:
                continue  # published again on the next connection, or with the next change


def _ignore(message: Message) -> None:
    message.acknowledge()
