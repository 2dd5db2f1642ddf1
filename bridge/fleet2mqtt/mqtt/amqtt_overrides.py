"""The one module that relies on private members of amqtt; tests/mqtt/test_overrides.py names them."""

from __future__ import annotations

from amqtt.broker import Broker
from amqtt.session import Session


class AmqttBroker(Broker):  # type: ignore[misc] # amqtt has no types
    """amqtt's broker, which sends a client the retained messages of its own subscriptions only.

    amqtt 0.12 sends whoever connects all that is retained for the subscriptions of the others.
    """

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        if any(subscriber is session for subscriber, _ in self.subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)
