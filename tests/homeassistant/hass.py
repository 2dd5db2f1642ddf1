"""A real Home Assistant for tests: the process, and an administrator's way into it.

    async with Hass(directory=tmp_path) as hass:
        await hass.setup_mqtt(broker)
        await hass.wait_state("switch.relay", lambda state: state["state"] == "on")

It is the release that scripts/setup installed, on a free loopback port, without the network. Nothing here belongs to an
event loop, so that one Home Assistant serves the tests of a whole session.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.broker import HOST, Broker, free_port
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from typing import Self

PROJECT = Path(__file__).parents[2]
BIRTH_TOPIC = "homeassistant/status"
# Warnings of this installation that tell nothing about what is under test.
NOISE = ("We found a custom integration", "Skipping pip installation", "libturbojpeg", "haffmpeg.", "zlib_ng and isal")
SLOW = ("No ACK from MQTT server in", "is taking over", "took longer than the scheduled update interval")
"""What Home Assistant says when the machine gives it no time."""
CONFIGURATION = """\
homeassistant: {{name: Test, latitude: 48.2, longitude: 16.4, elevation: 170, time_zone: UTC, language: {language}}}
http: {{server_host: {host}, server_port: {port}}}
frontend:
config:
history:
logbook:
system_health:
recorder: {{commit_interval: 1}}
logger: {{default: warning}}
# Has every platform loaded before something is discovered. Home Assistant compiles a platform's schema in a thread, and
# what another one validates just then gets through without its defaults: an entity may be missing. It also warns of
# itself when the first entities of two platforms come at the same moment.
mqtt:
- binary_sensor: {{name: Loaded, state_topic: loaded}}
- button: {{name: Loaded, command_topic: loaded}}
- device_tracker: {{name: Loaded, state_topic: loaded}}
- event: {{name: Loaded, state_topic: loaded, event_types: [loaded]}}
- number: {{name: Loaded, command_topic: loaded}}
- select: {{name: Loaded, command_topic: loaded, options: [loaded]}}
- sensor: {{name: Loaded, state_topic: loaded}}
- switch: {{name: Loaded, command_topic: loaded}}
- text: {{name: Loaded, command_topic: loaded}}
- update: {{name: Loaded, state_topic: loaded}}
"""
# The other steps would set up integrations that want the network.
ONBOARDING = {"version": 4, "key": "onboarding", "data": {"done": ["core_config", "analytics", "integration"]}}

State = dict[str, Any]


def hass_executable() -> Path:
    """Return the path of the Home Assistant that scripts/setup installed."""
    path = PROJECT / os.environ.get("FLEET2MQTT_HA_VENV", ".venv-ha") / "bin/hass"
    if not path.exists():
        raise FileNotFoundError(f"the tests need a real Home Assistant in {path}: run scripts/setup test")
    return path


def answers(form: list[dict[str, Any]], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input for a form of a config flow: the given values, else the form's own defaults."""
    filled: dict[str, Any] = {}
    for question in form:
        name = question["name"]
        if question.get("type") == "expandable":
            filled[name] = answers(question["schema"], known)
        elif name in known:
            filled[name] = known[name]
        elif "default" in question:
            filled[name] = question["default"]
    return filled


