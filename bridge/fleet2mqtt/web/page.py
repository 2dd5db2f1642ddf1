"""The web application for people and probes: `/`, `/api/status`, `/healthz`, `/readyz`, `/metrics`.

It is read-only: there is GET and HEAD, and nothing else. It has no authentication, so the server listens on loopback
unless it is configured otherwise; an open one shows the fleet's names and states to everybody.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from fleet2mqtt.contract.payloads import dumps
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.polling.poller import Poller
from fleet2mqtt.web.metrics import Metrics
from fleet2mqtt.web.overview import Overview

LATE = 5.0
"""Seconds that the event loop may be late while the process counts as alive."""
REFUSING = 60.0
"""Seconds for which a refused alarm makes the bridge not ready."""
MAX_FILTER = 200

_FILE = Path(__file__).with_name("page.html")


def application(  # noqa: PLR0913, PLR0917 - what is shown, and what readiness is judged by
    metrics: Metrics,
    overview: Overview,
    status: Status,
    mqtt: MqttClient,
    outbox: Outbox,
    pollers: Mapping[str, Poller],
) -> web.Application:
    """Return the web application of the option `web`."""
    pages = Pages(metrics, overview, status, mqtt, outbox, pollers)
    app = web.Application()
    app.router.add_get("/", pages.page)
    app.router.add_get("/api/status", pages.status)
    app.router.add_get("/healthz", pages.healthz)
    app.router.add_get("/readyz", pages.readyz)
    app.router.add_get("/metrics", pages.metrics)
    app.on_response_prepare.append(pages.secure)
    return app


class Pages:
    """HTTP handlers."""

    def __init__(  # noqa: PLR0913, PLR0917 - as application
        self,
        metrics: Metrics,
        overview: Overview,
        status: Status,
        mqtt: MqttClient,
        outbox: Outbox,
        pollers: Mapping[str, Poller],
    ) -> None:
        self._metrics = metrics
        self._overview = overview
        self._status = status
        self._mqtt = mqtt
        self._pollers = pollers
        self._html = _FILE.read_text(encoding="utf-8")
        self._policy = _policy(self._html)
        self._refusals = Refusals(outbox)

    async def page(self, _: web.Request) -> web.Response:
        """Respond with the page for people."""
        return web.Response(text=self._html, content_type="text/html", charset="utf-8")

    async def status(self, request: web.Request) -> web.Response:
        """Respond with the overview that the page shows; `?filter=` selects devices."""
        return _json(200, await self._overview.json(request.query.get("filter", "")[:MAX_FILTER].strip()))

    async def healthz(self, _: web.Request) -> web.Response:
        """Respond whether the process is worth keeping: 200 while its event loop is on time, 503 while it is 5 s late.

        Neither the broker nor a vendor matters here: a restart would not bring them back.
        """
        lag = self._status.loop_lag
        late = lag >= LATE
        return _json(503 if late else 200, {"status": "late" if late else "ok", "loop_lag": round(lag, 4)})

    async def readyz(self, _: web.Request) -> web.Response:
        """Respond whether the bridge does its work from end to end: 200 or 503, with the reasons.

        Ready is: the broker is connected and acknowledges messages, no alarm had to be refused lately (outbox full or
        disk failing), and each backend is available; before the first polls have succeeded none is. For monitoring:
        unready, the bridge still takes pushes in and keeps the alarms, so no traffic should be steered by this, and no
        restart.
        """
        outbox = self._status.health()["outbox"]
        backends = {name: poller.health.available for name, poller in self._pollers.items()}
        accepting, broker = not self._refusals.recent(), self._mqtt.connected and self._mqtt.acknowledging
        ready = broker and accepting and all(backends.values())
        levels = {key: outbox[key] for key in ("depth", "bytes", "oldest_age")}
        return _json(
            200 if ready else 503,
            {"ready": ready, "broker": broker, "outbox": {"accepting": accepting, **levels}, "backends": backends},
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """Respond with metrics for Prometheus."""
        body, content_type = self._metrics.text(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def secure(self, _: web.Request, response: web.StreamResponse) -> None:
        """Forbid fetching from elsewhere, framing, sniffing, caching, and all but the page's own script and style."""
        response.headers["Content-Security-Policy"] = self._policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"


class Refusals:
    """Recent refusals of alarms by the outbox, full or with a failing disk: then something is lost."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._seen = 0
        self._until = 0.0

    def recent(self) -> bool:
        """Return True if there were any in the last 60 s, or since the last call."""
        refused, clock = sum(self._outbox.refused.values()), asyncio.get_running_loop().time()
        if refused != self._seen:
            self._seen, self._until = refused, clock + REFUSING
        return clock < self._until


def _policy(html: str) -> str:
    """Return the Content-Security-Policy that allows exactly the inline style and script of the page."""
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for tag in ("style", "script")
        for text in re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _json(status: int, content: Mapping[str, object]) -> web.Response:
    return web.Response(status=status, body=dumps(content), content_type="application/json", charset="utf-8")
