"""A bare paho loop: publishes at QoS 1 as fast as paho can, so many unacknowledged at most. Prints the seconds.

bare_paho.py PORT WINDOW FILE    a file of JSON lines [topic, payload, retain]
bare_paho.py PORT WINDOW COUNT   so many messages of 200 bytes
"""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion


def _messages(source: str) -> Iterator[tuple[str, bytes, bool]]:
    if source.isdigit():
        for number in range(int(source)):
            yield f"bare/{number % 1000}", b"x" * 200, False
        return
    for line in Path(source).read_text(encoding="utf-8").splitlines():
        topic, payload, retain = json.loads(line)
        yield topic, payload.encode(), retain


def main(port: int, window: int, source: str) -> None:
    """Publish and wait for the last acknowledgement."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    acknowledged = 0

    def count(*_: object) -> None:
        nonlocal acknowledged
        acknowledged += 1

    client.on_publish = count
    client.max_inflight_messages = 0
    client.connect("127.0.0.1", port)
    while not client.is_connected():
        client.loop()
    messages = list(_messages(source))
    requested_at, cpu, sent = perf_counter(), process_time(), 0
    sock: Any = client.socket()
    while acknowledged < len(messages):
        while sent < len(messages) and sent - acknowledged < window:
            topic, payload, retain = messages[sent]
            client.publish(topic, payload, 1, retain)
            sent += 1
        wanted = [sock] if client.want_write() else []
        readable, _, _ = select.select([sock], wanted, [], 1)
        if wanted:
            client.loop_write()
        if readable:
            client.loop_read()
    print(json.dumps({"seconds": perf_counter() - requested_at, "cpu": process_time() - cpu, "count": sent}))  # noqa: T201
    client.disconnect()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
