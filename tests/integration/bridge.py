"""A bridge as the contract describes it: retained messages, and answers to requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import topic_matches_sub
from pytest_homeassistant_custom_component.common import async_fire_mqtt_message

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from pytest_homeassistant_custom_component.typing import MqttMockPahoClient

BASE = "fleet2mqtt"
ID = "a1b2c3d4e5f6"
PLATFORMS = {"voip": "ums", "branch": "smart_gateway", "ac": "sangfor_ac", "things": "thingscloud"}
MANIFEST = Path(__file__).parents[2] / "custom_components/fleet2mqtt/manifest.json"
VERSION: str = json.loads(MANIFEST.read_text("utf-8"))["version"]
INFO: dict[str, Any] = {
    "id": ID,
    "version": VERSION,
    "started_at": "2026-03-01T08:00:00.000+00:00",
    "mqtt_protocol": "5",
    "backends": {
        name: {"platform": platform, "title": name, "actions": [{"name": "device_list"}, {"name": "fxo_test"}]}
        for name, platform in PLATFORMS.items()
    },
}
HEALTH: dict[str, Any] = {
    "uptime": 60,
    "outbox": {"depth": 0, "bytes": 0, "oldest_age": None, "last_seq": 0},
    "dead_letters": 0,
    "loop_lag": 0.0042,
    "rss": 104857600,
}
COUNTS = {"critical": 1, "major": 2, "minor": 3, "warning": 0, "indeterminate": 0}
SUMMARY = {"last_hour": COUNTS, "last_day": COUNTS, "active": COUNTS}

Answer = Callable[[dict[str, Any]], Any]


class Refusal(Exception):
    """Code and message of an error with which the bridge responds."""


def alarm(seq: int, **more: Any) -> dict[str, Any]:
    """An alarm event; by default its `id` and when it was received follow from its number."""
    received = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=seq % 1_000_000)
    about = {"id": f"voip:{seq}", "type": "raised", "backend": "voip", "severity": "critical", "name": f"alarm {seq}"}
    return {**about, "seq": seq, "received_at": received.isoformat(), **more}


class Bridge:
    """Speaks on the topics below `base`; `history` are the alarms it can tell of."""

    def __init__(self, hass: HomeAssistant, client: MqttMockPahoClient, base: str = BASE) -> None:
        self.hass = hass
        self.base = base
        self.retained: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.history: list[dict[str, Any]] = []
        self.first_seq = 1
        self.last_seq: int | None = None
        self.silent: set[str] = set()
        self.answers: dict[str, Answer] = {"alarms": self._alarms}
        self._listen(client)
        self.say("bridge/info", INFO)
        self.say("bridge/state", "online")
        self.say("bridge/health", HEALTH)
        self.say("alarm/summary", SUMMARY)

    def say(self, topic: str, payload: Any, *, retain: bool = True) -> None:
        """Publish; text as it is, anything else as JSON."""
        text = payload if isinstance(payload, str) else json.dumps(payload)
        if retain:
            self.retained[f"{self.base}/{topic}"] = text
        async_fire_mqtt_message(self.hass, f"{self.base}/{topic}", text, 0, retain=False)

    def retain(self, base: str, info: Mapping[str, Any]) -> None:
        """Set the retained messages of a bridge with this base topic, for those who subscribe from now on."""
        self.retained |= {f"{base}/bridge/info": json.dumps(info), f"{base}/bridge/state": "online"}

    def info(self, **changes: Any) -> None:
        self.say("bridge/info", {**INFO, **changes})

    def health(self, **changes: Any) -> None:
        health = deepcopy(HEALTH)
        health["outbox"] |= changes.pop("outbox", {})
        self.say("bridge/health", {**health, **changes})

    def backend(self, name: str, error: Mapping[str, Any] | None) -> None:
        self.say(f"backend/{name}/health", {"available": error is None, "error": error, "sources": {}})

    def raise_alarm(self, seq: int, **more: Any) -> None:
        """A live event, which the history has, too."""
        body = alarm(seq, **more)
        self.history.append(body)
        self.say(f"alarm/event/{body['severity']}/dev", body, retain=False)

    def asked(self, name: str) -> list[dict[str, Any]]:
        """The arguments of the requests of this name."""
        return [arguments for topic, arguments in self.requests if topic.endswith(f"/request/{name}")]

    def _alarms(self, arguments: dict[str, Any]) -> Any:
        after, limit = arguments["after"], arguments["limit"]
        later = [each for each in self.history if each["seq"] > after]
        last = self.history[-1]["seq"] if self.history else 0
        return {
            "alarms": later[:limit],
            "more": len(later) > limit,
            "first_seq": self.first_seq,
            "last_seq": last if self.last_seq is None else self.last_seq,
        }

    def _listen(self, client: MqttMockPahoClient) -> None:
        subscribe: Any = client.subscribe.side_effect
        publish: Any = client.publish.side_effect

        def subscribed(topics: list[tuple[str, int]], qos: int = 0) -> Any:
            for topic, payload in list(self.retained.items()):
                if any(topic_matches_sub(each, topic) for each, _ in topics):
                    self.hass.loop.call_soon(async_fire_mqtt_message, self.hass, topic, payload, 0, True)
            return subscribe(topics, qos)

        def published(topic: str, payload: str, qos: int, retain: bool) -> Any:
            if "/request/" in topic:
                self._asked(topic, json.loads(payload))
            return publish(topic, payload, qos, retain)

        client.subscribe.side_effect = subscribed
        client.publish.side_effect = published

    def _asked(self, topic: str, body: dict[str, Any]) -> None:
        transaction = body.pop("transaction")
        self.requests.append((topic, body))
        name = topic.rpartition("/")[2]
        if name in self.silent:
            return
        try:
            answer = self.answers[name](body) if name in self.answers else {"asked": body}
            said = {"transaction": transaction, "status": "ok", "data": answer, "error": None}
        except Refusal as refusal:
            code, message = refusal.args
            said = {"transaction": transaction, "status": "error", "error": {"code": code, "message": message}}
        response = topic.replace("/request/", "/response/")
        self.hass.loop.call_soon(async_fire_mqtt_message, self.hass, response, json.dumps(said))
