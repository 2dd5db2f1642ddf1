"""Process concerns that commands share: exit codes, signals, logging, output."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import io
import signal
import sys
from collections.abc import Callable
from typing import Any

from fleet2mqtt.config.models import Config
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.ops import logging
from fleet2mqtt.redaction import Redaction

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def use_utf8() -> None:
    """Write UTF-8 to standard output, whatever the locale: names are Chinese, and what reads JSON expects it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def print_line(line: str, translate: Callable[[str], str] = str) -> None:
    """Print a line, translated, to standard output."""
    print(translate(line), flush=True)  # noqa: T201


def configure_logging(options: argparse.Namespace, config: Config) -> logging.MqttLog:
    """Log as the options say, without the secrets of the configuration; return the handler that feeds MQTT."""
    redact = Redaction(config.secrets)
    return logging.configure(options.log_level, as_json=options.log_format == "json", redact=redact)


def cluster_module(name: str) -> Any:
    """Import a module of what a cluster needs. Raises ConfigError without the extra `cluster`."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise ConfigError(["cluster: needs psycopg; install it with pip install 'fleet2mqtt[cluster]'"]) from error


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and Ctrl-C set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
