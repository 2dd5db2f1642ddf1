"""The queue of refused messages."""

from __future__ import annotations

from fleet2mqtt.publishing.retry_queue import BATCH, BATCH_INTERVAL, LONGEST_DELAY, RetryQueue


def test_item_refused_again_waits_longer() -> None:
    queue: RetryQueue[str] = RetryQueue()
    now, delays = 0.0, []
    for attempt in range(1, 12):
        assert queue.add("a", now, 0.0) == attempt
        due = queue.next_due()
        assert due is not None
        assert queue.dequeue(due - 0.01) == []
        assert queue.dequeue(due) == ["a"]
        delays.append(due - now)
        now = due + 10
    assert delays[0] <= 3
    assert delays[5] > delays[2] > delays[0]
    assert max(delays) <= LONGEST_DELAY * 1.2


def test_item_is_not_due_before_retry_after() -> None:
    queue: RetryQueue[str] = RetryQueue()
    queue.add("a", 0.0, 500.0)
    assert queue.dequeue(499.0) == []
    assert queue.dequeue(500.0) == ["a"]


def test_many_items_are_due_in_batches() -> None:
    queue: RetryQueue[int] = RetryQueue()
    for number in range(2 * BATCH):
        queue.add(number, 0.0, 0.0)
    now = 1000.0
    assert len(queue.dequeue(now)) == BATCH
    assert queue.dequeue(now) == []
    assert queue.next_due() == now + BATCH_INTERVAL
    assert len(queue.dequeue(now + BATCH_INTERVAL)) == BATCH
    assert queue.next_due() is None


def test_forgotten_item_begins_with_the_first_delay() -> None:
    queue: RetryQueue[str] = RetryQueue()
    queue.add("a", 0.0, 0.0)
    assert queue
    queue.forget("a")
    assert not queue
    assert queue.next_due() is None
    assert queue.add("a", 0.0, 0.0) == 1
    queue.clear()
    assert not queue
