"""The client under test, run as the bridge runs it, with everything it reports."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Never

from fleet2mqtt.mqtt import Message, MqttClient, Settings
from tests.broker import HOST
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

STATE = "fleet/bridge/state"
COMMANDS = "fleet/set/#"


@dataclass(slots=True, kw_only=True)
class Subject:
    """A client with its counts: `ups` of on_connected; `downs` has the reasons of on_disconnected."""

    mqtt: MqttClient
    messages: list[Message]
    downs: list[str]
    task: asyncio.Task[Never]
    ups: int = 0

    async def connected(self, times: int = 1) -> None:
        """Wait until it has connected for the n-th time; an attempt that nobody answers takes 10 s before the next."""
        await wait_until(lambda: self.ups >= times and self.mqtt.connected, self._describe, PATIENCE)

    async def received(self, text: str) -> Message:
        return await wait_until(
            lambda: next((m for m in self.messages if m.payload == text.encode()), None), f"the message {text}"
        )

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def _describe(self) -> str:
        return f"a connection; there were {self.ups}, the last error is {self.mqtt.last_error}"


def start(
    port: int,
    *,
    on_message: Callable[[Message], None] | None = None,
    on_connected: Callable[[], None] | None = None,
    **options: Any,
) -> Subject:
    """A client of a broker on loopback; back-offs are short unless `options` of Settings say otherwise."""
    values: dict[str, Any] = {"host": HOST, "port": port, "client_id": "fleet", "will_topic": STATE}
    values |= {"backoff_first": 0.02, "backoff_max": 0.1}
    messages: list[Message] = []
    downs: list[str] = []

    def up() -> None:
        subject.ups += 1
        if on_connected is not None:
            on_connected()

    mqtt = MqttClient(
        Settings(**(values | options)),
        [(COMMANDS, 1)],
    )
    task = asyncio.create_task(mqtt.run(on_message or messages.append, up, downs.append), name="mqtt")
    subject = Subject(mqtt=mqtt, messages=messages, downs=downs, task=task)
    return subject
