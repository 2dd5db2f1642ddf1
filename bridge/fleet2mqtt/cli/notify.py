"""`fleet2mqtt notify test`: a test message to each notification target."""

from __future__ import annotations

import argparse

from fleet2mqtt.cli.process import FAILED, OK, configure_logging, print_line
from fleet2mqtt.config.loader import load
from fleet2mqtt.config.models import Language
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.notify.channel import Channel, NotSent

_TEXTS = {
    Language.ENGLISH: ("fleet2mqtt: test", "This is a test of notify.{}."),
    Language.CHINESE: ("fleet2mqtt：测试", "这是 notify.{} 的测试消息。"),
}


async def run(options: argparse.Namespace) -> int:
    """Send a test message to each target; print a line for each. Raises ConfigError."""
    config = load(options.config)
    configure_logging(options, config)
    if not config.notify:
        raise ConfigError([f"{options.config}: there is no notify: in it"])
    failed = False
    for name, target in config.notify.items():
        title, body = _TEXTS[target.language or config.language]
        try:
            await Channel(target).send("digest", title, body.format(name))
            print_line(f"{name}: ok", options.translate)
        except NotSent as error:
            failed = True
            print_line(f"{name}: {error}", options.translate)
    return FAILED if failed else OK
