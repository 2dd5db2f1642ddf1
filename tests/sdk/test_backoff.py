"""Back-off: growing pauses up to a bound, and a fresh start after a success."""

from __future__ import annotations

from fleet2mqtt.sdk.backoff import Backoff


def test_delays_grow_to_maximum() -> None:
    backoff = Backoff(first=5, longest=30, jitter=0)
    assert [backoff.record_failure() for _ in range(5)] == [5, 10, 20, 30, 30]
    backoff.record_success()
    assert backoff.record_failure() == 5


def test_jitter_stays_within_its_share() -> None:
    backoff = Backoff(first=10, longest=10, jitter=0.2)
    assert all(8 <= backoff.record_failure() <= 12 for _ in range(200))
