"""The bridge unit: delivers the outbox to MQTT and to notification targets, and reports about the bridge as a whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet2mqtt import __version__
from fleet2mqtt.aio import TaskSet
from fleet2mqtt.alarms.texts import text_in
from fleet2mqtt.config.models import BackendConfig, Config
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import bridge_entities
from fleet2mqtt.devices.model import Device, Update
from fleet2mqtt.notify.notifier import KnownAlarms, LocalAlarms, Notifier
from fleet2mqtt.ops.base_topic import BaseTopicMonitor
from fleet2mqtt.ops.former_topics import PublishedUnder
from fleet2mqtt.ops.housekeeping import Housekeeping
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.sdk.api import Backend
from fleet2mqtt.unit import Unit

if TYPE_CHECKING:  # psycopg is no dependency of a bridge without a cluster
    from fleet2mqtt.cluster.units import Units

PUBLISHED_UNDER = "topics.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """The other units as the bridge unit of a cluster sees them."""

    backends: Mapping[str, Backend]
    """All backends that are configured, whichever node runs them."""
    health: Callable[[], Mapping[str, Any]]
    """Returns the members `nodes` and `storage` of `bridge/health`."""
    dropped: Callable[[], Mapping[str, int]]
    """Returns how many messages the other units and nodes have lost or refused, by reason, as they reported last."""
    alarm_counts: Callable[[], dict[str, dict[str, int]]]
    """Returns the numbers of active alarms of all units, as `AlarmManager.counts` does of one."""
    availability: Callable[[], Mapping[str, bool]]
    """Returns whether each backend is available, as its unit reported last."""
    alarms: KnownAlarms
    """Active alarms of all units."""
    configs: Mapping[str, BackendConfig]
    """The configurations of all backends, from which texts of alarms are made."""
    units: Units
    ask_all: Callable[[Mapping[str, Mapping[str, Any]]], Awaitable[Mapping[str, Any]]]
    """Has units do errands, and returns the results by unit. Raises CommandError, OutboxError."""
    announce: Callable[[], Awaitable[object]]
    """Has all units publish everything again. Raises CommandError, OutboxError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeUnit:
    """Components of which there is one, whatever the number of units."""

    alarm_publisher: AlarmPublisher
    notifier: Notifier
    status: Status
    housekeeping: Housekeeping
    log: MqttLog

    def start_loops(self, loops: TaskSet) -> None:
        """Start what runs whether there is a connection to the broker or not."""
        loops.start(self.housekeeping.run_health(), "health")
        loops.start(self.housekeeping.run_alarm_summary(), "alarm summary")
        loops.start(self.notifier.run(), "notifications")
        loops.start(self.status.watch_loop(), "loop lag")

    def start_delivery(self, loops: TaskSet) -> None:
        """Begin to publish alarm events and log lines."""
        loops.start(self.alarm_publisher.run(), "alarms")
        loops.start(self.alarm_publisher.run_recording(), "alarm acknowledgements")
        loops.start(self.housekeeping.run_log(self.log), "logging")

    def announce(self) -> None:
        """Publish `bridge/info`, and the events that are not acknowledged, on a new connection."""
        self.housekeeping.publish_info()
        self.alarm_publisher.on_connected()


def build_bridge_unit(  # noqa: PLR0913, PLR0917 - what it reports about, and what it delivers
    config: Config,
    unit: Unit,
    outbox: Outbox,
    topics: Topics,
    log: MqttLog,
    base_topic: BaseTopicMonitor,
    *,
    instance: str,
    observe_latency: Callable[[float], None],
    cluster: ClusterView | None = None,
) -> BridgeUnit:
    """Construct the components of the bridge unit, dependencies first.

    `observe_latency` is called at each PUBACK of an alarm event. `cluster` is what a cluster has besides.
    """
    manager, publisher, registry = unit.alarms.manager, unit.publisher, unit.registry
    alarm_publisher = AlarmPublisher(unit.mqtt, outbox, topics, observe_latency, publisher.is_online)
    texts = partial(text_in, unit.alarm_sources)
    known = cluster.alarms if cluster else LocalAlarms(records=manager.records, devices=registry.devices)
    notifier = Notifier(config.notify.values(), config.language, outbox, known, texts)
    unit.on_events.subscribe(alarm_publisher.wake)
    unit.on_events.subscribe(notifier.wake)
    status = Status(
        instance=instance,
        version=__version__,
        mqtt=unit.mqtt,
        outbox=outbox,
        backends=cluster.backends if cluster else unit.active.backends,
        counters=(unit.dropped, lambda: alarm_publisher.dropped, *((cluster.dropped,) if cluster else ())),
        log_dropped=lambda: log.dropped,
        other_bridge=lambda: base_topic.other,
        notifications=notifier.figures,
        cluster=cluster.health if cluster else dict,
    )
    own_entities = bridge_entities(partial(_announce, publisher, cluster))
    return BridgeUnit(
        alarm_publisher=alarm_publisher,
        notifier=notifier,
        status=status,
        housekeeping=Housekeeping(
            unit.hub,
            outbox,
            publisher,
            unit.mqtt,
            status,
            topics,
            own_entities,
            cluster.alarm_counts if cluster else manager.counts,
            manager.counts_by_backend,
        ),
        log=log,
    )


def published_under(config: Config) -> PublishedUnder:
    """Return what the retained topics of a configuration depend on."""
    return PublishedUnder(
        base=config.base_topic,
        prefix=config.discovery.prefix if config.discovery.enabled else None,
        broker=config.mqtt.host if config.mqtt else None,
    )


def published_under_file(config: Config) -> Path:
    """Return the path of the file that says what the last run published under."""
    return config.data_dir / PUBLISHED_UNDER


async def _announce(
    publisher: Publisher, cluster: ClusterView | None, _: object, __: Device, ___: object
) -> Update | None:
    """Announce everything: the write function of the announce button. Raises CommandError, OutboxError."""
    if cluster is None:
        publisher.announce()
    else:
        await cluster.announce()
    return None
