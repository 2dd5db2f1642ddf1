"""A real mosquitto for tests, and a client of its own to see and to send what passes.

    async with Broker(directory=tmp_path) as broker, broker.record("fleet2mqtt/#") as seen:
        await broker.publish("fleet2mqtt/device/x/set", {"enabled": "ON"})
        result = await seen.wait(lambda message: message.topic.endswith("/result"))

It forgets everything when it restarts, and keeps its port. Nothing here belongs to an event loop, so a broker may
outlive the loop of one test. What does not happen in time raises TimeoutError.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.recording import Message, Recording
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path
    from typing import Self

    from paho.mqtt.properties import Properties

    from tests.certificates import Certificates

HOST = "127.0.0.1"


_given: set[int] = set()
_held: deque[int] = deque()
"""Sockets that are bound to the ports given last."""
MAX_HELD = 100
"""More ports than a test has."""


def free_port() -> int:
    """A free loopback port below the ephemeral ones: a client that retries on one of those can connect to itself.

    None comes twice, as who asked may not listen there yet, or may have stopped for a while. So the processes that
    share a test run have ports of their own, too; those of another run on this machine are kept off by a socket that is
    bound to the port. It keeps no server off that binds with SO_REUSEADDR, as servers do.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 20_000 + secrets.randbelow(12_000 // workers) * workers + worker
        if port in _given:
            continue
        _given.add(port)
        candidate = socket.socket()
        try:
            candidate.bind((HOST, port))
        except OSError:
            candidate.close()
            continue
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(candidate.detach())
        if len(_held) > MAX_HELD:
            os.close(_held.popleft())
        return port


def executable(name: str) -> str:
    """The path of one of mosquitto's programs; Debian keeps the broker outside an ordinary user's PATH."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if found is None:
        raise FileNotFoundError(f"the tests need a real {name}: run scripts/setup test")
    return found


@dataclass(slots=True, kw_only=True)
class Broker:
    """One mosquitto on loopback: plain unless `certificates` are given, open to all unless `users` are.

    With `client_certificates` a client must bring one; `extra` holds further lines for the configuration.
    """

    directory: Path
    users: Mapping[str, str] = field(default_factory=dict)
    certificates: Certificates | None = None
    client_certificates: bool = False
    extra: str = ""
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _publisher: paho.Client | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()  # an orderly stop takes it a tenth of a second

    async def start(self) -> None:
        """Start, and return when it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            command = [executable("mosquitto"), "-c", str(self._configure())]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220 - does not block
        await wait_until(self._listens, "mosquitto to listen", PATIENCE)
        self._publisher = await asyncio.to_thread(self._connect)

    async def stop(self) -> None:
        """Stop in order: mosquitto closes its clients' connections."""
        await asyncio.to_thread(self._end, signal.SIGTERM)

    async def kill(self) -> None:
        """Stop as a crash would."""
        await asyncio.to_thread(self._end, signal.SIGKILL)

    def freeze(self) -> None:
        """Stand still: the kernel still takes connections, nothing is answered."""
        assert self._process is not None, "the broker is not running"
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on where it stood still."""
        assert self._process is not None, "the broker is not running"
        self._process.send_signal(signal.SIGCONT)

    async def save(self) -> None:
        """Write what is retained to disk, where `extra` says so: a kill loses what comes afterwards."""
        assert self._process is not None, "the broker is not running"
        line = "Saving in-memory database"
        count = self.log().count(line)
        self._process.send_signal(signal.SIGUSR1)
        await wait_until(lambda: self.log().count(line) > count, "the broker to save", PATIENCE)

    def reload(self) -> None:
        """Read passwords and access rules again."""
        assert self._process is not None, "the broker is not running"
        self._process.send_signal(signal.SIGHUP)

    async def restart(self) -> None:
        """Come back on the same port, with every retained message and session gone."""
        await self.stop()
        await self.start()

    def log(self) -> str:
        """All that it logged, earlier starts included."""
        return self._log.read_text(errors="replace")

    async def publish(
        self,
        topic: str,
        payload: object = b"",
        *,
        retain: bool = False,
        qos: int = 1,
        properties: Properties | None = None,
    ) -> None:
        """Publish text and bytes as they are, anything else as JSON; return when the broker has it."""
        assert self._publisher is not None, "the broker is not running"
        content = payload if isinstance(payload, (str, bytes)) else json.dumps(payload)
        sent = self._publisher.publish(topic, content, qos, retain, properties)
        await asyncio.to_thread(sent.wait_for_publish, PATIENCE)
        assert sent.is_published(), f"mosquitto did not take {topic}"

    @asynccontextmanager
    async def record(self, *filters: str, qos: int = 2) -> AsyncIterator[Recording]:
        """Record what passes on the filters from now on, beginning with what is retained there."""
        seen = Recording()
        subscribed = threading.Event()
        client = await asyncio.to_thread(self._connect)
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda _client, _data, message: seen.messages.append(
            Message(
                topic=message.topic,
                payload=bytes(message.payload),
                retain=message.retain,
                qos=message.qos,
                properties=message.properties,
            )
        )
        try:
            client.subscribe([(each, qos) for each in filters])
            assert await asyncio.to_thread(subscribed.wait, PATIENCE), f"mosquitto did not confirm {filters}"
            yield seen
        finally:
            await asyncio.to_thread(_close, client)

    async def retained(self, topic_filter: str = "#") -> dict[str, Message]:
        """Return the retained messages that a new subscriber receives at once, by topic."""
        # At QoS 0 messages keep their order: this one comes behind everything that was retained.
        last = f"retained/{secrets.token_hex(8)}"
        async with self.record(topic_filter, last, qos=0) as seen:
            await self.publish(last)
            await seen.wait(lambda message: message.topic == last)
        return {message.topic: message for message in seen.messages if message.retain}

    async def wait_subscribed(self, topic_filter: str, patience: float = PATIENCE) -> None:
        """Wait until some client has subscribed to exactly this filter."""
        line = re.compile(rf"\t{re.escape(topic_filter)} \(QoS")
        await wait_until(lambda: line.search(self.log()), f"a subscription to {topic_filter}", patience)

    @property
    def _log(self) -> Path:
        return self.directory / "mosquitto.log"

    def _configure(self) -> Path:
        lines = [f"listener {self.port} {HOST}", "persistence false", "log_type all", self.extra]
        if os.geteuid() == 0:
            lines.append("user root")  # it would drop to user mosquitto, who cannot read the test's directory
        lines.append(f"allow_anonymous {'false' if self.users else 'true'}")
        if self.users:
            passwords = self.directory / "passwords"
            passwords.touch(0o600)
            for name, password in self.users.items():
                subprocess.run([executable("mosquitto_passwd"), "-b", passwords, name, password], check=True)
            lines.append(f"password_file {passwords}")
        if self.certificates is not None:
            lines += [f"cafile {self.certificates.ca}", f"certfile {self.certificates.server_certificate}"]
            lines += [f"keyfile {self.certificates.server_key}"]
            lines += [f"require_certificate {'true' if self.client_certificates else 'false'}"]
        path = self.directory / "mosquitto.conf"
        path.write_text("\n".join((*lines, "")))
        return path

    def _listens(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"mosquitto ended while it started:\n{self.log()}")
        try:
            socket.create_connection((HOST, self.port), PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True

    def _connect(self) -> paho.Client:
        answered = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = lambda *_: answered.set()
        if self.users:
            client.username_pw_set(*next(iter(self.users.items())))
        if self.certificates is not None:
            certificates = self.certificates
            client.tls_set(str(certificates.ca), str(certificates.client_certificate), str(certificates.client_key))
        client.connect(HOST, self.port)
        client.loop_start()
        if not answered.wait(PATIENCE) or not client.is_connected():
            _close(client)
            raise ConnectionError(f"mosquitto does not take the test's own client:\n{self.log()}")
        return client

    def _end(self, how: signal.Signals) -> None:
        if self._publisher is not None:
            _close(self._publisher)
            self._publisher = None
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(PATIENCE)
            finally:
                self._process.kill()  # does nothing to a process that has ended
                self._process = None


def _close(client: paho.Client) -> None:
    client.disconnect()
    client.loop_stop()
