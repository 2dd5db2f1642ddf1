"""The bridge's own MQTT client, with everything on, publishing so many messages of 200 bytes. Prints the seconds."""

from __future__ import annotations

import asyncio
import json
import sys
from time import perf_counter, process_time

from fleet2mqtt.mqtt import MqttClient, Settings


async def _main(port: int, count: int) -> None:
    ready = asyncio.Event()
    settings = Settings(host="127.0.0.1", port=port, client_id="bench-mqtt", will_topic="bench/state")
    mqtt = MqttClient(settings, [])
    task = asyncio.create_task(mqtt.run(lambda _: None, ready.set, lambda _: None), name="mqtt")
    await ready.wait()
    requested_at, cpu = perf_counter(), process_time()
    for number in range(count):
        last = await mqtt.submit(f"bare/{number % 1000}", b"x" * 200)
    while mqtt.published < count:
        await asyncio.wait((last,))
        await asyncio.sleep(0)
    print(json.dumps({"seconds": perf_counter() - requested_at, "cpu": process_time() - cpu, "count": count}))  # noqa: T201
    task.cancel()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
