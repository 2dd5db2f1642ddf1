"""Vendors' JSON made safe: nothing but InvalidResponse comes out of anything, and no secret goes further."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fleet2mqtt import redaction
from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.sdk import vendor_json

SHANGHAI = ZoneInfo("Asia/Shanghai")
CANARY = "canary-77a1"
KEYS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(sorted(redaction.SECRET_KEYS)).flatmap(
        lambda key: st.sampled_from([key, key.upper(), key.title(), f" {key}", f"{key} ", key.replace("_", "")])
    ),
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8))
DOCUMENTS = st.recursive(
    LEAVES,
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(KEYS, below, max_size=4)),
    max_leaves=20,
)


def keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for child in value.values() for key in keys(child))]
    return [key for child in value for key in keys(child)] if isinstance(value, list) else []


def cleaned(value: Any) -> Any:
    """The document as it may go on: keys stripped, secrets left out."""
    if isinstance(value, dict):
        return {key.strip(): cleaned(v) for key, v in value.items() if key.strip().lower() not in redaction.SECRET_KEYS}
    return [cleaned(child) for child in value] if isinstance(value, list) else value


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_invalid_response(data: bytes) -> None:
    with suppress(InvalidResponse):
        vendor_json.parse(data)


@given(DOCUMENTS, st.booleans())
def test_secret_keys_are_dropped(document: Any, escaped: bool) -> None:
    data = json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    try:
        found = vendor_json.parse(data)
    except InvalidResponse:
        return  # half a surrogate pair
    assert redaction.SECRET_KEYS.isdisjoint(key.strip().lower() for key in keys(found))


@given(DOCUMENTS)
def test_other_values_are_unchanged(document: Any) -> None:
    names = keys(document)
    if len({name.strip() for name in names}) < len(names):
        return  # which of two keys that are alike wins is another test's matter
    assert vendor_json.parse(orjson.dumps(document)) == cleaned(document)


@pytest.mark.parametrize(
    ("data", "seals"),
    [
        (b'{"user": {"PassWord": "%s"}}', True),
        (b'{"a": [{"wifiKey": "%s"}]}', True),
        (b'{"p\\u0061ss": "%s"}', True),
        (b'{" tokenId ": {"deep": "%s"}}', False),
        (b'{"secret_key" : ["%s"]}', False),
    ],
)
def test_secret_in_any_spelling_is_dropped_or_masked(data: bytes, *, seals: bool) -> None:
    dropped, sealed = (json.dumps(vendor_json.parse(data % CANARY.encode(), sealed=how)) for how in (False, True))
    assert CANARY not in dropped + sealed
    assert "sealed:" not in dropped
    assert ("sealed:" in sealed) is seals


def test_gbk_and_a_byte_order_mark_are_read() -> None:
    assert vendor_json.parse('{"状态": "成功"}'.encode("gbk")) == {"状态": "成功"}
    assert vendor_json.parse(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


DEEP = b'{"a": ' * 1000 + b'{"pass": 1}' + b"}" * 1000


@pytest.mark.parametrize("data", [b"", b"NaN", b'{"a": Infinity}', b"<html>", b"[" * 100_000, DEEP])
def test_body_that_is_not_json_is_invalid_response(data: bytes) -> None:
    with pytest.raises(InvalidResponse):
        vendor_json.parse(data)


def test_invalid_response_repeats_no_secret() -> None:
    with pytest.raises(InvalidResponse) as caught:
        vendor_json.parse(b'{"password": "%s", ' % CANARY.encode())
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'password: "{}"',
        "admincode={}",
        '{{"wifikey":"{}"}}',
        "url?tokenId={}&x=1",
        "“authcode”：“{}”",
        '{{"pass": "with blanks, and commas {}", "a": 1}}',
        '{{"pass": "with a \\" and {}", "a": 1}}',
        '{{"pass": "cut off {}',
        "passwd='it is {}'",
    ],
)
def test_text_for_people_is_redacted(text: str) -> None:
    shown = redaction.redact(text.format(CANARY))
    assert CANARY not in shown
    assert "***" in shown


def test_text_around_secret_is_kept() -> None:
    assert redaction.redact('{"pass": "x y", "a": "b"}') == '{"pass": "***", "a": "b"}'
    assert redaction.redact("/api?access_token=x&page=1 failed") == "/api?access_token=***&page=1 failed"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (5, 5),
        ("5", 5),
        ("66.67%", 66.67),
        ("58640 Kbps", 58640),
        ("-3.5e2", -350.0),
        ("", None),
        ("5 x y", None),
        ("1e999", None),
        ("9" * 5_000, None),
        (10**400, None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_numbers(value: Any, wanted: Any) -> None:
    assert vendor_json.number(value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(True, True), (0, False), ("ON", True), ("no", False), ("maybe", None), (None, None), (2, None), (1.0, True)],
)
def test_booleans(value: Any, wanted: Any) -> None:
    assert vendor_json.boolean(value) is wanted


@pytest.mark.parametrize(
    ("value", "wanted"), [(" a ", "a"), ("", None), (None, None), (5, "5"), ({}, None), ([], None)]
)
def test_texts(value: Any, wanted: Any) -> None:
    assert vendor_json.text(value) == wanted


MOMENT = datetime(2021, 3, 9, 17, 55, 40, tzinfo=SHANGHAI)


@pytest.mark.parametrize(
    "value",
    [
        "2021-03-09 17:55:40",
        "2021/03/09 17:55:40",
        "2021-03-09T17:55:40+08:00",
        "2021-03-09T09:55:40Z",
        "2021-03-09T17:55:40.000000000+08:00",
        MOMENT.timestamp(),
        int(MOMENT.timestamp()) * 1000,
        str(int(MOMENT.timestamp())),
    ],
)
def test_times_without_zone_are_in_zone_of_backend(value: Any) -> None:
    found = vendor_json.timestamp(value, SHANGHAI)
    assert found == MOMENT
    assert found.utcoffset() in (timedelta(hours=8), timedelta(0))


@pytest.mark.parametrize(
    "value", ["", None, "yesterday", "0001-01-01 00:00:00", 0, -1, "1e300", 10**30, [], "2999-01-01"]
)
def test_invalid_time_is_none(value: Any) -> None:
    assert vendor_json.timestamp(value, UTC) is None


def test_iso_has_a_fraction_only_where_there_is_one() -> None:
    zone = timezone(timedelta(hours=8))
    assert vendor_json.iso(datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone)) == "2026-01-02T03:04:05+08:00"
    assert vendor_json.iso(datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=zone)) == "2026-01-02T03:04:05.006+08:00"
    assert vendor_json.iso(None) is None


class Shape(vendor_json.WireModel):
    number: vendor_json.Number = None
    truth: vendor_json.Boolean = None
    at: vendor_json.Timestamp = None
    needed: int


def test_vendor_model_accepts_loose_values_and_errors_repeat_none() -> None:
    shape = Shape.model_validate(
        {"number": "5%", "truth": "on", "at": "2021-03-09 17:55:40", "needed": 1, "new": 2}, context={"zone": SHANGHAI}
    )
    assert (shape.number, shape.truth, shape.at) == (5, True, MOMENT)
    with pytest.raises(ValidationError) as caught:
        Shape.model_validate({"needed": CANARY})
    assert vendor_json.validation_errors(caught.value).startswith("needed: ")
    assert CANARY not in vendor_json.validation_errors(caught.value)


def test_vendor_models_with_blank_and_missing_field_differ() -> None:
    blank, missing = Shape.model_validate({"needed": 1, "number": ""}), Shape.model_validate({"needed": 1})
    assert blank != missing
    assert missing == Shape.model_validate({"needed": 1})
    assert hash(missing) == hash(Shape.model_validate({"needed": 1}))
    assert missing != "text"


def test_models_share_the_set_of_their_fields_and_copies_do_not() -> None:
    class Row(vendor_json.WireModel):
        a: vendor_json.Text = None
        b: vendor_json.Text = None

    first, second, other = (Row.model_validate(item) for item in ({"a": "1"}, {"a": "2"}, {"b": "1"}))
    assert first.model_fields_set is second.model_fields_set
    assert first.model_copy(update={"b": "2"}).model_fields_set == {"a", "b"}
    assert (second.model_fields_set, other.model_fields_set) == ({"a"}, {"b"})
