"""Print each alarm of a fleet2mqtt bridge once, also those that came while this program was not running.

    pip install paho-mqtt
    python3 alarms.py --host broker.lan --state alarms.seq

The number of the last alarm is kept in the file `--state`. What came after it is requested from the bridge at each
connection.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

PAGE = 100


class Alarms:
    """Alarms in the order of their `seq`, each once."""

    def __init__(self, client: mqtt.Client, base: str, state: Path) -> None:
        self.client, self.base, self.state = client, base, state
        self.last = int(state.read_text()) if state.exists() else 0
        self.transaction = ""
        client.on_connect = self.on_connect
        client.on_message = self.on_message

    def on_connect(self, *_: Any) -> None:
        """Subscribe to new alarms and ask for those that were missed."""
        self.client.subscribe([(f"{self.base}/alarm/event/#", 1), (f"{self.base}/bridge/response/alarms", 1)])
        self.request()

    def request(self) -> None:
        """Ask the bridge for the page of alarms after the last one."""
        self.transaction = uuid4().hex  # another one each time: a repeated one gets the same response again
        arguments = {"after": self.last, "limit": PAGE, "transaction": self.transaction}
        self.client.publish(f"{self.base}/bridge/request/alarms", json.dumps(arguments), qos=1)

    def on_message(self, _: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:
        """Take a new alarm, or a page of those that were missed."""
        content = json.loads(message.payload)
        if not message.topic.endswith("/response/alarms"):
            if content["seq"] == self.last + 1:
                self.show(content)
            elif content["seq"] > self.last:  # some were missed
                self.request()
        elif content["transaction"] == self.transaction and content["status"] == "ok":
            for alarm in content["data"]["alarms"]:
                if alarm["seq"] > self.last:
                    self.show(alarm)
            if content["data"]["more"]:
                self.request()

    def show(self, alarm: dict[str, Any]) -> None:
        """Print an alarm and remember its number."""
        name = alarm["device_name"] or alarm["device"]
        print(alarm["seq"], alarm["raised_at"], alarm["type"], alarm["severity"], name, alarm["name"], flush=True)
        self.last = alarm["seq"]
        self.state.write_text(str(self.last))


def main() -> None:
    """Connect and print alarms until the program is stopped."""
    parser = argparse.ArgumentParser(description="Print the alarms of a fleet2mqtt bridge.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--username")
    parser.add_argument("--password")
    parser.add_argument("--base-topic", default="fleet2mqtt")
    parser.add_argument("--state", type=Path, default=Path("alarms.seq"))
    options = parser.parse_args()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    if options.username:
        client.username_pw_set(options.username, options.password)
    Alarms(client, options.base_topic, options.state)
    client.connect(options.host, options.port)
    client.loop_forever()


if __name__ == "__main__":
    main()
