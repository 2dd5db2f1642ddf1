"""Metrics: `/metrics` for Prometheus, from the counters of the components at the moment of the request.

Labels are names from the configuration and fixed texts: never a device, a person or a vendor's text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import accumulate
from operator import add
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from fleet2mqtt.alarms.manager import SEVERITIES, AlarmManager
from fleet2mqtt.commands.queue import CommandQueue
from fleet2mqtt.contract.payloads import ResultStatus
from fleet2mqtt.devices.builtin_entities import is_backend
from fleet2mqtt.devices.model import Severity
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.ops.status import Status
from fleet2mqtt.polling.poller import Poller
from fleet2mqtt.push.receiver import PushReceiver

PREFIX = "fleet2mqtt"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Seconds; an alarm that waited for the broker took as long as that was unavailable."""
RESULTS = ("accepted", "broken", "busy", "failed", "full", "malformed", "refused", "too_large")
"""A counter that begins at 0 shows its first step as one."""


class PublishLatency:
    """Histogram of the seconds from an alarm's receipt to the PUBACK of its event.

    prometheus-client's own takes two locks and looks through its buckets for each event.
    """

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count an event."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram: the interface of a collector of prometheus-client."""
        bounds = [*map(str, BUCKETS), "+Inf"]
        yield HistogramMetricFamily(
            f"{PREFIX}_alarm_publish_seconds",
            "From receiving an alarm to the broker's acknowledgement of its event",
            buckets=list(zip(bounds, accumulate(self._counts), strict=True)),
            sum_value=self._sum,
        )


class UnitMetrics:
    """Metrics of a unit: its backends, alarms and commands."""

    def __init__(  # noqa: PLR0913, PLR0917 - the components that count
        self,
        hub: Hub,
        registry: Registry,
        alarms: AlarmManager,
        mqtt: MqttClient,
        pollers: Mapping[str, Poller],
        push_receiver: PushReceiver,
        commands: CommandQueue,
    ) -> None:
        self._hub = hub
        self._devices = registry
        self._alarms = alarms
        self._mqtt = mqtt
        self._pollers = pollers
        self._push_receiver = push_receiver
        self._commands = commands

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        pushes = dict.fromkeys(RESULTS, 0) | self._push_receiver.counted
        yield _counters("pushes", "Pushes from vendors by outcome", "result", pushes)
        yield _counters(
            "alarms",
            "New alarm events by severity",
            "severity",
            {severity.value: self._hub.events[severity] for severity in Severity},
        )
        yield from self._of_active_alarms()
        yield from self._of_backends()
        yield from self._of_mqtt()

    def _of_active_alarms(self) -> Iterator[Metric]:
        labels = ("backend", "severity")
        active, acknowledged = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        oldest: datetime | None = None
        for record in self._alarms.records.values():
            if not record.active:
                continue
            event = record.event
            where = event.body["backend"], event.severity.value
            active[where] += 1
            if record.acknowledged:
                acknowledged[where] += 1
            elif oldest is None or event.received_at < oldest:
                oldest = event.received_at
        backends = sorted({*self._pollers, *(backend for backend, _ in active)})
        for name, text, counts in (
            ("alarms_active", "Active alarms", active),
            ("alarms_acknowledged", "Active alarms that are acknowledged", acknowledged),
        ):
            family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
            for backend in backends:
                for severity in SEVERITIES:
                    family.add_metric((backend, severity), counts[backend, severity])
            yield family
        yield _gauge(
            "alarms_oldest_unacknowledged_age_seconds",
            "Time since the bridge received the oldest active alarm that is not acknowledged; 0 without any",
            0 if oldest is None else max(0.0, (datetime.now(UTC) - oldest).total_seconds()),
        )

    def _of_backends(self) -> Iterator[Metric]:
        labels = ("backend", "endpoint")
        calls = CounterMetricFamily(f"{PREFIX}_backend_calls", "Calls to vendors", labels=labels)
        failures = CounterMetricFamily(f"{PREFIX}_backend_call_failures", "Calls that failed", labels=labels)
        available = GaugeMetricFamily(f"{PREFIX}_backend_available", "Whether a backend works", labels=("backend",))
        devices = GaugeMetricFamily(f"{PREFIX}_devices", "Devices known", labels=("backend",))
        known = Counter(
            device.backend for device in self._devices.devices.values() if device.backend and not is_backend(device)
        )
        connected = GaugeMetricFamily(
            f"{PREFIX}_subscription_connected", "Whether a vendor's MQTT broker is connected", labels=("backend",)
        )
        messages = CounterMetricFamily(
            f"{PREFIX}_subscription_messages", "Messages from a vendor's MQTT broker", labels=("backend",)
        )
        dropped = CounterMetricFamily(
            f"{PREFIX}_subscription_dropped", "Those that came too fast or were too large", labels=("backend",)
        )
        for name, poller in self._pollers.items():
            available.add_metric((name,), poller.health.available)
            if subscription := poller.backend.subscription:
                connected.add_metric((name,), subscription.status.connected)
                messages.add_metric((name,), subscription.status.messages)
                dropped.add_metric((name,), subscription.status.dropped)
            for endpoint, count in sorted(poller.backend.calls.items()):
                calls.add_metric((name, endpoint), count.calls)
                failures.add_metric((name, endpoint), count.failures)
        for name in sorted({*self._pollers, *known}):
            devices.add_metric((name,), known[name])
        yield from (calls, failures, available, devices, connected, messages, dropped)
        yield from self._of_sources()

    def _of_sources(self) -> Iterator[Metric]:
        texts = {
            "items": "Items of the last poll",
            "calls": "Calls of the last poll",
            "duration_seconds": "Duration of the last poll",
            "interval_seconds": "Configured interval between polls",
            "oldest_age_seconds": "Age of the item that was read longest ago",
        }
        families = {
            name: GaugeMetricFamily(f"{PREFIX}_source_{name}", text, labels=("backend", "source"))
            for name, text in texts.items()
        }
        for name, poller in self._pollers.items():
            for source, health in poller.health.sources.items():
                figures = health.figures
                values = (figures.items, figures.calls, figures.duration, health.interval, figures.oldest_age)
                for family, value in zip(families.values(), values, strict=True):
                    if value is not None:
                        family.add_metric((name, source), value)
        yield from families.values()

    def _of_mqtt(self) -> Iterator[Metric]:
        mqtt = self._mqtt
        yield _counter("mqtt_reconnects", "Connections after the first", mqtt.reconnects)
        yield _counter("mqtt_published", "Messages that the broker has taken", mqtt.published)
        yield _gauge(
            "mqtt_oldest_unacknowledged_age_seconds",
            "Age of the oldest message that the broker has not acknowledged; 0 without any",
            mqtt.oldest_unacknowledged_age or 0,
        )
        ended = {status.value: self._commands.ended[status] for status in ResultStatus}
        yield _counters("commands", "Commands by result status", "status", ended)
        yield _gauge("commands_pending", "Commands that wait or run", self._commands.pending)


