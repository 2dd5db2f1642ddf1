"""The row cache: items of long lists whose bytes did not change since the last reading are not parsed again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from fleet2mqtt.errors import InvalidResponse

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_NOT_PLAIN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidResponse)


class RowCache:
    """Parses the responses that carry the pages of one list, its items under `member`.

    `parse(data)` gives what the `parse` given here would, and raises the same; but a row that came before with the very
    same bytes is the object given then. So nobody may change a row, and `is` tells that nothing is new.
    """

    def __init__(self, member: str, parse: Callable[[bytes], Any]) -> None:
        self._member = member
        self._parse = parse
        self._before: dict[bytes, Any] = {}
        self._now: dict[bytes, Any] = {}

    def begin(self) -> None:
        """Begin a reading of the list. Items that the reading before did not see are forgotten.

        A reading that ended early, with less than half of them, does not count.
        """
        if 2 * len(self._now) >= len(self._before):
            self._before, self._now = self._now, {}

    def parse(self, data: bytes) -> Any:
        """Parse a response."""
        try:
            return self._read(data)
        except _NOT_PLAIN:  # whatever is odd about it, the parser knows how to take it or what to say
            return self._parse(data)

    def _read(self, data: bytes) -> Any:
        members = _members.decode(data)
        rows = [self._row(bytes(raw)) for raw in _items.decode(members.pop(self._member, b""))]
        reply = self._parse_utf8(msgspec.json.encode(members))
        if self._member in reply:  # a second time, with blanks around its name
            return self._parse(data)
        reply[self._member] = rows
        return reply

    def _row(self, raw: bytes) -> Any:
        row = self._now.get(raw)
        if row is None:
            row = self._before.get(raw)
            self._now[raw] = row = self._parse_utf8(raw) if row is None else row
        return row

    def _parse_utf8(self, data: bytes) -> Any:
        """Parse UTF-8; in another encoding a byte that looks like a quotation mark may be none.

        Raises UnicodeDecodeError.
        """
        data.decode()
        return self._parse(data)
