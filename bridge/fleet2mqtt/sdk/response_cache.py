"""The response cache: items of long lists whose bytes did not change since the last sweep are not parsed again."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

from fleet2mqtt.errors import InvalidResponse

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_WINDOW, _LITTLE_MEMORY = -11, 4  # 2 KiB without a header, as items are short
_BLANKS = b" \t\r\n"
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

    What a platform has made of an item it need not keep, too: `shrink` leaves its `key`, `complete` parses it again
    from the compressed bytes.
    """

    __slots__ = ("_bytes", "_codec", "_shrunk", "hash", "key")

    def __init__(self, members: dict[str, Any], raw: bytes, codec: _Codec, key: str | None) -> None:
        super().__init__(members)
        self._bytes, self._codec, self._shrunk = raw, codec, False
        self.key = key
        """Identity of the item on its list, as its platform reads it."""
        self.hash = hash(raw)
        """Hash of the bytes, by which the item is recognised: 64 bits, keyed with a secret of this process."""

    def shrink(self) -> None:
        """Drop the members."""
        if not self._shrunk:
            self.clear()
            self._bytes = self._codec.compress(self._bytes)
            self._shrunk = True

    def complete(self) -> dict[str, Any]:
        """Return a copy of the item with all its members."""
        return dict(self._codec.parse(self._bytes) if self._shrunk else self)


def complete(item: Any) -> Any:
    """Return a copy of an item with all its members, anything else as it is."""
    return item.complete() if isinstance(item, CachedItem) else item


@dataclass(slots=True)
class _Page:
    """A page as it came last, cut behind each of its items, which are all objects.

    `sizes` are the lengths of the pieces, `hashes` their hashes; the first piece has all that comes before the first
    item, and `tail` is what follows the last one. `others` are the members beside the list.
    """

    items: list[CachedItem]
    sizes: array[int]
    hashes: array[int]
    tail: bytes
    others: dict[str, Any]

    def count_from_start(self, data: bytes) -> tuple[int, int]:
        """Return with how many of these pieces a page starts, and where they end."""
        count = end = 0
        for size, known in zip(self.sizes, self.hashes, strict=True):
            if hash(data[end : end + size]) != known:
                break
            count += 1
            end += size
        return count, end

    def count_from_end(self, data: bytes, most: int, first: int) -> tuple[int, int]:
        """Return with how many of these pieces, at most `most`, a page ends before its tail, and where they start.

        They do not start before `first`.
        """
        count, start = 0, len(data) - len(self.tail)
        for size, known in zip(reversed(self.sizes), reversed(self.hashes), strict=True):
            if count == most or start - size < first or hash(data[start - size : start]) != known:
                break
            count += 1
            start -= size
        return count, start


@dataclass(slots=True)
class _Reading:
    """A reading of the list: its items by the hash of their bytes, its pages by their position."""

    items: dict[int, Any] = field(default_factory=dict)
    pages: dict[int, _Page] = field(default_factory=dict)


class ResponseCache:
    """Parses the responses that carry the pages of one list, its items under `member`.

    `parse(data, position)` returns and raises what the `parse` given here would; but an item that came before with the
    same bytes is the same object. So callers must not change what they get, and may compare items with `is`; objects
    are `CachedItem`s.

    A page is compared with the one that was at its position before, from its start and from its end. Only what lies
    between is read: cut behind items, it is JSON and has these items exactly if it is and does as a list by itself.
    """

    def __init__(
        self, member: str, parse: Callable[[bytes], Any], key: Callable[[dict[str, Any]], str | None] = lambda _: None
    ) -> None:
        """`key(item)` is what identifies an object; it is read once and kept as the item's `key`."""
        self._member = member
        self._parse = parse
        self._key = key
        self._codec: _Codec | None = None
        self._before = _Reading()
        self._now = _Reading()

    def begin(self) -> None:
        """Begin a sweep of the list. Evict the items that the sweep before did not see.

        A sweep that ended early, with less than half of them, evicts nothing.
        """
        if 2 * len(self._now.items) >= len(self._before.items):
            self._before, self._now = self._now, _Reading()

    def parse(self, data: bytes, position: int = 0) -> Any:
        """Parse a response, the page at a position of the list."""
        page = self._now.pages.pop(position, None) or self._before.pages.get(position)
        try:
            changed = page and self._read_changes(data, page)
            if not changed:
                return self._read(data, position)
        except _NOT_PLAIN:  # the parser accepts it, or raises the error
            return self._parse(data)
        self._now.items.update({item.hash: item for item in changed.items})
        self._now.pages[position] = changed
        return {**changed.others, self._member: changed.items}

    def _read_changes(self, data: bytes, page: _Page) -> _Page | None:
        """Return the page that came in place of an earlier one; None if they differ in more than in items."""
        first, start = page.count_from_start(data)
        if not first or start + len(page.tail) > len(data) or not data.endswith(page.tail):
            return None
        last, end = page.count_from_end(data, len(page.items) - first, start)
        last = len(page.items) - last
        between = data[start:end].strip(_BLANKS)
        raws = [bytes(raw) for raw in _items.decode(b"[" + between[1:] + b"]")]
        items = [self._item(raw) for raw in raws]
        if between and not (between.startswith(b",") and _are_objects(items)):
            return None
        sizes, hashes = _cut(data, start, start, raws)
        return _Page(
            [*page.items[:first], *items, *page.items[last:]],
            page.sizes[:first] + sizes + page.sizes[last:],
            page.hashes[:first] + hashes + page.hashes[last:],
            page.tail,
            page.others,
        )

    def _read(self, data: bytes, position: int) -> Any:
        members = _members.decode(data)
        listed = members.pop(self._member, b"")
        raws = [bytes(raw) for raw in _items.decode(listed)]
        items = [self._item(raw) for raw in raws]
        others = self._parse_utf8(msgspec.json.encode(members))
        if self._member in others:  # a second time, with blanks around its name
            return self._parse(data)
        at = data.find(listed)
        if _are_objects(items) and data.rfind(listed) == at:
            sizes, hashes = _cut(data, 0, at, raws)
            self._now.pages[position] = _Page(items, sizes, hashes, data[sum(sizes) :], others)
        return {**others, self._member: items}

    def _item(self, raw: bytes) -> Any:
        key = hash(raw)
        item = self._now.items.get(key)
        if item is None:
            item = self._before.items.get(key)
            if item is None:
                item = self._parse_utf8(raw)
                if isinstance(item, dict):
                    self._codec = self._codec or _Codec(raw, self._parse)
                    item = CachedItem(item, raw, self._codec, self._key(item))
            self._now.items[item.hash if isinstance(item, CachedItem) else key] = item
        return item

    def _parse_utf8(self, data: bytes) -> Any:
        """Parse UTF-8; in another encoding a byte that looks like a quotation mark may be none.

        Raises UnicodeDecodeError.
        """
        data.decode()
        return self._parse(data)


def _are_objects(items: list[Any]) -> bool:
    """Return True if there are items, and all of them are objects."""
    return bool(items) and all(isinstance(item, CachedItem) for item in items)


def _cut(data: bytes, start: int, at: int, raws: Iterable[bytes]) -> tuple[array[int], array[int]]:
    """Cut a page from `start` behind each of these objects, which follow `at`; return the pieces' sizes and hashes."""
    ends = [start]
    for raw in raws:
        at = data.index(b"{", at) + len(raw)
        ends.append(at)
    pieces = [data[one:other] for one, other in pairwise(ends)]
    return array("I", map(len, pieces)), array("q", map(hash, pieces))