@dataclass(slots=True, kw_only=True)
class Hass:
    """One Home Assistant; `directory` is its configuration and stays across restarts.

    `configuration` are further lines of its configuration.yaml.
    """

    directory: Path
    custom_components: Path | None = None
    configuration: str = ""
    language: str = "en"
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    token: str = field(default="", init=False, repr=False)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._configure)
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start, and return when everything in its configuration is set up."""
        await asyncio.to_thread(self._spawn)
        await wait_until(self._listens, "Home Assistant to listen", PATIENCE)
        if not self.token:
            await self._onboard()
        await wait_for_answer(self._is_running, "Home Assistant to be RUNNING", PATIENCE)

    async def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._process.wait, PATIENCE)
            finally:
                self._process.kill()  # does nothing to a process that has ended
                self._process = None

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def url(self) -> str:
        """Return the address of its frontend and its APIs."""
        return f"http://{HOST}:{self.port}"

    def log(self) -> str:
        """All that it logged, earlier starts included."""
        return self._log.read_text(errors="replace")

    def problems(self, *ignored: str, since: int = 0) -> list[str]:
        """Lines from warning up in its log from character `since` on, without this installation's own."""
        lines = self.log()[since:].splitlines()
        found = [line for line in lines if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)]
        return [line for line in found if not any(text in line for text in (*NOISE, *SLOW, *ignored))]

    @asynccontextmanager
    async def record(self, *event_types: str) -> AsyncIterator[list[dict[str, Any]]]:
        """The events of these types from now on, in their order; the list grows while it is looked at."""
        events: list[dict[str, Any]] = []
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.ws_connect("/api/websocket", max_msg_size=0) as channel,
        ):
            await self._authenticate(channel)
            for number, event_type in enumerate(event_types, 1):
                await channel.send_json({"id": number, "type": "subscribe_events", "event_type": event_type})
                assert (await channel.receive_json(timeout=PATIENCE))["success"]

            async def receive() -> None:
                while True:
                    events.append((await channel.receive_json())["event"])

            receiving = asyncio.create_task(receive())
            yield events
            receiving.cancel()

    async def _authenticate(self, channel: aiohttp.ClientWebSocketResponse) -> None:
        await channel.receive_json()
        await channel.send_json({"type": "auth", "access_token": self.token})
        await channel.receive_json()

    async def rest(self, method: str, path: str, body: object = None, *, form: object = None) -> Any:
        """One call of the REST API; RuntimeError with the answer's text unless it succeeds."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with (
            aiohttp.ClientSession(self.url, headers=headers) as session,
            session.request(method, path, json=body, data=form) as response,
        ):
            if not response.ok:
                raise RuntimeError(f"{method} {path}: {response.status} {await response.text()}")
            return await response.json()

    async def ws(self, command: str, **fields: Any) -> Any:
        """One command of the websocket API; RuntimeError with Home Assistant's code and text if it fails."""
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.ws_connect("/api/websocket", max_msg_size=0) as channel,
        ):
            await self._authenticate(channel)
            await channel.send_json({"id": 1, "type": command, **fields})
            while (answer := await channel.receive_json(timeout=PATIENCE))["type"] != "result":
                pass
        if not answer["success"]:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer["result"]

    async def config_flow(self, handler: str, known: Mapping[str, Any]) -> dict[str, Any]:
        """Walk through a config flow to its end; answers the entry it made."""
        step = await self.rest("POST", "/api/config/config_entries/flow", {"handler": handler})
        while step["type"] == "form" and not step["errors"]:
            path = f"/api/config/config_entries/flow/{step['flow_id']}"
            step = await self.rest("POST", path, answers(step["data_schema"], known))
        if step["type"] != "create_entry":
            raise RuntimeError(f"the config flow of {handler} ends in {step}")
        entry: dict[str, Any] = step["result"]
        return entry

    async def setup_mqtt(self, broker: Broker) -> None:
        """Add the MQTT integration as a user does, and return when Home Assistant has announced itself."""
        known: dict[str, Any] = {"broker": HOST, "port": broker.port}
        for username, password in broker.users.items():
            known |= {"username": username, "password": password}
        async with broker.record(BIRTH_TOPIC) as seen:
            await self.config_flow("mqtt", known)
            await seen.wait(lambda message: message.payload == b"online", PATIENCE)

    async def set_up_integration(self) -> None:
        """Confirm, as a user does, the bridge that the integration has found."""

        async def found() -> dict[str, Any] | None:
            flows = await self.ws("config_entries/flow/progress")
            return next((flow for flow in flows if flow["handler"] == "fleet2mqtt"), None)

        flow = await wait_for_answer(found, "the bridge to be found")
        assert flow["context"]["source"] == "mqtt"
        assert flow["context"]["title_placeholders"] == {"name": "fleet2mqtt"}
        step = await self.rest("POST", f"/api/config/config_entries/flow/{flow['flow_id']}", {})
        assert (step["type"], step["title"]) == ("create_entry", "fleet2mqtt")

    async def states(self) -> dict[str, State]:
        return {state["entity_id"]: state for state in await self.rest("GET", "/api/states")}

    async def wait_state(self, entity_id: str, match: Callable[[State], bool], patience: float = PATIENCE) -> State:
        """The entity's state once it exists and matches; TimeoutError with the last one seen."""
        last: State | None = None

        async def ask() -> State | None:
            nonlocal last
            last = (await self.states()).get(entity_id)
            return last if last is not None and match(last) else None

        return await wait_for_answer(ask, lambda: f"{entity_id} to match, it is {last}", patience)

    async def entities(self) -> dict[str, dict[str, Any]]:
        """The entity registry by unique id, entities that are disabled included."""
        return {entity["unique_id"]: entity for entity in await self.ws("config/entity_registry/list")}

    async def devices(self) -> list[dict[str, Any]]:
        """The device registry."""
        found: list[dict[str, Any]] = await self.ws("config/device_registry/list")
        return found

    async def call_service(self, name: str, data: Mapping[str, Any], *, response: bool = False) -> Any:
        """Perform an action, `switch.turn_on`, as the frontend does; with `response` answers what it returns."""
        domain, _, service = name.partition(".")
        fields = {"domain": domain, "service": service, "service_data": data, "return_response": response}
        return (await self.ws("call_service", **fields)).get("response")

    @property
    def _log(self) -> Path:
        return self.directory / "stdout.log"

    def _configure(self) -> None:
        storage = self.directory / ".storage"
        storage.mkdir(parents=True)
        (storage / "onboarding").write_text(json.dumps(ONBOARDING))
        text = CONFIGURATION.format(host=HOST, port=self.port, language=self.language)
        (self.directory / "configuration.yaml").write_text(text + self.configuration)
        if self.custom_components is not None:
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(self.custom_components, self.directory / "custom_components", ignore=ignore)

    def _spawn(self) -> None:
        command = [str(hass_executable()), "--config", str(self.directory), "--skip-pip", "--log-no-color"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.directory)

    def _listens(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"Home Assistant ended while it started:\n{self.log()[-3000:]}")
        try:
            socket.create_connection((HOST, self.port), PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True

    async def _is_running(self) -> bool:
        return bool((await self.rest("GET", "/api/config"))["state"] == "RUNNING")

    async def _onboard(self) -> None:
        client = f"{self.url}/"
        user = {"name": "Test", "username": "test", "password": "test-password", "language": self.language}
        made = await self.rest("POST", "/api/onboarding/users", {**user, "client_id": client})
        code = {"grant_type": "authorization_code", "code": made["auth_code"], "client_id": client}
        self.token = (await self.rest("POST", "/auth/token", form=code))["access_token"]
        self.token = await self.ws("auth/long_lived_access_token", client_name="test", lifespan=365)
