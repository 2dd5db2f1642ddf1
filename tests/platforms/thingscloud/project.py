"""A scripted project with one device, whose responses a test sets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.platforms.context import Shared
from tests.platforms.thingscloud.connected import DEVICE, FIRST, Run, scripted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from fleet2mqtt.devices.model import EntityDescription


@dataclass
class Project:
    """Answers by path under /api/v1/; anything that is not JSON data is answered as it is."""

    item: dict[str, Any] = field(default_factory=lambda: {"id": FIRST, "name": "甲"})
    attributes: list[dict[str, Any]] = field(default_factory=list)
    values: dict[str, Any] | None = None
    responses: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)

    def answer(self, request: web.Request, body: Any) -> Any:
        path = request.path.removeprefix("/api/v1/")
        self.requests.append((request.method, path, body))
        if path in self.responses:
            return self.responses[path]
        if path.startswith("control/"):
            return {}
        known = {row["identifier"]: row.get("value") for row in self.attributes}
        answers: dict[str, Any] = {
            "devices": {"items": [self.item], "total": 1, "page_total": 1},
            "attributes": self.attributes,
            "attributes_raw": known if self.values is None else self.values,
            "extend_infos": {"items": []},
            "alarm_logs": {"items": []},
            "access_token": None,
        }
        return answers.get(path.rsplit("/", 1)[-1], self.item if path.startswith("device/") else {})

    def sent(self) -> list[tuple[str, Any]]:
        """The method and body of every write to attributes."""
        return [(method, body) for method, path, body in self.requests if path.startswith("control/")]


@asynccontextmanager
async def running(project: Project, shared: Shared | None = None, **own: Any) -> AsyncIterator[Run]:
    """The platform connected to it."""
    async with scripted(project.answer, shared, **own) as run:
        yield run


def attribute(identifier: str, value: Any = None, **model: Any) -> dict[str, Any]:
    """A row of the attribute list; `model` are the model's fields."""
    return {"identifier": identifier, "value": value} | ({"model": model} if model else {})


FIXED_KEYS = ("online", "problem", "active", "name", "last_event")
"""The keys that every device has."""


async def one(given: dict[str, Any], **own: Any) -> tuple[EntityDescription, Any, Any]:
    """The row of one attribute with its value and its attributes."""
    async with running(Project(attributes=[given]), **own) as run:
        await run.poll("devices", "attributes")
        device = run.devices[DEVICE]
        (row,) = device.entities[len(FIXED_KEYS) :]
        return row, device.state[row.key], device.attributes.get(row.key)
