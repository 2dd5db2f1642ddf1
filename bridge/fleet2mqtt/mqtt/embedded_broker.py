"""The embedded broker: amqtt on loopback, for the demo and for a configuration without an `mqtt:` block."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fleet2mqtt.errors import ConfigError
from fleet2mqtt.network import is_in_use

_LOG = logging.getLogger(__name__)

HOST = "127.0.0.1"
PORT = 1883
PROTOCOL = "3.1.1"
"""The MQTT version of amqtt, which does not respond to a CONNECT of MQTT 5."""


@asynccontextmanager
async def broker(port: int = PORT, host: str = HOST) -> AsyncIterator[int]:
    """Run a broker on an address, loopback by default; yield its port.

    Raises ConfigError if the port is in use, or amqtt is not installed.
    """
    broker_type = _load_broker()
    if is_in_use(host, port):
        raise ConfigError([f"port {port} is in use: something is a broker here already; name it in an mqtt: block"])
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.CRITICAL)
    amqtt = broker_type(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}", "max_connections": 100}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await amqtt.start()
    reach = "for this machine only" if host == HOST else "for every machine that reaches it, without a login"
    _LOG.info("a broker was started on %s:%d, %s, without persistence", host, port, reach)
    try:
        yield port
    finally:
        await amqtt.shutdown()


def _load_broker() -> Any:
    try:
        from fleet2mqtt.mqtt.amqtt_overrides import AmqttBroker  # noqa: PLC0415 - only the extra `demo` installs amqtt
    except ModuleNotFoundError as error:
        message = (
            "the embedded broker needs the extra `demo` (pip install 'fleet2mqtt[demo]'); or name a broker in mqtt:"
        )
        raise ConfigError([message]) from error
    return AmqttBroker
