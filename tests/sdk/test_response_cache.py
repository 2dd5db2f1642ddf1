"""Long lists read again and again: what comes out is what the parser gives, and what did not change is not parsed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.response_cache import ResponseCache, complete

LEAVES = st.one_of(st.none(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=8))
KEYS = st.one_of(st.text(max_size=6), st.sampled_from(["devices", " devices", "password", "name", "名"]))
OBJECTS = st.dictionaries(KEYS, st.one_of(LEAVES, st.lists(LEAVES, max_size=2)), max_size=4)
REPLIES = st.builds(lambda rest, items: {**rest, "devices": items}, OBJECTS, st.lists(OBJECTS | LEAVES, max_size=5))
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16"])
ODD = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"code": 0}',
    b'{"devices": null}',
    b'{"devices": {}}',
    b'{"devices": [], "devices": [1]}',
    b'{"devices": [{"a": 1}], " devices": [2]}',
    b'{"devices": [{"a": NaN}]}',
    b'{"devices": [{"a": 1},]}',
    b'{"devices": [{"a": 1}]} {}',
    b'{"devices": [{"a": "\\ud800"}]}',
    b'{"devices": [{"a": 123456789012345678901234567890, "b": 1e999}]}',
    '{"devices": [{"a": "誠"}, {"b": "\\\\"}]}'.encode("gb18030"),  # whose second byte is a backslash
    b'{"devices": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"code": ' + b"[" * 3000 + b"]" * 3000 + b', "devices": [1]}',
)

PIECES = st.sampled_from([b",", b"]", b"[", b"}", b"{", b'"', b"\\", b" ", b"1", b", {}", b"{}, ", b'], "devices": ['])

SUCCESSORS = (
    (b'{"devices": [{"a": [1]}, {}]}', b'{"devices": [{"a": [1]}'),
    (b'{"devices": [{}, {}, {"a": 1}]}', b'{"devices": [{}[{}, {"a": 1}]}'),
    (b'{"devices": [{"a": 1}]}', b'{"devices": [{"a": 1}{"devices": [{"a": 1}]}'),
    (b'{"devices": [{"a": 1}, {}]}', b'{"devices": [{"a": 1}, ]}'),
    (b'{"devices": [{"a": 1}, {}]}', b'{"devices": [{"a": 1}, {"b": 2}], "x": [1, {}]}'),
    (b'{"x": [{"a": 1}], "devices": [{"a": 1}]}', b'{"x": [{"a": 1}, {"b": 2}], "devices": [{"a": 1}]}'),
    (b'{"devices": [{"a": 1}, {}], "x": 1}', b'{"devices": [{"a": 1}, {}], "x": 2}'),
    (b'{"devices": [{"a": 1}, {"b": "x"}]}', '{"devices": [{"a": 1}, {"b": "誠"}]}'.encode("gb18030")),
)
"""Pages, each with one that begins and ends with some of its bytes."""


class Counting:
    """The parser, counting what it is given."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def __call__(self, data: bytes) -> Any:
        self.seen.append(data)
        return vendor_json.parse(data)


def outcome(parse: Any, data: bytes) -> Any:
    try:
        return parse(data)
    except InvalidResponse as error:
        return type(error), str(error), error.code


def page(*items: Any) -> bytes:
    return json.dumps({"code": 0, "meta": {"totalResults": len(items)}, "devices": items}, ensure_ascii=False).encode()


@given(REPLIES, ENCODINGS, st.booleans())
def test_cached_item_equals_parsed_item(reply: Any, encoding: str, escaped: bool) -> None:
    data = json.dumps(reply, ensure_ascii=escaped).encode(encoding, "surrogatepass" if "utf" in encoding else "replace")
    items = ResponseCache("devices", vendor_json.parse)
    assert outcome(items.parse, data) == outcome(items.parse, data) == outcome(vendor_json.parse, data)


@pytest.mark.parametrize("data", ODD, ids=range(len(ODD)))
def test_malformed_item_is_passed_to_parser(data: bytes) -> None:
    assert outcome(ResponseCache("devices", vendor_json.parse).parse, data) == outcome(vendor_json.parse, data)


@given(st.binary(max_size=100))
def test_any_bytes_are_parsed_or_invalid_response(data: bytes) -> None:
    with suppress(InvalidResponse):
        ResponseCache("devices", vendor_json.parse).parse(b'{"devices": [' + data + b"]}")


def listed(items: list[Any], indent: int | None = None) -> bytes:
    """Return a response that differs from others in its list only."""
    return b'{"code": 0, "devices": %b, "meta": {"totalResults": 9}}' % json.dumps(items, indent=indent).encode()


@given(
    st.lists(OBJECTS, min_size=1, max_size=5),
    st.lists(OBJECTS | LEAVES, max_size=3),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from([None, 1]),
)
def test_page_with_other_items_equals_parsed_page(
    before: list[Any], new: list[Any], first: int, last: int, indent: int | None
) -> None:
    items = ResponseCache("devices", vendor_json.parse)
    for each in (before, [*before[:first], *new, *before[last:]], before):
        data = listed(each, indent)
        assert outcome(items.parse, data) == outcome(vendor_json.parse, data)


