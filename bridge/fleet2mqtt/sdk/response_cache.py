"""The response cache: items of long lists whose bytes did not change since the last sweep are not parsed again."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import msgspec

from fleet2mqtt.errors import InvalidResponse

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_WINDOW, _LITTLE_MEMORY = -11, 4  # 2 KiB without a header, as items are short
_NOT_PLAIN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidResponse)


class _Codec:
    """Compresses the items of one list, which are much alike: what the first one has costs next to nothing."""

    def __init__(self, sample: bytes, parse: Callable[[bytes], Any]) -> None:
        self._sample = sample
        self._parse = parse

    def compress(self, raw: bytes) -> bytes:
        compressor = zlib.compressobj(
            wbits=_WINDOW, memLevel=_LITTLE_MEMORY, zdict=self._sample, level=zlib.Z_DEFAULT_COMPRESSION
        )
        return compressor.compress(raw) + compressor.flush()

    def parse(self, compressed: bytes) -> Any:
        decompressor = zlib.decompressobj(wbits=_WINDOW, zdict=self._sample)
        return self._parse(decompressor.decompress(compressed) + decompressor.flush())


class CachedItem(dict[str, Any]):
    """An item of a list, the same object for as long as the vendor sends the same bytes.

    What a platform has made of an item it need not keep, too: `shrink` leaves the members by which the item is found,
    `complete` parses it again from the compressed bytes.
    """

    __slots__ = ("_bytes", "_codec", "_shrunk", "hash")

    def __init__(self, members: dict[str, Any], raw: bytes, codec: _Codec) -> None:
        super().__init__(members)
        self._bytes, self._codec, self._shrunk = raw, codec, False
        self.hash = hash(raw)
        """By which the item is recognised: 64 bits, keyed with a secret of this process."""

    def shrink(self, *names: str) -> None:
        """Drop all members but these."""
        if not self._shrunk:
            kept = {name: self[name] for name in names if name in self}
            self.clear()
            self.update(kept)
            self._bytes = self._codec.compress(self._bytes)
            self._shrunk = True

    def complete(self) -> dict[str, Any]:
        """Return a copy of the item with all its members."""
        return dict(self._codec.parse(self._bytes) if self._shrunk else self)


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
        self._codec: _Codec | None = None
        self._before: dict[int, Any] = {}
        """Items by the hash of their bytes."""
        self._now: dict[int, Any] = {}

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
        key = hash(raw)
        item = self._now.get(key)
        if item is None:
            item = self._before.get(key)
            if item is None:
                item = self._parse_utf8(raw)
                if isinstance(item, dict):
                    self._codec = self._codec or _Codec(raw, self._parse)
                    item = CachedItem(item, raw, self._codec)
            self._now[item.hash if isinstance(item, CachedItem) else key] = item
        return item

    def _parse_utf8(self, data: bytes) -> Any:
        """Parse UTF-8; in another encoding a byte that looks like a quotation mark may be none.

        Raises UnicodeDecodeError.
        """
        data.decode()
        return self._parse(data)
