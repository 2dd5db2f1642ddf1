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
    items = ResponseCache("devices", vendor_json.parse)
    (first,) = items.parse(page({"mac": "A", "name": "语音"}))["devices"]
    whole = complete(first)
    first.shrink("mac", "missing")
    assert (first, whole) == ({"mac": "A"}, {"mac": "A", "name": "语音"})
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
