"""Wiring and lifetimes: everything is opened on one AsyncExitStack and runs in one TaskGroup."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from fleet2mqtt.config import models
from fleet2mqtt.config.models import Config
from fleet2mqtt.config.problems import nearest
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.mqtt import embedded_broker
from fleet2mqtt.ops.logging import MqttLog
from fleet2mqtt.outbox import Outbox, OutboxLimits, open_outbox
from fleet2mqtt.sdk import api
from fleet2mqtt.sdk.api import Backend, Context
from fleet2mqtt.storage import atomic_file, inventory_file
from fleet2mqtt.wiring import INVENTORY, Bridge

_LOG = logging.getLogger(__name__)

OUTBOX = "outbox.sqlite"
INSTANCE = "instance"


async def run(config: Config, log: MqttLog, stop: asyncio.Event, *, embedded_port: int = embedded_broker.PORT) -> None:
    """Run the bridge until `stop` is set. Raises ConfigError, OutboxError, OSError when it cannot start.

    A configuration without an mqtt block gets a broker on `embedded_port`.
    """
    log.bind(asyncio.get_running_loop())
    async with AsyncExitStack() as stack:
        stack.enter_context(_only_one(config.data_dir))
        broker = config.mqtt
        if broker is None:
            port = await stack.enter_async_context(embedded_broker.broker(embedded_port))
            broker = models.MqttConfig(
                host=embedded_broker.HOST, port=port, protocol=models.Protocol(embedded_broker.PROTOCOL)
            )
        outbox = await stack.enter_async_context(_outbox(config))
        known = await asyncio.to_thread(inventory_file.load, config.data_dir / INVENTORY)
        ids = Ids(dict(known.assignments))
        backends = await connect(config, ids, outbox, stack)
        instance = await _instance(config.data_dir / INSTANCE, outbox)
        async with asyncio.TaskGroup() as group:
            bridge = Bridge(config, outbox, backends, group, instance)
            bridge.wire_mqtt(broker, log)
            bridge.wire_upkeep(ids, log)
            await bridge.start(known, stack, log)
            await stop.wait()
            await bridge.stop()


async def connect(config: Config, ids: Ids, outbox: Outbox, stack: AsyncExitStack) -> dict[str, Backend]:
    """Open every configured backend; none of them is asked anything yet."""
    installed = api.platforms()
    backends = {}
    for name, each in config.backends.items():
        context = Context(
            name=name,
            options=each.options,
            ids=ids,
            data_dir=config.data_dir,
            checkpoint=partial(outbox.checkpoint, name),
            save_checkpoint=partial(outbox.save_checkpoint, name),
        )
        backends[name] = await stack.enter_async_context(installed[each.platform]().connect(context))
        _note_unknown(each.allow, backends[name])
    return backends


def _note_unknown(allowed: tuple[str, ...], backend: Backend) -> None:
    """A word misspelt in `allow` would be found out only when the action is wanted."""
    destructive = {action.name: action.destructive for action in backend.actions}
    for name in allowed:
        if name not in destructive:
            _LOG.warning(
                "backends.%s.allow: there is no action %s;%s those that have to be allowed are %s",
                backend.name,
                name,
                nearest(name, destructive),
                ", ".join(each for each in destructive if destructive[each]) or "none",
            )


async def _instance(path: Path, outbox: Outbox) -> str:
    """This bridge's id, kept beside the outbox, too: with that set aside it is still the same to all who know it."""
    instance = await outbox.setting("instance", partial(_instance_before, path))
    try:
        if _instance_before(path) != instance:
            await asyncio.to_thread(atomic_file.replace, path, instance.encode())
    except OSError as error:
        _LOG.warning("%s cannot be written: %s", path, error.strerror)
    return instance


def _instance_before(path: Path) -> str:
    known = path.read_bytes() if path.is_file() else b""
    return known.decode() if re.fullmatch(rb"[0-9a-f]{12}", known) else secrets.token_hex(6)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the data directory: two bridges in one would lose alarms."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise ConfigError([f"data_dir: {folder} cannot be written: {error.strerror}"]) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError([f"data_dir: {folder} belongs to another bridge that is running"]) from error
        yield


@asynccontextmanager
async def _outbox(config: Config) -> AsyncIterator[Outbox]:
    limits = OutboxLimits(
        rows=config.alarms.max_rows, bytes=config.alarms.max_bytes, history_rows=config.alarms.history_rows
    )
    async with open_outbox(config.data_dir / OUTBOX, limits) as outbox:
        yield outbox