class Metrics:
    """Collector of the bridge's metrics."""

    def __init__(
        self,
        unit: UnitMetrics,
        mqtt: MqttClient,
        status: Status,
        latency: PublishLatency,
        others: Callable[[], Awaitable[Iterable[Iterable[Metric]]]] | None = None,
    ) -> None:
        """`latency` is fed by the alarm publisher.

        `others` returns the metrics of the other units of a cluster, which count together with those of this one.
        """
        self._unit = unit
        self._mqtt = mqtt
        self._status = status
        self._others = others
        self._of_units: list[Metric] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._registry.register(latency)

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format that `accept` requests, and its content type. Raises BridgeError."""
        others = await self._others() if self._others is not None else ()
        self._of_units = merge((self._unit.collect(), *others))
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics: the interface of a collector of prometheus-client."""
        health = self._status.health()
        yield from self._of_units
        yield from self._of_outbox(health)
        yield from self._of_notifications()
        yield _gauge("mqtt_connected", "Whether there is a connection to the broker", self._mqtt.connected)
        yield _counters("dropped", "Messages lost or refused", "reason", self._status.dropped())
        yield from self._of_process(health)
        yield from self._of_cluster(health)

    def describe(self) -> Iterable[Metric]:
        """Return no names: registering must not read the counters."""
        return ()

    def _of_outbox(self, health: Mapping[str, Any]) -> Iterator[Metric]:
        outbox = health["outbox"]
        yield _gauge("outbox_depth", "Alarm events that the broker has not acknowledged", outbox["depth"])
        yield _gauge("outbox_bytes", "Their size", outbox["bytes"])
        yield _gauge("outbox_oldest_age_seconds", "How long the oldest waits; 0 without any", outbox["oldest_age"] or 0)
        yield _gauge("dead_letters", "Pushes kept because they could not be read", health["dead_letters"])

    def _of_cluster(self, health: Mapping[str, Any]) -> Iterator[Metric]:
        if "nodes" not in health:
            return
        nodes, storage = health["nodes"], health["storage"]
        alive = GaugeMetricFamily(f"{PREFIX}_node_alive", "Whether a node of the cluster is alive", labels=("node",))
        owner = GaugeMetricFamily(
            f"{PREFIX}_node_owner", "Whether a node has the lease of the bridge unit", labels=("node",)
        )
        epoch = GaugeMetricFamily(
            f"{PREFIX}_unit_epoch", "Number of a unit's lease, by its owner", labels=("unit", "node")
        )
        for name, node in nodes.items():
            alive.add_metric((name,), node["state"] == "alive")
            owner.add_metric((name,), node["owner"])
            for unit, number in node["units"].items():
                epoch.add_metric((unit, name), number)
        yield from (alive, owner, epoch)
        replicated = storage["durability"] == "replicated"
        yield _gauge("storage_replicated", "Whether what is acknowledged is on a synchronous standby, too", replicated)
        yield _gauge("storage_commit_seconds", "Duration of the last commit of alarms", storage["commit_seconds"])
        yield _gauge("push_inbox_depth", "Pushes that other nodes accepted and that wait", storage["inbox"])

    def _of_notifications(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            f"{PREFIX}_notifications",
            "Notifications by result; missed are events that were deleted unread",
            labels=("target", "result"),
        )
        queued = GaugeMetricFamily(f"{PREFIX}_notifications_queued", "Notifications that wait", labels=("target",))
        oldest = GaugeMetricFamily(
            f"{PREFIX}_notifications_oldest_age_seconds",
            "How long the oldest of them waits; 0 without any",
            labels=("target",),
        )
        for name, figures in self._status.notifications().items():
            for result in ("sent", "failed", "missed"):
                family.add_metric((name, result), figures[result])
            queued.add_metric((name,), figures["queued"])
            oldest.add_metric((name,), figures["oldest_age"] or 0)
        yield from (family, queued, oldest)

    def _of_process(self, health: Mapping[str, Any]) -> Iterator[Metric]:
        yield _gauge("loop_lag_seconds", "Delay of the event loop", health["loop_lag"])
        yield _gauge("start_time_seconds", "Start of the bridge", self._status.started_at.timestamp())
        memory = GaugeMetricFamily("process_resident_memory_bytes", "Resident memory")
        memory.add_metric((), health["rss"])
        yield memory
        yield InfoMetricFamily(f"{PREFIX}_build", "Version that is running", value={"version": self._status.version})


