"""Discovery of the documents' own devices, by unique id: the golden file, and the command that writes it anew.

    .venv/bin/python -m tests.homeassistant.golden

Ids are what users' dashboards and rules are written against: a line that changes or goes is a breaking change.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.homeassistant.fleet import fleet
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from tests.broker import Broker

GOLDEN = Path(__file__).with_name("golden.txt")
GROUP = "thingscloud_group_"


def golden(base: str) -> dict[str, str]:
    """The entity ids by unique id, for a bridge with this base topic."""
    pairs = (line.split() for line in GOLDEN.read_text().splitlines())
    return {base + unique_id.removeprefix("fleet2mqtt"): entity_id for unique_id, entity_id in pairs}


async def announced(broker: Broker, base: str) -> dict[str, dict[str, Any]]:
    """Every component that the bridge with this base topic has announced, by unique id."""
    retained = await broker.retained("homeassistant/device/+/config")
    return {
        component["unique_id"]: component
        for topic, message in retained.items()
        if topic.startswith(f"homeassistant/device/{base}_")
        for component in message.json["components"].values()
    }


async def wait_until_polled(broker: Broker) -> None:
    """Wait until each source has been polled and each known device is announced."""
    async with broker.record("fleet2mqtt/bridge/response/#") as seen:

        async def ask(name: str, **arguments: Any) -> Any:
            transaction = secrets.token_hex(8)
            await broker.publish(f"fleet2mqtt/bridge/request/{name}", {**arguments, "transaction": transaction})
            return (await seen.wait(lambda message: message.json["transaction"] == transaction)).json["data"]

        await ask("refresh")

        async def complete() -> bool:
            ids = {device["id"] for device in (await ask("devices", limit=1000))["devices"]}
            if not any(id_.startswith(GROUP) for id_ in ids):  # groups are shown up to a second after their devices
                return False
            topics = await broker.retained("homeassistant/device/+/config")
            return ids <= {topic.split("/")[2].removeprefix("fleet2mqtt_") for topic in topics}

        await wait_for_answer(complete, "every device to be announced")


async def write() -> None:
    """Run the fleet and keep what it announces."""
    from tests.broker import Broker  # noqa: PLC0415 - needs mosquitto, which reading the file does not

    with tempfile.TemporaryDirectory() as folder:
        async with Broker(directory=Path(folder)) as broker, fleet(broker, Path(folder)):
            await wait_until_polled(broker)
            components = await announced(broker, "fleet2mqtt")
    lines = sorted(f"{unique_id} {component['default_entity_id']}" for unique_id, component in components.items())
    GOLDEN.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    asyncio.run(write())
