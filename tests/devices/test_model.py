"""Device ids: segments of topics that keep the vendor's id readable, and that no two vendor ids share."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet2mqtt.devices.ids import Ids, slug

SEGMENT = re.compile(r"[a-z0-9_-]{1,64}")
VENDOR_IDS = st.one_of(st.text(), st.text(alphabet="aAbB_-. 01", max_size=12), st.text(min_size=60))


@pytest.mark.parametrize(("text", "wanted"), [("000EA93D022E", "000ea93d022e"), ("fxo-7", "fxo-7"), ("a_b", "a_b")])
def test_plain_id_is_topic_segment(text: str, wanted: str) -> None:
    assert slug(text) == wanted


@given(VENDOR_IDS)
def test_any_text_gives_a_segment(text: str) -> None:
    found = slug(text)
    assert SEGMENT.fullmatch(found)
    assert slug(found) == found
    assert slug(text) == found


@given(VENDOR_IDS, VENDOR_IDS)
def test_texts_that_differ_in_more_than_case_differ_as_segments(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) <= (one.lower() == other.lower() or other in slug(one) or one in slug(other))


@given(st.lists(st.tuples(st.sampled_from(["hq", "hq_a"]), VENDOR_IDS, VENDOR_IDS), unique=True, max_size=30))
def test_vendor_ids_map_to_distinct_stable_ids(natives: list[tuple[str, str, str]]) -> None:
    ids = Ids()
    found = [ids(*vendor_id) for vendor_id in natives]
    assert all(map(SEGMENT.fullmatch, found))
    assert len(set(found)) == len(natives)
    again = Ids(dict(ids.assignments))
    assert [again(*vendor_id) for vendor_id in reversed(natives)] == found[::-1]


def test_examples_of_contract() -> None:
    ids = Ids()
    assert ids("hq_voip", "000EA93D022E") == "hq_voip_000ea93d022e"
    assert ids("hq_voip", "000EA93D022E", "fxo", "7") == "hq_voip_000ea93d022e_fxo_7"
    assert ids("branch", "172DE6AC9832DE", "channel", "0") == "branch_172de6ac9832de_channel_0"
    assert ids("hq_voip", "000ea93d022e").startswith("hq_voip_000ea93d022e_")  # another id that looks the same