def merge(units: Iterable[Iterable[Metric]]) -> list[Metric]:
    """Return the metrics of several units as one: numbers with the same labels are added up, of ages the oldest."""
    merged: dict[str, Metric] = {}
    for metrics in units:
        for metric in metrics:
            known = merged.get(metric.name)
            if known is None:
                merged[metric.name] = metric
                continue
            values = {(each.name, tuple(sorted(each.labels.items()))): each.value for each in known.samples}
            combine = max if metric.name.endswith("_age_seconds") else add
            for each in metric.samples:
                key = each.name, tuple(sorted(each.labels.items()))
                values[key] = combine(values[key], each.value) if key in values else each.value
            known.samples = [Sample(name, dict(labels), value) for (name, labels), value in values.items()]
    return list(merged.values())


def to_json(metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """Return metrics for `from_json`."""
    return [
        {
            "name": metric.name,
            "text": metric.documentation,
            "type": metric.type,
            "samples": [[each.name, each.labels, each.value] for each in metric.samples],
        }
        for metric in metrics
    ]


def from_json(listed: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """Return the metrics that `to_json` was given."""
    found = []
    for each in listed:
        metric = Metric(each["name"], each["text"], each["type"])
        metric.samples = [Sample(name, labels, value) for name, labels, value in each["samples"]]
        found.append(metric)
    return found


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _counters(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=(label,))
    for value, count in sorted(values.items()):
        family.add_metric((value,), count)
    return family
