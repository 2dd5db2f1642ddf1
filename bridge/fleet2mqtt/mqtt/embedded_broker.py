"""The broker inside: amqtt on loopback, for the demo and for a configuration without an `mqtt:` block."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from amqtt.broker import Broker
from amqtt.session import Session

from fleet2mqtt.errors import ConfigError

_LOG = logging.getLogger(__name__)

HOST = "127.0.0.1"
PORT = 1883
PROTOCOL = "3.1.1"
"""What amqtt speaks; a CONNECT of MQTT 5 it would not even answer."""


class _Inside(Broker):  # type: ignore[misc] # amqtt has no types
    """A broker that gives a client only what it has subscribed to.

    amqtt 0.12 sends whoever connects all that is retained for the subscriptions of the others.
    """

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        if any(subscriber is session for subscriber, _ in self.subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)


@asynccontextmanager
async def broker(port: int = PORT) -> AsyncIterator[int]:
    """Run a broker on loopback; gives its port. Raises ConfigError when the port is taken."""
    if _taken(port):
        raise ConfigError([f"port {port} is in use: something is a broker here already; name it in an mqtt: block"])
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.CRITICAL)
    inside = _Inside(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}", "max_connections": 100}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await inside.start()
    _LOG.info(
        "no mqtt: block, so a broker was started on %s:%d, for this machine only, without persistence", HOST, port
    )
    try:
        yield port
    finally:
        await inside.shutdown()


def free_port(preferred: int = 0) -> int:
    """This port on loopback if it is free, else another; 0 is any."""
    if preferred and not _taken(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
        return False
