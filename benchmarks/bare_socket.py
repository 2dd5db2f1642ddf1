"""The most that a client can publish: packets made beforehand, sent by a socket, and the bytes of PUBACKs counted.

bare_socket.py PORT WINDOW COUNT   so many messages of 200 bytes at QoS 1, so many unacknowledged at most
"""

from __future__ import annotations

import json
import socket
import sys
from time import perf_counter, process_time

import mqtt5

_PUBACK = 4  # bytes: the broker leaves out a reason code that is success
_LAST_MID = 65_535


def _publish(number: int) -> bytes:
    topic, payload = f"bare/{number % 1000}", b"x" * 200
    packet = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=number % _LAST_MID + 1)
    return packet.write()


def main(port: int, window: int, count: int) -> None:
    """Publish and wait for the last acknowledgement. Prints the seconds."""
    packets = [_publish(number) for number in range(count)]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(mqtt5.ConnectPacket("bench-socket").write())
        connection.recv(1024)
        started_at, cpu, sent, received = perf_counter(), process_time(), 0, 0
        while received < count * _PUBACK:
            ready = packets[sent : received // _PUBACK + window]
            sent += len(ready)
            connection.sendall(b"".join(ready))
            received += len(connection.recv(65_536))
        seconds, cpu = perf_counter() - started_at, process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu, "count": count}))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
