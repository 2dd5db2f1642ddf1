"""The command line: a subcommand each for what `fleet2mqtt --help` lists."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fleet2mqtt import __version__
from fleet2mqtt.cli.process import FAILED, INTERRUPTED, WRONG, use_utf8
from fleet2mqtt.cli.translation import LANGUAGES, OPTION, Parser, Translation, choose_language
from fleet2mqtt.config.loader import DEFAULT_FILE
from fleet2mqtt.errors import BridgeError, ConfigError
from fleet2mqtt.sdk.api import platforms

_EPILOG = """\
exit codes: 0 all went well (SIGTERM and Ctrl-C end run, demo and simulate well), 1 something failed while running,
2 the configuration or the command line is wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    use_utf8()
    given = sys.argv[1:] if arguments is None else arguments
    translate = Translation(choose_language(given, os.environ))
    options = _parser(translate).parse_args(given)
    options.translate = translate
    try:
        code = options.run(options)
        return int(asyncio.run(code) if asyncio.iscoroutine(code) else code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError as error:
        return FAILED if _is_output_closed() else _report([error], translate)
    except (BridgeError, OSError) as error:
        return _report([error], translate)
    except BaseExceptionGroup as group:  # from the TaskGroup that everything runs in
        expected, bugs = group.split((BridgeError, OSError))
        if bugs is not None or expected is None:
            raise
        return _report(list(_leaves(expected)), translate)


def _is_output_closed() -> bool:
    """Return whether the reader of standard output has gone, as `head` does; nothing is written there any more then."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors alone
    if not output.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _report(errors: Sequence[BaseException], translate: Translation) -> int:
    """Print a line for each error; return the exit code."""
    for error in errors:
        text = translate(str(error))
        print(text if isinstance(error, ConfigError) else f"fleet2mqtt: {text}", file=sys.stderr)  # noqa: T201
    return WRONG if any(isinstance(error, ConfigError) for error in errors) else FAILED


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _parser(translate: Translation) -> Parser:
    parser = Parser(
        prog="fleet2mqtt",
        description="Keeps fleets of telecom and IoT gateways and an MQTT broker in step: devices, lines, channels and "
        "alarms become MQTT topics and Home Assistant entities, and commands go back to the vendors' systems.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"fleet2mqtt {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_init(commands)
    _add_example(commands)
    _add_run(commands)
    _add_check(commands)
    _add_healthcheck(commands)
    _add_dump(commands)
    _add_support(commands)
    _add_alarms(commands)
    _add_notify(commands)
    _add_cluster(commands)
    _add_demo(commands)
    _add_simulate(commands)
    _add_completion(commands, parser)
    for each in (parser, *commands.choices.values()):
        each.add_argument(
            OPTION,
            choices=LANGUAGES,
            default=translate.language,
            help="language of what is printed, and of the texts of demo and init (default: that of the locale)",
        )
    parser.translate_all(translate)
    return parser


def _command(module: str, function: str = "run") -> Callable[[argparse.Namespace], Any]:
    """Return a function of a module of this package, which is imported when it is called.

    Most commands import the whole bridge, which takes longer than `simulate` or a health check every half minute need.
    """

    def run(options: argparse.Namespace) -> Any:
        return getattr(importlib.import_module(f"fleet2mqtt.cli.{module}"), function)(options)

    return run


def _add_init(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "init",
        help="ask for a system and the broker, try both, and write a configuration",
        description="Ask for the platform, its address and credentials, and the broker; try the connections; write a "
        "commented configuration, and secrets.yaml beside it, which only its owner can read.",
    )
    _add_config(parser)
    _add_log(parser, "error")
    parser.set_defaults(run=_command("init"))


def _add_example(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "example",
        help="print a commented configuration for a platform",
        description="Print a configuration for one platform, in which options that have a default are left out, or, "
        "without a platform, the example with all of them.",
    )
    parser.add_argument("platform", metavar="PLATFORM", nargs="?", choices=sorted(platforms()), help="its name")
    parser.set_defaults(run=_command("example"))


def _add_completion(commands: argparse._SubParsersAction[Parser], whole: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "completion",
        help="print the completion of commands and options for a shell",
        description="Print the completion for a shell: source <(fleet2mqtt completion bash).",
    )
    parser.add_argument("shell", metavar="SHELL", choices=("bash",), help="bash")
    parser.set_defaults(run=_command("completion"), parser=whole)


def _add_run(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "run",
        help="run the bridge",
        description="Run the bridge until SIGTERM or Ctrl-C. SIGHUP reloads the configuration file.",
    )
    _add_config(parser)
    _add_log(parser)
    parser.set_defaults(run=_command("run"))


def _add_check(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "check",
        help="try a configuration without changing anything",
        description="Validate the configuration, then try the broker and each backend, read-only. Names each problem "
        "with its file and line, and what was not reached.",
    )
    _add_config(parser)
    _add_log(parser, "warning")
    parser.set_defaults(run=_command("check"))


def _add_healthcheck(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "healthcheck",
        help="ask a running bridge on this machine whether it is ready",
        description="Print what /readyz of the running bridge responds, at the address of the option web; exit code 0 "
        "if it is ready, 1 if not. Meant for the health check of a container.",
    )
    _add_config(parser)
    parser.set_defaults(run=_command("healthcheck"))


def _add_dump(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "dump",
        help="print one backend's inventory as JSON",
        description="Poll one backend once and print its devices with their states as JSON, without secrets: what to "
        "attach to a bug report.",
    )
    parser.add_argument("backend", metavar="BACKEND", help="its name in the configuration")
    parser.add_argument(
        "--fixture",
        metavar="FOLDER",
        type=Path,
        help="write the vendor's responses without secrets into a new folder, from which a test can repeat the poll",
    )
    _add_config(parser)
    _add_log(parser, "warning")
    parser.set_defaults(run=_command("dump"))


def _add_support(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "support",
        help="write a bundle without secrets for a bug report",
        description="Write a zip file with what a bug report needs: versions, the configuration without secrets, what "
        "check finds, and the figures of the bridge, if it is running. Look through it before you hand it on.",
    )
    _add_config(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        default=Path("fleet2mqtt-support.zip"),
        help="the file to write (default fleet2mqtt-support.zip)",
    )
    _add_log(parser, "error")
    parser.set_defaults(run=_command("support"))


def _add_alarms(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("alarms", help="try rules for alarms", description="Work with stored alarms.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    test = actions.add_parser(
        "test",
        help="show what the rules would have done with the stored history",
        description="Show for each kind of alarm in the stored history what the rules and the options of conditions in "
        "the configuration would have made of it. The bridge may be running; nothing is changed.",
    )
    _add_config(test)
    _add_log(test, "warning")
    test.set_defaults(run=_command("alarms", "test"))


def _add_notify(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "notify",
        help="test the notification targets",
        description="Send a test message to each target of notify: and print a line for each.",
    )
    parser.add_argument("action", metavar="ACTION", choices=("test",), help="test")
    _add_config(parser)
    _add_log(parser, "warning")
    parser.set_defaults(run=_command("notify"))


def _add_cluster(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("cluster", help="manage a cluster", description="Manage the nodes of a cluster.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    status = actions.add_parser("status", help="list the nodes", description="Print a line for each node.")
    _add_config(status)
    status.set_defaults(run=_command("cluster", "status"))
    drain = actions.add_parser(
        "drain",
        help="have a node hand over what it owns",
        description="Have a node hand over what it owns. It goes on accepting pushes, and owns nothing until it is "
        "started again, unless there is no other node.",
    )
    drain.add_argument("node", metavar="NODE", help="its name in the configuration")
    _add_config(drain)
    drain.set_defaults(run=_command("cluster", "drain"))
    copy = actions.add_parser(
        "import",
        help="copy a data directory into the database",
        description="Copy the alarms and files of data_dir into the database of the cluster, before its first node is "
        "started, so that nothing is announced again. The bridge that used data_dir has to be stopped.",
    )
    _add_config(copy)
    copy.set_defaults(run=_command("cluster", "import_data"))


def _add_demo(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="see it work: a broker, a simulator of every platform, and the bridge",
        description="Start an MQTT broker, a simulator of every platform, and the bridge between them, all on "
        "this machine. Values move, alarms come, commands work. Nothing is left behind.",
    )
    parser.add_argument("--port", type=_port, default=1883, help="MQTT port (default 1883; another if it is taken)")
    parser.add_argument(
        "--web-port", type=_port, default=8099, help="port of the web page (default 8099; another if it is taken)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address of the broker and the page, such as 0.0.0.0 for a Home Assistant on another machine; anyone who "
        "reaches it can watch and switch the simulated devices (default 127.0.0.1)",
    )
    parser.add_argument(
        "--broker",
        choices=("auto", "mosquitto", "embedded"),
        default="auto",
        help="mosquitto speaks MQTT 5, the embedded broker 3.1.1 (default auto: mosquitto if it is installed)",
    )
    parser.add_argument("--devices", type=_count, default=4, help="devices of each platform (default 4)")
    parser.add_argument(
        "--cluster", action="store_true", help="three nodes on PostgreSQL with two standbys, and what to kill"
    )
    _add_log(parser)
    parser.set_defaults(run=_command("demo"))


def _add_simulate(commands: argparse._SubParsersAction[Parser]) -> None:
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
    parser.set_defaults(run=_command("simulate"))


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        default=DEFAULT_FILE,
        help=f"the YAML configuration (default {DEFAULT_FILE}); environment variables such as FLEET2MQTT__MQTT__HOST "
        "go before it",
    )


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


if __name__ == "__main__":
    sys.exit(main())
