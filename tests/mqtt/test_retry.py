"""Back-off: random up to a ceiling that doubles, begun anew only after a stable connection."""

from __future__ import annotations

from fleet2mqtt.mqtt import Settings
from fleet2mqtt.mqtt.client import ReconnectBackoff
from fleet2mqtt.mqtt.connection import ConnectionEnded, DisconnectCause

GONE = ConnectionEnded(DisconnectCause.CLOSED, "gone")


def retry() -> ReconnectBackoff:
    return ReconnectBackoff(Settings(host="broker", port=1883, client_id="fleet", will_topic="state"))


def test_each_failure_doubles_the_ceiling_until_a_connection_was_stable() -> None:
    tested = retry()
    for _ in range(10):
        for failures in range(5):
            assert 0 <= tested.failed(GONE, lost=True) <= 2**failures
        tested.stood(60.0)


def test_a_short_connection_leaves_the_back_off_as_it_is() -> None:
    tested = retry()
    delays = []
    for _ in range(100):
        delays.append(tested.failed(GONE, lost=True))
        tested.succeeded()
        tested.stood(59.9)

    assert 10 < max(delays) <= 60


def test_where_someone_has_to_act_it_is_slow_from_the_start() -> None:
    for cause in (DisconnectCause.REFUSED, DisconnectCause.TAKEN_OVER):
        tested = retry()
        assert 4 <= tested.failed(ConnectionEnded(cause, "no"), lost=False) <= 8
        for _ in range(100):
            delay = tested.failed(ConnectionEnded(cause, "no"), lost=False)
        assert 30 <= delay <= 60
