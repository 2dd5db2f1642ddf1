"""From the registry and the outbox to the broker.

publisher        retained messages, states, discovery messages and replies
discovery_queue  the pace of discovery messages
retry_queue      messages that the broker refused for now
alarm_publisher  alarm events, in order and until PUBACK
"""
