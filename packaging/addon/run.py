"""Start the bridge in Home Assistant's add-on: its options and the Supervisor's broker as environment variables.

/config/fleet2mqtt.yaml (the add-on's own configuration folder) is the configuration for everything else; it may be
missing. Only the standard library is needed here.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PREFIX = "FLEET2MQTT__"
TIMEOUT = 30.0


def fail(message: str) -> str:
    """Return a message as the add-on's log shows it."""
    return f"fleet2mqtt add-on: {message}"


def broker(supervisor: str, token: str) -> Mapping[str, Any]:
    """Return the MQTT service that the Supervisor offers: host, port, username, password, ssl."""
    request = urllib.request.Request(f"{supervisor}/services/mqtt", headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - the Supervisor's address
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310 - as above
            offered: Mapping[str, Any] = json.load(response)["data"]
    except (urllib.error.URLError, TimeoutError, ValueError, KeyError) as error:
        sys.exit(fail(f"the Supervisor offers no MQTT broker ({error}): install the add-on Mosquitto broker"))
    return offered


def broker_variables(offered: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the variables of `mqtt:`."""
    for option in ("host", "port", "username", "password"):
        if offered.get(option):
            yield f"MQTT__{option.upper()}", str(offered[option])
    if offered.get("ssl"):
        yield "MQTT__TLS", "true"


def backend_variables(backend: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the variables of one backend of the add-on's options."""
    prefix = f"BACKENDS__{backend['name'].upper()}__"
    for option, value in backend.items():
        if option == "push_secret" and value:
            yield f"{prefix}PUSH__SECRET", value
        elif option not in {"name", "more", "push_secret"} and value:
            yield f"{prefix}{option.upper()}", value
    for option, value in more_options(backend).items():
        yield f"{prefix}{option.upper()}", value if isinstance(value, str) else json.dumps(value)


def more_options(backend: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the further options of a backend, which are written as a JSON object."""
    try:
        more = json.loads(backend.get("more") or "{}")
    except ValueError as error:
        sys.exit(fail(f"backends: {backend['name']}: more: no JSON object ({error})"))
    if not isinstance(more, dict):
        sys.exit(fail(f'backends: {backend["name"]}: more: expected a JSON object such as {{"concurrency": 4}}'))
    return more


def variables(options: Mapping[str, Any], offered: Mapping[str, Any], data: Path) -> dict[str, str]:
    """Return the environment variables of the bridge."""
    found = {
        "LANGUAGE": str(options["language"]),
        "DATA_DIR": str(data / "fleet2mqtt"),
        "WEB__HOST": "0.0.0.0",  # noqa: S104 - ingress comes from the Supervisor's address
        "WEB__PORT": "8099",
        **dict(broker_variables(offered)),
    }
    for backend in options["backends"]:
        found |= backend_variables(backend)
    if not options["backends"]:
        found.setdefault("BACKENDS", "{}")
    return {f"{PREFIX}{name}": value for name, value in found.items()}


def main(environment: Mapping[str, str]) -> None:
    """Become the bridge. Folders, Supervisor and options are the add-on's, unless variables name others."""
    data = Path(environment.get("ADDON_DATA", "/data"))
    file = Path(environment.get("ADDON_CONFIG", "/config"), "fleet2mqtt.yaml")
    options = json.loads(data.joinpath("options.json").read_text("utf-8"))
    offered = broker(environment.get("ADDON_SUPERVISOR", "http://supervisor"), environment.get("SUPERVISOR_TOKEN", ""))
    found = variables(options, offered, data)
    if file.exists() and not options["backends"]:
        found.pop(f"{PREFIX}BACKENDS")
    command = ["fleet2mqtt", "run", "--log-level", str(options["log_level"])]
    command += ["-c", str(file)] if file.exists() else []
    os.execvpe(command[0], command, {**found, **environment})  # noqa: S606 - the bridge takes this process's place


if __name__ == "__main__":
    main(dict(os.environ))
