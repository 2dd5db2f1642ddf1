"""Reload of the configuration file: what changed is applied, what did not change is not disconnected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fleet2mqtt.aio import wait_for_first, wait_until
from fleet2mqtt.commands.queue import CommandLimits
from fleet2mqtt.config import loader
from fleet2mqtt.config.models import Config, ListenConfig, MqttConfig
from fleet2mqtt.errors import CommandError, ConfigError
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.push.http_server import ReplaceableServer
from fleet2mqtt.push.receiver import PushReceiver
from fleet2mqtt.unit import BackendRunner

_LOG = logging.getLogger(__name__)

APPLIED = frozenset(("backends", "commands", "mqtt", "notify", "push", "web"))
"""Options that are changed while the bridge runs; a change of another one starts the bridge again in its process."""
LAST_RESPONSE = 1.0
"""Seconds that the response to a reload has before the connection to the broker is replaced."""
Listens = Callable[[Config], ListenConfig]
"""Returns where a server listens."""
_NOT_OPTIONS = frozenset(("path", "secrets", "warnings"))


@dataclass(slots=True, kw_only=True)
class Restart:
    """Request to start the bridge again with another configuration."""

    requested: asyncio.Event = field(default_factory=asyncio.Event)
    config: Config | None = None


class Reloader:
    """Loads the configuration file again and applies what changed, or nothing if the file cannot be used."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a configuration can change
        self,
        config: Config,
        runner: BackendRunner,
        push_receiver: PushReceiver,
        servers: Sequence[tuple[ReplaceableServer, Listens]],
        limits: CommandLimits,
        mqtt: MqttClient,
        publisher: Publisher,
        mqtt_settings: Callable[[MqttConfig], Settings],
        log: MqttLog,
        restart: Restart,
        on_applied: Callable[[Config], Awaitable[None]],
        load: Callable[[Path], Config] = loader.load,
        level: int = logging.INFO,
    ) -> None:
        """`servers` are those of the bridge, each with what says where it listens. `mqtt_settings` raises ConfigError.

        `on_applied` is called after backends or options changed. `load` loads a file, and raises ConfigError.
        `level` is that of the line in the log which says what has changed.
        """
        self._config = config
        self._runner = runner
        self._push_receiver = push_receiver
        self._servers = servers
        self._limits = limits
        self._mqtt = mqtt
        self._publisher = publisher
        self._mqtt_settings = mqtt_settings
        self._new_settings: Settings | None = None
        self._log = log
        self._restart = restart
        self._on_applied = on_applied
        self._load = load
        self._level = level
        self._wanted = asyncio.Event()
        self._waiters: list[asyncio.Future[dict[str, Any]]] = []
        self._ended = False

    async def run(self, signalled: asyncio.Event, is_idle: Callable[[], bool]) -> None:
        """Reload on request, and when the event is set, as SIGHUP does, until cancelled; one reload after another.

        `is_idle` returns True if each response has reached the broker.
        """
        waiters: list[asyncio.Future[dict[str, Any]]] = []
        try:
            while True:
                await wait_for_first(signalled, self._wanted)
                signalled.clear()
                self._wanted.clear()
                waiters, self._waiters = self._waiters, []
                try:
                    report = await self._reload()
                except CommandError as error:
                    _LOG.error("%s", error)
                    _finish(waiters, error)
                else:
                    _finish(waiters, report)
                    await self._reconnect(is_idle)
        finally:
            self._ended = True
            for waiter in (*waiters, *self._waiters):
                waiter.cancel()

    async def reload(self) -> dict[str, Any]:
        """Load and apply the file; return what changed. Raises CommandError, and then nothing has changed.

        Is cancelled if `run` ends meanwhile, or has ended.
        """
        waiter: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        if self._ended:
            waiter.cancel()
        self._waiters.append(waiter)
        self._wanted.set()
        return await waiter

    async def _reload(self) -> dict[str, Any]:
        try:
            config = await asyncio.to_thread(self._load, self._config.path)
            return await self._apply(config)
        except ConfigError as error:
            message = f"the configuration is not reloaded, the running one stays:\n{error}"
            raise CommandError("invalid_configuration", message) from error

    async def _reconnect(self, is_idle: Callable[[], bool]) -> None:
        """Connect with the new settings, after the response has left by the present connection."""
        settings, self._new_settings = self._new_settings, None
        if settings is not None:
            await asyncio.sleep(0)  # whoever waits for this reload hands its response on in its next step
            await wait_until(is_idle, LAST_RESPONSE)
            self._mqtt.replace_settings(settings)

    async def _apply(self, config: Config) -> dict[str, Any]:
        options = changed_options(self._config, config)
        report: dict[str, Any] = {"added": [], "removed": [], "changed": [], "options": options, "restarted": False}
        if not options:
            _LOG.log(self._level, "%s is reloaded: nothing has changed", config.path)
            return report
        self._log.add_secrets(config.secrets)
        for warning in config.warnings:
            _LOG.warning("%s", warning)
        if set(options) - APPLIED or (config.mqtt is None) is not (self._config.mqtt is None):
            _LOG.log(self._level, "%s is reloaded: starting again, as %s changed", config.path, ", ".join(options))
            self._restart.config = config
            self._restart.requested.set()
            return report | {"restarted": True}
        settings = self._mqtt_settings(config.mqtt) if config.mqtt and "mqtt" in options else None
        prepared = await self._runner.prepare(config.backends)
        try:
            await self._replace_servers(config)
        except ConfigError:
            await prepared.discard()
            raise
        for name, value in asdict(config.commands).items():
            setattr(self._limits, name, value)
        self._push_receiver.set_trusted_proxies(config.push.trusted_proxies)
        if settings is not None and config.mqtt is not None:
            self._new_settings = settings
            self._publisher.set_discovery_rate(config.mqtt.discovery_rate)
        await self._runner.switch_to(prepared)
        self._config = config
        await self._on_applied(config)
        changes = {"added": prepared.added, "removed": prepared.removed, "changed": prepared.changed}
        summary = "; ".join(f"backends {what}: {', '.join(names)}" for what, names in changes.items() if names)
        _LOG.log(self._level, "%s is reloaded: %s", config.path, summary or ", ".join(options))
        return report | changes

    async def _replace_servers(self, config: Config) -> None:
        started: list[tuple[ReplaceableServer, Listens]] = []
        try:
            for server, listens in self._servers:
                await server.start(listens(config))
                started.append((server, listens))
        except ConfigError:
            for server, listens in started:
                await server.start(listens(self._config))
            raise


def _finish(waiters: list[asyncio.Future[dict[str, Any]]], result: dict[str, Any] | CommandError) -> None:
    for waiter in waiters:
        if waiter.done():  # its request expired
            continue
        if isinstance(result, CommandError):
            waiter.set_exception(result)
        else:
            waiter.set_result(result)


def changed_options(before: Config, after: Config) -> list[str]:
    """Return the names of the options at the top of the file whose values differ."""
    names = [item.name for item in fields(Config) if item.name not in _NOT_OPTIONS]
    return [name for name in names if getattr(before, name) != getattr(after, name)]