@given(st.lists(OBJECTS, min_size=1, max_size=3), st.integers(0), st.integers(0), PIECES | st.just(b""))
def test_damaged_page_has_same_outcome_as_parser(before: list[Any], one: int, other: int, piece: bytes) -> None:
    items = ResponseCache("devices", vendor_json.parse)
    data = listed(before)
    items.parse(data)
    first, last = sorted((one % len(data), other % len(data)))
    damaged = data[:first] + piece + data[last:]
    assert outcome(items.parse, damaged) == outcome(vendor_json.parse, damaged)


@pytest.mark.parametrize(("before", "after"), SUCCESSORS, ids=range(len(SUCCESSORS)))
def test_page_like_the_one_before_has_same_outcome_as_parser(before: bytes, after: bytes) -> None:
    items = ResponseCache("devices", vendor_json.parse)
    for data in (before, after, before):
        assert outcome(items.parse, data) == outcome(vendor_json.parse, data)


def test_page_with_one_change_parses_changed_item_only() -> None:
    parse = Counting()
    items = ResponseCache("devices", parse)
    first = items.parse(listed([{"mac": mac} for mac in "ABCD"]), 100)["devices"]
    items.begin()
    parse.seen.clear()
    reply = items.parse(listed([{"mac": "A"}, {"mac": "B", "name": "new"}, {"mac": "C"}, {"mac": "D"}]), 100)
    assert parse.seen == [b'{"mac": "B", "name": "new"}']
    assert reply == {
        "code": 0,
        "devices": [{"mac": "A"}, {"mac": "B", "name": "new"}, {"mac": "C"}, {"mac": "D"}],
        "meta": {"totalResults": 9},
    }
    assert [one is other for one, other in zip(reply["devices"], first, strict=True)] == [True, False, True, True]


def test_item_that_moves_to_another_page_is_same_object() -> None:
    items = ResponseCache("devices", vendor_json.parse)
    first = items.parse(listed([{"mac": "A"}, {"mac": "B"}]), 0)["devices"]
    second = items.parse(listed([{"mac": "C"}, {"mac": "D"}]), 2)["devices"]
    items.begin()
    moved = [
        *items.parse(listed([{"mac": "A"}, {"mac": "C"}]), 0)["devices"],
        *items.parse(listed([{"mac": "B"}, {"mac": "D"}]), 2)["devices"],
    ]
    assert [id(item) for item in moved] == [id(item) for item in (first[0], second[0], first[1], second[1])]


def test_page_missing_in_two_sweeps_is_evicted() -> None:
    items = ResponseCache("devices", vendor_json.parse)
    (gone,) = items.parse(listed([{"mac": "A"}]), 1)["devices"]
    for _ in range(2):
        items.begin()
        items.parse(listed([{"mac": "B"}]), 0)
    items.begin()
    (again,) = items.parse(listed([{"mac": "A"}]), 1)["devices"]
    assert again == gone
    assert again is not gone


def test_unchanged_item_is_same_object_and_not_parsed_again() -> None:
    parse = Counting()
    items = ResponseCache("devices", parse)
    first = items.parse(page({"mac": "A", "name": "语音"}, {"mac": "B"}))["devices"]
    items.begin()
    parse.seen.clear()
    second = items.parse(page({"mac": "B"}, {"mac": "A", "name": "新"}, {"mac": "C"}))
    assert second == {"code": 0, "meta": {"totalResults": 3}, "devices": second["devices"]}
    assert second["devices"] == [{"mac": "B"}, {"mac": "A", "name": "新"}, {"mac": "C"}]
    assert second["devices"][0] is first[1]
    assert [json.loads(data).get("mac") for data in parse.seen] == ["A", "C", None]


def test_shrunk_item_is_still_the_same_object_and_can_be_completed() -> None:
    items = ResponseCache("devices", vendor_json.parse, lambda item: item["mac"].lower())
    (first,) = items.parse(page({"mac": "A", "name": "语音"}))["devices"]
    whole = complete(first)
    first.shrink()
    assert (first, first.key, whole) == ({}, "a", {"mac": "A", "name": "语音"})
    items.begin()
    (second,) = items.parse(page({"mac": "A", "name": "语音"}))["devices"]
    assert second is first
    assert complete(second) == {"mac": "A", "name": "语音"}


def test_secrets_are_dropped_as_in_a_whole_response() -> None:
    items = ResponseCache("devices", vendor_json.parse)
    assert items.parse(b'{"token_id": 1, "passwd": "x", "devices": [{"wifiKey": "y"}]}') == {
        "token_id": 1,
        "devices": [{}],
    }


def test_item_missing_in_two_sweeps_is_evicted() -> None:
    items = ResponseCache("devices", vendor_json.parse)
    (gone,) = items.parse(page({"mac": "A"}))["devices"]
    for _ in range(2):
        items.begin()
        items.parse(page({"mac": "B"}))
    items.begin()
    (again,) = items.parse(page({"mac": "A"}))["devices"]
    assert again == gone
    assert again is not gone


def test_incomplete_sweep_evicts_nothing() -> None:
    items = ResponseCache("devices", vendor_json.parse)
    everything = [{"mac": number} for number in range(10)]
    whole = items.parse(page(*everything))["devices"]
    for _ in range(5):
        items.begin()
        items.parse(page(everything[0]))
    items.begin()
    assert all(one is other for one, other in zip(items.parse(page(*everything))["devices"], whole, strict=True))
