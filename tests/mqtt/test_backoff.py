"""Back-off between connections: random below a ceiling that doubles, reset after a stable connection."""

from __future__ import annotations

from fleet2mqtt.mqtt import Settings
from fleet2mqtt.mqtt.client import ReconnectBackoff
from fleet2mqtt.mqtt.connection import ConnectionEnded
from fleet2mqtt.mqtt.link import DisconnectCause

GONE = ConnectionEnded(DisconnectCause.CLOSED, "gone")


def backoff() -> ReconnectBackoff:
    return ReconnectBackoff(Settings(host="broker", port=1883, client_id="fleet", will_topic="state"))


def test_backoff_doubles_until_a_stable_connection() -> None:
    tested = backoff()
    for _ in range(10):
        for failures in range(5):
            assert 0 <= tested.next_delay(GONE, lost=True) <= 2**failures
        tested.on_ended(60.0)


def test_backoff_after_a_short_connection_is_not_reset() -> None:
    tested = backoff()
    delays = []
    for _ in range(100):
        delays.append(tested.next_delay(GONE, lost=True))
        tested.on_connected()
        tested.on_ended(59.9)

    assert 10 < max(delays) <= 60


def test_backoff_after_refusal_is_slow_from_the_start() -> None:
    for cause in (DisconnectCause.REFUSED, DisconnectCause.TAKEN_OVER):
        tested = backoff()
        assert 4 <= tested.next_delay(ConnectionEnded(cause, "no"), lost=False) <= 8
        for _ in range(100):
            delay = tested.next_delay(ConnectionEnded(cause, "no"), lost=False)
        assert 30 <= delay <= 60
