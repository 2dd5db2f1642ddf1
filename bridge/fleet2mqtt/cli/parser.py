"""The command line: `fleet2mqtt run | check | dump | demo | simulate`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fleet2mqtt import __version__, app, redaction
from fleet2mqtt.cli import check, demo, dump
from fleet2mqtt.config.loader import load
from fleet2mqtt.config.models import Config
from fleet2mqtt.contract.payloads import dumps
from fleet2mqtt.errors import BridgeError, ConfigError
from fleet2mqtt.ops import logging
from fleet2mqtt.sdk.api import platforms

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130

_EPILOG = """\
exit codes: 0 all went well (SIGTERM and Ctrl-C end run, demo and simulate well), 1 something failed while running,
2 the configuration or the command line is wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(asyncio.run(options.run(options)))
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BridgeError, OSError) as error:
        return _explain([error])
    except BaseExceptionGroup as group:  # from the TaskGroup that everything runs in
        expected, bugs = group.split((BridgeError, OSError))
        if bugs is not None or expected is None:
            raise
        return _explain(list(_leaves(expected)))


def _explain(errors: Sequence[BaseException]) -> int:
    """Say in a line each what went wrong; gives the exit code."""
    for error in errors:
        print(error if isinstance(error, ConfigError) else f"fleet2mqtt: {error}", file=sys.stderr)  # noqa: T201
    return WRONG if any(isinstance(error, ConfigError) for error in errors) else FAILED


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleet2mqtt",
        description="Keeps fleets of telecom and IoT gateways and an MQTT broker in step: devices, lines, channels and "
        "alarms become MQTT topics and Home Assistant entities, and commands go back to the vendors' systems.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"fleet2mqtt {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    _add_check(commands)
    _add_dump(commands)
    _add_demo(commands)
    _add_simulate(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "run",
        help="run the bridge",
        description="Run the bridge until SIGTERM or Ctrl-C. SIGHUP reloads the configuration file.",
    )
    _add_config(parser)
    _add_log(parser)
    parser.set_defaults(run=_run)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "check",
        help="try a configuration without changing anything",
        description="Validate the configuration, then try the broker and each backend, read-only. Names each fault "
        "with its file and line, and what was not reached.",
    )
    _add_config(parser)
    _add_log(parser, "warning")
    parser.set_defaults(run=_check)


def _add_dump(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "dump",
        help="print one backend's inventory as JSON",
        description="Poll one backend once and print its devices with their states as JSON, without secrets: what to "
        "attach to a bug report.",
    )
    parser.add_argument("backend", metavar="BACKEND", help="its name in the configuration")
    _add_config(parser)
    _add_log(parser, "warning")
    parser.set_defaults(run=_dump)


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="see it work: a broker, a simulator of every platform, and the bridge",
        description="Start an embedded MQTT broker, a simulator of every platform, and the bridge between them, all on "
        "this machine. Values move, alarms come, commands work. Nothing is left behind.",
    )
    parser.add_argument("--port", type=_port, default=1883, help="MQTT port (default 1883; another if it is taken)")
    parser.add_argument(
        "--web-port", type=_port, default=8099, help="port of the web page (default 8099; another if it is taken)"
    )
    parser.add_argument("--devices", type=_count, default=4, help="devices of each platform (default 4)")
    parser.add_argument(
        "--language", choices=("en", "zh-Hans"), default="en", help="language of entity names (default en)"
    )
    _add_log(parser)
    parser.set_defaults(run=_demo)


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "simulate",
        help="run the simulator of one platform",
        description="Serve one vendor's API, written from the vendor's document, on loopback. It can misbehave on "
        "demand: POST /_sim/faults, GET /_sim/calls (docs/architecture.md).",
    )
    parser.add_argument(
        "platform", metavar="PLATFORM", choices=sorted(platforms()), help=", ".join(sorted(platforms()))
    )
    parser.add_argument("--port", type=_port, required=True, help="port to listen on; 0 picks one and prints it")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument(
        "--devices", type=_count, default=2, help="how many devices it has (default 2: the document's own)"
    )
    parser.add_argument("--push", metavar="URL", help="where it pushes to: http://HOST:8098/push/BACKEND/SECRET")
    parser.add_argument("--still", action="store_true", help="nothing happens by itself")
    parser.set_defaults(run=_simulate)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", metavar="FILE", type=Path, required=True, help="the YAML configuration")


def _add_log(parser: argparse.ArgumentParser, level: str = "info") -> None:
    levels = ("debug", "info", "warning", "error")
    parser.add_argument(
        "--log-level", choices=levels, default=level, help=f"what goes to standard error (default {level})"
    )
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="lines of text or of JSON (default text)"
    )


def _port(text: str) -> int:
    return _whole(text, 0, 65_535)


def _count(text: str) -> int:
    return _whole(text, 0, 100_000)


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}")
    return int(text)


async def _run(options: argparse.Namespace) -> int:
    config = load(options.config)
    reload = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    await app.run(config, _logging(options, config), _stop_on_signals(), reload=reload)
    return OK


async def _check(options: argparse.Namespace) -> int:
    config = load(options.config)
    _logging(options, config)
    print(f"{options.config}: valid")  # noqa: T201
    report = await check.check(config)
    for tried, fault in report:
        print(f"{tried}: {fault or 'ok'}")  # noqa: T201
    return FAILED if any(fault for _, fault in report) else OK


async def _dump(options: argparse.Namespace) -> int:
    config = load(options.config)
    if options.backend not in config.backends:
        known = ", ".join(config.backends)
        raise ConfigError([f"{options.config}: there is no backend {options.backend}; there is {known}"])
    _logging(options, config)
    found = await dump.dump(config, options.backend)
    print(dumps(_redacted(found, redaction.Redaction(config.secrets))).decode())  # noqa: T201
    return FAILED if found["faults"] else OK


async def _demo(options: argparse.Namespace) -> int:
    layout = demo.Layout(
        mqtt_port=options.port, web_port=options.web_port, devices=options.devices, language=options.language
    )
    stop = _stop_on_signals()
    async with demo.prepared(layout) as (config, about):
        print(about, flush=True)  # noqa: T201
        await app.run(config, _logging(options, config), stop)
    return OK


async def _simulate(options: argparse.Namespace) -> int:
    stop = _stop_on_signals()  # before a word is printed: who waits for it may end us at once
    async with demo.simulator(
        options.platform,
        demo.Stage(
            host=options.host, port=options.port, devices=options.devices, push=options.push, live=not options.still
        ),
    ) as url:
        print(f"{options.platform} simulator on {url}", flush=True)  # noqa: T201
        for name, value in demo.options_for(options.platform).items():
            print(f"  {name}: {dumps(value).decode()}", flush=True)  # noqa: T201
        await stop.wait()
    return OK


def _redacted(value: Any, redact: redaction.Redaction) -> Any:
    """A value of JSON with every text in it redacted: in the finished JSON that could break a string or a name."""
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {key: _redacted(item, redact) for key, item in value.items()}
        case list() | tuple():
            return [_redacted(item, redact) for item in value]
        case _:
            return value


def _logging(options: argparse.Namespace, config: Config) -> logging.MqttLog:
    redact = redaction.Redaction(config.secrets)
    return logging.configure(options.log_level, as_json=options.log_format == "json", redact=redact)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


if __name__ == "__main__":
    sys.exit(main())
