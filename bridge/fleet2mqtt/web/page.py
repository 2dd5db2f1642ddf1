"""The web application for people and probes: the page, its content as JSON, `/healthz`, `/readyz`, `/metrics`.

The page has four views: `/`, `/alarms`, `/alarm` and `/device`. The content of each is at `/api/status`, `/api/alarms`,
`/api/alarm` and `/api/device`, and what changes of it at `…/events` (server-sent events), with the same parameters.

It is read-only: there is GET and HEAD, and nothing else. It has no authentication, so the server listens on loopback
unless it is configured otherwise; an open one shows the fleet's names and states to everybody.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

from aiohttp import web

from fleet2mqtt.contract.payloads import dumps
from fleet2mqtt.errors import CommandError, OutboxError
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.web.metrics import Metrics
from fleet2mqtt.web.parameters import ParameterError, Parameters
from fleet2mqtt.web.stream import Streams, View
from fleet2mqtt.web.texts import LANGUAGES, load_texts

LATE = 5.0
"""Seconds that the event loop may be late while the process counts as alive."""
REFUSING = 60.0
"""Seconds for which a refused alarm makes the bridge not ready."""

_ASSETS = Path(__file__).parent / "assets"
_PARTS = ("page.css", "page.js")


def application(  # noqa: PLR0913, PLR0917 - what is shown, and what readiness is judged by
    metrics: Metrics,
    views: Mapping[str, View],
    status: Status,
    mqtt: MqttClient,
    outbox: Outbox,
    availability: Callable[[], Mapping[str, bool]],
    streams: Streams | None = None,
) -> web.Application:
    """Return the web application of the option `web`; `availability` returns whether each backend is available."""
    pages = Pages(metrics, views, status, mqtt, outbox, availability, streams or Streams())
    app = web.Application()
    for path in ("/", "/alarms", "/alarm", "/device"):
        app.router.add_get(path, pages.page)
    app.router.add_get("/api/{view}", pages.view)
    app.router.add_get("/api/{view}/events", pages.events)
    app.router.add_get("/healthz", pages.healthz)
    app.router.add_get("/readyz", pages.readyz)
    app.router.add_get("/metrics", pages.metrics)
    app.on_response_prepare.append(pages.secure)
    app.on_shutdown.append(pages.streams.close)
    return app


class Pages:
    """HTTP handlers."""

    def __init__(  # noqa: PLR0913, PLR0917 - as application
        self,
        metrics: Metrics,
        views: Mapping[str, View],
        status: Status,
        mqtt: MqttClient,
        outbox: Outbox,
        availability: Callable[[], Mapping[str, bool]],
        streams: Streams,
    ) -> None:
        self._metrics = metrics
        self._views = views
        self._status = status
        self._mqtt = mqtt
        self._availability = availability
        self.streams = streams
        self._html = {language: _html(language) for language in LANGUAGES}
        self._policy = (_policy("'none'"), _policy("'self'"))
        self._refusals = Refusals(outbox)

    async def page(self, request: web.Request) -> web.Response:
        """Respond with the page for people, in the language of `?lang=` or else of the browser."""
        language = _parameters(request).language
        headers = {"Content-Language": language, "Vary": "Accept-Language"}
        return web.Response(text=self._html[language], content_type="text/html", charset="utf-8", headers=headers)

    async def view(self, request: web.Request) -> web.Response:
        """Respond with the content of a view: 400 for a parameter that is not allowed, 404 for an unknown id."""
        try:
            content = await self._view(request)(_parameters(request))
        except ParameterError as error:
            return _json(400, {"error": str(error)})
        except OutboxError as error:
            return _json(503, {"error": f"the outbox cannot be read: {error}"})
        except CommandError as error:
            return _json(503, {"error": str(error)})
        return (
            _json(200, content)
            if content is not None
            else _json(404, {"error": f"there is no such {request.match_info['view']}"})
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Respond with a stream of the changes of a view; its first event has everything."""
        try:
            return await self.streams.respond(request, self._view(request), _parameters(request))
        except ParameterError as error:
            return _json(400, {"error": str(error)})
        except OutboxError as error:
            return _json(503, {"error": f"the outbox cannot be read: {error}"})
        except CommandError as error:
            return _json(503, {"error": str(error)})

    def _view(self, request: web.Request) -> View:
        view = self._views.get(request.match_info["view"])
        if view is None:
            raise web.HTTPNotFound
        return view

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
        backends = dict(self._availability())
        accepting, broker = not self._refusals.recent(), self._mqtt.connected and self._mqtt.acknowledging
        ready = broker and accepting and all(backends.values())
        levels = {key: outbox[key] for key in ("depth", "bytes", "oldest_age")}
        return _json(
            200 if ready else 503,
            {"ready": ready, "broker": broker, "outbox": {"accepting": accepting, **levels}, "backends": backends},
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """Respond with metrics for Prometheus."""
        try:
            body, content_type = await self._metrics.text(request.headers.get("Accept", ""))
        except (CommandError, OutboxError) as error:
            return _json(503, {"error": str(error)})
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def secure(self, request: web.Request, response: web.StreamResponse) -> None:
        """Forbid fetching from elsewhere, framing, sniffing, caching, and all but the page's own script and style.

        Home Assistant's ingress shows the page in a frame of its own origin; a browser cannot send its header.
        """
        by_ingress = "X-Ingress-Path" in request.headers
        response.headers["Content-Security-Policy"] = self._policy[by_ingress]
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "SAMEORIGIN" if by_ingress else "DENY"
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


def _parameters(request: web.Request) -> Parameters:
    values = {name: request.query.getall(name) for name in request.query}
    return Parameters.of(values, request.headers.get("Accept-Language", ""))


def _html(language: str) -> str:
    """Return the page in a language: one document with its style, script and texts."""
    texts = load_texts(language)
    style, script = (_ASSETS.joinpath(name).read_text(encoding="utf-8") for name in _PARTS)
    filled = re.sub(
        r"\{\{(\w+)\}\}",
        lambda found: escape(texts[found[1]]),
        _ASSETS.joinpath("page.html").read_text(encoding="utf-8"),
    )
    table = dumps(texts).decode().replace("<", "\\u003c")
    parts = {"LANGUAGE": language, "STYLE": style, "SCRIPT": script, "TEXTS": table}
    return re.sub(r"@@(\w+)@@", lambda found: parts[found[1]], filled)


def _policy(frame_ancestors: str) -> str:
    """Return the Content-Security-Policy that allows exactly the inline style and script of the page."""
    style, script = (
        base64.b64encode(hashlib.sha256(_ASSETS.joinpath(name).read_bytes()).digest()).decode() for name in _PARTS
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; "
        f"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors {frame_ancestors}"
    )


def _json(status: int, content: Mapping[str, object]) -> web.Response:
    return web.Response(status=status, body=dumps(content), content_type="application/json", charset="utf-8")
