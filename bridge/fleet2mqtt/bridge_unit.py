"""The bridge unit: delivers the outbox to MQTT and to notification targets, and reports about the bridge as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fleet2mqtt import __version__
from fleet2mqtt.aio import TaskSet
from fleet2mqtt.alarms.manager import AlarmManager
from fleet2mqtt.alarms.texts import text_in
from fleet2mqtt.config.models import Config, MqttConfig
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import bridge_entities
from fleet2mqtt.devices.model import Device, Update
from fleet2mqtt.notify.notifier import Notifier
from fleet2mqtt.ops.alarm_requests import AlarmRequests
from fleet2mqtt.ops.base_topic import BaseTopicMonitor
from fleet2mqtt.ops.bridge_requests import BridgeRequests
from fleet2mqtt.ops.former_topics import FormerTopics, PublishedUnder
from fleet2mqtt.ops.housekeeping import Housekeeping
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.publishing.alarm_publisher import AlarmPublisher
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.sdk.api import Action
from fleet2mqtt.unit import Unit

PUBLISHED_UNDER = "topics.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeUnit:
    """Components of which there is one, whatever the number of units."""

    base_topic: BaseTopicMonitor
    former_topics: FormerTopics
    manager: AlarmManager
    alarm_publisher: AlarmPublisher
    notifier: Notifier
    status: Status
    refused_commands: Counter[str]
    housekeeping: Housekeeping
    log: MqttLog

    def start_loops(self, loops: TaskSet) -> None:
        """Start what runs whether there is a connection to the broker or not."""
        loops.start(self.housekeeping.run_health(), "health")
        loops.start(self.housekeeping.run_alarm_summary(), "alarm summary")
        loops.start(self.manager.run(), "alarm manager")
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

    def requests(
        self, unit: Unit, outbox: Outbox, topics: Topics, reload: Callable[[], Awaitable[dict[str, Any]]]
    ) -> dict[str, Action]:
        """Return the requests to the bridge, by name."""
        return BridgeRequests(
            unit.hub,
            unit.registry,
            outbox,
            unit.publisher,
            topics,
            self.status,
            unit.active.pollers,
            unit.push_receiver,
            reload,
            AlarmRequests(self.manager, unit.windows, outbox, unit.registry),
        ).actions()


def build_bridge_unit(  # noqa: PLR0913, PLR0917 - what it reports about, and what it delivers
    config: Config,
    broker: MqttConfig,
    unit: Unit,
    outbox: Outbox,
    topics: Topics,
    log: MqttLog,
    *,
    instance: str,
    formerly_published: PublishedUnder | None,
    observe_latency: Callable[[float], None],
    cluster_health: Callable[[], Mapping[str, Any]] = dict,
) -> BridgeUnit:
    """Construct the components of the bridge unit, dependencies first.

    `formerly_published` is what the data directory says of the last run, `observe_latency` is called at each PUBACK
    of an alarm event. `cluster_health` returns what a cluster adds to `bridge/health`.
    """
    manager, publisher, registry = unit.alarms.manager, unit.publisher, unit.registry
    alarm_publisher = AlarmPublisher(unit.mqtt, outbox, topics, observe_latency, publisher.is_online)
    texts = partial(text_in, unit.alarm_sources)
    notifier = Notifier(config.notify.values(), config.language, outbox, registry, manager.records, texts)
    unit.on_events.subscribe(alarm_publisher.wake)
    unit.on_events.subscribe(notifier.wake)
    base_topic = BaseTopicMonitor(
        topics,
        instance,
        will_delay=broker.will_delay,
        take_over=broker.take_over,
        republish_info=partial(publisher.republish, topics.bridge("info")),
    )
    former_topics = FormerTopics(
        published_under_file(config),
        formerly_published,
        published_under(config),
        instance,
        registry=registry,
        secondary_sources=unit.active.secondary_sources,
        outbox=outbox,
        publisher=publisher,
        inventory=unit.inventory,
    )
    refused_commands: Counter[str] = Counter()
    status = Status(
        instance=instance,
        version=__version__,
        mqtt=unit.mqtt,
        outbox=outbox,
        backends=unit.active.backends,
        counters=(publisher.dropped, alarm_publisher.dropped, refused_commands),
        log_dropped=lambda: log.dropped,
        other_bridge=lambda: base_topic.other,
        notifications=notifier.figures,
        cluster=cluster_health,
    )
    own_entities = bridge_entities(partial(_announce, publisher))
    return BridgeUnit(
        base_topic=base_topic,
        former_topics=former_topics,
        manager=manager,
        alarm_publisher=alarm_publisher,
        notifier=notifier,
        status=status,
        refused_commands=refused_commands,
        housekeeping=Housekeeping(unit.hub, outbox, publisher, unit.mqtt, status, topics, own_entities, manager),
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


async def _announce(publisher: Publisher, _: object, __: Device, ___: object) -> Update | None:
    """Announce everything: the write function of the announce button."""
    publisher.announce()
    return None
