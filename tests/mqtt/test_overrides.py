"""Private members of paho and amqtt that the bridge relies on.

If a test fails after an update of such a library, adapt mqtt/paho_overrides.py or mqtt/amqtt_overrides.py, and its
upper bound in pyproject.toml.
"""

from __future__ import annotations

import collections
import inspect
import socket
import tomllib
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from amqtt.broker import Broker as Amqtt
from paho.mqtt.enums import CallbackAPIVersion

from fleet2mqtt.mqtt.amqtt_overrides import AmqttBroker
from fleet2mqtt.mqtt.paho_overrides import PahoClient, raw_socket

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
OVERRIDES: tuple[tuple[type, type, set[str]], ...] = (
    (
        PahoClient,
        paho.Client,
        {
            *("_packet_write", "_handle_pubackcomp"),
            *("_create_socket", "_create_socket_connection", "_ssl_wrap_socket"),
        },
    ),
    (AmqttBroker, Amqtt, {"_publish_retained_messages_for_subscription"}),
)


@pytest.mark.parametrize(("ours", "theirs", "names"), OVERRIDES)
def test_overridden_methods_have_the_signature_of_the_library(ours: type, theirs: type, names: set[str]) -> None:
    overridden = {name for name in vars(ours) if not name.startswith("__") and callable(getattr(ours, name))}
    assert overridden == names
    for name in names:
        parameters = [list(inspect.signature(getattr(each, name)).parameters) for each in (ours, theirs)]
        assert parameters[0] == parameters[1], name


def test_paho_keeps_packets_and_messages_where_the_overrides_expect_them() -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    assert isinstance(client._out_packet, collections.deque)
    assert {"_out_messages", "_out_message_mutex", "_in_packet"} <= vars(client).keys()
    assert list(inspect.signature(client._do_on_publish).parameters) == ["mid", "reason_code", "properties"]
    client.on_socket_register_write = lambda *_: None  # as NetworkLoop does: the packet waits
    client._packet_queue(0x30, b"packet", 1, 1)
    expected = {"command": 0x30, "qos": 1, "pos": 0, "to_process": 6, "packet": b"packet"}
    assert client._out_packet[0].items() >= expected.items()
    assert "packet" in client._in_packet


def test_paho_keeps_the_socket_below_a_websocket_where_the_overrides_expect_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        wrapper = object.__new__(paho._WebsocketWrapper)
        wrapper._socket = ours
        client._sock = wrapper
        assert raw_socket(client) is ours
        client._sock = None
    source = inspect.getsource(paho._WebsocketWrapper.__init__)
    assert "self._socket = socket" in source


def test_amqtt_has_its_subscriptions_by_filter() -> None:
    assert isinstance(vars(Amqtt)["subscriptions"], property)
    assert inspect.iscoroutinefunction(Amqtt._publish_retained_messages_for_subscription)


@pytest.mark.parametrize("library", ["aiohttp", "amqtt", "paho-mqtt"])
def test_library_with_overrides_has_an_upper_bound(library: str) -> None:
    [requirement] = [each for each in PROJECT["dependencies"] if each.startswith(library)]
    assert ",<" in requirement
