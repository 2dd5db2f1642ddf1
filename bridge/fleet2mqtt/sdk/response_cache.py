"""The response cache: items of long lists whose bytes did not change since the last sweep are not parsed again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from fleet2mqtt.errors import InvalidResponse

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_NOT_PLAIN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidResponse)


class CachedItem(dict[str, Any]):
    """An item of a list, the same object for as long as the vendor sends the same bytes.

    What a platform has made of an item it need not keep, too: `shrink` leaves the members by which the item is found,
    `complete` parses it again from `raw`.
    """

    __slots__ = ("_parse", "_shrunk", "raw")

    def __init__(self, members: dict[str, Any], raw: bytes, parse: Callable[[bytes], Any]) -> None:
        super().__init__(members)
        self.raw, self._parse, self._shrunk = raw, parse, False

    def shrink(self, *names: str) -> None:
        """Drop all members but these."""
        if not self._shrunk:
            kept = {name: self[name] for name in names if name in self}
            self.clear()
            self.update(kept)
            self._shrunk = True

    def complete(self) -> dict[str, Any]:
        """Return a copy of the item with all its members."""
        return dict(self._parse(self.raw) if self._shrunk else self)


def complete(item: Any) -> Any:
    """Return a copy of an item with all its members, anything else as it is."""
    return item.complete() if isinstance(item, CachedItem) else item


class ResponseCache:
    """Parses the responses that carry the pages of one list, its items under `member`.

    `parse(data)` returns and raises what the `parse` given here would; but an item that came before with the same bytes
    is the same object. So callers must not change items, and may compare them with `is`; objects are `CachedItem`s.
    """

    def __init__(self, member: str, parse: Callable[[bytes], Any]) -> None:
        self._member = member
        self._parse = parse
        self._before: dict[bytes, Any] = {}
        self._now: dict[bytes, Any] = {}

    def begin(self) -> None:
        """Begin a sweep of the list. Evict the items that the sweep before did not see.

        A sweep that ended early, with less than half of them, evicts nothing.
        """
        if 2 * len(self._now) >= len(self._before):
            self._before, self._now = self._now, {}

    def parse(self, data: bytes) -> Any:
        """Parse a response."""
        try:
            return self._read(data)
        except _NOT_PLAIN:  # the parser accepts it, or raises the error
            return self._parse(data)

    def _read(self, data: bytes) -> Any:
        members = _members.decode(data)
        items = [self._item(bytes(raw)) for raw in _items.decode(members.pop(self._member, b""))]
        reply = self._parse_utf8(msgspec.json.encode(members))
        if self._member in reply:  # a second time, with blanks around its name
            return self._parse(data)
        reply[self._member] = items
        return reply

    def _item(self, raw: bytes) -> Any:
        item = self._now.get(raw)
        if item is None:
            item = self._before.get(raw)
            if item is None:
                item = self._parse_utf8(raw)
                if isinstance(item, dict):
                    item = CachedItem(item, raw, self._parse)
            self._now[item.raw if isinstance(item, CachedItem) else raw] = item
        return item

    def _parse_utf8(self, data: bytes) -> Any:
        """Parse UTF-8; in another encoding a byte that looks like a quotation mark may be none.

        Raises UnicodeDecodeError.
        """
        data.decode()
        return self._parse(data)
