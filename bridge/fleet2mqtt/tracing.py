"""Traces of polls, pushes, commands and calls to vendors, by OpenTelemetry, where they are switched on.

Spans carry names of the configuration, device ids, counts and statuses; never values, texts of vendors or secrets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from fleet2mqtt.errors import BackendError, ConfigError

Note = Callable[[str, str | int | float], None]
"""Adds an attribute to a span."""

_tracer: ContextVar[Any] = ContextVar("tracer", default=None)


@asynccontextmanager
async def open_tracing(endpoint: str, version: str, exporter: Any = None) -> AsyncIterator[None]:
    """Send spans to an OTLP endpoint over HTTP, or to an exporter, of what is started inside.

    Raises ConfigError if the extra `otel` is not installed.
    """
    provider = _provider(endpoint, version, exporter)
    token = _tracer.set(provider.get_tracer("fleet2mqtt", version))
    try:
        yield
    finally:
        _tracer.reset(token)
        await asyncio.to_thread(provider.shutdown)


def span(name: str, **attributes: str | float) -> AbstractContextManager[Note]:
    """Trace what is done inside; the context is a function that adds attributes. Without tracing it does nothing."""
    tracer = _tracer.get()
    return _UNTRACED if tracer is None else _traced(tracer, name, attributes)


@contextmanager
def _traced(tracer: Any, name: str, attributes: Mapping[str, str | float]) -> Iterator[Note]:
    named = {f"fleet2mqtt.{key}": value for key, value in attributes.items()}
    with tracer.start_as_current_span(
        name, attributes=named, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield lambda key, value: current.set_attribute(f"fleet2mqtt.{key}", value)
        except Exception as error:
            current.set_attribute("error.type", error.kind if isinstance(error, BackendError) else type(error).__name__)
            current.set_status(_error_status())
            raise


def _ignore(_: str, __: str | float) -> None:
    pass


_UNTRACED = nullcontext[Note](_ignore)


def _provider(endpoint: str, version: str, exporter: Any) -> Any:
    try:
        # Only the extra `otel` installs them.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        message = "tracing: needs the extra `otel` (pip install 'fleet2mqtt[otel]')"
        raise ConfigError([message]) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "fleet2mqtt", "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=endpoint)))
    return provider


def _error_status() -> Any:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - as above

    return Status(StatusCode.ERROR)
