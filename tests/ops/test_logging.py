"""Log messages: secrets are redacted in every format, and a bounded part is published on MQTT."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.ops.logging import BURST, JsonFormatter, MqttLog, TextFormatter, configure
from fleet2mqtt.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "canary-2c9e"
REDACT = Redaction((CANARY, "abc"))


def record(message: str, *arguments: object, level: int = logging.WARNING) -> logging.LogRecord:
    try:
        int(CANARY)
    except ValueError:
        return logging.LogRecord("fleet2mqtt.x", level, "x.py", 1, message, arguments, sys.exc_info())
    raise AssertionError(CANARY)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    logger = logging.getLogger()
    handlers, level, ours = list(logger.handlers), logger.level, logging.getLogger("fleet2mqtt").level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logging.getLogger("fleet2mqtt").setLevel(ours)


def test_redaction_replaces_known_secrets_and_values_of_secret_names() -> None:
    assert REDACT(f"token {CANARY}!") == "token ***!"
    assert REDACT('{"password": "unknown one"}') == '{"password": "***"}'
    assert REDACT("abcdef") == "abcdef"  # too short to be looked for
    assert Redaction()("nothing to hide") == "nothing to hide"


def test_redaction_of_overlapping_secrets_replaces_the_longest() -> None:
    assert Redaction(("sesame", "sesame-open"))("sesame-open") == "***"


def test_text_log_redacts_tracebacks() -> None:
    line = TextFormatter(REDACT).format(record("got %s", CANARY))
    assert "WARNING fleet2mqtt.x: got ***" in line
    assert "Traceback" in line
    assert CANARY not in line


def test_json_log_line_is_json() -> None:
    line = json.loads(JsonFormatter(REDACT).format(record("got %s", CANARY)))
    assert (line["level"], line["logger"], line["message"]) == ("warning", "fleet2mqtt.x", "got ***")
    assert CANARY not in line["exception"]
    plain = logging.LogRecord("fleet2mqtt.x", logging.INFO, "x.py", 1, "fine", (), None)
    assert json.loads(JsonFormatter(REDACT).format(plain)).keys() == {"ts", "level", "logger", "message"}


async def test_mqtt_log_above_its_rate_drops_and_counts() -> None:
    log = MqttLog(REDACT)
    log.handle(record("before there is a loop"))
    log.bind(asyncio.get_running_loop())
    taking = asyncio.create_task(log.dequeue())
    for number in range(int(BURST) + 20):
        log.handle(record("%d %s", number, CANARY))
    assert json.loads(await taking) == {"level": "warning", "logger": "fleet2mqtt.x", "message": "0 ***"}
    assert json.loads(await log.dequeue())["message"] == "1 ***"
    assert log.dropped >= 20


async def test_mqtt_log_record_of_another_thread_wakes_the_event_loop() -> None:
    log = MqttLog(REDACT)
    log.bind(asyncio.get_running_loop())
    taking = asyncio.create_task(log.dequeue())
    await asyncio.to_thread(log.handle, record("from afar"))
    assert json.loads(await taking)["message"] == "from afar"


@pytest.mark.parametrize("as_json", [True, False])
def test_log_goes_to_standard_error_from_its_level_up(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    mqtt = configure("info", as_json=as_json, redact=REDACT)
    assert mqtt in root.handlers
    logging.getLogger("fleet2mqtt.y").info("hello %s", CANARY)
    logging.getLogger("fleet2mqtt.y").debug("not this")
    logging.getLogger("paho").info("nor this")
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "hello ***" in said
    assert said.startswith("{") is as_json
